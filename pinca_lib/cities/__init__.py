"""A place and its buildings: today, edits of a city in the middle of a rollout."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
