from .live import (
    LiveRollout as LiveRollout,
)
from .widget import (
    RolloutViewer as RolloutViewer,
)
