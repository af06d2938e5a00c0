from .dispatch import (
    rollout as rollout,
)
from .frames import (
    rollout_frames as rollout_frames,
    steps_before as steps_before,
)
