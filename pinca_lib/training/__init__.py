"""Training: the sample pool, augmentation, losses and gradient descent."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
