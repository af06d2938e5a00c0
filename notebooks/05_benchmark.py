# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 5 · How fast is it?
#
# A rollout is thousands of small steps, so a step is worth making fast. The rule as written in
# `pinca_lib/automaton/rule.py` is timed beside what `pinca_lib.rollout` makes of it. Every figure is a
# *ratio*, measured in turn in one run on one machine; absolute times mean little elsewhere. Before it is
# timed, each contender must give the reference's result.
#
# As committed, the notebook takes one to two minutes and measures little: small cities, one thread each, two
# timings. The full benchmark has all grids up to 1024² cells, all threads, open ground as well, memory, CAX
# (the cellular automata library in JAX) and, if there is one, a GPU. It takes 35 to 60 minutes:
#
# ```
# python -m benchmarks.speed
# ```
#
# Its committed results are below, too.

# %%
# %matplotlib inline
import sys

import pandas as pd

from pinca_lib import (
    PROJECT_ROOT, choose_device, new_folder, output_path, plotting, read_parameters
)  # fmt: skip

sys.path.insert(0, str(PROJECT_ROOT))  # benchmarks are no part of the library
from benchmarks.speed import run, write_csv

# %% [markdown]
# ## Parameters

# %% tags=["parameters"]
output_dir: str = "outputs"  # the table gets a folder of its own in here
device: str = "auto"  # "auto", "cpu" or "cuda"
quick: bool = True  # small cities and one thread; False is the full benchmark
rounds: int = 2  # timings of each contender, in turn

# %%
p = read_parameters(globals())
hardware = choose_device(p.device)

# %% [markdown]
# ## Measured here
#
# A grid of 6×64² is a batch of six cities of 64×64 cells. Times are medians, with the least and the most in
# brackets. The *ceiling* is what the machine's matrix product reaches; what a step needs of it is counted over
# cells in air, both layers, and the channels that change.
#
# - *rollout* is of the experiment's rule;
# - *both rules* are an Init-NCA and a PI-NCA as they ship, with coarse cells, natural units and bounds;
# - *gradient* is an iteration's rollout of 16 steps and its derivative, here of the PI-NCA as it ships.
#
# Where the C library is glibc, the rule as written is there twice. glibc returns large buffers to the system
# in every step and fetches them again page by page; with *buffers kept* it does not.

# %%
table = run(hardware, p.quick, p.rounds)

# %% [markdown]
# The orange bars are the rule as written with its buffers kept, the green ones `rollout`: several times as
# fast in every row.

# %%
plotting.plot_speed(table)

# %%
folder = new_folder(output_path(p.output_dir), "benchmark")
write_csv(folder / "benchmark.csv", table)
print("table:", folder.name)

# %% [markdown]
# ## The full benchmark
#
# From `benchmarks/tables/speed.csv`: one run on two cores of an Intel Xeon (Emerald Rapids), five timings each.
# *Open* ground has no building. The gradient of the experiment's PI-NCA is that of the last step alone;
# all others go through every step.

# %%
full = pd.read_csv(PROJECT_ROOT / "benchmarks" / "tables" / "speed.csv")
print(full["machine"].iloc[0])
timed = full.dropna(subset="times_as_fast").to_dict("records")
plotting.plot_speed(timed)

# %% [markdown]
# On open ground a cell costs about the same on every grid, a third more on the largest.

# %%
plotting.plot_scaling(timed)

# %% [markdown]
# Memory is the peak of a rollout, or of a gradient of 16 steps, beyond what was there, in multiples of the
# state.

# %%
memory = full.dropna(subset="states")
grid = memory["batch"].astype(str) + "×" + memory["size"].astype(str) + "²"
memory = memory.assign(task=memory["what"].str.removeprefix("memory, "), grid=grid)
memory.pivot_table("states", ["task", "grid"], "contender").map("{:.1f}".format).replace("nan", "–")

# %% [markdown]
# ## What limits it on a CPU
#
# From the full benchmark. On larger grids the rule as written spends most of its time in page faults, since
# glibc's allocator hands its large buffers back in every step. How slow it is then depends on the day. In a
# process that keeps them (`MALLOC_MMAP_MAX_` 0, `MALLOC_TRIM_THRESHOLD_` raised) it reaches 6 to 14 % of the
# ceiling, as it does on one small city anyway. There eight times as fast would be nearly all of the ceiling, or
# more. Most of a step of `rollout` is products, by BLAS.

# %% [markdown]
# ## What limits it on a GPU
#
# A step of the experiment's rule at 6×128² is 1.7 GFLOP. That would take an H200 33 µs at what a product of
# float32 reaches there (51 TFLOP/s) and 12 µs at a third of what one of TF32 does (423); its 53 MB would take
# 11 µs at the 4.8 TB/s of its data sheet. The kernel makes each product of float32 of three of TF32 and takes
# 57 µs: 1.7 times the first limit, 4.8 times the second. The rule as written takes 450 to 700 µs, limited by
# the host, so 20 times as fast would be 22 to 35 µs. (Ratios of whole rollouts of 32 steps are smaller, since the
# preparation of a rollout takes 3 to 4 ms.)
#
# A step of the shipped rules is 1.9 GFLOP and some 130 MB, mostly what base channels add to the hidden layers.
# It takes 142 µs where its bytes would take 27: 105 for the PI-NCA, 27 for the Init-NCA on its blocks, the rest
# for their means and for what is added. The aim was to come within 2.5 times of the lower limit, and neither does.
# Waiting is what holds them up: in an earlier form, as fast, the tensor cores were busy for a quarter of the
# time.
#
# Three products of TF32 are as exact as one of float32. Emulated on a CPU, 16 steps of the shipped rules are
# off from float64 by 1.8·10⁻⁷ this way and by 1.7·10⁻⁷ in float32; TF32 alone would be off by 4·10⁻⁴
# (`tests/rollouts/test_fused.py`).
