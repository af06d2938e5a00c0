"""Numbers that people feel: how long the first picture takes, how the viewer and a training run.

    python -m benchmarks.felt

Every task runs twice, each time in a process of its own, and the second time counts. For the first
picture both do: it is then known what an empty cache of machine code costs. Memory is the peak of
the whole process. ``benchmarks.place`` has the wait for the wind over a place. The table goes to
``benchmarks/tables/felt.csv``; leave the benchmark the machine alone.
"""

import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from unittest.mock import patch

# What the tasks need is imported in them: the first picture waits for it.
from benchmarks import TABLES

STEPS = 64  # of the first picture
FRAMES, ITERATIONS = 60, 20  # that are timed
WARM_UP = 3  # iterations before
DATA = Path(__file__).parents[1] / "data"
WEIGHTS = DATA / "pretrained"


def first_picture() -> float:
    """Draw the wind over a case as notebook 03 begins; return s since Python was started."""
    import psutil

    from pinca_lib import fresh_states, load_dataset, load_rules, plotting, rollout

    rules = load_rules(WEIGHTS / "init_nca.pth", WEIGHTS / "pi_nca.pth")
    cases = load_dataset(DATA / "test", 64)
    state = rollout(rules, fresh_states(cases.states[:1]), STEPS)
    figure = plotting.plot_comparison(state[0], cases.states[0], cases.extents[0])
    figure.savefig(os.devnull, format="png")
    return time.time() - psutil.Process().create_time()


def frames(cells: int, steps: int) -> float:
    """Play the viewer, whose frames are drawn at once; return frames a second."""
    from pinca_lib import RolloutViewer, load_rules
    from pinca_lib.viewer import loop

    rules = {"PI-NCA": load_rules(WEIGHTS / "init_nca.pth", WEIGHTS / "pi_nca.pth")}
    viewer = RolloutViewer(DATA / "test", rules, image_size=cells)
    times: list[float] = []

    def draw(content: dict, _) -> None:
        times.append(time.perf_counter())
        viewer.loop.frame_is_drawn(content["id"])

    viewer.controls.canvas.send = draw
    viewer.controls.speed.value = steps
    with patch.object(loop, "FRAMES_PER_SECOND", float("inf")):
        viewer.loop.start()
        viewer.controls.play.value = True
        while len(times) <= FRAMES + FRAMES // 2:
            time.sleep(0.1)
            if viewer.loop.error:
                raise RuntimeError(viewer.loop.error)
        viewer.close()
        viewer.loop.thread.join()
    return FRAMES / (times[FRAMES + FRAMES // 2] - times[FRAMES // 2])


def iterations(trains_pi_nca: bool) -> float:
    """Train as notebook 01 or 02 does by default; return iterations a second."""
    import torch

    from pinca_lib import (
        CA,
        InitLoss,
        PILoss,
        SamplePool,
        ScaledPhysicsMetrics,
        Training,
        channel_units,
        load_dataset,
        load_rule,
        rollout,
        seed_everything,
    )
    from pinca_lib.physics import ALPHA

    random = seed_everything(0)
    dataset = load_dataset(DATA / "train", 64)
    kind = {"units": channel_units(dataset.states, follows_wind=True), "alpha": ALPHA}
    kind |= {"follows_wind": True} | ({} if trains_pi_nca else {"hidden": 288, "scale": 4})
    rules = [CA(**kind)]
    if trains_pi_nca:
        rules.insert(0, load_rule(WEIGHTS / "init_nca.pth"))
    pool = SamplePool(dataset, 64, random, torch.device("cpu"), augment=True)
    training = Training(
        rules[-1], pool, learning_rate=2e-3, ema_decay=0.99, weight_decay=0.1, iterations=40
    )
    metrics = ScaledPhysicsMetrics(pool.targets, pool.extents)
    loss = PILoss("relative", ALPHA, 1.0, 10.0, 1.0, 50.0) if trains_pi_nca else None
    init_loss = InitLoss("relative", 1.0)
    for iteration in range(WARM_UP + ITERATIONS):
        if iteration == WARM_UP:
            start = time.perf_counter()
        batch = pool.sample(6, 1, 1)
        steps = training.draw_steps(16, 32)
        state = rollout(rules, batch.state, steps, 16 if loss else steps)
        if loss:
            terms = loss(state, batch, rollout(rules, state, 1, recorded=1))
        else:
            terms = init_loss(state, batch)
        training.descend(terms["loss"])
        pool.write(batch, state)
        metrics(state, batch.target, batch.extents, batch.known)
    return ITERATIONS / (time.perf_counter() - start)


PICTURE = "first picture"
TASKS: dict[str, tuple[Callable[[], float], str]] = {
    PICTURE: (first_picture, "s"),
    "viewer, 64 × 64 cells, 1 step a frame": (partial(frames, 64, 1), "frames a second"),
    "viewer, 64 × 64 cells, 8 steps a frame": (partial(frames, 64, 8), "frames a second"),
    "viewer, 256 × 256 cells, 1 step a frame": (partial(frames, 256, 1), "frames a second"),
    "viewer, 256 × 256 cells, 8 steps a frame": (partial(frames, 256, 8), "frames a second"),
    "training of notebook 01": (partial(iterations, False), "iterations a second"),
    "training of notebook 02": (partial(iterations, True), "iterations a second"),
}


def measured(task: str) -> dict:
    """Do a task in this process, and return its row."""
    do, unit = TASKS[task]
    value = do()
    from benchmarks.place import peak_memory

    return {"task": task, "value": round(value, 2), "unit": unit, "peak_gb": peak_memory()}


def main() -> None:
    """Write the table."""
    from benchmarks.speed import write_csv

    rows = []
    with tempfile.TemporaryDirectory() as cache:  # of machine code, empty at first
        for task in TASKS:
            for is_filled in (False, True):
                with (
                    patch.dict(os.environ, {"NUMBA_CACHE_DIR": cache}),
                    ProcessPoolExecutor(1, get_context("spawn")) as process,
                ):
                    row = process.submit(measured, task).result()
                if is_filled or task == PICTURE:
                    rows.append(row | {"cache": "filled" if is_filled else "empty"})
                    print(rows[-1], flush=True)
    write_csv(TABLES / "felt.csv", rows)


if __name__ == "__main__":
    main()
