"""Films: draw a rollout next to its target, and write it as h264."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import av
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from pinca_lib.channels import SPEED
from pinca_lib.plotting.figures import air_plane, colour_range, describe, draw_plane
from pinca_lib.writing import written_whole


def draw_film(
    planes: Sequence[tuple[int, np.ndarray]],
    target: Tensor | None,
    extent: Sequence[float] | Tensor,
    channel: int = SPEED,
    name: str = "PI-NCA",
) -> Iterator[np.ndarray]:
    """Draw one channel of each frame next to the target.

    Parameters
    ----------
    planes : sequence of (int, ndarray of shape (H, W))
        For each frame, the steps so far and the channel (``air_plane`` of a state). A whole state
        for each frame would take gigabytes on a large grid.
    target : Tensor of shape (12, H, W), or None
        Sets the range of the colours. Without a target only the frames are drawn, and the last of
        them sets the range.
    extent : (height, width) in metres
    channel : int
        The channel that the planes show.
    name : str
        Name of the automaton, for the title.

    Yields
    ------
    ndarray of shape (height, width, 3), uint8
        RGB, with even sides, which h264 requires.
    """
    kind = describe(channel)
    reference = planes[-1][1] if target is None else air_plane(target, channel)
    norm = colour_range(kind, reference)
    panels = 1 if target is None else 2
    figure = Figure(figsize=(4.5 * panels, 4), dpi=80, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    left, *right = figure.subplots(1, panels, squeeze=False)[0]
    image = draw_plane(left, np.zeros_like(reference), kind, extent, norm, name)
    for axes in right:
        draw_plane(axes, reference, kind, extent, norm, "simulation")
    for steps, plane in planes:
        image.set_data(plane)
        left.set_title(f"{name}, step {steps}")
        canvas.draw()
        figure.set_layout_engine("none")  # keep the first layout: the panels must not move
        picture = np.asarray(canvas.buffer_rgba())[..., :3]
        height, width = (side - side % 2 for side in picture.shape[:2])
        yield picture[:height, :width].copy()  # the canvas is reused


def write_film(path: Path, pictures: Iterable[np.ndarray], frames_per_second: int = 30) -> None:
    """Write pictures as an h264 film that browsers can play.

    Parameters
    ----------
    path : Path
        MP4 file to write; it appears only when it is complete.
    pictures : iterable of ndarray of shape (height, width, 3), uint8
        RGB; all of the same size, with even sides.
    frames_per_second : int

    Raises
    ------
    ValueError
        If there are no pictures.
    """
    options = {"movflags": "+faststart"}  # index first, so that a film plays while it is loaded
    with (
        written_whole(path) as partial,
        av.open(str(partial), "w", format="mp4", options=options) as container,
    ):
        stream = None
        for picture in pictures:
            if stream is None:
                stream = container.add_stream("libx264", rate=frames_per_second)
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = "yuv420p"
                stream.options = {"crf": "26"}
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame))
        if stream is None:
            raise ValueError(f"{path}: no pictures; a film needs at least one")
        container.mux(stream.encode())
