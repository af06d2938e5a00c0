"""Maps and scatter plots of measured cases show every probe."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg

from pinca_lib.evaluation import measured_cases
from pinca_lib.plotting import plot_tunnel_maps, plot_tunnel_scatter
from pinca_lib.runs import PROJECT_ROOT


def test_every_probe_is_drawn_in_the_colours_of_its_map():
    cases = measured_cases(PROJECT_ROOT / "data" / "measured")
    planes = [np.random.default_rng(0).random(case.place.grid.shape) for case in cases]
    maps, scatter = plot_tunnel_maps(cases, planes), plot_tunnel_scatter(cases, planes)
    for figure in (maps, scatter):
        FigureCanvasAgg(figure).draw()  # an invalid artist fails here
    for case in cases:
        axes = next(a for a in maps.axes if a.get_title() == case.name)
        (dots,) = axes.collections
        assert np.allclose(dots.get_offsets(), case.probes)
        assert dots.get_clim() == axes.images[0].get_clim()
    assert [axes.get_title() for axes in scatter.axes] == ["AIJ C, 0H", "AIJ C, 1H", "AIJ C, 2H",
                                                           "AIJ A"]  # fmt: skip
    drawn = sum(len(line.get_xdata()) for axes in scatter.axes for line in axes.lines
                if line.get_marker() == "o")  # fmt: skip
    assert drawn == sum(len(case.probes) for case in cases)
