"""Choose a device, and move nested data to it."""

from typing import Any

import torch
from torch import Tensor

from pinca_lib.errors import InputError, first_line
from pinca_lib.training.processes import PROCESSES


def choose_device(name: str = "auto") -> torch.device:
    """Return a device, and keep convolutions in full float32 from then on.

    By default, cuDNN rounds the inputs of convolutions to TF32, which causes an error of about 1e-3
    per step. This function turns that off.

    Processes that train together meet here, and each gets a device of its own.

    Parameters
    ----------
    name : str
        Name of a torch device, or ``"auto"`` for a CUDA GPU if there is one, else the CPU.

    Raises
    ------
    InputError
        If torch does not know the device, or this machine does not have it, or not one for each
        process.
    """
    torch.backends.cudnn.allow_tf32 = False
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"device={name!r} is not available here ({first_line(error)}); "
            "use 'auto', 'cpu' or 'cuda'"
        ) from error
    if device.type == "meta":
        raise InputError("device='meta' does not compute anything; use 'auto', 'cpu' or 'cuda'")
    return PROCESSES.join(device)


def to_device(data: Any, device: torch.device | str) -> Any:
    """Return a copy of nested dicts, lists and tuples with every tensor moved to a device."""
    if isinstance(data, Tensor):
        return data.to(device)
    if isinstance(data, dict):
        return {key: to_device(value, device) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return type(data)(to_device(value, device) for value in data)
    return data
