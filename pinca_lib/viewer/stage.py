"""What the viewer shows: a rollout over a scene, as it is seen, edited and saved."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from pinca_lib.automaton import CA
from pinca_lib.channels import TOPO
from pinca_lib.cities.prediction import STEPS
from pinca_lib.errors import InputError
from pinca_lib.rollouts import steps_before
from pinca_lib.viewer import saving
from pinca_lib.viewer.album import Album
from pinca_lib.viewer.catalogue import Catalogue
from pinca_lib.viewer.controls import DOUBLING, Controls
from pinca_lib.viewer.live import LiveRollout
from pinca_lib.viewer.panels import FRESH_ROLLOUT, View
from pinca_lib.viewer.scenes import PlaceScene, Scene, wind_from


class Stage:
    """A rollout over the scene that is chosen, and what the controls do to it.

    Parameters
    ----------
    scene : str or Path
        Name of a case of the catalogue, or the path of a file of buildings.
    catalogue : Catalogue
    checkpoints : mapping of str to sequence of CA
        Rules by the name of their model.
    controls : Controls
    album : Album

    Attributes
    ----------
    live : LiveRollout
    view : View
    is_setting : bool
        True while controls are set here, not by the user.
    """

    def __init__(
        self,
        scene: str | Path,
        catalogue: Catalogue,
        checkpoints: Mapping[str, Sequence[CA]],
        controls: Controls,
        album: Album,
    ):
        self.catalogue, self.checkpoints = catalogue, checkpoints
        self.controls, self.album = controls, album
        self.view = View(wind=controls.reference_wind)
        self.is_setting = False
        self.file: Path | None = None  # that was opened last
        self.until = 0  # steps after which it pauses; 0 for never
        self._saved: Tensor | None = None  # heights of the buildings that were saved last
        if isinstance(scene, Path):
            self.open_file(scene)
        else:
            self.show_scene(catalogue.scene(scene))

    def show_scene(self, scene: Scene) -> None:
        """Start a rollout over another scene."""
        c, view = self.controls, self.view
        if hasattr(self, "live"):
            self.keep_edited()
        if isinstance(scene, PlaceScene):  # refuses a wind that it cannot be under
            scene.friction(view.wind, self.catalogue.direction)
        rules = self.checkpoints[c.checkpoint.value]
        self.live = LiveRollout(rules, scene, rules[0].w1.weight.device)
        view.history_index = view.pointer = None
        view.widest.clear()
        self.until = STEPS if isinstance(scene, PlaceScene) else 0
        with self.setting():
            c.scene.options = self.catalogue.names
            c.scene.value = scene.name
            c.fit(isinstance(scene, PlaceScene), scene.simulation is not None)
        self.apply_view()

    @contextmanager
    def setting(self) -> Iterator[None]:
        """Set controls without taking it for the user's doing."""
        self.is_setting = True
        try:
            yield
        finally:
            self.is_setting = False

    def open(self, name: str) -> None:
        """Show the scene of a name; if it cannot be read, the last one stays."""
        try:
            self.show_scene(self.catalogue.scene(name))
        except Exception:
            with self.setting():
                self.controls.scene.value = self.live.scene.name
            raise

    def open_file(self, path: Path) -> None:
        """Show the place in a file that was dropped or chosen."""
        if self.file and self.file.name != path.name:  # what was said about another file
            with self.setting():
                self.controls.reading.clear()
        self.file = path
        self.read_file()

    def read_file(self) -> None:
        """Read the last file anew, and show its place."""
        assert self.file is not None
        try:
            self.show_scene(self.catalogue.open(self.file, self.controls.reading.values()))
        except Exception:
            self.controls.reading.unfold()
            raise
        self.controls.play.value = True

    def apply_wind(self) -> None:
        """Take over the wind that is named for places."""
        wind = self.controls.reference_wind
        if isinstance(self.live.scene, PlaceScene):
            self.live.scene.friction(wind, wind_from(self.live.state))  # may refuse it
        self.view.wind = wind

    def change_rules(self) -> None:
        """Start again with the rules that are chosen."""
        self.live.rules = self.checkpoints[self.controls.checkpoint.value]
        self.live.restart()

    def apply_view(self) -> None:
        """Take over the settings of the controls that say what to show."""
        c, view = self.controls, self.view
        view.channel, view.reference = c.channel.value, c.reference.value
        view.automatic, view.arrows = c.automatic.value, c.arrows.value
        self.live.compare_with_fresh_rollout(view.reference == FRESH_ROLLOUT)
        scene = self.live.scene
        cell_size = math.sqrt(math.prod(scene.extent) / math.prod(scene.start.shape[-2:]))
        c.canvas.radius = c.radius.value / cell_size

    def show_history(self, index: int) -> None:
        """Show a state of the history, or the current one beyond its end."""
        self.view.history_index = None if index >= len(self.live.history) else index

    def undo(self) -> None:
        """Undo the last edit."""
        if not self.live.undo():
            raise InputError("nothing to undo")

    def paint(self, tool: str, points: Sequence, stroke: str) -> None:
        """Build or clear what the brush covers at some cells, (row, column) each."""
        cells = self.live.scene.brushed(points, self.controls.canvas.radius)
        if tool == "build":
            self.live.build(cells, self.controls.height.value, stroke)
        elif tool == "clear":
            self.live.clear(cells, stroke)

    def point(self, cell: Sequence[int] | None) -> None:
        """Read the values of a cell, (row, column), from now on."""
        height, width = self.live.scene.shown_shape
        if cell and 0 <= cell[0] < height and 0 <= cell[1] < width:
            self.view.pointer = cell[0], cell[1]
        else:
            self.view.pointer = None

    def save(self, keep: Callable[..., None]) -> None:
        """Save something, by one of the functions of ``saving``."""
        keep(self.album, self.live, self.view, self.controls.checkpoint.value)

    def save_buildings(self) -> None:
        """Save the buildings of a place."""
        self.save(saving.keep_buildings)
        self._saved = self.live.state[TOPO].clone()

    def keep_edited(self) -> None:
        """Save the buildings of a place that were edited since they were saved."""
        is_saved = self._saved is not None and torch.equal(self._saved, self.live.state[TOPO])
        if self.live.has_new_buildings and not is_saved:
            self.save_buildings()

    def advance(self) -> int:
        """Advance the rollout by a frame; return the number of steps."""
        steps = self.controls.speed.value
        steps = steps_before(self.live.frames) if steps == DOUBLING else steps
        if self.until:
            steps = min(steps, self.until - self.live.steps)
        self.live.advance(steps)
        if self.live.steps == self.until:  # the map of a place is complete
            self.until = 0
            self.controls.play.value = False
        return steps
