"""The viewer without a browser: a stand-in for the page receives its frames and answers them."""

import random
import subprocess
import sys
import time

import av
import h5py
import ipywidgets
import numpy as np
import pytest
import xarray
from small_cities import write_plain_city
from small_rules import calm_rule
from viewer_page import Page

from pinca_lib.channels import CHANNELS, DWDZ, GEO_MASK, SPEED, TKE, WIND_X, WIND_Y, U
from pinca_lib.datasets.dataset import load_case
from pinca_lib.errors import InputError, InputWarning
from pinca_lib.viewer import (
    controls as controls_module,
    loop as loop_module,
    saving,
    widget as viewer_module,
)
from pinca_lib.viewer.panels import BUILDING, FRESH_ROLLOUT, NOTHING, View
from pinca_lib.viewer.readout import LABELS
from pinca_lib.viewer.saving import still_page
from pinca_lib.viewer.scenes import CaseScene
from pinca_lib.viewer.widget import RolloutViewer

RULES = {"two": [calm_rule(), calm_rule()], "one": [calm_rule()]}


@pytest.fixture
def folder(tmp_path):
    write_plain_city(tmp_path / "town.h5", 24, 20, degrees=(0.0, 90.0), dwdz=True)
    write_plain_city(tmp_path / "village.h5", 16, 16)
    return tmp_path


@pytest.fixture
def viewer(folder):
    viewer = RolloutViewer(folder, RULES, "town_d000", output_dir=folder / "saved")
    yield viewer
    viewer.close()


def test_it_shows_automaton_simulation_and_error(page):
    content, (city, arrows, curves, *planes) = page.frames[-1]
    titles = [panel["title"] for panel in content["panels"]]
    assert [title.split(":")[0] for title in titles] == [
        "prediction", "simulation", "prediction − simulation"]  # fmt: skip
    assert len(planes) == 6
    simulated = page.viewer.live.scene.simulation
    plane, panel = planes[2], content["panels"][1]
    air = simulated[GEO_MASK].numpy() > 0
    assert (plane[~air] == BUILDING).all()
    shown = panel["low"] + plane[air] / 254 * (panel["high"] - panel["low"])
    truth = simulated[SPEED].numpy()[air].clip(panel["low"], panel["high"])
    assert np.abs(shown - truth).max() <= (panel["high"] - panel["low"]) / 254
    assert panel["unit"] == CHANNELS[SPEED].unit


def test_play_advances_by_the_films_schedule_and_stops(page):
    controls = page.viewer.controls
    controls.play.value = True
    page.wait_for(lambda frame: frame["steps"] >= 35, "it did not play")
    controls.play.value = False
    steps = page.settle()["steps"]
    assert steps == 30 + 2 * (page.viewer.live.frames - 30)
    time.sleep(0.2)
    assert page.content["steps"] == steps


def test_a_single_step_is_one_frame_of_the_chosen_length(page):
    page.viewer.controls.speed.value = 16
    page.viewer.controls.step.click()
    page.wait_for(lambda frame: frame["steps"] == 16, "no step")
    page.settle()
    assert page.content["steps"] == 16


def test_a_slow_page_gets_fewer_frames_and_never_a_queue(viewer):
    page = Page(viewer, delay=0.15)
    page.settle()
    before, began = len(page.frames), time.monotonic()
    viewer.controls.play.value = True
    page.wait_for(lambda frame: frame["steps"] >= 5, "it did not play")
    assert len(page.frames) - before <= 2 + (time.monotonic() - began) / 0.15
    viewer.controls.play.value = False


def test_it_pauses_when_the_page_is_not_visible(page, monkeypatch):
    page.viewer.controls.play.value = True
    page.wait_for(lambda frame: frame["steps"] > 2, "it did not play")
    monkeypatch.setattr(loop_module, "PATIENCE", 0.2)
    page.is_visible = False
    page.wait_for(lambda frame: "not visible" in frame["message"], "it went on")
    assert not page.viewer.controls.play.value


def test_a_stroke_builds_and_is_undone(page):
    viewer = page.viewer
    viewer.controls.radius.value = 2.0
    page.settle()
    free = (viewer.live.state[GEO_MASK] > 0).nonzero()[0].tolist()
    page.tell(kind="brush", tool="build", points=[free], stroke="1")
    page.settle()
    assert viewer.live.state[GEO_MASK][tuple(free)] == 0
    assert page.frames[-1][1][3][tuple(free)] == BUILDING
    assert "before the edit" in page.content["panels"][1]["title"]
    viewer.controls.undo.click()
    page.settle()
    assert viewer.live.state[GEO_MASK][tuple(free)] == 1
    viewer.controls.undo.click()
    page.wait_for(lambda frame: frame["message"] == "nothing to undo", "no message")


def test_a_city_with_other_cells_than_in_training_gets_a_warning(folder, monkeypatch):
    rule = calm_rule()
    monkeypatch.setattr(rule, "cells", (7.0, 7.0))
    viewer = RolloutViewer(folder, {"calm": [calm_rule()], "other": [rule]})
    page = Page(viewer)
    assert page.settle()["remarks"] == []
    viewer.controls.checkpoint.value = "other"
    frame = page.wait_for(lambda frame: frame["remarks"], "no remark")
    assert "do not trust the wind" in frame["remarks"][0]
    viewer.close()


def test_an_impossible_edit_is_refused_with_a_message(page):
    viewer = page.viewer
    viewer.controls.radius.value = 30.0
    page.settle()
    every = [[row, column] for row in range(24) for column in range(20)]
    page.tell(kind="brush", tool="build", points=every, stroke="1")
    page.wait_for(lambda frame: "no air" in frame["message"], "no refusal")
    assert viewer.live.target_of(viewer.live.state) is not None
    page.tell(kind="wind", degrees=float("inf"), stroke="2")
    page.wait_for(lambda frame: "wind_from" in frame["message"], "no refusal")


def test_the_dial_counts_where_the_wind_comes_from_clockwise_from_north(page):
    assert page.content["degrees"] == 270  # the case's wind goes to the east
    page.tell(kind="wind", degrees=135, stroke="1")
    frame = page.wait_for(lambda frame: frame["degrees"] == 135, "no turn")
    assert frame["message"] == ""
    x, y = page.viewer.live.state[[WIND_X, WIND_Y], 0, 0].tolist()
    assert (x, y) == pytest.approx((-(0.5**0.5), 0.5**0.5))  # from the south-east


def test_the_history_shows_earlier_states_and_an_edit_returns_to_the_current_one(page):
    viewer = page.viewer
    viewer.controls.automatic.value = True
    for _ in range(5):
        viewer.controls.step.click()
        page.settle()
    viewer.controls.history.value = 2
    page.wait_for(lambda frame: frame["steps"] == 2, "it did not show the history")
    past = page.content["panels"][0]["high"]
    page.tell(kind="wind", degrees=10, stroke="1")
    page.wait_for(lambda frame: frame["steps"] == 5, "it did not return")
    assert page.content["degrees"] == pytest.approx(10, abs=0.1)
    assert page.content["panels"][0]["high"] > past  # the field grows from zero


def test_values_at_the_pointer_are_shown_with_those_of_the_reference(page):
    live = page.viewer.live
    row, column = (live.state[GEO_MASK] > 0).nonzero()[7].tolist()
    page.tell(kind="hover", cell=[row, column])
    frame = page.wait_for(lambda frame: len(frame["readout"]) > 3, "no values")
    values = {line[0]: line for line in frame["readout"]}
    assert values[LABELS[U]][3] == f"{float(live.scene.simulation[U, row, column]):.2f}"
    assert values[LABELS[TKE]][2] == CHANNELS[TKE].unit
    row, column = (live.state[GEO_MASK] == 0).nonzero()[0].tolist()
    page.tell(kind="hover", cell=[row, column])
    page.wait_for(lambda frame: frame["readout"][-1][0] == "building", "no building")
    page.tell(kind="hover", cell=[999, 0])
    page.wait_for(lambda frame: len(frame["readout"]) == 1, "a cell outside")


def test_a_case_without_dwdz_has_no_reference_for_it(page):
    controls = page.viewer.controls
    controls.scene.value = "village/village_d000"
    page.wait_for(lambda frame: frame["shape"] == [16, 16], "not opened")
    controls.channel.value = DWDZ
    page.settle()
    assert len(page.content["panels"]) == 1
    controls.channel.value = SPEED
    page.settle()
    assert len(page.content["panels"]) == 3


def test_every_choice_can_be_made(page):
    controls = page.viewer.controls
    controls.play.value = True
    for control in (controls.channel, controls.reference, controls.speed, controls.checkpoint):
        for _, value in control._options_full:
            control.value = value
            page.settle()
            assert page.content["message"] == ""
    for reference, panels in ((FRESH_ROLLOUT, 3), (NOTHING, 1)):
        controls.reference.value = reference
        page.wait_for(lambda frame, n=panels: len(frame["panels"]) == n, reference)
    controls.arrows.value = controls.automatic.value = True
    page.wait_for(lambda frame: frame["across"] > 0, "no arrows")


def test_what_is_saved_can_be_opened(page, folder):
    controls = page.viewer.controls
    for _ in range(4):
        controls.step.click()
        page.settle()
    for button, ending in ((controls.fields, ".nc"), (controls.picture, ".png"),
                           (controls.film, ".mp4")):  # fmt: skip
        button.click()
        page.wait_for(
            lambda frame, e=ending: frame["message"].startswith("saved")
            and frame["message"].endswith(e), ending)  # fmt: skip
    (place,) = (folder / "saved").iterdir()
    fields, picture, film = sorted(place.iterdir())
    with xarray.open_dataset(fields) as saved:
        assert saved.attrs["automaton_steps"] == 4
    assert picture.read_bytes().startswith(b"\x89PNG")
    with av.open(str(film)) as opened:
        assert sum(1 for _ in opened.decode(video=0)) == 5


def test_a_save_that_fails_says_why(page, folder):
    (folder / "saved").write_text("a file where the folder should be")
    page.viewer.controls.fields.click()
    frame = page.wait_for(lambda frame: frame["message"].startswith("not saved"), "no message")
    assert "output_dir" in frame["message"]
    assert (folder / "saved").read_text() == "a file where the folder should be"


def test_an_error_stays_beside_what_is_said_of_a_film_until_the_next_request(page):
    page.viewer.controls.undo.click()
    page.wait_for(lambda frame: frame["message"] == "nothing to undo", "no complaint")
    page.viewer.loop.tell("drawing the film: 1 of 9 frames")
    page.wait_for(
        lambda frame: frame["message"] == "nothing to undo · drawing the film: 1 of 9 frames",
        "the error is gone")  # fmt: skip
    page.viewer.controls.step.click()
    page.wait_for(lambda frame: frame["message"] == "", "the error is still there")


def test_if_a_case_cannot_be_read_the_previous_one_stays_open(page, folder):
    (folder / "village.h5").write_bytes(b"no city any more")
    page.viewer.controls.scene.value = "village/village_d000"
    page.wait_for(lambda frame: "village.h5" in frame["message"], "no complaint")
    assert page.viewer.controls.scene.value == "town/town_d000"
    page.settle()
    assert page.content["shape"] == [24, 20]
    page.viewer.controls.scene.value = "town/town_d090"
    page.wait_for(lambda frame: frame["degrees"] == 180, "another case cannot be opened")


def test_a_folder_with_one_broken_file_can_be_viewed(folder):
    (folder / "ruin.h5").write_bytes(b"no city")
    with pytest.warns(InputWarning, match="ruin.h5"):
        viewer = RolloutViewer(folder, RULES)
    assert "ruin.h5" in Page(viewer).wait_for(lambda frame: True, "no frame")["remarks"][-1]
    assert viewer.live.scene.name == "town/town_d000"


def test_a_refused_edit_does_not_stop_the_rollout(page):
    controls = page.viewer.controls
    controls.play.value = True
    page.tell(kind="wind", degrees=float("nan"), stroke="1")
    frame = page.wait_for(lambda frame: "wind_from" in frame["message"], "no refusal")
    page.wait_for(lambda later: later["steps"] > frame["steps"] + 3, "it stopped")
    assert controls.play.value


def test_the_longest_arrow_is_at_the_strongest_wind(page):
    viewer = page.viewer
    viewer.controls.arrows.value = True
    page.tell(kind="wind", degrees=225, stroke="1")
    viewer.controls.speed.value = 32
    viewer.controls.step.click()
    page.wait_for(lambda frame: frame["steps"] == 32, "no step")
    content, (_, arrows, *_) = page.frames[-1]
    assert arrows.shape[1] == content["across"]
    assert content["longest"] == pytest.approx(np.nanmax(np.hypot(*arrows.reshape(-1, 2).T)))


def test_a_reloaded_page_gets_a_frame_at_once(page):
    page.is_visible = False  # the old page is gone
    page.viewer.controls.play.value = True
    time.sleep(0.1)
    page.is_visible, count = True, len(page.frames)
    page.tell(kind="ready")
    page.wait_for(lambda frame: len(page.frames) > count + 3, "it waits for the old page")
    assert page.viewer.controls.play.value


class Shell:
    """A stand-in for IPython that executes cells of a notebook."""

    def __init__(self):
        self.parent = {}

    def get_parent(self):
        return self.parent

    def run(self, cell: str, number: int, *viewers, deleted=()):
        about = {"cellId": cell, "deletedCells": list(deleted)}
        self.parent = {"header": {"msg_id": str(number)}, "metadata": about}
        for viewer in viewers:
            viewer._ipython_display_()


def test_viewers_are_closed_when_their_cell_is_run_again_or_deleted(folder, monkeypatch):
    shell = Shell()
    monkeypatch.setattr(controls_module, "get_ipython", lambda: shell)
    monkeypatch.setattr(viewer_module, "display", lambda what, raw=False: None)
    monkeypatch.setattr(saving, "still_page", lambda *about: "")
    first, second, third, fourth = (RolloutViewer(folder, RULES) for _ in range(4))
    shell.run("a", 1, first, second)  # two in one cell
    assert not first.loop.closed
    shell.run("a", 2, third)
    assert first.loop.closed
    assert second.loop.closed
    assert not third.loop.closed
    shell.run("b", 3, fourth, deleted=["a"])
    assert third.loop.closed
    assert not fourth.loop.closed


def test_a_closed_viewer_leaves_no_widget_behind(folder):
    RolloutViewer(folder, RULES).close()  # ipywidgets makes some widgets only once
    before = len(ipywidgets.widgets.widget._instances)
    RolloutViewer(folder, RULES).close()
    assert len(ipywidgets.widgets.widget._instances) == before


def test_a_field_that_diverges_pauses_with_a_message(page):
    wild = calm_rule()
    wild.w2.weight *= 1e30
    page.viewer.live.rules = [wild]
    page.viewer.controls.play.value = True
    page.wait_for(lambda frame: "diverges" in frame["message"], "no message")
    assert not page.viewer.controls.play.value


def test_a_closed_viewer_stops_its_thread(page):
    viewer = page.viewer
    viewer.controls.play.value = True
    page.wait_for(lambda frame: frame["steps"] > 2, "it did not play")
    viewer.close()
    viewer.loop.thread.join(5)
    assert not viewer.loop.thread.is_alive()
    assert viewer.controls.canvas.comm is None


def test_many_random_edits_and_controls_do_no_harm(page):
    chance, viewer = random.Random(3), page.viewer
    controls = viewer.controls
    controls.play.value = True
    for turn in range(300):
        point = [chance.randrange(-1, 25), chance.randrange(-1, 21)]
        controls.tool.value = chance.choice(["inspect", "build", "clear"])
        chance.choice([
            lambda p=point, s=turn // 4: page.tell(
                kind="brush", tool=controls.tool.value, points=[p] * 3, stroke=s),
            lambda: page.tell(kind="wind", degrees=chance.uniform(-720, 720), stroke="w"),
            lambda p=point: page.tell(kind="hover", cell=chance.choice([p, None])),
            lambda: setattr(controls.channel, "value", chance.randrange(6, 12)),
            lambda: setattr(controls.reference, "index", chance.randrange(3)),
            lambda: setattr(controls.scene, "index", chance.randrange(3)),
            lambda: setattr(controls.history, "value", chance.randrange(controls.history.max + 1)),
            lambda: setattr(controls.play, "value", True),
            controls.undo.click, controls.restart.click, controls.revert.click,
            lambda: page.tell(kind="ready"),
        ])()  # fmt: skip
        time.sleep(0.002)
    controls.play.value = False
    page.settle()
    state = viewer.live.state
    assert viewer.loop.thread.is_alive()
    assert state.isfinite().all()
    assert state[6:][:, state[GEO_MASK] == 0].abs().sum() == 0
    for content, _ in page.frames:
        assert "Error" not in content["message"]


def test_text_from_files_is_escaped_in_the_static_page(folder, monkeypatch):
    monkeypatch.setattr(saving, "STILL_FRAMES", 2)
    with h5py.File(folder / "town.h5", "a") as file:
        file.move("cases/town_d000", "cases/<script>alert(1)<")
    case = load_case(folder / "town.h5", "<script>alert(1)<")
    page = still_page(RULES["one"], CaseScene(case), View(), "one", "mark")
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "data:image/png;base64," in page
    assert "data:video/mp4;base64," in page


def test_a_rule_that_diverges_still_has_a_static_page(folder):
    wild = calm_rule()
    wild.w2.weight *= 1e30
    scene = CaseScene(load_case(folder / "town.h5", "town_d000"))
    page = still_page([wild], scene, View(), "wild", "mark")
    assert "data:video/mp4;base64," in page


def test_a_folder_without_cities_is_refused_at_once(tmp_path):
    with pytest.raises(InputError, match="no city files"):
        RolloutViewer(tmp_path, RULES)


PLAYING = """
import sys, time
from pinca_lib import RolloutViewer, load_rules
rules = load_rules("data/pretrained/init_nca.pth", "data/pretrained/pi_nca.pth")
viewer = RolloutViewer(sys.argv[1], {"two": rules}, image_size=256)
viewer.controls.canvas.send = lambda content, _: viewer.loop.frame_is_drawn(content["id"])
viewer.controls.speed.value = 8
viewer.loop.start()
viewer.controls.play.value = True
while viewer.loop.frame < 4:
    time.sleep(0.01)
"""


def test_python_can_end_while_the_viewer_plays(folder):
    done = subprocess.run([sys.executable, "-c", PLAYING, folder], capture_output=True, text=True)
    assert not done.returncode, done.stderr
