"""Files of tensors: written whole, checked when they are read."""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pinca_lib.errors import InputError, first_line
from pinca_lib.runs.devices import to_device
from pinca_lib.writing import written_whole


def save_tensors(data: Any, path: Path) -> None:
    """Write nested tensors and plain values with ``torch.save``, after a copy to the CPU.

    A crash leaves the old file or the new one, never a part of it.

    Raises
    ------
    OSError
        If the file cannot be written, for example because the disk is full.
    """
    with written_whole(path) as partial, partial.open("wb") as file:
        try:
            torch.save(to_device(data, "cpu"), file)
        except RuntimeError as error:  # PyTorch hides why the file could not be written
            raise error.__context__ if isinstance(error.__context__, OSError) else error from None


def load_tensors(path: Path) -> Any:
    """Load a file of tensors and plain values that ``torch.save`` wrote, onto the CPU.

    ``torch.save`` writes a zip file, which has a CRC-32 of each of its records. ``torch.load`` does
    not check them, and would load damaged weights without a word.

    Raises
    ------
    InputError
        If the file cannot be read, is damaged, holds other objects, which are never loaded, or
        would take more memory than its size.
    """
    try:
        size = path.stat().st_size
        _check_records(path, size)
        content = torch.load(path, map_location="cpu", weights_only=True)
        if any(not _is_stored(tensor, size) for tensor in _tensors(content)):
            raise ValueError("it holds a tensor of more numbers than the file")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # torch.load raises many types, depending on the damage
        raise InputError(f"{path}: not a readable checkpoint ({first_line(error)})") from error
    return content


def size_of(data: Any) -> int:
    """Return how many bytes the tensors in nested data take in a file, roughly."""
    return sum(tensor.numel() * tensor.element_size() for tensor in _tensors(data))


def _check_records(path: Path, size: int) -> None:
    if not zipfile.is_zipfile(path):
        raise ValueError("it is cut off, or not a file of torch.save since PyTorch 1.6")
    with zipfile.ZipFile(path) as records:
        if sum(record.file_size for record in records.infolist()) > size:
            raise ValueError("its content is compressed, which torch.save does not do")
        if damaged := records.testzip():
            raise ValueError(f"its record {damaged} is damaged: the CRC-32 is another")


def _is_stored(tensor: Tensor, size: int) -> bool:
    """Return whether a tensor is a plain one, whose numbers can all be in a file of ``size``."""
    is_plain = tensor.layout == torch.strided and not tensor.is_quantized and not tensor.is_nested
    return is_plain and tensor.device.type == "cpu" and size_of(tensor) <= size


def _tensors(data: Any) -> Iterator[Tensor]:
    """Yield the tensors in nested data. Parts that occur several times are visited once."""
    seen, left = set(), [data]
    while left:
        part = left.pop()
        if isinstance(part, Tensor):
            yield part
        elif isinstance(part, dict | list | tuple) and id(part) not in seen:
            seen.add(id(part))
            left.extend(part.values() if isinstance(part, dict) else part)
