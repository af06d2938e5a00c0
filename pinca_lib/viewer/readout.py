"""The values at the pointer, as a table of text, and the fields in plain words."""

from torch import Tensor

from pinca_lib.channels import (
    CHANNELS,
    DWDZ,
    FLUX,
    GEO_MASK,
    PREDICTED_CHANNELS,
    SPEED,
    TKE,
    TOPO,
    U,
    V,
)
from pinca_lib.viewer.scenes import PlaceScene, Scene

LABELS = {
    SPEED: "mean speed",
    U: "wind to the east ⟨u⟩",
    V: "wind to the north ⟨v⟩",
    TKE: "turbulence, TKE",
    FLUX: "flux ⟨u′w′⟩",
    DWDZ: "gradient ∂⟨w⟩/∂z",
}


def read_out(
    scene: Scene,
    pointer: tuple[int, int] | None,
    state: Tensor,
    other: Tensor | None,
    name: str,
) -> list[list[str]]:
    """Return the rows of the table of values at the pointer.

    Parameters
    ----------
    scene : Scene
    pointer : (row, column), or None
        A cell that is shown.
    state : Tensor of shape (12, h, w)
        As it is shown.
    other : Tensor of shape (12, h, w), or None
        What it is compared with.
    name : str
        Of ``other``.

    Returns
    -------
    list of list of str
        The first row is the position. In a building its height follows, in air the fields and those
        of the reference.
    """
    if pointer is None:
        return [["point at the map to read its values"]]
    row, column = pointer
    across, up = (
        (index + 0.5) * length / cells
        for index, length, cells in zip((column, row), scene.shown_extent[::-1],
                                        scene.shown_shape[::-1], strict=True)
    )  # fmt: skip
    if isinstance(scene, PlaceScene):
        west, south = scene.corner
        rows = [["east", f"{west + across:,.0f}", "m"], ["north", f"{south + up:,.0f}", "m"]]
    else:
        rows = [["x, y", f"{across:.0f}, {up:.0f}", "m"]]
    if state[GEO_MASK, row, column] == 0:
        return [*rows, ["building", f"{float(state[TOPO, row, column]):.0f}", "m"]]
    if other is not None:
        rows.append(["", "prediction", "", name])
    for index in PREDICTED_CHANNELS:
        channel, digits = CHANNELS[index], 4 if index > SPEED else 2
        line = [LABELS[index], f"{float(state[index, row, column]):.{digits}f}", channel.unit]
        if other is not None and (
            index != DWDZ or other is not scene.simulation or scene.has_dwdz):  # fmt: skip
            line.append(f"{float(other[index, row, column]):.{digits}f}")
        rows.append(line)
    return rows
