"""Simulated cases: city files and their checks, data sets, the UrbanTALES converter, NetCDF."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
