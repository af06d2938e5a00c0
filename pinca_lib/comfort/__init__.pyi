from .climate import (
    Climate as Climate,
    Weibull as Weibull,
)
from .climate_files import (
    load_climate as load_climate,
)
from .criteria import (
    CRITERIA as CRITERIA,
    ComfortClass as ComfortClass,
    Criterion as Criterion,
    areas as areas,
    changes as changes,
    classify as classify,
    find_criterion as find_criterion,
    gust_equivalent_mean as gust_equivalent_mean,
)
