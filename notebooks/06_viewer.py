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
# # Wind between buildings
#
# A neural cellular automaton shows the mean wind at pedestrian level. Press **play**; then
# **build** a house into a street, **clear** one, or drag the dial to turn the wind, and watch the
# field heal. Drop a file of buildings on it to see the wind in a place of your own.

# %%
from IPython.display import display

from pinca_lib import (
    RolloutViewer, choose_device, input_path, load_rules, output_path, read_parameters
)  # fmt: skip

# %% tags=["parameters"]
data_dir: str = "data/test"  # folder of city files
output_dir: str = "outputs"  # what is saved gets a folder of its own in here
init_checkpoint: str = "data/pretrained/init_nca.pth"  # the Init-NCA
pi_checkpoint: str = "data/pretrained/pi_nca.pth"  # the PI-NCA that was trained on top of it
case: str = ""  # city/case to begin with, or a part of it; the first if empty
image_size: int = 0  # cells a side; 0 keeps each case's own grid
buildings: str = ""  # a place to begin with: footprints, CityJSON, a mesh or heights
site: str = ""  # part to show: "west,south,east,north" or "x,y,radius in m"; all if empty
height_field: str = ""  # field of the buildings' heights; found among the usual names if empty
default_height: float = 0.0  # m, for buildings without a height; 0 refuses them
crs: str = ""  # coordinate system of a file that names none, such as "EPSG:4326"
unit: str = ""  # of a mesh: "m", "mm", "cm", "ft" or "in"
up: str = ""  # axis of a mesh that points up: "y" or "z"
wind_from: str = "240"  # of a place: degrees clockwise from north, where the wind comes from
wind_speed: float = 5.0  # m/s, of the reference wind
wind_height: float = 10.0  # m above ground, at which it blows
roughness: str = "open ground"  # over which it blows: a name, or a roughness length in m
device: str = "auto"  # "auto", "cpu" or "cuda"

# %%
p = read_parameters(globals())
hardware = choose_device(p.device)
rules = [rule.to(hardware) for rule in load_rules(p.init_checkpoint, p.pi_checkpoint)]
models = {"PI-NCA": rules, "Init-NCA alone": rules[:-1]}

# %%
cities = input_path("data_dir", p.data_dir)
place = input_path("buildings", p.buildings) if p.buildings else ""
reading = {name: getattr(p, name)
           for name in ("site", "height_field", "default_height", "crs", "unit", "up")}  # fmt: skip
display(
    RolloutViewer(
        cities, models, p.case, p.image_size, output_path(p.output_dir), buildings=place,
        reading=reading, wind_from=p.wind_from, wind=(p.wind_speed, p.wind_height, p.roughness),
    )
)  # fmt: skip
