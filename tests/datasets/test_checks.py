"""What looks wrong in a case is said in one line; sound files are passed without a word."""

import numpy as np
import pytest
from small_cities import make_base, make_meta, make_wind, write_plain_city

from pinca_lib.datasets import city_files, load_case, load_dataset
from pinca_lib.errors import InputError, InputWarning


def remarks(tmp_path, change, degrees=30.0, stated=True):
    """Return what is said of a case of 24×24 cells after a change of base, fields or meta."""
    base = make_base(24, 24).astype(float)
    wind, meta = make_wind(base, degrees).astype(float), make_meta(24, 24, degrees)
    meta |= {"row_order": "south_first"} if stated else {}
    change(base, wind, meta)
    city_files.write_city(tmp_path / "town.h5", base, {"a": (wind, meta)})
    (case,) = city_files.read_city(tmp_path / "town.h5")
    assert all(line.startswith("town.h5: case 'a': ") for line in case.remarks)
    return "\n".join(case.remarks)


def scale_wind(base, wind, meta):
    wind[:2] *= 5


def vary_wind(base, wind, meta):
    wind[0, :, :12], wind[1, :, :12] = np.cos(0.2), np.sin(0.2)


def other_degrees(base, wind, meta):
    meta["wind_dir_deg"] = 240.0


def other_vector(base, wind, meta):
    meta["wind_dir_xy"] = (-1.0, 0.0)


def wind_from(base, wind, meta):
    wind[:2] *= -1
    del meta["wind_dir_deg"], meta["wind_dir_xy"]


def no_heights(base, wind, meta):
    base[3] = 0


def heights_in_air(base, wind, meta):
    base[3, :4] = 12


def slow(base, wind, meta):
    wind[4, :6] *= 0.8


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (scale_wind, "have a length of 5 to 5; expected a unit vector"),
        (vary_wind, "differ from cell to cell"),
        (other_degrees, r"goes to (0.87, 0.50), but meta['wind_dir_deg'] is 240"),
        (other_vector, "meta['wind_dir_xy'] is (-1.00, 0.00)"),
        (wind_from, "against windInit (-0.87, -0.50)"),
        (no_heights, "geo_mask contradicts topo, which is 0 in"),
        (heights_in_air, "or more in"),
        (slow, "Uped is less than |(uped, vped)| in"),
    ],
)
def test_a_fault_is_said_in_a_line_with_file_and_case(tmp_path, change, said):
    assert said in remarks(tmp_path, change)


def test_sound_cases_and_those_of_the_experiment_are_passed(tmp_path):
    def swapped(base, wind, meta):  # (sin, cos), as in the experiment's own files
        wind[:2] = wind[1::-1]
        meta["wind_dir_xy"] = meta["wind_dir_xy"][::-1]

    def few_slow_cells(base, wind, meta):
        wind[4, 0, :3] *= 0.5

    for degrees in (0.0, 30.0, 120.0, 270.0):
        assert not remarks(tmp_path, lambda *_: None, degrees)
        assert not remarks(tmp_path, swapped, degrees, stated=False)
    assert not remarks(tmp_path, few_slow_cells)
    assert "wind_dir_deg" in remarks(tmp_path, swapped, 30.0, stated=True)


def test_no_wind_and_an_elevation_in_place_of_heights_are_refused(tmp_path):
    def still(base, wind, meta):
        wind[:2] = 0

    def elevation(base, wind, meta):
        base[3] += 160

    with pytest.raises(InputError, match=r"town\.h5: case 'a': windInitX .* both 0 in"):
        remarks(tmp_path, still)
    with pytest.raises(InputError, match=r"town\.h5: case 'a': topo is 2 m or more in .*elevation"):
        remarks(tmp_path, elevation)


def test_remarks_are_warned_of_once_and_stay_with_the_data_set(tmp_path):
    remarks(tmp_path, scale_wind)
    write_plain_city(tmp_path / "village.h5")
    with pytest.warns(InputWarning, match=r"town\.h5: case 'a': .* unit vector") as caught:
        dataset = load_dataset(tmp_path)
    assert len(caught) == 1
    assert list(dataset.remarks) == ["town/a"]
    assert not dataset[1].remarks
    with pytest.warns(InputWarning):
        assert load_case(tmp_path / "town.h5", "a").remarks == dataset.remarks
