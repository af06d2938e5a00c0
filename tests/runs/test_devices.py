"""Devices: names are checked, float32 stays float32, and nested data are moved."""

import pytest
import torch

from pinca_lib.errors import InputError
from pinca_lib.runs.devices import choose_device, to_device


def test_auto_takes_a_gpu_if_there_is_one():
    assert choose_device().type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_convolutions_keep_the_precision_of_float32(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    choose_device("cpu")
    assert not torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize("name", ["tpu9", "", "meta", "cuda:99"])
def test_a_missing_device_raises_an_error_that_names_it(name):
    with pytest.raises(InputError, match=f"device='{name}'"):
        choose_device(name)


def test_tensors_in_nested_data_are_moved_and_the_rest_is_kept():
    data = {"a": torch.zeros(2), "b": [torch.ones(1), "text"], "c": (torch.ones(1), None)}
    moved = to_device(data, "meta")
    assert moved["a"].is_meta
    assert moved["b"][0].is_meta
    assert moved["b"][1] == "text"
    assert isinstance(moved["c"], tuple)
    assert data["a"].device.type == "cpu"
