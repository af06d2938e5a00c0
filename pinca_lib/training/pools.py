"""Cases on grids of several sizes: a sample pool for each, of which every batch draws one."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pinca_lib.channels import STATE_COUNT
from pinca_lib.datasets import WindDataset
from pinca_lib.training.pool import Batch, SamplePool
from pinca_lib.training.processes import PROCESSES


class SamplePools:
    """Sample pools of several data sets, used as one. With a single data set it is that one's pool.

    A pool is drawn in proportion to the ground that its data set covers, in cells. Its share of all
    states is the same. Batches of larger grids have fewer samples, so that all take about the same
    time.

    Parameters
    ----------
    datasets : sequence of WindDataset
        Each on a grid of its own size.
    size : int
        Number of states in all pools together.
    random : numpy.random.Generator
        Source of all random numbers.
    device, channels, augment
        As in ``SamplePool``.

    Attributes
    ----------
    pools : tuple of SamplePool
    first : SamplePool
        That of the first data set, for pictures and scales.

    Raises
    ------
    ValueError
        If two data sets have grids of the same size.
    """

    def __init__(
        self,
        datasets: Sequence[WindDataset],
        size: int,
        random: np.random.Generator,
        device: torch.device | str = "cpu",
        channels: int = STATE_COUNT,
        augment: bool = False,
    ):
        grids = [dataset.states.shape[-2:] for dataset in datasets]
        if len(set(grids)) < len(grids):
            raise ValueError("two data sets have grids of the same size; join them")
        self.random = random
        cells = np.array([dataset.states[:, 0].numel() for dataset in datasets])
        self.shares = cells / cells.sum()
        self.pools = tuple(
            SamplePool(dataset, _whole(size * share), random, device, channels, augment)
            for dataset, share in zip(datasets, self.shares, strict=True)
        )

    @property
    def first(self) -> SamplePool:
        return self.pools[0]

    def refresh(self) -> None:
        """Fill all pools with fresh states."""
        for pool in self.pools:
            pool.refresh()

    def sample(self, count: int, restarts: int = 0, swaps: int = 0) -> Batch:
        """Draw a batch from one of the pools, as ``SamplePool.sample`` does.

        Parameters
        ----------
        count : int
            Number of samples of the first data set's grid. Of a larger grid there are fewer, but at
            least one more than ``restarts`` and ``swaps`` together.
        restarts, swaps : int
        """
        if len(self.pools) == 1:
            return self.first.sample(count, restarts, swaps)
        pool = self.pools[PROCESSES.same(int(self.random.choice(len(self.pools), p=self.shares)))]
        cells = self.first.states[0, 0].numel() / pool.states[0, 0].numel()
        fewer = max(count * cells, restarts + swaps + 1)
        return pool.sample(min(_whole(fewer), pool.size * PROCESSES.count), restarts, swaps)

    def write(self, batch: Batch, state: Tensor) -> None:
        """Put the states of a batch back into their pool, as ``SamplePool.write`` does."""
        grids = [pool.states.shape[-2:] for pool in self.pools]
        self.pools[grids.index(state.shape[-2:])].write(batch, state)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps: of a single pool what it keeps, of several by number."""
        if len(self.pools) == 1:
            return self.first.state_dict()
        return {str(number): pool.state_dict() for number, pool in enumerate(self.pools)}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned; the data sets have to be the same.

        Raises
        ------
        ValueError
            If it is of pools of another size or number.
        """
        if len(self.pools) == 1:
            return self.first.load_state_dict(saved)
        for number, pool in enumerate(self.pools):
            if str(number) not in saved:
                raise ValueError(f"holds no pool for the grid of {pool.states.shape[-2:]} cells")
            pool.load_state_dict(saved[str(number)])


def _whole(number: float) -> int:
    """Round a number of samples so that the processes can share it equally; at least one each."""
    return PROCESSES.count * max(1, round(number / PROCESSES.count))
