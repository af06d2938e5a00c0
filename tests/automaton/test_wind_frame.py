"""The wind frame: rotations into it and back, and mirror images."""

import torch

from pinca_lib.automaton.rule import perceive
from pinca_lib.automaton.wind_frame import (
    heading,
    mirrored,
    mirrored_perception,
    reverse,
    rotated,
    rotated_perception,
)

ANGLES = torch.tensor([0.0, 0.5, 2.0, 4.0])
WIND = torch.stack([ANGLES.cos(), ANGLES.sin()], dim=1)


def test_the_heading_is_the_direction_of_the_wind_at_any_strength():
    state = torch.rand(4, 12, 3, 5)
    state[:, 4:6] = (torch.tensor([0.5, 1, 2, 3])[:, None] * WIND)[:, :, None, None]
    torch.testing.assert_close(heading(state), WIND)
    state[2, 4:6] = 0
    assert heading(state)[2].tolist() == [1, 0]


def test_in_the_wind_frame_the_wind_blows_along_x():
    state = torch.rand(4, 24, 3, 5)
    state[:, 4:6] = WIND[:, :, None, None]
    state[:, 6:8] = 3 * WIND[:, :, None, None]
    seen = rotated(state, reverse(WIND), 1)
    for along, across, size in ((4, 5, 1), (6, 7, 3)):
        torch.testing.assert_close(seen[:, along], torch.full((4, 3, 5), float(size)))
        torch.testing.assert_close(seen[:, across], torch.zeros(4, 3, 5), atol=1e-6, rtol=0)
    scalars = [0, 1, 2, 3, 8, 9, 11, *range(13, 24)]
    assert torch.equal(seen[:, scalars], state[:, scalars])
    torch.testing.assert_close(rotated(seen, WIND, 1), state)


def test_a_slope_along_the_wind_has_no_gradient_across_the_wind():
    y, x = torch.meshgrid(torch.arange(9.0), torch.arange(9.0), indexing="ij")
    cos, sin = WIND.view(4, 2, 1, 1).unbind(1)
    state = torch.zeros(4, 24, 9, 9)
    state[:, 3] = cos * x + sin * y
    seen = perceive(state).unflatten(1, (24, 4))
    along = rotated_perception(seen, reverse(WIND), 1)
    slope = along[:, 3, 1:3, 4, 4]
    torch.testing.assert_close(slope, torch.tensor([8.0, 0.0]).expand(4, 2), atol=1e-5, rtol=0)
    torch.testing.assert_close(rotated_perception(along, WIND, 1), seen)


def test_a_mirror_image_changes_the_sign_across_the_wind_and_of_half_of_the_hidden_channels():
    odd = [5, 7, 12, *range(18, 24)]
    signs = mirrored(torch.ones(24, 2), 0)
    assert [c for c in range(24) if (signs[c] == -1).all()] == odd
    assert (signs.abs() == 1).all()
    assert mirrored(torch.ones(3, 13), 1)[0].tolist() == [-1 if c in odd else 1 for c in range(13)]
    state = torch.rand(1, 24, 6, 7)
    image = mirrored(state, 1).flip(2)
    seen, seen_of_image = (perceive(s).unflatten(1, (24, 4)) for s in (state, image))
    torch.testing.assert_close(seen_of_image, mirrored_perception(seen, 1).flip(3))
