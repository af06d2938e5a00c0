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
# # 1 · An initial automaton
#
# Large-eddy simulation of a city block takes hours. Here a *neural cellular automaton* learns
# what the wind at street level looks like. Each cell of the map sees its eight neighbours, and one
# small network, the same in every cell, decides how the cell changes. A rollout repeats that step.
#
# This first rule, the **Init-NCA**, is trained on the data alone. Notebook 02 freezes it and
# trains a physics-informed rule on top.
#
# As committed, the notebook takes about a minute on two CPU cores and shows only the beginning of a
# training. The shipped weights are in `data/pretrained`. The experiment's own run:
#
# ```
# papermill notebooks/01_init_nca.ipynb out.ipynb -p epochs 5000 -p image_size 128 -p pool_size 256 -p min_steps 32 -p max_steps 96 -p learning_rate 1e-3 -p anneal False -p restart_every 8 -p swaps 0 -p init_loss vgg -p hidden 96 -p scale 1 -p follows_wind False -p natural_units False -p bounded False -p augment False -p average 0 -p weight_decay 0
# ```

# %%
# %matplotlib inline
from IPython.display import Markdown

from pinca_lib import (
    CA, InitLoss, Run, SamplePools, ScaledPhysicsMetrics, Training, channel_units, choose_device,
    fresh_states, input_path, load_dataset, plotting, read_parameters, rollout, seed_everything,
    start_from,
)  # fmt: skip
from pinca_lib.physics import ALPHA

# %% [markdown]
# ## Parameters
#
# Set any of them with papermill's `-p name value`, or edit the cell. The defaults are quick; where
# the experiment's own value differs, the comment gives it. Paths start at the project's root.

# %% tags=["parameters"]
data_dir: str = "data/train"  # folder of city files
larger_dir: str = ""  # folder of city files on a larger grid, trained on in turns; none if empty
output_dir: str = "outputs"  # the run gets a folder of its own in here
resume: str = ""  # a run folder to go on with, or "latest"
start_checkpoint: str = ""  # weights of an Init-NCA to begin with: a .pth or a run folder
device: str = "auto"  # "auto", "cpu" or "cuda"
seed: int = 0  # of all random numbers
epochs: int = 40  # training iterations (experiment: 5000)
image_size: int = 64  # cells a side (experiment: 128)
pool_size: int = 64  # states that live on between iterations (experiment: 256)
batch_size: int = 6  # states trained on at once
learning_rate: float = 2e-3  # of Adam (experiment: 1e-3)
anneal: bool = True  # let it fall to 0 over the epochs (experiment: False, ×0.3 at 1000 and 2000)
min_steps: int = 16  # steps of an iteration, at least (experiment: 32)
max_steps: int = 32  # steps of an iteration, fewer than (experiment: 96)
swaps: int = 1  # samples of an iteration that get another city under their wind (experiment: 0)
restart_every: int = 1  # iterations after which a sample starts from zero (experiment: 8)
init_loss: str = "relative"  # or "pixel", "filters", "vgg": see "The loss" (experiment: "vgg")
lambda_overflow: float = 1.0  # weight of leaving the range of the channels
hidden: int = 288  # units of the rule's hidden layer, of 121 weights each (experiment: 96)
scale: int = 4  # width of the rule's cells, in cells of the data (experiment: 1)
follows_wind: bool = True  # see along and across the wind, not along x and y (experiment: False)
natural_units: bool = True  # measure each channel by its own size (experiment: False)
bounded: bool = True  # keep three bounds of the flow in every step, exactly (experiment: False)
augment: bool = True  # shift, mirror and turn the cases (experiment: False)
weight_decay: float = 0.1  # share of the weights, times the rate, lost at a time (experiment: 0)
average: float = 0.99  # memory of the running average of the weights (experiment: 0)
gradient_checkpoints: int = 0  # segments of the recorded steps that are computed twice; 0: none

# %% [markdown]
# ## The run

# %%
run = Run("init_nca", read_parameters(globals()))
p = run.parameters
hardware = choose_device(p.device)
random = seed_everything(p.seed)
print(f"{run}; on {hardware}, seed {p.seed}")

# %% [markdown]
# ## The data
#
# A case is a piece of city with its building heights and a driving wind, and the mean flow 2 m
# above its ground as a large-eddy simulation computed it. All cases are brought to one size.

# %%
dataset = load_dataset(input_path("data_dir", p.data_dir), p.image_size)
larger = [load_dataset(input_path("larger_dir", p.larger_dir))] if p.larger_dir else []
height, width = dataset.states.shape[-2:]
narrowest, widest = dataset.cell_sizes.min(), dataset.cell_sizes.max()
Markdown(f"{len(dataset)} cases of {height}×{width} cells of "
         f"{narrowest:g}{'' if widest == narrowest else f' to {widest:g}'} m from `{p.data_dir}`")  # fmt: skip

# %% [markdown]
# The first case. Channels 0–5 describe the city and its wind and never change; the rule predicts
# the others: slow air in courtyards and behind buildings, faster and more turbulent air in the streets.

# %%
plotting.plot_channels(dataset.states[0], extent=dataset.extents[0])

# %% [markdown]
# ## The rule
#
# A state has 24 channels: the 12 above, and 12 hidden channels, the automaton's memory. A step
# perceives through four fixed 3×3 filters (identity, two Sobel, Laplacian), passes the result through
# one hidden layer, and adds what comes out to the cells in air.
#
# The rule works on *coarse cells*: it sees each block of `scale` × `scale` cells as one cell and adds the
# same to all air in the block. So a step reaches further, and the rule learns sooner how the wind in one
# street depends on the next. The PI-NCA adds the details. There are sixteen times fewer coarse cells, so
# the rule can have three times as many hidden units as the experiment's in less time.
#
# With `follows_wind` the rule works in the *wind frame*, along and across the driving wind. A city that is
# turned or mirrored with its wind then gets the same flow, turned or mirrored, without learning it again
# for every direction. This needs data whose rows, v and wind agree on where north is, as a file's
# `row_order` says (docs/data_formats.md); with other data the rule sees along x and y.
#
# With `natural_units` the layers see each channel in a unit of its own size: a building is 20 m
# high, a flux 0.004 m²/s². In SI units the rule hardly sees the small ones.

# %% tags=["nbval-check-output"]
follows_wind = p.follows_wind and dataset.is_turnable
init_nca = CA(
    hidden=p.hidden,
    units=channel_units(dataset.states, follows_wind=follows_wind) if p.natural_units else None,
    alpha=ALPHA if p.bounded else None,
    follows_wind=follows_wind,
    scale=p.scale,
)
directions = "along the wind" if follows_wind else "along x and y"
if p.start_checkpoint and not p.resume:
    start_from(init_nca, input_path("start_checkpoint", p.start_checkpoint))
print(f"{sum(weights.numel() for weights in init_nca.parameters()):,} parameters, {directions}")

# %% [markdown]
# ## The sample pool
#
# A *sample pool* keeps states between iterations. A batch is drawn, rolled on for some steps, compared
# with the simulation, and put back. So the rule learns to hold a field, not only to reach it.
#
# - Every `restart_every` iterations one sample starts from a fresh state, so that the rule does not forget
#   how to begin.
# - In every iteration `swaps` samples get another city under the flow that they have, so that the rule
#   learns healing.
# - With `augment` each case is shifted along its period, mirrored and turned at random, with its wind.

# %%
pool = SamplePools([dataset, *larger], p.pool_size, random, hardware, augment=p.augment)
training = Training(
    init_nca.to(hardware),
    pool,
    learning_rate=p.learning_rate,
    ema_decay=p.average,
    weight_decay=p.weight_decay,
    iterations=p.epochs if p.anneal else None,
)
metrics = ScaledPhysicsMetrics(pool.first.targets, pool.first.extents)

# %% [markdown]
# ## The loss
#
# - `"relative"` divides the squared error of each field by the field's own size. A rule that predicts
#   nothing has a loss of 5 where all fields are known.
# - `"pixel"` is the mean squared difference of the five fields.
# - `"vgg"` and `"filters"` are texture losses: local patterns should occur as often as in the target,
#   wherever they are. The experiment used `"vgg"`, which compares features of VGG16 (its weights must be at
#   hand). `"filters"` compares those of the automaton's own four filters on a pyramid of grids. Both use
#   sliced optimal transport.

# %%
loss = InitLoss(p.init_loss, p.lambda_overflow)

# %% [markdown]
# ## The training loop
#
# The gradient flows back through the whole rollout. You can stop the loop at any time: a checkpoint is
# written every 50 iterations, and running this cell again goes on from the newest one, as
# `-p resume latest` does in a new session.
#
# Several GPUs train one rule with `python -m pinca_lib.torchrun` (docs/cluster.md); this loop is the same.
#
# `gradient_checkpoints` saves memory: the recorded steps are cut into that many segments, only the state before
# each is kept, and the steps of a segment are computed once more when its gradient is due. The gradient is
# the same. Their number should be near the square root of the steps.

# %%
dashboard = plotting.Dashboard()
for iteration in run.iterations(training, dataset, larger=larger):
    if iteration % 500 == 0:
        pool.refresh()
    restarts = int(iteration % p.restart_every == 0)
    batch = pool.sample(p.batch_size, restarts, p.swaps)
    steps = training.draw_steps(p.min_steps, p.max_steps)
    state = rollout([init_nca], batch.state, steps, steps, p.gradient_checkpoints)
    terms = loss(state, batch)
    training.descend(terms["loss"])
    pool.write(batch, state)
    run.log(iteration, terms | metrics(state, batch.target, batch.extents, batch.known))
    dashboard.update(run.rows, batch, state, last=iteration + 1 == p.epochs)

# %% [markdown]
# ## What is kept
#
# The run folder has the log with loss and scores of every iteration, the checkpoints, and these pictures.
# Below, the mean speed of states in the sample pool: dark samples have just started.

# %%
batch = pool.sample(p.batch_size)
pictures = {
    "loss": plotting.plot_losses(run.rows),
    "scores": plotting.plot_scores(run.rows),
    "batch": plotting.plot_batch(batch.state, batch.target),
    "pool": plotting.plot_pool(pool.first),
}
run.save_figures(pictures)
print("run folder:", run.folder.name)
pictures["pool"]

# %% [markdown]
# ## What it learned
#
# One case from a fresh state, after about as many steps as an iteration has, by the running average of the
# weights, which is what a checkpoint holds. Left the automaton, in the middle the simulation, right
# the error, which is large after so short a training. Notebook 02 goes on from here.

# %%
start = fresh_states(pool.first.targets[:1]).to(hardware)
final = rollout([training.average], start, p.max_steps)
plotting.plot_comparison(final[0], pool.first.targets[0], pool.first.extents[0])
