"""The processes that train one rule together, each on a device of its own.

``python -m pinca_lib.torchrun`` starts them. Each process draws its share of a batch from its own
part of the sample pool, with random numbers of its own, and the gradients are averaged over the
processes. All other parameters mean the same on any number of processes. Accelerate sets the
processes up and carries what they tell each other; a single process does not import it.
"""

import atexit
import os
from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor

from pinca_lib.errors import InputError, needed

Value = TypeVar("Value")


class Processes:
    """The processes of a training, seen from one of them.

    Parameters
    ----------
    environment : mapping of str to str
        The environment variables, in which torchrun says how many processes there are.

    Attributes
    ----------
    rank, count : int
        Number of this process, from 0, and of all.
    """

    def __init__(self, environment: Mapping[str, str]):
        is_alone = "TORCHELASTIC_RUN_ID" not in environment
        self.rank = 0 if is_alone else int(environment["RANK"])
        self.count = 1 if is_alone else int(environment["WORLD_SIZE"])
        self._on_this_machine = 1 if is_alone else int(environment["LOCAL_WORLD_SIZE"])
        self._device: torch.device | None = None

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that logs and saves."""
        return self.rank == 0

    def join(self, device: torch.device) -> torch.device:
        """Meet the other processes, and return the device of this one.

        Parameters
        ----------
        device : torch.device
            The device that the training was given.

        Raises
        ------
        InputError
            If Accelerate is missing, or there is not a device for each process.
        """
        if self.count == 1:
            return device
        if self._device is None:
            self._check(device)
            needed("accelerate", "a training of several processes", "cluster")
            from accelerate import PartialState

            state = PartialState(cpu=device.type == "cpu")
            # its threads would else be cut off at the end, which now and then aborts the process
            atexit.register(state.destroy_process_group)
            self._device = state.device
        return self._device

    def _check(self, device: torch.device) -> None:
        if device.type not in ("cpu", "cuda") or device.index is not None:
            raise InputError(
                f"device={str(device)!r}: {self.count} processes need devices of their own; use "
                "'auto', 'cpu' or 'cuda'"
            )
        if device.type == "cuda" and torch.cuda.device_count() < self._on_this_machine:
            raise InputError(
                f"device='cuda': this machine has {torch.cuda.device_count()} GPUs for "
                f"{self._on_this_machine} processes; start as many processes as GPUs "
                "(--nproc-per-node gpu), or use device='cpu'"
            )

    def share(self, name: str, number: int) -> int:
        """Return the part of a number of samples that belongs to each process.

        Raises
        ------
        InputError
            If the samples cannot be shared equally.
        """
        if number % self.count:
            raise InputError(
                f"parameter {name}={number}: expected a multiple of {self.count}, the number of "
                "processes, which share the samples equally"
            )
        return number // self.count

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean over the processes of a tensor, of the same shape in all of them."""
        if self.count == 1:
            return values
        from accelerate.utils import reduce

        return reduce(values.to(self._device), "mean")

    def same(self, value: Value) -> Value:
        """Return the value of the first process."""
        if self.count == 1:
            return value
        from accelerate.utils import broadcast_object_list

        return broadcast_object_list([value])[0]

    def all(self, value: Value) -> list[Value]:
        """Return the values of all processes."""
        if self.count == 1:
            return [value]
        from accelerate.utils import gather_object

        return gather_object([value])

    def joined(self, parts: Tensor) -> Tensor:
        """Return the tensors (N, …) of all processes as one, (N × count, …)."""
        if self.count == 1:
            return parts
        from accelerate.utils import gather

        return gather(parts.to(self._device))

    def part(self, whole: Tensor) -> Tensor:
        """Return what is this process's part of what ``joined`` returned."""
        return whole.chunk(self.count)[self.rank]


PROCESSES = Processes(os.environ)
