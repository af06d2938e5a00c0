"""Films: the schedule of steps, and files that players can read."""

import av
import numpy as np
import pytest
import torch
from small_cities import make_base, make_wind

from pinca_lib.channels import SPEED
from pinca_lib.plotting.figures import air_plane
from pinca_lib.plotting.film import draw_film, write_film


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
