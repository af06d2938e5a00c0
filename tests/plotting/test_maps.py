"""Maps of a place: what lies where, in which range, and what is hatched."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.contour import ContourSet

from pinca_lib.cities.place import Grid, Place
from pinca_lib.cities.prediction import WindMaps
from pinca_lib.plotting import plot_change, plot_classes, plot_directions, plot_error, plot_wind


@pytest.fixture
def maps():
    """A site of 60 m x 80 m with one building in its north-east corner."""
    heights = np.zeros((50, 40), np.float32)
    heights[40:45, 28:35] = 9
    site = slice(5, 45), slice(5, 35)
    place = Place("town", Grid(1000.0, 2000.0, 2.0, heights.shape), heights, heights > 10, site)
    fields = np.random.default_rng(0).random((2, 6, 40, 30)).astype(np.float32)
    fields[..., place.on_site(heights) > 0] = np.nan
    return WindMaps(place, (270.0, 0.0), fields, (1.0, 1.0))


def images(figure):
    return [image for axes in figure.axes for image in axes.images]


def test_a_map_has_the_speed_of_its_wind_with_north_up_and_metres_on_its_axes(maps):
    figure = plot_wind(maps, 1)
    image, axes = images(figure)[0], figure.axes[0]
    np.testing.assert_array_equal(image.get_array().filled(np.nan), maps.speed[1])
    assert image.origin == "lower"
    assert image.get_extent() == [0, 60, 0, 80]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("east of 1,010 (m)", "north of 2,010 (m)")
    assert "wind from 0°" in axes.get_title()
    assert "m/s" in figure.axes[1].get_ylabel()


def test_what_is_unlike_the_training_is_hatched_and_explained(maps):
    assert not plot_wind(maps).legends
    doubtful = np.zeros(maps.speed.shape[1:], bool)
    doubtful[5:9, 5:9] = True
    figure = plot_wind(maps, 0, doubtful)
    (text,) = figure.legends[0].get_texts()
    assert "unlike the training data (1.4% of the open ground)" in text.get_text()


def test_error_bars_have_a_map_of_their_own(maps):
    error = 0.1 * maps.speed
    figure = plot_error(replace(maps, error=error), 1, title="how sure")
    np.testing.assert_array_equal(images(figure)[0].get_array().filled(np.nan), error[1])
    assert figure.axes[0].get_title() == "how sure"
    assert "± mean speed at 2 m (m/s)" in figure.axes[1].get_ylabel()


def test_no_wind_is_drawn_over_buildings(maps):
    axes = plot_wind(maps, 0).axes[0]
    (lines,) = [found for found in axes.collections if isinstance(found, LineCollection)]
    assert lines.zorder < axes.images[1].zorder


def test_the_hatching_reaches_the_edge_of_the_map_and_leaves_out_buildings(maps):
    everywhere = np.ones(maps.speed.shape[1:], bool)
    (hatched,) = [found for found in plot_wind(maps, 0, everywhere).axes[0].collections
                  if isinstance(found, ContourSet)]  # fmt: skip
    (outline,) = hatched.get_paths()
    assert outline.get_extents().bounds == (0, 0, 60, 80)
    assert not outline.contains_point((55, 75))  # in the building


def test_what_is_unlike_is_explained_once_below_maps_side_by_side(maps):
    doubtful = np.zeros(maps.speed.shape[1:], bool)
    doubtful[5:9, 5:9] = True
    for figure in (plot_change(maps, maps, 0, doubtful), plot_directions(maps, doubtful)):
        ((text,),) = [legend.get_texts() for legend in figure.legends]
        assert "unlike the training data" in text.get_text()


def test_all_directions_share_one_range_of_colours(maps):
    norms = {image.norm for image in images(plot_directions(maps)) if image.norm.vmax < 1}
    assert len(norms) == 1


def test_classes_are_named_and_buildings_have_none(maps):
    classes = np.zeros(maps.speed.shape[1:], int)
    classes[:, 15:] = 1
    classes[np.isnan(maps.speed[0])] = -1
    figure = plot_classes(maps.place, classes, ["calm", "windy"], "comfort")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["calm", "windy"]
    shown = images(figure)[0].get_array()
    assert np.array_equal(shown.mask, classes < 0)


def test_a_change_is_centred_on_zero(maps):
    figure = plot_change(maps, maps.scaled(2.0))
    change = [image for image in images(figure) if image.norm.vmin == -image.norm.vmax]
    np.testing.assert_allclose(change[0].get_array().filled(np.nan), maps.speed[0], rtol=1e-6)
