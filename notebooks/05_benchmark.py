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
# # 5 · How fast
#
# A rollout is thousands of small steps, so a step is worth making fast. Here the rule as it is
# written down in `pinca_lib/automaton/rule.py` is timed against what `pinca_lib.rollout` makes of it,
# and against CAX, the cellular automata library in JAX, where that is installed.
#
# Every figure is a *ratio*, measured in turn in one run on one machine; absolute times mean little
# elsewhere. Before it is timed, each contender must give the reference's result.
#
# As committed, the notebook takes about ten minutes. The same without a notebook, on all grids, up
# to 1024² cells, and on a GPU if there is one:
#
# ```
# python -m benchmarks.speed
# ```

# %%
# %matplotlib inline
import sys

from pinca_lib import (
    PROJECT_ROOT,
    choose_device,
    new_folder,
    output_path,
    plotting,
    read_parameters,
)

sys.path.insert(0, str(PROJECT_ROOT))  # benchmarks are no part of the library
from benchmarks.speed import run, write_csv

# %% [markdown]
# ## Parameters

# %% tags=["parameters"]
output_dir: str = "outputs"  # the table gets a folder of its own in here
device: str = "auto"  # "auto", "cpu" or "cuda"
quick: bool = True  # small grids only
rounds: int = 3  # timings of each contender, in turn

# %%
p = read_parameters(globals())
hardware = choose_device(p.device)

# %% [markdown]
# ## Rollouts, gradients, memory
#
# A grid of 6×128² is a batch of six cities of 128×128 cells; *open* ground has no building. Times
# are medians, with the least and the most beside them. The *ceiling* is what the machine's matrix
# product reaches; what a step needs of it is counted over cells in air, both layers, and the
# channels that change. *Both rules* are an Init-NCA and a PI-NCA as they ship, with wider cells, units
# and bounds; *as it ships* is said of one of them; all else is of the experiment's rule. A *gradient* is
# an iteration's rollout of 16 steps and its derivative: of the last step for the experiment's PI-NCA,
# through every step for the others. Memory is the peak of a rollout, or of such a gradient, beyond what was there.
#
# Where the C library is glibc, the rule as written is there twice: large buffers, which glibc returns
# to the system in every step and fetches again page by page, are kept in *buffers kept*.

# %%
table = run(hardware, p.quick, p.rounds)

# %% [markdown]
# ## As a picture

# %%
plotting.plot_speed(table)

# %% [markdown]
# On open ground a cell costs about the same on every grid; on the smallest, what a rollout costs beside its
# steps comes on top.

# %%
plotting.plot_scaling(table)

# %% [markdown]
# ## What limits it
#
# **On a CPU.** On larger grids the rule as written spends most of its time in page faults, since glibc's
# allocator hands its large buffers back in every step: how slow it is then depends on the day. In a process
# that keeps them (`MALLOC_MMAP_MAX_` 0, `MALLOC_TRIM_THRESHOLD_` raised) it reaches 6 to 24 % of the
# ceiling, as it does on one small city anyway: there eight times as fast would be two thirds of it to more
# than all. Of a step of ours most is products, by BLAS.
#
# **On a GPU** a step of the experiment's rule at 6×128² is 1.7 GFLOP, which would take an H200 33 µs at what
# a product of float32 reaches there (51 TFLOP/s), 12 µs at a third of what one of TF32 does (423), and its
# 53 MB 11 µs at the 4.8 TB/s of its data sheet. The kernel, which makes each product of float32 of three of
# TF32, takes 57 µs: 1.7 times the first limit, 4.8 times the second. The rule as written takes 450 to 700, by
# the host, so that 20 times as fast would be 22 to 35 µs. A step of the shipped rules, 1.9 GFLOP and some
# 130 MB, mostly what base channels add to the hidden layers, takes 142 µs where its bytes would take 27: 105
# for the PI-NCA, 27 for the Init-NCA on its blocks, the rest for their means and for what is added. So neither
# is within 2.5 times of its limit, as we wanted. Waiting is what holds them up: in an earlier form, as fast,
# the tensor cores were busy for a quarter of the time.
#
# Three products of TF32 are as exact as one of float32: emulated on a CPU, 16 steps of the shipped rules are
# off from float64 by 1.8·10⁻⁷ so, by 1.7·10⁻⁷ in float32, and TF32 alone would be off by 4·10⁻⁴
# (`tests/rollouts/test_fused.py`).

# %%
folder = new_folder(output_path(p.output_dir), "benchmark")
write_csv(folder / "benchmark.csv", table)
print("table:", folder.name)
