"""The fields that say how a file of buildings is to be read, where the file leaves it open."""

from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets as widgets

UNITS = ("", "m", "mm", "cm", "ft", "in")  # of meshes; "" lets load_city find out
AXES = ("", "y", "z")


class ReadingFields:
    """Fields with the names of ``load_city``'s parameters; most files need none of them.

    Parameters
    ----------
    given : mapping
        Values to begin with. Those that have no field, such as ``terrain``, are kept until
        ``clear``.
    """

    def __init__(self, given: Mapping[str, Any]):
        self._without_field: dict[str, Any] = {}
        text = {"continuous_update": False, "style": {"description_width": "initial"}}
        tips = {
            "site": "part to show: west,south,east,north or x,y,radius in m",
            "height_field": "field of the buildings' heights",
            "crs": "coordinate system, such as EPSG:4326",
        }
        self.fields: dict[str, widgets.Widget] = {
            name: widgets.Text(description=name, placeholder=tip, **text)
            for name, tip in tips.items()
        }
        self.fields["default_height"] = widgets.BoundedFloatText(
            description="default_height (m; 0: none)", min=0, max=300, **text
        )
        for name, choices in (("unit", UNITS), ("up", AXES)):
            self.fields[name] = widgets.Dropdown(description=name, options=choices)
        for field in self.fields.values():
            field.layout.width = "auto"
        rows = widgets.HBox([*self.fields.values()], layout=widgets.Layout(flex_flow="row wrap"))
        self.box = widgets.Accordion([rows], titles=["how to read a file of buildings"])
        self._fill(given)

    def values(self) -> dict[str, Any]:
        """Return the keyword arguments of ``load_city``."""
        found = {name: field.value or None for name, field in self.fields.items()}
        for name in ("height_field", "unit", "up"):
            found[name] = found[name] or ""
        return found | self._without_field

    def unfold(self) -> None:
        """Show the fields, after a file could not be read."""
        self.box.selected_index = 0

    def clear(self) -> None:
        """Empty all fields, for another file."""
        self._fill({})

    def on_change(self, act: Callable[[], None]) -> None:
        """Have a function called whenever a field is changed, by a person or by ``clear``."""
        for field in self.fields.values():
            field.observe(lambda _: act(), names="value")

    def _fill(self, given: Mapping[str, Any]) -> None:
        for name, field in self.fields.items():
            field.value = given.get(name) or (0.0 if name == "default_height" else "")
        self._without_field = {k: v for k, v in given.items() if k not in self.fields}
