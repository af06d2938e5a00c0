"""What the processes of ``test_processes.py`` do; torchrun starts them on this file.

several.py CITY_FOLDER OUTPUT_FOLDER
"""

import sys
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from small_rules import trained

from pinca_lib.automaton import CA
from pinca_lib.datasets import load_dataset
from pinca_lib.rollouts import rollout
from pinca_lib.runs import run as runs
from pinca_lib.runs.devices import choose_device
from pinca_lib.training import Batch, InitLoss, PILoss, SamplePool, Training, seed_everything
from pinca_lib.training.processes import PROCESSES


def loss_of(training: Training, batch: Batch) -> torch.Tensor:
    state = rollout([training.rule], batch.state, 4, recorded=4)
    return PILoss("relative", 2.25, 1.0, 10.0, 0.1)(state, batch)["loss"]


def six_samples(dataset) -> tuple[Training, Batch]:
    """A training, and the same batch of six whatever the number of processes."""
    pool = SamplePool(dataset, 12, seed_everything(0))
    training = Training(trained().requires_grad_(True), pool, learning_rate=1e-3,
                        is_normalised=False)  # fmt: skip
    known = torch.ones(6, 6, dtype=torch.bool)
    state = torch.cat([dataset.states, torch.zeros(6, 12, 24, 24)], dim=1)
    return training, Batch(torch.arange(6), state, dataset.states, dataset.extents, known)


def share(batch: Batch) -> Batch:
    return Batch(*(PROCESSES.part(tensor) for tensor in vars(batch).values()))


def train(dataset, folder: Path, epochs: int, resume: str = "") -> tuple[runs.Run, Training]:
    values = {"output_dir": str(folder), "data_dir": "cities", "resume": resume, "epochs": epochs,
              "pool_size": 8, "batch_size": 4}  # fmt: skip
    run = runs.Run("tiny", SimpleNamespace(**values, given=frozenset({"epochs"})))
    pool = SamplePool(dataset, 8, seed_everything(3), augment=True)
    training = Training(CA(), pool, learning_rate=1e-3, ema_decay=0.9)
    loss = InitLoss("relative", 1.0)
    for iteration in run.iterations(training, dataset):
        batch = pool.sample(4, restarts=1, swaps=1)
        steps = training.draw_steps(2, 5)
        state = rollout([training.rule], batch.state, steps, steps)
        terms = loss(state, batch)
        training.descend(terms["loss"])
        pool.write(batch, state)
        run.log(iteration, terms | {"steps": steps, "rank": PROCESSES.rank})
    return run, training


def main(cities: str, output: Path) -> None:
    choose_device("cpu")
    torch.set_num_threads(1)
    dataset = load_dataset(cities, 24)

    training, batch = six_samples(dataset)
    training.descend(loss_of(training, share(batch)))
    if PROCESSES.is_first:
        torch.save([p.grad for p in training.rule.parameters()], output / "gradients.pth")

    before = deepcopy(training.rule.state_dict())
    with pytest.raises(FloatingPointError, match="diverged"):  # in both, for one has diverged
        training.descend(training.rule.w1.weight.sum() * (torch.nan if PROCESSES.rank else 1.0))
    assert all(map(torch.equal, before.values(), training.rule.state_dict().values()))

    runs.CHECKPOINT_EVERY = 2
    whole, expected = train(dataset, output / "whole", 6)
    train(dataset, output / "resumed", 4)
    again, resumed = train(dataset, output / "resumed", 6, "latest")
    assert again.rows == whole.rows
    assert torch.equal(resumed.pool.states, expected.pool.states)
    assert all(map(torch.equal, resumed.rule.parameters(), expected.rule.parameters()))
    assert resumed.random.bit_generator.state == expected.random.bit_generator.state
    parts = PROCESSES.all(resumed.pool.moves)
    assert parts[0] != parts[1]  # each process has samples and random numbers of its own
    weights = PROCESSES.all(resumed.rule.w2.weight.detach())
    assert torch.equal(*weights)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
