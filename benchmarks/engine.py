"""What each part of the compiled loops brings: the same rollouts by several engines, in turn.

    python -m benchmarks.engine
    python -m benchmarks.engine --threads 1 "before=../before" "other=../other,VARIABLE=VALUE"

compares the engine of this folder with plain PyTorch in several forms, and with the engines of
other revisions (``git worktree add ../before REVISION``), each with environment variables if any
are given. Every contender runs in a process of its own. In every round each of them is timed once,
one after the other, and its time is divided by that of this folder's engine in the same round. The
table has the median and the quartiles of these ratios. With ``--threads 1`` times are those of the
processor, which hardly depend on what else the machine does.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from benchmarks.contenders import both_rules, random_rule, random_state
from pinca_lib.automaton import (
    block_means,
    block_sums,
    bounded,
    even_and_odd,
    heading,
    perceive,
    reverse,
    rotated,
    rotated_perception,
    shares_of_air,
    spread,
)
from pinca_lib.channels import GEO_MASK, split_base
from pinca_lib.rollouts import rollout
from pinca_lib.rollouts.plain import PlainRules

ROOT = Path(__file__).resolve().parents[1]
OURS, PLAIN, HALVES, COMPILED = (
    "ours", "plain PyTorch", "plain PyTorch, halves", "plain PyTorch, torch.compile",
)  # fmt: skip
BUILT = 0.3  # share of building cells
GRIDS = {
    "rollout": [(1, 64), (6, 64), (1, 256), (6, 128), (6, 512)],
    "gradient": [(1, 64), (6, 64), (6, 128)],  # plain PyTorch takes gigabytes for the last
}
STEPS = {"rollout": 64, "gradient": 16}  # as the product rolls out, and as the notebooks train
LARGEST = 2**20  # cells times steps of one timing: a large grid is rolled out for fewer steps
TOLERANCE = 1e-4  # of the norm of a result

Work = Callable[[], Tensor]


def halves(rules, state: Tensor, steps: int) -> Tensor:
    """Roll rules in the wind frame out in plain PyTorch, with even and odd parts as the loops."""
    base, dynamic = split_base(state)
    count, wind = state.shape[1], heading(base)
    evens, odds = even_and_odd(count, slice(None))
    own = evens + odds
    prepared = []
    for rule in rules:
        w1, bias, w2 = rule.layers()
        parts = [
            torch.cat([w1[:, some, f] for f in (0, 1, 3)] + [w1[:, other, 2]], 1)
            for some, other in ((evens, odds), (odds, evens))
        ]
        second = [w2[evens] / 2, w2[odds] / 2]
        air = block_means(base, rule.scale)[:, GEO_MASK, None]
        prepared.append((rule, parts, bias[:, None], second, air))
    shares = {rule.scale: shares_of_air(base[:, GEO_MASK, None], rule.scale) for rule in rules}
    is_air, back = base[:, GEO_MASK, None] > 0, torch.tensor(own).argsort()
    for _ in range(steps):
        for rule, parts, bias, second, air in prepared:
            cells = torch.cat([base, dynamic], 1)
            if rule.scale > 1:
                means = block_sums(shares[rule.scale] * dynamic, rule.scale)
                cells = torch.cat([block_means(base, rule.scale), means], 1)
            seen = perceive(cells).unflatten(1, (count, 4)).transpose(1, 2).movedim(1, 2)
            seen = rotated_perception(seen, reverse(wind), 1)
            across = seen[:, :, 2]
            even, odd = (
                torch.cat([seen[:, some, f] for f in (0, 1, 3)] + [across[:, other]], 1).flatten(2)
                for some, other in ((evens, odds), (odds, evens))
            )
            e, o = torch.matmul(parts[0], even) + bias, torch.matmul(parts[1], odd)
            plain, image = (e + o).relu_(), (e - o).relu_()
            added = [second[0] @ (plain + image), second[1] @ (plain - image)]
            added = torch.cat(added, 1)[:, back].unflatten(2, cells.shape[2:])
            added = air * split_base(rotated(added, wind, 1))[1]
            if rule.scale > 1:
                added = is_air * spread(added, rule.scale, dynamic.shape[-2:])
            dynamic = dynamic + added
            if rule.alpha is not None:
                dynamic = bounded(dynamic, is_air, float(rule.alpha))
    return torch.cat([base, dynamic], 1)


def plain(rules, state: Tensor, steps: int, compiled: Callable = lambda step: step) -> Tensor:
    """Roll out in plain PyTorch, each step by itself."""
    base, dynamic = split_base(state)
    over_city = PlainRules(rules, base)
    step = compiled(over_city.advance)
    for _ in range(steps):
        dynamic = step(dynamic, 1)
    return over_city.state(dynamic)


def work_of(name: str, kind: str, what: str, batch: int, size: int, steps: int) -> Work:
    """Return what is timed: a rollout, or one with its gradient for all steps and rules.

    Raises
    ------
    LookupError
        If this contender cannot do this.
    """
    is_shipped, is_gradient = kind == "shipped", what == "gradient"
    rules = both_rules() if is_shipped else [random_rule(0)]
    rules = [rule.requires_grad_(is_gradient) for rule in rules]
    state = random_state(batch, size, BUILT)
    if name == HALVES and not is_shipped:
        raise LookupError("the experiment's rule has no odd part")
    if name == COMPILED and is_gradient:
        raise LookupError("compiled for rollouts only")
    roll = {
        PLAIN: plain,
        HALVES: halves,
        COMPILED: partial(plain, compiled=torch.compile),
    }.get(name, partial(rollout, recorded=steps * is_gradient))
    if not is_gradient:
        return torch.no_grad()(partial(roll, rules, state, steps))
    weights = [weight for rule in rules for weight in rule.parameters()]

    def descend() -> Tensor:
        loss = roll(rules, state, steps).square().mean()
        return torch.cat([part.flatten() for part in torch.autograd.grad(loss, weights)])

    return descend


def serve(name: str, threads: int) -> None:
    """Answer requests of ``Contender``, one a line."""
    torch.set_num_threads(threads)
    clock = time.process_time if threads == 1 else time.perf_counter
    work, steps = None, 1
    for line in sys.stdin:
        asked = json.loads(line)
        if asked:
            steps = asked["steps"]
            try:
                work = work_of(name, **asked)
                work()
                answer = work().double().norm().item()
            except Exception as error:  # a compiler is missing, say
                work, answer = None, f"{type(error).__name__}: {error}".splitlines()[0]
        else:
            start = clock()
            work()
            answer = (clock() - start) / steps
        print("answer", json.dumps(answer), flush=True)


class Contender:
    """A process that runs one engine."""

    def __init__(self, name: str, folder: Path, environment: dict[str, str], threads: int):
        self.name = name
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--serve", name, str(threads)],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(folder)} | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, **asked):
        """Send a request, and return the answer."""
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("answer "):
                return json.loads(line.removeprefix("answer "))
        raise RuntimeError(f"{self.name} stopped")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()


def compare(contenders, kind: str, what: str, batch: int, size: int, rounds: int) -> list[dict]:
    """Time all contenders in turn; return a row for each."""
    steps = max(2, min(STEPS[what], LARGEST // (batch * size**2)))
    task = {"kind": kind, "what": what, "batch": batch, "size": size}
    ready, expected = [], None
    for contender in contenders:
        answer = contender.ask(**task, steps=steps)
        if isinstance(answer, str):
            print(f"{contender.name}: {answer}", file=sys.stderr)
            continue
        expected = expected or answer
        if not abs(answer - expected) < TOLERANCE * expected:
            raise AssertionError(f"{contender.name} computes something else: {answer}, {expected}")
        ready.append(contender)
    times = {contender.name: [] for contender in ready}
    for number in range(rounds):
        first = number % len(ready)  # whoever comes first in a round may be slower
        for contender in ready[first:] + ready[:first]:
            times[contender.name].append(contender.ask())
    rows = []
    for name, found in times.items():
        ratios = [own / ours for own, ours in zip(found, times[OURS], strict=True)]
        quartiles = statistics.quantiles(ratios, n=4, method="inclusive")
        rows.append({"rules": kind, "what": what, "batch": batch, "size": size, "contender": name,
                     "ms_per_step": 1e3 * statistics.median(found), "times_as_long": quartiles[1],
                     "lower_quartile": quartiles[0], "upper_quartile": quartiles[2]})  # fmt: skip
    return rows


def main() -> None:
    """Run the comparison from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine", description=__doc__)
    parser.add_argument("others", nargs="*", metavar="NAME=FOLDER[,VARIABLE=VALUE...]")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--largest", type=int, default=6 * 512**2, help="cells of a grid")
    parser.add_argument("--loops-only", action="store_true", help="leave plain PyTorch out")
    parser.add_argument("--output", type=Path, default=Path("outputs", "engine.csv"))
    given = parser.parse_args()
    engines = [(OURS, ROOT, {})]
    for other in given.others:
        name, _, rest = other.partition("=")
        folder, *variables = rest.split(",")
        engines.append((name, Path(folder).resolve(), dict(v.split("=", 1) for v in variables)))
    if not given.loops_only:
        engines += [(name, ROOT, {}) for name in (PLAIN, HALVES, COMPILED)]
    table: list[dict] = []
    given.output.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        contenders = [stack.enter_context(Contender(*e, given.threads)) for e in engines]
        for kind, (what, grids) in itertools.product(("shipped", "experiment"), GRIDS.items()):
            for batch, size in grids:
                if batch * size**2 > given.largest:
                    continue
                rows = compare(contenders, kind, what, batch, size, given.rounds)
                table += [{"threads": given.threads} | row for row in rows]
                print(pd.DataFrame(rows).to_string(header=False, index=False), flush=True)
                pd.DataFrame(table).to_csv(given.output, index=False, float_format="%.4g")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2], int(sys.argv[3]))
    else:
        main()
