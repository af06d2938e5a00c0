"""Many steps of one or several rules. ``rollout`` chooses among three implementations.

``plain`` is PyTorch and runs everywhere. ``cpu`` holds loops that Numba compiles for a CPU, and
``gpu`` holds Triton kernels for an NVIDIA GPU. ``dispatch`` holds ``rollout``,
and ``frames`` the rollout of a film.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
