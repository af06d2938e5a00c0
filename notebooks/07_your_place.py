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
# Bring your buildings, name your wind, and get a map that you can lay over your plan. By default the
# notebook shows Vienna's Karlsplatz under a west-south-west wind of 5 m/s, and how comfortable the
# square would be in the wind climate of Chicago. It takes about a minute on two CPU cores. For your
# own place:
#
# ```
# papermill notebooks/07_your_place.ipynb out.ipynb -p buildings town.geojson -p wind_from 240 -p wind_speed 5
# ```

# %%
# %matplotlib inline
from pathlib import Path

import numpy as np
from IPython.display import display

from pinca_lib import (
    choose_device, cities, comfort, input_path, load_city, load_climate, load_ensemble, load_rules,
    new_folder, output_path, plotting, predict_wind, read_parameters, unlike_training,
)  # fmt: skip
from pinca_lib.evaluation import doubt_table, doubtful, mean_of

# %% [markdown]
# ## Parameters
#
# Set any of them with papermill's `-p name value`, or edit the cell.

# %% tags=["parameters"]
buildings: str = "data/places/vienna_karlsplatz.geojson"  # footprints, CityJSON, a mesh, heights
proposal: str = ""  # a second file with all buildings as planned, over the same site; none if empty
site: str = ""  # part, in the file's coordinates: "west,south,east,north" or "x,y,radius in m"
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
climate: str = ""  # EPW, hours or sectors; if empty, no comfort map but for the example
criterion: str = "NEN 8100"  # of wind comfort
memory: float = 6.0  # GB that a town may take, a place of more than 2500 cells (5 km) a side
output_dir: str = "outputs"  # the maps get a folder of their own in here
init_checkpoint: str = "data/pretrained/init_nca.pth"  # the Init-NCA
pi_checkpoint: str = "data/pretrained/pi_nca.pth"  # the PI-NCA that was trained on top of it
ensemble: str = "data/pretrained/ensemble"  # more models, for a mean with error bars; none if empty
device: str = "auto"  # "auto", "cpu" or "cuda"

# %%
p = read_parameters(globals())
hardware = choose_device(p.device)
rules = [rule.to(hardware) for rule in load_rules(p.init_checkpoint, p.pi_checkpoint)]
members, bars = load_ensemble(p.ensemble, rules) if p.ensemble else ([rules], None)
winds = cities.wind_directions(p.wind_from)
comfort_criterion = comfort.find_criterion(p.criterion)
is_example = p.buildings == "data/places/vienna_karlsplatz.geojson"
weather_file = p.climate or ("data/climates/chicago.csv" if is_example else "")
weather = load_climate(input_path("climate", weather_file)) if weather_file else None

# %% [markdown]
# ## The place
#
# Buildings are drawn on cells of 2 m, with a margin of at least 150 m around the site: whatever the
# file holds there, or open ground. What looked odd in the file is printed below. A raster of heights of
# more than 2500 cells a side is a town: all that follows is then done tile by tile, in `memory`.

# %%
reading = {"height_field": p.height_field, "default_height": p.default_height or None,
           "crs": p.crs or None, "unit": p.unit, "up": p.up,
           "terrain": input_path("terrain", p.terrain) if p.terrain else None}  # fmt: skip
place = load_city(input_path("buildings", p.buildings), site=p.site or None, **reading)
print(f"{place.name}: {place.site_grid.shape[1]} × {place.site_grid.shape[0]} cells of 2 m")
print(*place.remarks, sep="\n")
town_dir = output_path(p.output_dir) / f"town_{Path(p.buildings).stem}"  # used by a town alone
if place.is_town:
    weather, members = None, [rules]
    print(f"A town: rolled out in tiles, with states in {p.output_dir}/{town_dir.name}. A run that "
          "stops goes on there. Comfort, error bars, NetCDF and a proposal need a part: give a site.")  # fmt: skip
plotting.plot_place(place)

# %% [markdown]
# ## Where not to trust it
#
# The rules were trained on quarters with lanes of at least 4 m, roofs of up to 60 m, at most 67 % of
# the ground built over, and hardly any ground more than 142 m from a building. Where your place is
# unlike that, the maps are hatched. Trees are not in the data, and not in the maps.

# %%
unlike = unlike_training(place, rules, town_dir)
doubts = doubtful(unlike)
doubt_table(place, unlike).style.format({"share of open ground": "{:.1%}"}).hide()

# %% [markdown]
# ## The wind
#
# For each direction the rules take 64 steps from still air. Under the winds that you named the map is
# the mean of three models, which were trained alike but for their random numbers; the sectors of a
# climate take one of them. Speeds are then scaled to the wind that you named: a logarithmic profile
# takes it from its height up to 200 m, and another one down over the city (Kanda et al. 2013).
# That scaling is less certain than the pattern; its range is printed, in brackets.

# %%
sectors = list(map(float, weather.sectors)) if weather else []


def predicted(place):
    each = [
        predict_wind(member, place, winds, folder=town_dir, memory=p.memory) for member in members
    ]
    return mean_of(each, bars), predict_wind(rules, place, sectors) if sectors else None


def under_wind(maps, speed, height, roughness):
    heights, cell = maps.place.heights, maps.place.grid.cell
    found = [cities.friction_velocity(speed, height, roughness, heights, cell, direction)
             for direction in maps.wind_from]  # fmt: skip
    return maps.scaled([each.scale for each in found]), found


# %%
named = p.wind_speed, p.wind_height, p.roughness
rolled_out, of_sectors = predicted(place)
maps, friction = under_wind(rolled_out, *named)
for direction, each in zip(winds, friction, strict=True):
    print(f"from {direction:g}°: friction velocity {each.value:.2f} m/s "
          f"({each.low:.2f} to {each.high:.2f}), z0 {each.z0:.2f} m, d {each.displacement:.1f} m; "
          f"open ground far from buildings has {each.open_speed:.1f} m/s at 2 m")  # fmt: skip
wind = f"{p.wind_speed:g} m/s at {p.wind_height:g} m over {p.roughness}"
title = f"{place.name}: {wind}, from {winds[0]:g}°"
pictures = {"wind": plotting.plot_wind(maps, 0, doubts, title)}
pictures["wind"]

# %% [markdown]
# Mean speed 2 m above ground, with streamlines. Below, the same wind from the directions that you
# named, or from all sides if you named only one, in one range of colours:

# %%
shown = rolled_out if len(winds) > 1 or not sectors else of_sectors
from_there, _ = under_wind(shown, *named)
pictures["directions"] = plotting.plot_directions(from_there, doubts)
pictures["directions"]

# %% [markdown]
# ## How sure it is
#
# An error bar of the mean speed is computed for every cell from the models' spread, their mean speed and
# their TKE, and calibrated on simulated cities that none of them was trained on. In about nine cells of ten
# the simulation lies within it, if the place is like the training. What the simulation itself lacks, and the scaling, is not in it.

# %%
if maps.error is not None:
    title = f"{place.name}: error bars of the mean speed, from {winds[0]:g}°"
    pictures["error"] = plotting.plot_error(maps, 0, doubts, title)
    print(f"mean speed {np.nanmean(maps.speed[0]):.2f} m/s, error bar ± {np.nanmean(maps.error[0]):.2f} m/s "
          f"(means over the open ground); median ± {np.nanmedian(maps.error[0]):.2f} m/s")  # fmt: skip
    display(pictures["error"])

# %% [markdown]
# ## Comfort
#
# How fast is the wind here when it blows at 1 m/s at the weather station? The maps answer that for
# each sector of the climate. How often a speed is exceeded here follows from both, and the criterion
# turns that into classes. Without a `climate` there is no such map.

# %%
classes = None
if weather:
    about = weather.height, weather.roughness
    ratios, _ = under_wind(of_sectors, 1.0, *about)  # under 1 m/s
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
# With a `proposal`: both maps, the change of mean speed, and the areas whose class changes. The
# wind at 200 m stays the same. What the parameters say about reading the first file holds for the
# proposal as well, if both files have the same ending.

# %%
if p.proposal:
    endings = {Path(file.partition("|")[0]).suffix for file in (p.buildings, p.proposal)}
    how = reading if len(endings) == 1 else {"default_height": reading["default_height"]}
    planned = load_city(input_path("proposal", p.proposal), like=place, **how)
    print(*planned.remarks, sep="\n")
    new_doubts, new_classes = doubtful(unlike_training(planned, rules)), None
    after, sectors_after = predicted(planned)
    planned_maps, _ = under_wind(after, *named)
    pictures["change"] = plotting.plot_change(maps, planned_maps, 0, doubts | new_doubts)
    display(pictures["change"])

# %%
if p.proposal and weather:
    new_ratios, _ = under_wind(sectors_after, 1.0, *about)
    new_gusts = comfort.gust_equivalent_mean(new_ratios.speed, new_ratios.tke)
    new_classes = comfort.classify(weather, new_ratios.speed, comfort_criterion, new_gusts)
    pictures["comfort with the proposal"] = plotting.plot_classes(
        planned, new_classes, labels, f"with the proposal: {title}", new_doubts
    )
    display(pictures["comfort with the proposal"])
    moved = comfort.changes(classes, new_classes, comfort_criterion, place.grid.cell)
    display(moved.style.format("{:,.0f} m²"))

# %% [markdown]
# ## Files
#
# A GeoTIFF and a NetCDF with coordinates, polygons of the comfort classes, and the pictures. They
# lie where your buildings lie, north up. Each says which wind it shows, and which cells are unlike
# the training data.

# %%
numbers = ", ".join(f"{n}: {kind.name}" for n, kind in enumerate(comfort_criterion.classes))
meaning = f"class of {comfort_criterion.name} ({numbers})"


def layers_of(maps):
    layers = {f"mean speed (m/s), wind from {d:g} degrees": speed
              for d, speed in zip(maps.wind_from, maps.speed, strict=True)}  # fmt: skip
    if maps.error is not None:
        layers |= {f"error bar (± m/s), wind from {d:g} degrees": error
                   for d, error in zip(maps.wind_from, maps.error, strict=True)}  # fmt: skip
    return layers


# %%
def write_rasters(ending, maps, doubts, classes, remarks):
    layers = layers_of(maps)
    layers[f"{unlike_label} (1: yes)"] = doubts
    planes = {"unlike_training": (doubts.astype("int8"), unlike_label)}
    if classes is not None:
        layers[meaning] = classes
        planes["comfort"] = (classes, f"{meaning}, -1 in buildings")
    cities.write_geotiff(folder / f"wind{ending}.tif", maps.place, layers, remarks)
    if not maps.place.is_town:
        cities.write_maps(folder / f"wind{ending}.nc", maps, planes, remarks)


# %%
folder = new_folder(output_path(p.output_dir), "your_place")
unlike_label = "unlike the training data"


def write_files(ending, maps, doubts, classes):
    air = ~np.isnan(maps.speed[0])
    share = float((doubts & air).sum() / air.sum())
    remarks = [f"Mean speed under a wind of {wind}.",
               f"{share:.1%} of the open ground is {unlike_label}.", *maps.place.remarks]  # fmt: skip
    write_rasters(ending, maps, doubts, classes, remarks)
    if classes is not None:
        remarks.append(f"{comfort_criterion.source}; climate of {weather.name}.")
        polygons = {"comfort": (classes, labels),
                    "unlike_training": (doubts.astype(int) - 1, [unlike_label])}  # fmt: skip
        cities.write_polygons(folder / f"comfort{ending}.gpkg", maps.place, polygons, remarks)


# %%
write_files("", maps, doubts, classes)
if p.proposal:
    write_files("_with_the_proposal", planned_maps, new_doubts, new_classes)
for name, picture in pictures.items():
    picture.savefig(folder / f"{name.replace(' ', '_')}.png", dpi=150)
print(f"written to {p.output_dir}/{folder.name}:", *sorted(path.name for path in folder.iterdir()))
