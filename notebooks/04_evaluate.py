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
# # 4 · How accurate is it on cities that it has never seen?
#
# Every case of a data set, each on its own grid, is rolled out from a fresh state and compared with
# its simulation. Beside the PI-NCA stand the Init-NCA alone; the *mean flow*, the mean wind of the training
# data turned to the driving wind, which knows no building; and, if the files hold them, the *half averages*:
# the first half of the simulated time compared with the second, which is the noise of the simulation.
#
# It takes about 90 seconds on two CPU cores. At the end the rules are compared with wind-tunnel measurements. For your own cities and rules:
#
# ```
# papermill notebooks/04_evaluate.ipynb out.ipynb -p data_dir my_test -p train_dir my_train -p init_checkpoint outputs/init_nca_20260102-030405 -p pi_checkpoint outputs/pi_nca_20260102-040506
# ```
#
# The fresh cases, by which nothing was ever chosen, are scored with `-p data_dir data/fresh`. Notebook 08
# compares the rules with other networks.

# %%
# %matplotlib inline
import re

import numpy as np
import pandas as pd
import torch

from pinca_lib import (
    choose_device, doubts, evaluation, fresh_states, healing_errors, input_path, list_cases,
    load_case, load_ensemble, load_rules, new_folder, output_path, plotting, predict_wind,
    read_half_averages, read_parameters, rollout,
)  # fmt: skip
from pinca_lib.channels import CHANNELS, GEO_MASK, NAMES, PREDICTED, SPEED, U, V

# %% [markdown]
# ## Parameters
#
# Set any of them with papermill's `-p name value`, or edit the cell. Paths start at the project's
# root. A checkpoint is a `.pth` file or a run folder.

# %% tags=["parameters"]
data_dir: str = "data/test"  # folder of city files to score
train_dir: str = "data/train"  # city files that the rules were trained on; none if empty
measured_dir: str = "data/measured"  # wind-tunnel measurements, as the project has them
output_dir: str = "outputs"  # the tables get a folder of their own in here
init_checkpoint: str = "data/pretrained/init_nca.pth"  # the Init-NCA
pi_checkpoint: str = "data/pretrained/pi_nca.pth"  # the PI-NCA that was trained on top of it
ensemble: str = "data/pretrained/ensemble"  # more models, for a mean with error bars; none if empty
image_size: int = 0  # cells a side; 0 keeps each case's own grid
steps: int = 64  # of each rollout
device: str = "auto"  # "auto", "cpu" or "cuda"

# %% [markdown]
# ## Rules and cases

# %%
p = read_parameters(globals())
hardware = choose_device(p.device)
rules = [rule.to(hardware) for rule in load_rules(p.init_checkpoint, p.pi_checkpoint)]
members, bars = load_ensemble(p.ensemble, rules) if p.ensemble else ([rules], None)
mean = f"mean of {len(members)}"

# %%
places = list_cases(input_path("data_dir", p.data_dir))
known = list_cases(input_path("train_dir", p.train_dir)) if p.train_dir else {}
cases = [load_case(*place, p.image_size) for place in places.values()]
trained_on = [load_case(*place, p.image_size) for place in known.values()]
for case in [*cases, *trained_on]:
    case.require_fields()
seen = [case.states[0] for case in trained_on]
names = [case.names[0] for case in cases]
print(f"{len(cases)} cases to score, {len(seen)} in the training data")
if both := places.keys() & known:
    print(f"not unseen: {len(both)} cases are in train_dir too, for example {min(both)}")
if doubted := [doubt for case in cases if (doubt := doubts(case, rules))]:
    print(f"{len(doubted)} doubts, the first: {doubted[0]}")

# %% [markdown]
# ## Predictions


# %%
def predicted(rules, case):
    return rollout(rules, fresh_states(case.states).to(hardware), p.steps)[0].cpu()


predictions = {
    "PI-NCA": [predicted(rules, case) for case in cases],
    "Init-NCA alone": [predicted(rules[:-1], case) for case in cases],
}
if bars:
    of_members = [torch.stack([predicted(member, case) for member in members]) for case in cases]
    predictions[mean] = [states.mean(0) for states in of_members]
if seen:
    mean_flow = evaluation.MeanFlow(seen)
    predictions["mean flow"] = [mean_flow(case.states[0]) for case in cases]

# %% [markdown]
# ## Scores of every case
#
# All figures are taken over the cells in air. `pinca_lib/evaluation/metrics.py` has the definitions.


# %%
def scored(states, targets, has_dwdz):
    rows = [evaluation.evaluate(state, target, case.extents[0], known)
            for state, target, case, known in zip(states, targets, cases, has_dwdz, strict=True)]  # fmt: skip
    return pd.DataFrame(rows, index=pd.Index(names, name="case"))


targets = [case.states[0] for case in cases]
has_dwdz = [bool(case.has_dwdz[0]) for case in cases]
tables = {name: scored(states, targets, has_dwdz) for name, states in predictions.items()}
halves = [None if p.image_size else read_half_averages(*place) for place in places.values()]
if all(half is not None for half in halves):
    first, second = zip(*(map(torch.from_numpy, pair) for pair in halves), strict=True)
    tables["half averages"] = scored(first, second, [True] * len(cases))

# %%
for name, table in tables.items():
    if diverged := list(table.index[table["mae_Uped"].isna()]):
        print(f"{name}: not finite in {len(diverged)} cases, left out below: {diverged}")

# %% [markdown]
# ## Medians over the cases
#
# R² is 1 − Σ(p − y)² / Σ(y − ȳ)² within each case. A bound counts as broken from 10⁻⁶ m/s or
# m²/s² on. The scores are the six of the training log and their mean: 0 is worst, 1 is best.


# %%
def medians(tables, keys):
    rows = {name: table.reindex(columns=list(keys)).median() for name, table in tables.items()}
    rounded = pd.DataFrame(rows).map(lambda value: "–" if np.isnan(value) else f"{value:.3g}")
    return rounded.rename(index=keys)


pd.options.display.max_colwidth = None
medians(tables, evaluation.METRICS)

# %% [markdown]
# The PI-NCA, field by field. MAE is the mean absolute error in m/s, m²/s² and, for ∂w/∂z, 1/s. NMAE is
# Σ|p − y| / Σ|y|. SSIM is the structural similarity. The last column is the mean over the fields.

# %%
figures = {"relative_l2_{}": "relative error", "relative_l2_{}_near": "relative error within 8 m",
           "r2_{}": "R²", "nmae_{}": "NMAE", "mae_{}": "MAE", "ssim_{}": "SSIM"}  # fmt: skip
labels = {channel.name: channel.label for channel in CHANNELS}
of_field = {}
for field in [*NAMES[PREDICTED], "all"]:
    own = {key.format(field): key for key in figures}
    of_field[labels.get(field, field)] = tables["PI-NCA"].rename(columns=own)
medians(of_field, figures)

# %% [markdown]
# ## Kind by kind, and larger than in training
#
# Cases of a kind have names that begin alike. *Larger* cases have more cells than any in the training data.

# %%
keys = ("relative_l2_wind", "relative_l2_Uped", "relative_l2_TKEped", "r2_Uped", "mae_Uped",
        "correlation_dwdz")  # fmt: skip
few = {key: evaluation.METRICS[key] for key in keys}


def medians_of(groups):
    grouped = tables["PI-NCA"].groupby(np.array(groups))
    return medians({f"{name} ({len(own)} cases)": own for name, own in grouped}, few).T


largest = max((state[0].numel() for state in seen), default=np.inf)
sizes = ["larger" if target[0].numel() > largest else "not larger" for target in targets]
kinds = [re.match(r"\D*", name)[0].rstrip("_") for name in names]
pd.concat([medians_of(kinds), medians_of(sizes)])

# %% [markdown]
# ## Every case
#
# The PI-NCA should lie left of the mean flow in every row. A perfect model would reach about half the
# error of the half averages, since the full average has less noise than each half.

# %%
rows = {name: table.reset_index().to_dict("records") for name, table in tables.items()}
plotting.plot_cases(rows, "relative_l2_wind", "relative error of (u, v)")

# %% [markdown]
# ## The middle case
#
# The case with the median error. Left the prediction, in the middle the simulation, right the error.

# %%
middle = int(tables["PI-NCA"]["relative_l2_wind"].argsort().iloc[len(cases) // 2])
print(names[middle])
plotting.plot_comparison(
    predictions["PI-NCA"][middle], targets[middle], cases[middle].extents[0], (U, V, SPEED)
)

# %% [markdown]
# ## Cities unlike those in training
#
# The layout distance is 0 for a city of the training data and about 1 for one that has nothing in common
# with any of them. Points near the left edge are hardly new, so look at those beyond 0.2.

# %%
masks = [state[GEO_MASK].numpy() for state in seen]
distances = [evaluation.layout_distance(target[GEO_MASK].numpy(), masks) if masks else np.nan
             for target in targets]  # fmt: skip
for table in tables.values():
    table["layout_distance"] = distances
plotting.plot_over(rows, distances, "layout distance to the nearest training city",
                   "relative_l2_wind", "relative error of (u, v)")  # fmt: skip

# %%
new = tables["PI-NCA"][tables["PI-NCA"]["layout_distance"] > 0.2]
medians({f"layout distance above 0.2 ({len(new)} of {len(cases)} cases)": new}, few).T

# %% [markdown]
# ## Hit rates
#
# The share of cells within 25 % or within W of the simulation, over W. VDI 3783-9 asks for 0.66 against a
# wind tunnel (dashed). Here the reference is the simulation, so the half averages are the limit.

# %%
plotting.plot_hit_rates(rows, evaluation.HIT_RATE_W, "uped")

# %% [markdown]
# ## Wind that was measured
#
# Two benchmark cases of a wind tunnel ([sources](../data/measured/README.md)): 3×3 cubes of 20 m, the middle one
# absent (0H), as high (1H) or twice as high (2H), under three winds; and a single tower of 40 m. Predicted speeds
# are scaled to the mean of the measured ones. *Openness* knows only the distance to the nearest wall. A probe
# takes the nearest cell in air; *within 4 m* is the mean of the cells there.

# %%
tunnel = evaluation.measured_cases(input_path("measured_dir", p.measured_dir))
planes = {
    "PI-NCA": [evaluation.predicted_speeds(rules, case, p.steps) for case in tunnel],
    "Init-NCA alone": [evaluation.predicted_speeds(rules[:-1], case, p.steps) for case in tunnel],
}
if bars:
    tunnel_maps = [evaluation.mean_of([predict_wind(member, case.place, [case.wind_from], p.steps)
                                       for member in members], bars) for case in tunnel]  # fmt: skip
    planes[mean] = [case.plane(maps) for case, maps in zip(tunnel, tunnel_maps, strict=True)]
if seen:
    openness = evaluation.Openness(seen)
    planes["openness"] = [openness(case.place) for case in tunnel]


# %%
def against_tunnel(name, within=0):
    rows = [evaluation.compare(evaluation.at_probes(plane, case, within), case.speeds)
            for case, plane in zip(tunnel, planes[name], strict=True)]  # fmt: skip
    index = pd.Index([case.name for case in tunnel], name="case")
    return pd.DataFrame(rows, index)[["r", "hit_rate", "fac2", "slope"]].round(2)


measured = {name: against_tunnel(name) for name in planes}
measured["PI-NCA, within 4 m"] = against_tunnel("PI-NCA", 4)
few_figures = {name: own if name == "PI-NCA" else own[["r", "hit_rate"]]
               for name, own in measured.items()}  # fmt: skip
pd.concat(few_figures, axis=1)

# %% [markdown]
# The PI-NCA's maps, with the measured speeds as dots in the same colours (a dot that cannot be seen agrees),
# and all probes: 25 % more or less is grey.

# %%
plotting.plot_tunnel_maps(tunnel, planes["PI-NCA"])

# %%
plotting.plot_tunnel_scatter(tunnel, planes["PI-NCA"])

# %% [markdown]
# ## How sure it is
#
# An error bar of the mean speed is computed for every cell from the models' spread, their mean speed and their TKE.
# It should cover the simulation, or what was measured, in nine cells of ten. The bars were calibrated on
# cases of the validation split.

# %%
covered = []
for kind, states, target in zip(kinds, of_members, targets, strict=True) if bars else ():
    air = target[GEO_MASK].numpy() > 0
    errors = (states[:, SPEED].mean(0) - target[SPEED]).numpy()
    half = bars(states[:, PREDICTED].numpy())
    covered.append({"kind": kind} | evaluation.coverage(errors[air], half[air]))
for case, maps in zip(tunnel, tunnel_maps, strict=True) if bars else ():
    kind = case.name.rpartition(",")[0] or case.name
    covered.append({"kind": kind} | evaluation.coverage(*evaluation.errors_at_probes(maps, case)))
pd.DataFrame(covered).groupby("kind").mean().round(2) if bars else "no error bars"

# %% [markdown]
# ## Healing
#
# A house is built into the largest open space of each case, during the rollout. The relative error of
# (u, v) compares the healed field with a rollout that began with the house, after equally many steps.

# %%
healing = [healing_errors(rules, target, case.extents[0], p.steps, times=2)
           for target, case in zip(targets, cases, strict=True)]  # fmt: skip
for k, found in enumerate(zip(*healing, strict=True), 1):
    print(f"after {k * p.steps} steps: median {np.median(found):.3f}, largest {max(found):.3f}")

# %% [markdown]
# ## Save
#
# All figures of every case, one CSV file for each model. The last row has the medians.

# %%
folder = new_folder(output_path(p.output_dir), "evaluation")
for name, table in tables.items():
    table = table.astype(float)
    table.loc["median"] = table.median()
    table.to_csv(folder / f"{name.lower().replace(' ', '_')}.csv")
pd.concat(measured, axis=1).to_csv(folder / "measured.csv")
print(f"{len(tables)} tables in {folder.name}")
