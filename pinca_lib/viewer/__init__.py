"""The viewer: a rollout whose city can be edited while it runs, and its widget."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
