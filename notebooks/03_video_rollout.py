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
# # 3 · The wind rolls out
#
# Both trained rules start from a fresh state over a city, by default one that neither has seen. Every cell
# follows its neighbours, and within a few dozen steps the wind finds its way between the buildings.
#
# It takes about a minute on two CPU cores. For another case or your own cities:
#
# ```
# papermill notebooks/03_video_rollout.ipynb out.ipynb -p data_dir my_cities -p case my_case -p frames 300
# ```
#
# A case without simulated fields is shown without a target and without scores. A city file without
# cases is shown under a wind that the case names: `-p case my_city/wind_from_270`.

# %%
# %matplotlib inline
from IPython.display import Video, display

from pinca_lib import (
    RolloutViewer, ScaledPhysicsMetrics, choose_device, doubts, draw_film, fresh_states, input_path,
    load_dataset, load_rules, new_folder, output_path, plotting, read_parameters, rollout_frames,
    write_film,
)  # fmt: skip
from pinca_lib.channels import (
    GEO_MASK, KNOWN_COUNT, PREDICTED_CHANNELS, SPEED, TOPO, WIND_X, WIND_Y,
)  # fmt: skip

# %% [markdown]
# ## Parameters
#
# Set any of them with papermill's `-p name value`, or edit the cell. Paths start at the project's
# root; each checkpoint is a `.pth` file or a run folder.

# %% tags=["parameters"]
data_dir: str = "data/test"  # folder of city files
output_dir: str = "outputs"  # the film gets a folder of its own in here
init_checkpoint: str = "data/pretrained/init_nca.pth"  # the Init-NCA
pi_checkpoint: str = "data/pretrained/pi_nca.pth"  # the PI-NCA that was trained on top of it
case: str = ""  # city/case, or a part of it that no other has; the first if empty
image_size: int = 0  # cells a side; 0 keeps the case's own grid
frames: int = 150  # of the film, 30 a second (experiment: 300)
device: str = "auto"  # "auto", "cpu" or "cuda"

# %% [markdown]
# ## Rules and case

# %%
p = read_parameters(globals())
hardware = choose_device(p.device)
rules = [rule.to(hardware) for rule in load_rules(p.init_checkpoint, p.pi_checkpoint)]
dataset = load_dataset(input_path("data_dir", p.data_dir), p.image_size, p.case)
if doubt := doubts(dataset, rules):
    print(doubt)

# %% [markdown]
# ## The city
#
# What the automaton is given: where there is air, how high the buildings are, and where the driving
# wind goes. By default it is a case of the test data: no rule was trained on its geometry.

# %%
city, extent = dataset.states[0], dataset.extents[0]
target = city if dataset.has_fields[0] else None  # None: nobody has simulated this case
wind = city[[WIND_X, WIND_Y]].mean((1, 2))
print(f"{dataset.names[0]}: {extent[0]:.0f} m × {extent[1]:.0f} m")
print(f"driving wind along ({wind[0]:.2f}, {wind[1]:.2f}) in (x, y)")
plotting.plot_channels(city, [GEO_MASK, TOPO], extent)

# %% [markdown]
# ## The rollout
#
# From a fresh state, with few steps a frame at first, when most happens: 1, then 2, 4 and 8.

# %% tags=["nbval-check-output"]
start = fresh_states(dataset.states).to(hardware)
planes = []  # of the film: the mean speed alone
for steps, state in rollout_frames(rules, start, p.frames):
    planes.append((steps, plotting.air_plane(state, SPEED)))
print(f"{steps} steps in {len(planes)} frames")

# %% [markdown]
# The field where the rollout ends, beside the simulation if the case has one. How good it is differs from case
# to case; notebook 04 scores them all.

# %%
final = state[:KNOWN_COUNT].cpu()
if target is None:
    figure = plotting.plot_channels(final, PREDICTED_CHANNELS, extent)
else:
    figure = plotting.plot_comparison(final, target, extent)
figure

# %% [markdown]
# ## The film
#
# The wind of the automaton on the left, the simulation's mean on the right, if there is one.

# %%
folder = new_folder(output_path(p.output_dir), "video_rollout")
write_film(folder / "film.mp4", draw_film(planes, target, extent))
print("film:", f"{folder.name}/film.mp4")
display(Video(folder / "film.mp4", embed=True, html_attributes="controls loop"))

# %% [markdown]
# ## Change the city
#
# Play the rollout, choose another case or field, and change the city while the wind blows: with
# *build*, paint a house into a street; with *clear*, erase one; drag the dial to turn the wind.
# The field is not reset, it heals. *compare with* a fresh rollout to see what a new one would give. Without
# a running kernel a static figure and a film stand in its place.

# %%
RolloutViewer(
    input_path("data_dir", p.data_dir),
    {"PI-NCA": rules, "Init-NCA alone": rules[:-1]},
    dataset.names[0], p.image_size, output_path(p.output_dir),
)  # fmt: skip

# %% [markdown]
# ## Scores
#
# Each from 0 to 1, 1 best. The physical ones are scaled by what the simulation itself reaches.

# %%
if target is None:
    print("no scores: nobody has simulated this case")
else:
    metrics = ScaledPhysicsMetrics(dataset.states, dataset.extents)
    for name, value in metrics(final[None], dataset.states, dataset.extents).items():
        print(f"{name:>10}  {float(value):.2f}")
