"""Where the numbers live: choosing a device and moving nested data to it."""

from typing import Any

import torch
from torch import Tensor

from pinca_lib.errors import InputError, first_line


def choose_device(name: str = "auto") -> torch.device:
    """Return the device of that name; ``"auto"`` takes a CUDA GPU if there is one.

    From then on float32 means float32 in convolutions, too: cuDNN would round to TF32 by default,
    an error of 1e-3 a step.

    Raises
    ------
    InputError
        If torch does not know the name or the machine lacks the device.
    """
    torch.backends.cudnn.allow_tf32 = False
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"device={name!r} is not available here ({first_line(error)}); "
            "use 'auto', 'cpu' or 'cuda'"
        ) from error
    if device.type == "meta":
        raise InputError("device='meta' computes nothing; use 'auto', 'cpu' or 'cuda'")
    return device


def to_device(data: Any, device: torch.device | str) -> Any:
    """Move every tensor in nested dicts, lists and tuples to a device; leave the rest alone."""
    if isinstance(data, Tensor):
        return data.to(device)
    if isinstance(data, dict):
        return {key: to_device(value, device) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return type(data)(to_device(value, device) for value in data)
    return data
