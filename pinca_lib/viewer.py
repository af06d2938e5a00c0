"""A viewer for notebooks: slide through the states of a rollout, channel by channel."""

import io
from collections.abc import Sequence

import ipywidgets as widgets
from IPython.display import display
from torch import Tensor

from pinca_lib.channels import FIELDS, GEO_MASK, NAMES, PREDICTED, SPEED
from pinca_lib.plotting import plot_comparison


class RolloutViewer:
    """Sliders over stored snapshots of a rollout, beside the target and the error.

    Parameters
    ----------
    snapshots : sequence of (int, Tensor of shape (C, H, W))
        Steps taken, and the state then; from ``video.rollout_frames``.
    target : Tensor of shape (12, H, W)
    extent : (height, width) in metres
    has_dwdz : bool
        Whether the target holds dwdz, so that it is among the channels to choose.
    """

    def __init__(
        self, snapshots: Sequence[tuple[int, Tensor]], target: Tensor, extent, has_dwdz: bool
    ):
        self.snapshots, self.target, self.extent = snapshots, target, extent
        shown = range(len(NAMES))[PREDICTED if has_dwdz else FIELDS]
        self.frame = widgets.SelectionSlider(
            options=[(f"step {steps}", index) for index, (steps, _) in enumerate(snapshots)],
            value=len(snapshots) - 1,
            description="rollout",
            continuous_update=False,
            layout=widgets.Layout(width="60%"),
        )
        self.channel = widgets.Dropdown(
            options=[(NAMES[index], index) for index in shown], value=SPEED, description="channel"
        )
        self.picture = widgets.Image(format="png")
        self.error = widgets.HTML()
        for control in (self.frame, self.channel):
            control.observe(self._draw, names="value")
        self.widget = widgets.VBox(
            [widgets.HBox([self.frame, self.channel]), self.error, self.picture]
        )
        self._draw()

    def _draw(self, change=None) -> None:
        index = self.channel.value
        state = self.snapshots[self.frame.value][1]
        air = self.target[GEO_MASK] > 0
        misfit = (state[index] - self.target[index])[air].norm() / self.target[index][air].norm()
        self.error.value = f"relative L2 error of {NAMES[index]} over air: {float(misfit):.2f}"
        figure = plot_comparison(state, self.target, self.extent, channels=[index])
        png = io.BytesIO()
        figure.savefig(png, format="png")
        self.picture.value = png.getvalue()

    def _ipython_display_(self) -> None:
        display(self.widget)
