"""Films: the schedule of steps, and files that players can read."""

import av
import numpy as np
import pytest
import torch
from small_cities import make_base, make_wind
from small_rules import city_state, trained

from pinca_lib.channels import SPEED
from pinca_lib.plotting.figures import air_plane
from pinca_lib.plotting.film import draw_film, rollout_frames, steps_before, write_film
from pinca_lib.rollouts import rollout


def test_steps_per_frame_double_every_thirty_frames_up_to_eight():
    schedule = [steps_before(frame) for frame in (0, 29, 30, 59, 60, 89, 90, 299)]
    assert schedule == [1, 1, 2, 2, 4, 4, 8, 8]


def test_frames_are_states_of_a_single_rollout():
    rule, state = trained(), city_state(1)
    rule.w2.weight *= 0.1
    frames = list(rollout_frames([rule], state, 33))
    assert [steps for steps, _ in frames[-3:]] == [32, 34, 36]
    torch.testing.assert_close(frames[-1][1], rollout([rule], state, 36)[0], atol=1e-4, rtol=1e-3)


def test_a_film_is_h264_with_a_frame_for_every_snapshot(tmp_path):
    base = make_base(24, 20)
    target = torch.from_numpy(np.concatenate([base, make_wind(base, 30, dwdz=True)])).float()
    planes = [(step, air_plane(target, SPEED) * step / 5) for step in range(1, 6)]
    pictures = list(draw_film(planes, target, (48.0, 40.0)))
    assert all(picture.shape == pictures[0].shape for picture in pictures)
    assert pictures[0].dtype == np.uint8
    assert not np.array_equal(pictures[0], pictures[-1])
    write_film(tmp_path / "film.mp4", pictures)
    with av.open(str(tmp_path / "film.mp4")) as film:
        (stream,) = film.streams.video
        assert stream.codec_context.name == "h264"
        assert stream.pix_fmt == "yuv420p"  # what browsers play
        decoded = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert len(decoded) == 5
    assert np.abs(decoded[-1].astype(int) - pictures[-1]).mean() < 6
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]


def test_after_a_failure_the_old_film_is_unchanged(tmp_path):
    path = tmp_path / "film.mp4"
    path.write_bytes(b"precious")

    def failing():
        yield np.zeros((64, 64, 3), np.uint8)
        raise RuntimeError("drawing failed")

    with pytest.raises(RuntimeError, match="drawing failed"):
        write_film(path, failing())
    assert path.read_bytes() == b"precious"
    with pytest.raises(ValueError, match="no pictures"):
        write_film(path, [])
    assert path.read_bytes() == b"precious"
