"""Cities and their buildings: so far, edits of a city during a rollout."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
