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
# # 7 · The wind in your place
#
# Bring your buildings, name your wind, and get a map that you can lay over your plan. By default it
# shows Vienna's Karlsplatz under a west-south-west wind of 5 m/s, and how comfortable it would be in
# the wind climate of Chicago. It takes about a minute on two CPU cores. For your own place:
#
# ```
# papermill notebooks/07_your_place.ipynb out.ipynb -p buildings town.geojson -p wind_from 240 -p wind_speed 5
# ```

# %%
# %matplotlib inline
from IPython.display import display

from pinca_lib import (
    choose_device, cities, comfort, input_path, load_city, load_climate, load_rule, new_folder,
    output_path, plotting, predict_wind, read_parameters, unlike_training,
)  # fmt: skip
from pinca_lib.evaluation import doubt_table, doubtful

# %% [markdown]
# ## Parameters
#
# Set any of them with papermill's `-p name value`, or edit the cell.

# %% tags=["parameters"]
buildings: str = "data/places/vienna_karlsplatz.geojson"  # footprints, CityJSON, a mesh, heights
proposal: str = ""  # a second file of buildings over the same site; none if empty
site: str = ""  # part to show: "west,south,east,north" or "x,y,radius in m"; all if empty
height_field: str = ""  # field of the buildings' heights; found among the usual names if empty
default_height: float = 0.0  # m, for buildings without a height; 0 refuses them
crs: str = ""  # coordinate system of a file that names none, such as "EPSG:4326"
unit: str = ""  # of a mesh: "m", "mm", "cm", "ft" or "in"
up: str = ""  # axis of a mesh that points up: "y" or "z"
terrain: str = ""  # raster of the bare ground, for a raster of surface elevations
wind_from: str = "240"  # degrees clockwise from north; several as "0, 90", or "16 sectors"
wind_speed: float = 5.0  # m/s, of the reference wind
wind_height: float = 10.0  # m above ground, at which it blows
roughness: str = "open ground"  # over which it blows: a name, or a roughness length in m
climate: str = "data/climates/chicago.csv"  # EPW, hours or sectors; no comfort map if empty
criterion: str = "NEN 8100"  # of wind comfort
output_dir: str = "outputs"  # the maps get a folder of their own in here
init_checkpoint: str = "data/pretrained/init_nca.pth"  # the Init-NCA
pi_checkpoint: str = "data/pretrained/pi_nca.pth"  # the PI-NCA that was trained on top of it
device: str = "auto"  # "auto", "cpu" or "cuda"

# %%
p = read_parameters(globals())
hardware = choose_device(p.device)
init_nca = load_rule(input_path("init_checkpoint", p.init_checkpoint)).to(hardware)
pi_nca = load_rule(input_path("pi_checkpoint", p.pi_checkpoint), init_nca=init_nca).to(hardware)
rules = [init_nca, pi_nca]
winds = cities.wind_directions(p.wind_from)
comfort_criterion = comfort.find_criterion(p.criterion)
weather = load_climate(input_path("climate", p.climate)) if p.climate else None

# %% [markdown]
# ## The place
#
# Buildings are drawn on a grid of 2 m, with a margin of at least 150 m around the site: open
# ground, or whatever the file holds there. What the reader noticed is printed below.

# %%
reading = {"height_field": p.height_field, "default_height": p.default_height or None,
           "crs": p.crs or None, "unit": p.unit, "up": p.up,
           "terrain": input_path("terrain", p.terrain) if p.terrain else None}  # fmt: skip
place = load_city(input_path("buildings", p.buildings), site=p.site or None, **reading)
print(f"{place.name}: {place.site_grid.shape[1]} × {place.site_grid.shape[0]} cells of 2 m")
print(*place.remarks, sep="\n")
plotting.plot_place(place)

# %% [markdown]
# ## Where not to trust it
#
# The rules were trained on real quarters with streets of at least 8 m, roofs up to 28 m and no
# courtyards. Where your place is unlike that, the map is hatched.

# %%
unlike = unlike_training(place, rules)
doubts = doubtful(unlike)
doubt_table(place, unlike).style.format({"share of open ground": "{:.1%}"}).hide()

# %% [markdown]
# ## The wind
#
# One rollout of 64 steps from still air for each direction. Speeds are then scaled to the wind that
# you named: a logarithmic profile takes it from its height up to 200 m, and another down over the
# city (Macdonald et al. 1998). That step is the less certain one; its range is printed.

# %%
sectors = list(weather.sectors) if weather else []
every = list(dict.fromkeys([*winds, *map(float, sectors)]))
rolled_out = predict_wind(rules, place, every)


def under_wind(maps, directions, speed, height, roughness):
    found = [cities.friction_velocity(speed, height, roughness, place.heights, place.grid.cell, d)
             for d in directions]  # fmt: skip
    return maps.only(directions).scaled([each.scale for each in found]), found


# %%
maps, friction = under_wind(rolled_out, winds, p.wind_speed, p.wind_height, p.roughness)
for direction, each in zip(winds, friction, strict=True):
    print(f"from {direction:g}°: friction velocity {each.value:.2f} m/s "
          f"({each.low:.2f} to {each.high:.2f}), z0 {each.z0:.2f} m, d {each.displacement:.1f} m")  # fmt: skip
pictures = {"wind": plotting.plot_wind(maps, 0, doubts)}
pictures["wind"]

# %% [markdown]
# Mean speed 2 m above ground, with streamlines. Every direction, in one range of colours:

# %%
named = p.wind_speed, p.wind_height, p.roughness
from_all_sides, _ = under_wind(rolled_out, sectors or winds, *named)
pictures["directions"] = plotting.plot_directions(from_all_sides)
pictures["directions"]

# %% [markdown]
# ## Comfort
#
# How often a speed is exceeded follows from the climate and from the ratio of the local speed to
# the climate's own in each sector. The criterion turns that into classes.

# %%
classes = None
if weather:
    about = weather.height, weather.roughness
    ratios, _ = under_wind(rolled_out, sectors, 1.0, *about)  # under 1 m/s
    gusts = comfort.gust_equivalent_mean(ratios.speed, ratios.tke)
    classes = comfort.classify(weather, ratios.speed, comfort_criterion, gusts)
    labels = [f"{each.name}: {each.suitable}" for each in comfort_criterion.classes]
    print(f"{weather.name}. {comfort_criterion.source}.", *weather.remarks, sep="\n")
    title = f"{comfort_criterion.name}, climate of {weather.name}"
    pictures["comfort"] = plotting.plot_classes(place, classes, labels, title, doubts)
    shares = comfort.areas(classes, comfort_criterion, place.grid.cell)
    display(pictures["comfort"], shares.style.format({"area": "{:,.0f} m²", "share": "{:.1%}"}))

# %% [markdown]
# ## Before and after
#
# With a `proposal`: both maps, the change of mean speed, and the areas whose class changes.

# %%
if p.proposal:
    planned = load_city(input_path("proposal", p.proposal), like=place, **reading)
    print(*planned.remarks, sep="\n")
    after = predict_wind(rules, planned, every)
    planned_maps = after.only(winds).scaled([each.scale for each in friction])
    pictures["change"] = plotting.plot_change(maps, planned_maps)
    display(pictures["change"])

# %%
if p.proposal and weather:
    new_ratios = after.only(sectors).scaled(ratios.scale)
    new_gusts = comfort.gust_equivalent_mean(new_ratios.speed, new_ratios.tke)
    new_classes = comfort.classify(weather, new_ratios.speed, comfort_criterion, new_gusts)
    pictures["comfort with the proposal"] = plotting.plot_classes(
        planned, new_classes, labels, f"with the proposal: {title}"
    )
    display(pictures["comfort with the proposal"])
    moved = comfort.changes(classes, new_classes, comfort_criterion, place.grid.cell)
    display(moved.style.format("{:,.0f} m²"))

# %% [markdown]
# ## Files
#
# A GeoTIFF and a NetCDF with coordinates, polygons of the comfort classes, and the pictures. They
# lie where your buildings lie, north up; cells that are unlike the training data are marked.

# %%
folder = new_folder(output_path(p.output_dir), "your_place")
layers = {f"mean speed (m/s), wind from {d:g} degrees": speed
          for d, speed in zip(winds, maps.speed, strict=True)}  # fmt: skip
layers["unlike the training data (1: yes)"] = doubts
planes = {"unlike_training": (doubts.astype("int8"), "cells unlike the training data")}
if classes is not None:
    layers[f"class of {comfort_criterion.name} (0: calmest)"] = classes
    planes["comfort"] = (classes, f"class of {comfort_criterion.name}, 0 the calmest, -1 buildings")
    cities.write_polygons(folder / "comfort.gpkg", place, classes, labels, "comfort")

# %%
cities.write_geotiff(folder / "wind.tif", place, layers)
cities.write_maps(folder / "wind.nc", maps, planes)
for name, picture in pictures.items():
    picture.savefig(folder / f"{name.replace(' ', '_')}.png", dpi=150)
print(f"written to {p.output_dir}/{folder.name}:", *sorted(path.name for path in folder.iterdir()))
