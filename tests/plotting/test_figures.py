"""Figures have labels and units, and show the data the right way up."""

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg

from pinca_lib.channels import CHANNELS
from pinca_lib.evaluation.scaled_metrics import ScaledPhysicsMetrics
from pinca_lib.physics import PhysicsLoss
from pinca_lib.plotting import figures as plotting
from pinca_lib.training.pool import SamplePool


@pytest.fixture
def pool(dataset) -> SamplePool:
    return SamplePool(dataset, 20, np.random.default_rng(0))


def rows(count: int = 12) -> list[dict[str, float]]:
    names = (*ScaledPhysicsMetrics.SCORES, "mean", *PhysicsLoss.TERMS)
    return [
        {"iteration": i, "loss": 1 / (i + 1), **dict.fromkeys(names, 0.5)} for i in range(count)
    ]


def labels(figure) -> set[str]:
    return {text for axes in figure.axes for text in (axes.get_xlabel(), axes.get_ylabel())} - {""}


def test_channels_are_drawn_with_metres_units_and_grey_buildings(dataset):
    figure = plotting.plot_channels(dataset.states[0], extent=dataset.extents[0])
    assert {"x (m)", "y (m)"} <= labels(figure)
    for channel in CHANNELS:
        assert channel.title in labels(figure)
    images = [axes.images[0] for axes in figure.axes if axes.images]
    speed = images[8].get_array()
    building = dataset.states[0, 2].numpy() == 0
    assert np.isnan(np.ma.filled(speed, np.nan)[building]).all()
    assert images[8].origin == "lower"  # row 0 is south
    norm = images[6].norm
    assert norm.vmin == -norm.vmax  # signed fields are centred on zero


def test_without_an_extent_axes_count_cells(dataset):
    assert "x (cells)" in labels(plotting.plot_channels(dataset.states[0], [8]))


def test_every_figure_of_the_training_can_be_drawn(pool):
    batch = pool.sample(3)
    state = batch.state.requires_grad_(True)
    for figure in (
        plotting.plot_pool(pool),
        plotting.plot_batch(state, batch.target),
        plotting.plot_losses(rows()),
        plotting.plot_scores(rows()),
        plotting.plot_physics(rows(), PhysicsLoss.TERMS),
        plotting.plot_comparison(state[0], batch.target[0], batch.extents[0]),
        plotting.plot_progress(rows(), batch, state),
    ):
        figure.canvas.draw()
        assert labels(figure)


def test_a_diverged_state_can_be_drawn(pool):
    batch = pool.sample(2)
    for figure in (
        plotting.plot_batch(torch.full_like(batch.state, torch.nan), batch.target),
        plotting.plot_channels(torch.full((12, 8, 8), torch.nan)),
    ):
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        assert np.asarray(canvas.buffer_rgba()).std() > 0  # not an empty canvas


def test_the_moving_mean_is_the_mean_of_the_last_values():
    values = [1.0, 3.0, 5.0, 7.0]
    assert plotting.moving_mean(values, 2).tolist() == [1.0, 2.0, 4.0, 6.0]
    assert plotting.moving_mean(values, 100).tolist() == [1.0, 2.0, 3.0, 4.0]
