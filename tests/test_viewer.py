"""The viewer without a browser: a canvas of the tests takes its frames and answers them."""

import random
import threading
import time

import av
import numpy as np
import pytest
import xarray
from conftest import write_plain_city
from test_live import calm_rule

from pinca_lib import viewer as viewer_module
from pinca_lib.channels import CHANNELS, DWDZ, GEO_MASK, SPEED, TKE, U
from pinca_lib.datasets import load_dataset
from pinca_lib.errors import InputError
from pinca_lib.panels import BUILDING, COLD_START, NOTHING
from pinca_lib.saving import still_page
from pinca_lib.viewer import RolloutViewer

RULES = {"two": [calm_rule(), calm_rule()], "one": [calm_rule()]}


class Page:
    """What the browser does: it notes each frame and, after a moment, says that it is drawn."""

    def __init__(self, viewer: RolloutViewer, delay: float = 0.0):
        self.viewer, self.delay, self.looking, self.frames = viewer, delay, True, []
        viewer.controls.canvas.send = self.take
        self.tell(kind="ready")

    def take(self, content, buffers):
        self.frames.append((content, [np.array(buffer) for buffer in buffers]))
        if self.looking:
            answer = {"kind": "drawn", "id": content["id"]}
            threading.Timer(self.delay, lambda: self.tell(**answer)).start()

    def tell(self, **content):
        self.viewer._receive(None, content, [])

    @property
    def content(self) -> dict:
        return self.frames[-1][0]

    def wait_for(self, condition, what: str):
        """Wait until a new frame fulfils a condition."""
        for _ in range(1000):
            if self.frames and condition(self.content):
                return self.content
            time.sleep(0.01)
        raise AssertionError(f"{what}; the last frame was {self.content}")

    def settle(self) -> dict:
        """Wait until nothing is left to do."""
        time.sleep(0.05)
        self.wait_for(lambda _: not self.viewer._wanted, "requests were left")
        time.sleep(0.1)
        return self.content


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


@pytest.fixture
def page(viewer) -> Page:
    page = Page(viewer)
    page.wait_for(lambda frame: True, "no first frame")
    return page


def test_it_shows_automaton_simulation_and_error(page):
    content, (city, arrows, curves, *planes) = page.frames[-1]
    titles = [panel["title"] for panel in content["panels"]]
    assert [title.split(":")[0] for title in titles] == [
        "automaton", "simulation", "automaton − simulation"]  # fmt: skip
    assert len(planes) == 6
    simulated = page.viewer.live.simulation
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
    assert page.viewer.live.steps == 30 + 2 * (page.viewer.live.frames - 30)
    controls.play.value = False
    steps = page.settle()["steps"]
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
    viewer.controls.play.value = True
    time.sleep(1.2)
    assert 3 <= len(page.frames) <= 9
    viewer.controls.play.value = False


def test_it_pauses_when_nobody_looks(page, monkeypatch):
    monkeypatch.setattr(viewer_module, "PATIENCE", 0.2)
    page.viewer.controls.play.value = True
    page.wait_for(lambda frame: frame["steps"] > 2, "it did not play")
    page.looking = False
    page.wait_for(lambda frame: "nobody" in frame["message"], "it went on")
    assert not page.viewer.controls.play.value


def test_a_stroke_builds_and_is_undone(page):
    viewer = page.viewer
    viewer.controls.tool.value, viewer.controls.radius.value = "build", 2.0
    page.settle()
    free = (viewer.live.state[GEO_MASK] > 0).nonzero()[0].tolist()
    page.tell(kind="brush", points=[free], stroke="1")
    page.settle()
    assert viewer.live.state[GEO_MASK][tuple(free)] == 0
    assert page.frames[-1][1][3][tuple(free)] == BUILDING
    assert "before the edit" in page.content["panels"][1]["title"]
    viewer.controls.undo.click()
    page.settle()
    assert viewer.live.state[GEO_MASK][tuple(free)] == 1
    viewer.controls.undo.click()
    page.wait_for(lambda frame: frame["message"] == "nothing to undo", "no word")


def test_an_impossible_edit_is_refused_with_a_message(page):
    viewer = page.viewer
    viewer.controls.tool.value, viewer.controls.radius.value = "build", 30.0
    page.settle()
    every = [[row, column] for row in range(24) for column in range(20)]
    page.tell(kind="brush", points=every, stroke="1")
    page.wait_for(lambda frame: "no air" in frame["message"], "no refusal")
    assert viewer.live.target_of(viewer.live.state) is not None
    page.tell(kind="wind", degrees=float("inf"), stroke="2")
    page.wait_for(lambda frame: "blow" in frame["message"], "no refusal")


def test_the_dial_turns_the_wind(page):
    page.tell(kind="wind", degrees=135, stroke="1")
    frame = page.wait_for(lambda frame: abs(frame["degrees"] - 135) < 0.1, "no turn")
    assert frame["message"] == ""


def test_looking_back_shows_what_was_and_an_edit_returns_to_now(page):
    viewer = page.viewer
    for _ in range(5):
        viewer.controls.step.click()
        page.settle()
    viewer.controls.moment.value = 2
    page.wait_for(lambda frame: frame["steps"] == 2, "it did not look back")
    page.tell(kind="wind", degrees=10, stroke="1")
    page.wait_for(lambda frame: frame["steps"] == 5, "it did not return")


def test_a_cell_under_the_pointer_is_read_out_beside_the_reference(page):
    live = page.viewer.live
    row, column = (live.state[GEO_MASK] > 0).nonzero()[7].tolist()
    page.tell(kind="hover", cell=[row, column])
    frame = page.wait_for(lambda frame: len(frame["readout"]) > 3, "no values")
    values = {line[0]: line for line in frame["readout"]}
    assert values[CHANNELS[U].label][3] == f"{float(live.simulation[U, row, column]):.2f}"
    assert values[CHANNELS[TKE].label][2] == CHANNELS[TKE].unit
    row, column = (live.state[GEO_MASK] == 0).nonzero()[0].tolist()
    page.tell(kind="hover", cell=[row, column])
    page.wait_for(lambda frame: frame["readout"][-1][0] == "building", "no building")
    page.tell(kind="hover", cell=[999, 0])
    page.wait_for(lambda frame: len(frame["readout"]) == 1, "a cell outside")


def test_a_case_without_dwdz_has_no_reference_for_it(page):
    controls = page.viewer.controls
    controls.case.value = "village/village_d000"
    page.wait_for(lambda frame: frame["shape"] == [16, 16], "not opened")
    controls.channel.value = DWDZ
    page.wait_for(lambda frame: len(frame["panels"]) == 1, "a reference of zeros")


def test_every_choice_can_be_made(page):
    controls = page.viewer.controls
    controls.play.value = True
    for control in (controls.channel, controls.reference, controls.speed, controls.checkpoint):
        for _, value in control._options_full:
            control.value = value
            page.settle()
            assert page.content["message"] == ""
    for reference, panels in ((COLD_START, 3), (NOTHING, 1)):
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
    page.wait_for(lambda frame: frame["message"].startswith("not saved"), "no word")


def test_a_case_that_cannot_be_read_leaves_the_one_that_is_open(page, folder):
    (folder / "village.h5").write_bytes(b"no city any more")
    page.viewer.controls.case.value = "village/village_d000"
    page.wait_for(lambda frame: "village.h5" in frame["message"], "no complaint")
    assert page.viewer.controls.case.value == "town/town_d000"
    page.settle()
    assert page.content["shape"] == [24, 20]


def test_a_field_that_diverges_pauses_with_a_message(page):
    wild = calm_rule()
    wild.w2.weight *= 1e30
    page.viewer.live.rules = [wild]
    page.viewer.controls.play.value = True
    page.wait_for(lambda frame: "diverges" in frame["message"], "no word")
    assert not page.viewer.controls.play.value


def test_a_closed_viewer_works_no_more(page):
    viewer = page.viewer
    viewer.controls.play.value = True
    page.wait_for(lambda frame: frame["steps"] > 2, "it did not play")
    viewer.close()
    viewer._thread.join(5)
    assert not viewer._thread.is_alive()
    assert viewer.controls.canvas.comm is None


def test_a_storm_of_edits_and_controls_does_no_harm(page):
    chance, viewer = random.Random(3), page.viewer
    controls = viewer.controls
    controls.play.value = True
    for turn in range(300):
        point = [chance.randrange(-1, 25), chance.randrange(-1, 21)]
        controls.tool.value = chance.choice(["look", "build", "clear"])
        chance.choice([
            lambda p=point, s=turn // 4: page.tell(kind="brush", points=[p] * 3, stroke=s),
            lambda: page.tell(kind="wind", degrees=chance.uniform(-720, 720), stroke="w"),
            lambda p=point: page.tell(kind="hover", cell=chance.choice([p, None])),
            lambda: setattr(controls.channel, "value", chance.randrange(6, 12)),
            lambda: setattr(controls.reference, "index", chance.randrange(3)),
            lambda: setattr(controls.case, "index", chance.randrange(3)),
            lambda: setattr(controls.moment, "value", chance.randrange(controls.moment.max + 1)),
            lambda: setattr(controls.play, "value", True),
            controls.undo.click, controls.restart.click, controls.revert.click,
            lambda: page.tell(kind="ready"),
        ])()  # fmt: skip
        time.sleep(0.002)
    page.wait_for(lambda frame: not viewer._wanted, "it hangs")
    page.settle()
    state = viewer.live.state
    assert viewer._thread.is_alive()
    assert state.isfinite().all()
    assert state[6:][:, state[GEO_MASK] == 0].abs().sum() == 0
    for content, _ in page.frames:
        assert "Error" not in content["message"]


def test_text_from_files_is_escaped_where_there_is_no_kernel(folder):
    write_plain_city(folder / "<script>alert(1)<.h5")
    case = load_dataset(folder, case="<script>")
    page = still_page(RULES["one"], case, None, "mark")
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "data:image/png;base64," in page


def test_a_folder_without_cities_is_refused_at_once(tmp_path):
    with pytest.raises(InputError, match="no city files"):
        RolloutViewer(tmp_path, RULES)
