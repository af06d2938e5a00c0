"""Many steps of one or several rules: ``rollout`` is the one door to three ways of stepping.

Plain PyTorch runs everywhere, ``cpu`` holds loops compiled by Numba, ``gpu`` kernels for Triton.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
