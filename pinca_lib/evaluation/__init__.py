"""Evaluate rules: metrics, scores, healing after an edit, and where a rule does not apply."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
