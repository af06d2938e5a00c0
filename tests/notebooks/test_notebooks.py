"""The notebooks: pairs agree, papermill runs them from anywhere, mistakes stop at once."""

import csv
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import geopandas
import jupytext
import nbformat
import numpy as np
import pytest
import rasterio
import torch
from jupytext.compare import compare_notebooks
from shapely.geometry import Point, box
from small_cities import write_plain_city
from small_rules import trained

from pinca_lib.runs.parameters import PROJECT_ROOT
from pinca_lib.runs.tensor_files import load_tensors

NOTEBOOKS = sorted((PROJECT_ROOT / "notebooks").glob("*.ipynb"))
TINY = {"image_size": 16, "pool_size": 4, "batch_size": 2, "min_steps": 1, "max_steps": 3}


def fill(folder: Path) -> Path:
    """Put odd cities in the users' layout and checkpoints of two rules into a folder."""
    (folder / "cities").mkdir()
    for seed, (height, width) in enumerate([(37, 52), (24, 24)]):
        write_plain_city(folder / "cities" / f"town{seed}.h5", height, width, (30.0,), seed)
    write_plain_city(folder / "cities" / "GlobalMetaData.h5").write_bytes(b"no city")
    for seed, name in enumerate(("init", "pi")):
        rule = trained(seed=seed)
        rule.w2.weight *= 0.05
        torch.save({"model_state_dict": rule.state_dict(), "epoch": 1}, folder / f"{name}.pth")
    return folder


@pytest.fixture
def workshop(tmp_path: Path) -> Path:
    """A user's own folder, filled."""
    return fill(tmp_path)


def papermill(workshop: Path, notebook: str, **parameters) -> subprocess.CompletedProcess:
    """Run a notebook as people do, from a working folder that is not the project's."""
    given = {"output_dir": str(workshop / "runs"), **parameters}
    if notebook != "07_your_place":
        given = {"data_dir": "cities"} | given
    options = [word for name, value in given.items() for word in ("-p", name, str(value))]
    command = [sys.executable, "-m", "papermill", f"{PROJECT_ROOT}/notebooks/{notebook}.ipynb"]
    return subprocess.run(
        [*command, "out.ipynb", *options], cwd=workshop, capture_output=True, text=True
    )


def run_folders(workshop: Path) -> list[Path]:
    return sorted((workshop / "runs").glob("*")) if (workshop / "runs").exists() else []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_and_its_script_hold_the_same(path):
    notebook = nbformat.read(path, as_version=4)
    script = jupytext.read(path.with_suffix(".py"))
    # Raises NotebookDifference where they differ.
    compare_notebooks(script, notebook, fmt="py:percent", compare_outputs=False)
    assert len(script.cells) == len(notebook.cells)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_committed_notebook_has_run_through_and_is_kept_short(path):
    cells = nbformat.read(path, as_version=4).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [out for cell in code for out in cell.outputs if out.output_type == "error"]
    shown = [str(out.get("data", {})) for cell in code for out in cell.outputs]
    pictures = [data for data in shown if "image/png" in data]
    assert pictures
    work = [cell for cell in code if "parameters" not in cell.metadata.get("tags", ())]
    assert max(cell.source.count("\n") + 1 for cell in work) <= 15
    assert sum(len(cell.outputs) for cell in code) < 40
    assert path.stat().st_size < 1_500_000


def test_init_nca_trains_on_the_users_own_cities(workshop):
    options = {"init_loss": "filters", "gradient_checkpoints": True} | TINY
    done = papermill(workshop, "01_init_nca", epochs="3e0", **options)
    assert done.returncode == 0, done.stderr
    (run,) = run_folders(workshop)
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["iteration"] for row in rows] == ["0", "1", "2"]
    assert all(0 <= float(row["mean"]) <= 1 for row in rows)
    assert {"loss.png", "scores.png", "batch.png", "pool.png"} <= {p.name for p in run.iterdir()}


def test_a_training_goes_on_from_weights_and_resumes_without_their_file(workshop):
    settings = TINY | {"hidden": 96, "natural_units": False, "bounded": False,
                       "follows_wind": False, "learning_rate": 1e-8, "weight_decay": 0,
                       "start_checkpoint": "pi.pth"}  # fmt: skip
    done = papermill(workshop, "01_init_nca", epochs=1, **settings)
    assert done.returncode == 0, done.stderr
    (run,) = run_folders(workshop)
    given = load_tensors(workshop / "pi.pth")["model_state_dict"]
    found = load_tensors(run / "ca_model_step_1.pth")["model_state_dict"]
    assert all(torch.allclose(found[key], given[key], atol=1e-7) for key in given)
    (workshop / "pi.pth").unlink()
    done = papermill(workshop, "01_init_nca", epochs=2, resume="latest", **settings)
    assert done.returncode == 0, done.stderr
    assert (run / "ca_model_step_2.pth").exists()


def test_a_resumed_pi_nca_run_equals_an_uninterrupted_one(workshop):
    settings = TINY | {
        "init_checkpoint": "init.pth",
        "gradient_checkpoints": 2,
        "anneal": False,  # a rate of 6 from the start
    }
    for epochs, resume in ((6, ""), (3, "")):
        done = papermill(workshop, "02_pi_nca", epochs=epochs, resume=resume, **settings)
        assert done.returncode == 0, done.stderr
    whole, begun = run_folders(workshop)
    done = papermill(workshop, "02_pi_nca", epochs=6, resume="latest", **settings)
    assert done.returncode == 0, done.stderr
    assert len(run_folders(workshop)) == 2
    weights = [load_tensors(run / "ca_model_step_6.pth")["model_state_dict"]
               for run in (whole, begun)]  # fmt: skip
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert (whole / "metrics.csv").read_bytes() == (begun / "metrics.csv").read_bytes()


def test_the_rollout_makes_a_film_of_the_chosen_case(workshop):
    rules = {"init_checkpoint": "init.pth", "pi_checkpoint": "pi.pth"}
    done = papermill(workshop, "03_video_rollout", frames=3, case="town0", **rules)
    assert done.returncode == 0, done.stderr
    (run,) = run_folders(workshop)
    assert (run / "film.mp4").stat().st_size > 1000
    executed = nbformat.read(workshop / "out.ipynb", as_version=4)
    printed = "".join(str(cell.get("outputs", "")) for cell in executed.cells)
    assert "town0/town0_d030: 74 m × 104 m" in printed
    assert "data:video/mp4;base64" in printed


def write_footprints(path: Path, height: float) -> None:
    """Two houses, 40 m apart, in UTM zone 33."""
    corners = [(600000, 5300000), (600060, 5300020)]
    houses = [box(x, y, x + 20, y + 20) for x, y in corners]
    frame = geopandas.GeoDataFrame({"height": [12.0, height]}, geometry=houses, crs=32633)
    frame.to_file(path)


def test_a_place_gives_maps_that_lie_where_its_buildings_lie(workshop):
    write_footprints(workshop / "town.geojson", 10.0)
    write_footprints(workshop / "plan.gpkg", 25.0)
    sectors = [f"{45 * k},0.125,5,2" for k in range(8)]
    climate = "\n".join(["direction,frequency,weibull_A,weibull_k", *sectors])
    (workshop / "climate.csv").write_text(climate)
    done = papermill(
        workshop, "07_your_place", buildings="town.geojson", proposal="plan.gpkg|layername=plan",
        wind_from=270, wind_speed=4, climate="climate.csv", criterion="Lawson 1990",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (run,) = run_folders(workshop)
    with rasterio.open(run / "wind.tif") as file:
        assert file.crs.to_epsg() == 32633
        assert file.tags()["remarks"].startswith("Mean speed under a wind of 4 m/s at 10 m")
        (inside, *_), (outside, *_) = file.sample([(600010, 5300010), (600040, 5300010)])
    assert np.isnan(inside)
    assert 0 < outside < 4
    classes = geopandas.read_file(run / "comfort.gpkg", layer="comfort")
    assert not classes.contains(Point(600010, 5300010)).any()
    assert classes.contains(Point(600039, 5300009)).sum() == 1
    names = {path.name for path in run.iterdir()}
    assert {"change.png", "comfort.png", "wind.nc", "wind_with_the_proposal.tif"} <= names


MISTAKES = [
    ("01_init_nca", {"epoch": 3}, "unknown parameter 'epoch'"),
    ("02_pi_nca", {"epochs": "many"}, "parameter epochs='many': expected a whole number"),
    ("02_pi_nca", {"init_checkpoint": "gone.pth"}, "init_checkpoint='gone.pth': nothing there"),
    ("02_pi_nca", {"device": "tpu9"}, "device='tpu9' is not available here"),
    ("01_init_nca", {"data_dir": "nowhere"}, "data_dir='nowhere': nothing there"),
    ("03_video_rollout", {"frames": 0}, "parameter frames='0'"),
    ("07_your_place", {"buildings": "gone.geojson"}, "buildings='gone.geojson': nothing there"),
    ("07_your_place", {"buildings": "empty.geojson"}, "empty.geojson: "),
    ("07_your_place", {"wind_from": "up"},
     "wind_from=up: 'up': expected degrees clockwise from north"),
    ("07_your_place", {"wind_speed": -1},
     "parameter wind_speed='-1': expected a number from 0.1 to 80"),
    ("07_your_place", {"criterion": "nice"}, "criterion=nice: expected one of NEN 8100"),
]  # fmt: skip


@pytest.fixture(scope="module")
def stopped(tmp_path_factory) -> list[tuple[str, list[Path]]]:
    """What each mistake makes a notebook say and write; the runs share the cores."""

    def run(number: int) -> tuple[str, list[Path]]:
        notebook, parameters, _ = MISTAKES[number]
        workshop = fill(tmp_path_factory.mktemp(f"mistake{number}"))
        (workshop / "empty.geojson").touch()
        done = papermill(workshop, notebook, **parameters)
        assert done.returncode != 0
        return done.stderr, run_folders(workshop)

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(run, range(len(MISTAKES))))


@pytest.mark.parametrize("number", range(len(MISTAKES)), ids=lambda k: f"{MISTAKES[k][1]}")
def test_a_mistake_stops_in_one_clear_line_before_anything_is_written(stopped, number):
    said, written = stopped[number]
    (line,) = [line for line in said.splitlines() if line.startswith("InputError")]
    assert MISTAKES[number][2] in line
    assert "Traceback" not in said.split("Exception encountered")[1]
    assert written == []


def test_a_broken_city_file_stops_before_anything_is_written(workshop):
    (workshop / "cities" / "ruin.h5").write_bytes(b"")
    done = papermill(workshop, "02_pi_nca", init_checkpoint="init.pth", epochs=1)
    assert "InputError: ruin.h5: not a readable HDF5 file" in done.stderr
    assert run_folders(workshop) == []
