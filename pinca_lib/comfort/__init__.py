"""A wind climate over a place: how often which speed is exceeded, and for whom that is fine."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
