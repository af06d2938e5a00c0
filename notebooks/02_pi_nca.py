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
# # 2 · A physics-informed automaton
#
# A second rule of the same shape is trained **on top of the frozen Init-NCA**. In every step the
# Init-NCA goes first and the new rule, the PI-NCA, corrects it. Its loss adds to the data what any
# mean flow obeys: turbulent kinetic energy (TKE) is never negative, it bounds the momentum flux, the mean
# speed is at least the speed of the mean wind, and what flows in horizontally must leave vertically.
#
# As committed, the notebook takes about a minute on two CPU cores. The experiment's own run:
#
# ```
# papermill notebooks/02_pi_nca.ipynb out.ipynb -p epochs 5000 -p init_checkpoint outputs/init_nca_20260102-030405 -p image_size 128 -p pool_size 256 -p min_steps 32 -p max_steps 96 -p learning_rate 1e-3 -p anneal False -p restart_every 8 -p swaps 0 -p recorded 1 -p lambda_overflow 0.1 -p lambda_rest 0 -p pi_loss pixel -p follows_wind False -p natural_units False -p bounded False -p augment False -p average 0 -p weight_decay 0
# ```
#
# It needs an Init-NCA from the experiment's command in notebook 01. The shipped one works in natural
# units: on top of it, the first update in SI units throws the field far off.

# %%
# %matplotlib inline
from IPython.display import Markdown

from pinca_lib import (
    CA, PILoss, Run, SamplePools, ScaledPhysicsMetrics, Training, channel_units, choose_device, doubts,
    fresh_states, input_path, load_dataset, load_rule, plotting, read_parameters, rollout,
    seed_everything, start_from,
)  # fmt: skip

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
init_checkpoint: str = "data/pretrained/init_nca.pth"  # the Init-NCA: a .pth or a run folder
start_checkpoint: str = ""  # weights of a PI-NCA to begin with: a .pth or a run folder
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
recorded: int = 16  # last steps of it that the gradient flows through (experiment: 1)
gradient_checkpoints: int = 0  # segments of the recorded steps that are computed twice; 0: none
swaps: int = 1  # samples of an iteration that get another city under their wind (experiment: 0)
restart_every: int = 1  # iterations after which a sample starts from zero (experiment: 8)
pi_loss: str = "relative"  # errors relative to each field, or "pixel" (experiment: "pixel")
hidden: int = 96  # units of the rule's hidden layer, of 121 weights each
follows_wind: bool = True  # see along and across the wind, not along x and y (experiment: False)
natural_units: bool = True  # measure each channel by its own size (experiment: False)
bounded: bool = True  # keep the three bounds in every step, exactly (experiment: False)
augment: bool = True  # shift, mirror and turn the cases (experiment: False)
weight_decay: float = 0.1  # share of the weights, times the rate, lost at a time (experiment: 0)
average: float = 0.99  # memory of the running average of the weights (experiment: 0)
alpha: float = 2.25  # bound of momentum flux over turbulent kinetic energy
lambda_mse: float = 1.0  # weight of the data
lambda_pinn: float = 10.0  # weight of the physics
lambda_overflow: float = 1.0  # weight of leaving the range of the channels (experiment: 0.1)
lambda_rest: float = 50.0  # weight of the change in one step more (experiment: 0)

# %% [markdown]
# ## The run

# %%
run = Run("pi_nca", read_parameters(globals()))
p = run.parameters
hardware = choose_device(p.device)
random = seed_everything(p.seed)
print(f"{run}; on {hardware}, seed {p.seed}")

# %% [markdown]
# ## Data and Init-NCA
#
# The Init-NCA is loaded and frozen.

# %%
init_nca = load_rule(input_path("init_checkpoint", p.init_checkpoint)).to(hardware)
dataset = load_dataset(input_path("data_dir", p.data_dir), p.image_size)
larger = [load_dataset(input_path("larger_dir", p.larger_dir))] if p.larger_dir else []
if doubt := doubts(dataset, [init_nca]):
    print(doubt)
height, width = dataset.states.shape[-2:]
Markdown(f"{len(dataset)} cases of {height}×{width} cells from `{p.data_dir}`")

# %% [markdown]
# ## The new rule
#
# It starts as the identity: its last layer is zero. With `follows_wind` it works in the wind frame, if the
# Init-NCA does and the data allow it (notebook 01). With `bounded` each step ends with a projection: cells
# that break a bound are moved onto it, so no state that a rollout returns breaks one.

# %%
follows_wind = p.follows_wind and dataset.is_turnable and init_nca.follows_wind
pi_nca = CA(
    hidden=p.hidden,
    units=channel_units(dataset.states, follows_wind=follows_wind) if p.natural_units else None,
    alpha=p.alpha if p.bounded else None,
    follows_wind=follows_wind,
).to(hardware)
if p.start_checkpoint and not p.resume:
    start_from(pi_nca, input_path("start_checkpoint", p.start_checkpoint))
print("the PI-NCA sees", "along the wind" if follows_wind else "along x and y")

# %% [markdown]
# ## The sample pool
#
# States are kept between iterations, as in notebook 01.

# %%
pool = SamplePools([dataset, *larger], p.pool_size, random, hardware, augment=p.augment)
training = Training(
    pi_nca,
    pool,
    learning_rate=p.learning_rate,
    ema_decay=p.average,
    weight_decay=p.weight_decay,
    iterations=p.epochs if p.anneal else None,
)
metrics = ScaledPhysicsMetrics(pool.first.targets, pool.first.extents, p.alpha)

# %% [markdown]
# ## The loss
#
# The weighted sum of data, physics, overflow and rest.
#
# - *Physics* has four terms, each the mean of a residual. Continuity is the mean square of
#   $\partial_x\langle u\rangle + \partial_y\langle v\rangle + \partial_z\langle w\rangle$, whose last
#   part is a channel that the automaton predicts.
# - *Overflow* is how far a state leaves the range of its channels.
# - *Rest* takes the rollout one step further: what changes in that step counts as an error.

# %% tags=["nbval-check-output"]
loss = PILoss(p.pi_loss, p.alpha, p.lambda_mse, p.lambda_pinn, p.lambda_overflow, p.lambda_rest)
print("physics terms and weights:", loss.physics.weights)

# %% [markdown]
# ## The training loop
#
# A step is Init-NCA, then PI-NCA. The gradient flows back through the last `recorded` steps, and through
# the frozen Init-NCA in them. The experiment ran the Init-NCA without a gradient. That cuts the graph before
# every trained step, so its gradient is that of the last step alone. A checkpoint is written every 50
# iterations; running this cell again, or `-p resume latest` in a new session, goes on from the newest.
#
# Several GPUs train one rule with `python -m pinca_lib.torchrun` (docs/cluster.md); this loop is the same.
#
# `gradient_checkpoints` saves memory: the recorded steps are cut into that many segments, only the state before
# each is kept, and the steps of a segment are computed once more when its gradient is due. The gradient is
# the same. In plain PyTorch, which a GPU uses, 4 segments for the 16 recorded steps of six cities of 64×64
# cells took 150 MB in place of 630 MB and 1.4 times as long. The CPU's compiled code took 80 MB in place of 120 MB.

# %%
dashboard = plotting.Dashboard()
for iteration in run.iterations(training, dataset, init_nca, larger):
    if iteration % 500 == 0:
        pool.refresh()
    restarts = int(iteration % p.restart_every == 0)
    batch = pool.sample(p.batch_size, restarts, p.swaps)
    steps = training.draw_steps(p.min_steps, p.max_steps)
    state = rollout([init_nca, pi_nca], batch.state, steps, p.recorded, p.gradient_checkpoints)
    after = rollout([init_nca, pi_nca], state, 1, recorded=1) if p.lambda_rest else None
    terms = loss(state, batch, after)
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
# ## The physics
#
# How far each law is broken, iteration by iteration. For a `bounded` rule the first three are zero,
# except for 10⁻⁴ m/s of the third in still air and in buildings, which keeps the gradient of a square root
# finite.

# %%
plotting.plot_physics(run.rows, loss.physics.TERMS)

# %% [markdown]
# ## What it learned
#
# One case from a fresh state by the running average of the weights, after as many steps as an iteration
# has. Left the automaton, in the middle the simulation, right the error, largest in narrow lanes and jets. Notebook 03
# shows the rollout as a film.

# %%
start = fresh_states(pool.first.targets[:1]).to(hardware)
final = rollout([init_nca, training.average], start, p.max_steps)
plotting.plot_comparison(final[0], pool.first.targets[0], pool.first.extents[0])
