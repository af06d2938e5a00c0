"""The automaton: the rule, its coarse cells and the wind frame."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
