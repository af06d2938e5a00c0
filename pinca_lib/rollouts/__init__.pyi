from .dispatch import (
    rollout as rollout,
)
