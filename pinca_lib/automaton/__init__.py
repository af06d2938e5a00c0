"""The automaton: its rule, the coarser cells that a rule may see, and the frame of the wind."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
