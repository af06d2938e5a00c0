"""Means over a data set that may be larger than memory, which is looked at part by part."""

from collections.abc import Callable

from torch import Tensor

WHOLE, PART = 2**26, 2**22  # numbers: larger data sets are looked at in parts of 16 MB


def mean_over_cases(function: Callable[..., Tensor], *cases: Tensor) -> Tensor:
    """Return the mean over cases of a function that is itself a mean over the cases it is given.

    Of a large data set, which may be larger than memory, it is given a part at a time.

    Parameters
    ----------
    function : callable
        Takes as many tensors as are given, of n cases, and returns a tensor.
    *cases : Tensor of shape (N, …)
    """
    count, numbers = len(cases[0]), cases[0].numel()
    size = count if numbers <= WHOLE else max(1, count * PART // numbers)
    parts = zip(*(tensor.split(size) for tensor in cases), strict=True)
    means = [function(*part) * (len(part[0]) / count) for part in parts]
    return sum(means[1:], means[0])
