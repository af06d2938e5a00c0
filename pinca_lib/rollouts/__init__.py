"""Many steps of one or several rules. ``rollout`` chooses among three implementations.

``plain`` is PyTorch and runs everywhere. ``cpu`` holds loops that Numba compiles for a CPU, and
``gpu`` Triton kernels for an NVIDIA GPU; ``trial`` compares both with the rules before they are
trusted. ``dispatch`` holds ``rollout``, and ``quota`` the number of cores that it may use.
``frames`` holds the rollout of a film, and ``tiles`` that over a grid that does not fit into
memory, as ``tiling`` cuts it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
