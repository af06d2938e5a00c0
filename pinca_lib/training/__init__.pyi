from .augmentation import (
    Move as Move,
)
from .descent import (
    Training as Training,
    channel_units as channel_units,
    seed_everything as seed_everything,
)
from .losses import (
    InitLoss as InitLoss,
    PILoss as PILoss,
)
from .pool import (
    Batch as Batch,
    SamplePool as SamplePool,
)
from .pools import (
    SamplePools as SamplePools,
)
