"""Fields as NetCDF: coordinates in metres, units and names of the CF conventions."""

import numpy as np
import pytest
import torch
import xarray
from small_cities import make_base, make_wind

from pinca_lib.channels import GEO_MASK, NAMES, SPEED
from pinca_lib.datasets.netcdf import write_netcdf


@pytest.fixture
def state() -> torch.Tensor:
    base = make_base(12, 20)
    return torch.from_numpy(np.concatenate([base, make_wind(base, 90, dwdz=True)])).float()


def test_a_saved_field_is_read_back_with_coordinates_units_and_names(tmp_path, state):
    path = tmp_path / "fields.nc"
    write_netcdf(path, state, (24.0, 60.0), {"case": "town/d90"})
    with xarray.open_dataset(path) as saved:
        assert saved.uped.dims == ("y", "x")
        np.testing.assert_allclose(saved.x[:2], [1.5, 4.5])
        np.testing.assert_allclose(saved.y[-1], 23.0)
        assert saved.x.attrs["units"] == "m"
        assert saved.x.encoding.get("_FillValue") is None  # not allowed in coordinates
        assert saved.uped.attrs["standard_name"] == "x_wind"
        assert saved.TKEped.attrs["units"] == "m2 s-2"
        assert saved.attrs["Conventions"].startswith("CF-")
        assert saved.attrs["case"] == "town/d90"
        assert saved.attrs["wind_towards_degrees"] == pytest.approx(90, abs=0.1)
        air = state[GEO_MASK].numpy() > 0
        np.testing.assert_array_equal(np.isnan(saved.wind_speed), ~air)
        np.testing.assert_array_equal(saved.wind_speed.values[air], state[SPEED].numpy()[air])
        names = set(NAMES[2:4] + NAMES[6:]) - {"Uped"} | {"wind_speed"}
        assert set(saved.data_vars) == names
        assert len({name.lower() for name in names}) == len(names)  # as CF asks
        assert "axis" not in saved.x.attrs  # for coordinates of a projection alone
    assert [path.name for path in tmp_path.iterdir()] == ["fields.nc"]


def test_after_a_failed_save_the_old_file_is_unchanged(tmp_path, state):
    path = tmp_path / "fields.nc"
    path.write_bytes(b"precious")
    with pytest.raises(TypeError):
        write_netcdf(path, state, (24.0, 60.0), {"case": object()})
    assert path.read_bytes() == b"precious"
