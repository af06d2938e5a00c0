from .augmentation import (
    Move as Move,
)
from .descent import (
    Training as Training,
)
from .descent import (
    channel_units as channel_units,
)
from .descent import (
    seed_everything as seed_everything,
)
from .losses import (
    InitLoss as InitLoss,
)
from .losses import (
    PILoss as PILoss,
)
from .pool import (
    Batch as Batch,
)
from .pool import (
    SamplePool as SamplePool,
)
