from .live import (
    LiveRollout as LiveRollout,
)
from .scenes import (
    CaseScene as CaseScene,
    PlaceScene as PlaceScene,
    ReferenceWind as ReferenceWind,
)
from .widget import (
    RolloutViewer as RolloutViewer,
)
