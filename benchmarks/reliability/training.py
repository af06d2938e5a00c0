"""A training of a second that can be killed and resumed, and the digest of all that it made."""

import hashlib
import os
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import torch

from pinca_lib import (
    CA,
    PROJECT_ROOT,
    Run,
    SamplePool,
    Training,
    load_dataset,
    rollout,
    seed_everything,
)
from pinca_lib.runs import run as runs

EPOCHS, EVERY = 24, 5  # iterations, and between checkpoints


@cache
def dataset():
    """Return small cases of the embedded data."""
    return load_dataset(PROJECT_ROOT / "data" / "test", 16)


def train(output_dir: Path, epochs: int = EPOCHS, progress: int | None = None) -> str:
    """Train in a folder, or resume the run that is there; return the digest of the result.

    ``progress`` is a file descriptor, to which the number of each finished iteration is written.
    """
    runs.CHECKPOINT_EVERY = EVERY
    resume = "latest" if list(output_dir.glob("tiny_*/ca_model_step_*.pth")) else ""
    given = {"epochs": epochs, "resume": resume}
    values = {"output_dir": str(output_dir), "data_dir": "data/test", "seed": 0, "device": "cpu",
              "learning_rate": 1e-2} | given  # fmt: skip
    run = Run("tiny", SimpleNamespace(**values, given=frozenset(given)))
    random = seed_everything(0)
    rule = CA(hidden=8)
    torch.nn.init.normal_(rule.w2.weight, std=0.01)
    pool = SamplePool(dataset(), 6, random, augment=True)
    training = Training(rule, pool, learning_rate=run.parameters.learning_rate, ema_decay=0.9)
    for iteration in run.iterations(training, dataset()):
        batch = pool.sample(2, restarts=1)
        state = rollout([rule], batch.state, training.draw_steps(2, 4), 2)
        loss = (state[:, 6:11] - batch.target[:, 6:11]).square().mean()
        training.descend(loss)
        pool.write(batch, state)
        run.log(iteration, {"loss": loss})
        if progress is not None:
            os.write(progress, bytes([iteration + 1]))
    return digest(training, run)


def digest(training: Training, run: Run) -> str:
    """Return the SHA-256 of weights, their average, sample pool, random numbers and log."""
    found = hashlib.sha256()
    saved = training.state_dict()
    for part in (
        saved["model_state_dict"],
        saved["trained_state_dict"],
        training.pool.state_dict(),
    ):
        for name, tensor in part.items():
            found.update(name.encode() + tensor.contiguous().numpy().tobytes())
    found.update(repr(saved["random"]).encode())
    rows = [{name: float(value) for name, value in row.items()} for row in run.rows]
    written = pd.read_csv(run.folder / "metrics.csv", dtype=float).to_dict("records")
    found.update(repr(rows).encode() + repr(written).encode())
    return found.hexdigest()
