from .door import (
    rollout as rollout,
)
