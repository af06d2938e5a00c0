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
# # 9 · Many trainings
#
# One training for every combination of settings, as tasks on a [Dask](https://www.dask.org) cluster: by default
# on this machine's cores, or on any cluster whose scheduler has an address. Each task runs notebook 01 or 02 with
# papermill in a folder of its own. Run the notebook again to go on where it stopped: what is done is not done again,
# and what was stopped goes on from its newest checkpoint.
#
# ```
# papermill notebooks/09_sweep.ipynb out.ipynb -p epochs 3000 -r settings "{'seed': [0, 1, 2], 'hidden': [96, 192]}"
# ```
#
# On a cluster, start `dask scheduler` and `dask worker` (or dask-jobqueue's `SLURMCluster`) in an environment with
# this project, on a file system that all share, and give the scheduler's address: `-p scheduler tcp://node7:8786`.

# %%
# %matplotlib inline
import ast

from IPython.display import display

from pinca_lib import input_path, output_path, plotting, read_parameters
from pinca_lib.runs import connect, sweep_tables, sweep_tasks

# %% [markdown]
# ## Parameters

# %% tags=["parameters"]
experiment: str = "init_nca"  # "init_nca" (notebook 01) or "pi_nca" (notebook 02)
settings: str = "{'hidden': [48, 96]}"  # the values of each parameter that varies
data_dir: str = "data/train"  # folder of city files
output_dir: str = "outputs/sweep"  # the tasks get their folders in here
epochs: int = 20  # training iterations of each task
pool_size: int = 32  # states that live on between iterations
scheduler: str = ""  # address of a Dask scheduler; none: a cluster on this machine
workers: int = 2  # processes of the cluster on this machine, of one thread each

# %%
p = read_parameters(globals())
notebook = {"init_nca": "01_init_nca", "pi_nca": "02_pi_nca"}[p.experiment]
tasks = sweep_tasks(
    input_path("notebook", f"notebooks/{notebook}.ipynb"),
    output_path(p.output_dir),
    ast.literal_eval(p.settings),
    {"data_dir": p.data_dir, "epochs": p.epochs, "pool_size": p.pool_size},
)
print(f"{len(tasks)} trainings of {p.experiment}, {p.epochs} iterations each")

# %% [markdown]
# ## The trainings
#
# The table and the figure grow as trainings end. Dask's dashboard, at the address that is printed, shows what each
# worker does. A task that failed is tried once more; after that the table has its error, and the others go on.

# %%
table_view, figure_view = display(display_id=True), display(display_id=True)
with connect(p.scheduler, p.workers) as client:
    print("dashboard:", client.dashboard_link)
    for table in sweep_tables(tasks, client):
        table_view.update(table)
        figure_view.update(plotting.plot_sweep(table, list(tasks[0].settings)))

# %% [markdown]
# ## What is kept
#
# Each task's folder has the notebook as it ran, the run folder and the result; the table has all of them.

# %%
table.to_csv(output_path(p.output_dir) / "table.csv", index=False)
failed = table[table["state"] == "failed"]
print(f"{(table['state'] == 'done').sum()} of {len(tasks)} done, {len(failed)} failed")
