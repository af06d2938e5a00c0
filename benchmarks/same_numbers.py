"""Fingerprints of rollouts, gradients and a training, to hold two revisions against each other.

    python -m benchmarks.same_numbers

prints a SHA-256 for each: on one machine, equal lines are equal bits. To see the lines of a
revision before the library had rooms, run this file there with its folder on PYTHONPATH.
"""

import hashlib
from pathlib import Path

import torch

try:
    from pinca_lib import (
        PILoss,
        SamplePool,
        Training,
        channel_units,
        fresh_states,
        load_dataset,
        load_rule,
        rollout,
        seed_everything,
    )
    from pinca_lib.automaton import CA
except ImportError:  # 0.1.0, which had no rooms
    from pinca_lib.checkpoints import load_rule
    from pinca_lib.losses import PILoss
    from pinca_lib.pool import SamplePool, fresh_states
    from pinca_lib.rollout import rollout

    from pinca_lib.automaton import CA
    from pinca_lib.datasets import load_dataset
    from pinca_lib.training import Training, channel_units, seed_everything


def show(name: str, *tensors: torch.Tensor) -> None:
    """Print a fingerprint of tensors of any shape."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.detach().contiguous().numpy().tobytes())
    print(f"{name:<32} {digest.hexdigest()}")


def experiment_rule(seed: int) -> CA:
    """Return a rule as the experiment has it, with weights as large as trained ones."""
    torch.manual_seed(seed)
    rule = CA()
    torch.nn.init.normal_(rule.w2.weight, std=0.001)
    return rule


def train(iterations: int = 6) -> CA:
    """Train a PI-NCA on top of the shipped Init-NCA for some iterations, as notebook 02 does."""
    random = seed_everything(0)
    init_nca = load_rule("data/pretrained/init_nca.pth")
    dataset = load_dataset(Path("data", "train"), 64)
    rule = CA(units=channel_units(dataset.states, follows_wind=True), alpha=2.25, follows_wind=True)
    pool = SamplePool(dataset, 64, random, torch.device("cpu"), augment=True)
    training = Training(
        rule, pool, learning_rate=2e-3, ema_decay=0.99, weight_decay=0.1, iterations=iterations
    )
    loss = PILoss("relative", 2.25, 1.0, 10.0, 1.0, 50.0)
    for _ in range(iterations):
        batch = pool.sample(6, 1, 1)
        steps = training.draw_steps(16, 32)
        state = rollout([init_nca, rule], batch.state, steps, 16)
        after = rollout([init_nca, rule], state, 1, recorded=1)
        training.descend(loss(state, batch, after)["loss"])
        pool.write(batch, state)
    return rule


def main() -> None:
    """Print all fingerprints."""
    torch.set_num_threads(2)
    shipped = [load_rule(f"data/pretrained/{name}_nca.pth") for name in ("init", "pi")]
    cases = load_dataset(Path("data", "test"), 64).states
    for name, rules in {"shipped": shipped, "experiment": [experiment_rule(0)]}.items():
        state = fresh_states(cases[:4])
        show(f"rollout, {name}", rollout(rules, state, 64))
        last = rules[-1].requires_grad_(True)
        rollout(rules, state, 24, recorded=8).square().mean().backward()
        show(f"gradient, {name}", *(p.grad for p in last.parameters()))
    show("training, six iterations", *train().parameters())


if __name__ == "__main__":
    main()
