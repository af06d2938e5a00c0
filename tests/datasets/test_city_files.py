"""City files: valid ones are read correctly; errors name the file, the case and the fault."""

import os
import subprocess
import sys
import time
from subprocess import PIPE

import h5py
import numpy as np
import pytest
from small_cities import WIND_NAMES, make_base, make_meta, make_wind, write_plain_city

from pinca_lib import load_city
from pinca_lib.datasets import hdf5
from pinca_lib.datasets.city_files import case_names, read_city, read_half_averages, write_city
from pinca_lib.errors import InputError


def test_a_valid_file_is_read_into_named_channels(tmp_path):
    path = write_plain_city(tmp_path / "town.h5", 20, 30, degrees=(0.0, 90.0))
    base = make_base(20, 30)
    cases = read_city(path)
    assert [case.name for case in cases] == ["town_d000", "town_d090"]
    for number, case in enumerate(cases):
        assert case.city == "town"
        assert case.state.shape == (12, 20, 30)
        assert case.state.dtype == np.float32
        assert case.extent == (40.0, 60.0)
        assert not case.has_dwdz
        wind = make_wind(base, 90.0 * number, number)
        np.testing.assert_array_equal(case.state[:4], base)
        np.testing.assert_array_equal(case.state[4:11], wind)
        assert not case.state[11].any()


def test_an_eighth_channel_is_dwdz(tmp_path):
    (case,) = read_city(write_plain_city(tmp_path / "town.h5", dwdz=True))
    assert case.has_dwdz
    assert case.state[11].any()


def test_a_written_file_is_read_back_unchanged(tmp_path):
    base = make_base(16, 18)
    wind, meta = make_wind(base, 45.0, dwdz=True), make_meta(16, 18, 45.0, dwdz=True)
    write_city(tmp_path / "town.h5", base, {"town_d045": (wind, meta)})
    (case,) = read_city(tmp_path / "town.h5")
    np.testing.assert_array_equal(case.state, np.concatenate([base, wind]))
    assert case.meta == meta | {"cityHW": (32.0, 36.0)}
    assert os.listdir(tmp_path) == ["town.h5"]


def test_fields_in_buildings_count_as_zero(tmp_path):
    path = write_plain_city(tmp_path / "town.h5")
    with h5py.File(path, "r+") as file:
        file["cases/town_d000/wind_field"][...] = 1.0
    (case,) = read_city(path)
    assert (case.state[6:11, case.state[2] == 0] == 0).all()
    assert (case.state[6:11, case.state[2] == 1] == 1).all()


def test_without_cityhw_cells_of_one_metre_are_assumed_with_a_remark(tmp_path):
    path = write_plain_city(tmp_path / "town.h5", 20, 30)
    set_meta(path, {"wind_dir_deg": 0.0})
    (case,) = read_city(path)
    (remark,) = case.remarks
    assert "town.h5: case 'town_d000': meta has no cityHW; assuming cells of 1 m" in remark
    assert case.extent == (20.0, 30.0)


def test_the_rows_of_a_north_first_file_are_flipped(tmp_path):
    path = write_plain_city(tmp_path / "town.h5", 20, 30)
    (as_it_stands,) = read_city(path)
    (turned,) = read_city(path, row_order="north_first")
    np.testing.assert_array_equal(turned.state[2:], as_it_stands.state[2:, ::-1])
    np.testing.assert_array_equal(turned.state[:2], as_it_stands.state[:2])
    set_meta(path, make_meta(20, 30, 0.0) | {"row_order": "south_first"})
    (stated,) = read_city(path, row_order="north_first")  # the file takes precedence
    np.testing.assert_array_equal(stated.state, as_it_stands.state)


def set_meta(path, meta, case="town_d000"):
    kept = isinstance(meta, str | bytes | np.ndarray | h5py.Empty)
    with h5py.File(path, "r+") as file:
        file["cases"][case].attrs["meta"] = meta if kept else str(meta)


def replace(name, data):
    def damage(file):
        del file[name]
        if data is not None:
            file[name] = data

    return damage


def put(name, index, value):
    def damage(file):
        file[name][index] = value

    return damage


WIND = "cases/town_d000/wind_field"
BROKEN = {
    "no city_base": (replace("city_base", None), "city_base.*missing"),
    "a base of five channels": (replace("city_base", np.zeros((5, 24, 24))), "5 channels.*4"),
    "a flat base": (replace("city_base", np.zeros((24, 24))), "shape"),
    "a scalar base": (replace("city_base", 3.0), "shape"),
    "a base of text": (replace("city_base", "hello"), "type"),
    "a base of one row": (replace("city_base", np.zeros((4, 1, 24))), "shape"),
    "wind of six channels": (replace(WIND, np.zeros((6, 24, 24))), "town_d000.*6 channels"),
    "wind of nine channels": (replace(WIND, np.zeros((9, 24, 24))), "town_d000.*9 channels"),
    "wind on another grid": (replace(WIND, np.zeros((7, 24, 25))), "town_d000.*24×25.*24×24"),
    "a case that is an array": (replace("cases/town_d000", np.zeros(3)), "town_d000.*not a group"),
    "NaN in a field": (put(WIND, (2, 3, 4), np.nan), "town_d000.*uped.*NaN.*row 3, column 4"),
    "infinity in a field": (put(WIND, (5, 0, 0), np.inf), "town_d000.*TKEped.*infinite"),
    "NaN in the base": (put("city_base", (3, 1, 1), np.nan), "city_base: topo.*NaN"),
    "a fill value": (put(WIND, (3, 0, 0), -9999.0), "town_d000.*vped reaches 10000.*fill value"),
    "a mask of 0.5": (put("city_base", (2, 0, 0), 0.5), "geo_mask must be"),
    "no air": (put("city_base", 2, 0.0), "no air"),
    "negative heights": (put("city_base", (3, 0, 0), -5.0), "topo.*negative"),
    "coordinates in metres": (put("city_base", (0, 0, 0), 200.0), "coord_y.*-1 and 1"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_the_error_of_a_broken_file_names_the_file_and_the_fault(tmp_path, fault):
    damage, message = BROKEN[fault]
    path = write_plain_city(tmp_path / "town.h5")
    with h5py.File(path, "r+") as file:
        damage(file)
    with pytest.raises(InputError, match=rf"town\.h5: .*{message}") as raised:
        read_city(path)
    assert "\n" not in str(raised.value)


NEITHER = "neither a Python dict literal nor JSON: "
BAD_META = {
    "no literal": ("wind_dir_deg: 0", NEITHER + "'wind_dir_deg' at character 1 is no text"),
    "code": ("__import__('os').mkdir('owned')", NEITHER + "'__import__' at character 1"),
    "a call": ("dict(cityHW=(1, 2))", NEITHER + "'dict'"),
    "numbers of NumPy": ("{'cityHW': (np.float64(2.0), 3)}", NEITHER + "'np' at character 13"),
    "deep nesting": ("(" * 30_000, NEITHER + ".*33 opens more than 32 brackets"),
    "endless signs": ("{'a': " + "-" * 6000 + "1}", NEITHER + "'-' at character 7"),
    "a sum without end": ("{'a': " + "1+" * 6000 + "1}", NEITHER + r"'\+1' at character 8"),
    "too long": ("{" + " " * 70_000 + "}", "65536"),
    "a missing comma": ("{'cityHW': (256.0 256.0)}", NEITHER + "'256.0' at character 19 follows"),
    "an open bracket": ("{'cityHW': (256.0, 256.0)", NEITHER + "'{' at character 1 does not"),
    "JSON with a comma too many": ('{"a": true, }', NEITHER + ".* at character 1"),
    "a text left open": ("{'cityHW: 3}", NEITHER + '"\'" at character 2'),
    "a huge number": ("{'cityHW': (" + "9" * 5000 + ", 1)}", NEITHER),
    "nothing": ("", "meta is empty; expected such as"),
    "an empty attribute": (h5py.Empty("f4"), "meta is empty; expected such as"),
    "nothing but a BOM": ("\ufeff ", "meta is empty"),
    "a list": ("[1, 2]", "list"),
    "bytes that are not text": (b"\xff\xfe{", NEITHER + "'.' at character 1"),
    "one side": ({"cityHW": (3.0,)}, "cityHW"),
    "a negative side": ({"cityHW": (-3.0, 4.0)}, "cityHW"),
    "an infinite side": ("{'cityHW': (1e999, 4.0)}", "cityHW"),
    "sides of text": ({"cityHW": ("3", "4")}, "cityHW"),
    "a direction of text": ({"wind_dir_deg": "north"}, "wind_dir_deg"),
    "an unknown row order": ({"row_order": "up"}, "row_order"),
    "too few channels": ({"channels": ["uped"]}, "channels"),
    "channels of numbers": ({"channels": [1, 2, 3, 4, 5, 6, 7]}, "channels"),
    "channels in another order": ({"channels": list(WIND_NAMES[:7])[::-1]}, "order"),
}


@pytest.mark.parametrize("fault", BAD_META)
def test_bad_or_hostile_meta_is_an_error_and_is_never_executed(tmp_path, monkeypatch, fault):
    monkeypatch.chdir(tmp_path)
    meta, message = BAD_META[fault]
    path = write_plain_city(tmp_path / "town.h5")
    set_meta(path, meta)
    start = time.monotonic()
    with pytest.raises(InputError, match=rf"town\.h5: case 'town_d000': .*{message}"):
        read_city(path)
    assert time.monotonic() - start < 5
    assert os.listdir(tmp_path) == ["town.h5"]


@pytest.mark.parametrize("meta", [
    '{"cityHW": [40, 60], "row_order": "south_first", "note": null, "ok": true}',
    "\ufeff{'cityHW': (40, 60), 'row_order': 'south_first', 'offset': -1.5e-3}\n",
    b"{'cityHW': (40, 60), 'row_order': 'south_first'}",
    np.array(["{'cityHW': (40, 60), 'row_order': 'south_first'}"], h5py.string_dtype()),
    np.array([b"{'cityHW': (40, 60),\n 'row_order': 'south_first'}"]),
])  # fmt: skip
def test_meta_may_be_json_or_bytes_or_have_a_byte_order_mark_or_stand_in_an_array(tmp_path, meta):
    path = write_plain_city(tmp_path / "town.h5", 20, 30)
    set_meta(path, meta)
    (case,) = read_city(path)
    assert case.extent == (40.0, 60.0)
    assert case.row_order == "south_first"
    assert load_city(path).grid.cell == 2.0


@pytest.mark.parametrize(
    "channels",
    [WIND_NAMES[:7], ("coord_y", "coord_x", "geo_mask", "topo", *WIND_NAMES[:7]), "abcdefg"],
)
def test_channels_may_be_listed_with_the_base_or_under_other_names(tmp_path, channels):
    path = write_plain_city(tmp_path / "town.h5")
    set_meta(path, make_meta(24, 24, 0.0) | {"channels": list(channels)})
    assert len(read_city(path)) == 1


def test_meta_that_is_missing_or_not_text_is_an_error(tmp_path):
    path = write_plain_city(tmp_path / "town.h5")
    with h5py.File(path, "r+") as file:
        file["cases/town_d000"].attrs["meta"] = np.zeros(3)
    with pytest.raises(InputError, match="meta must be text"):
        read_city(path)
    with h5py.File(path, "r+") as file:
        del file["cases/town_d000"].attrs["meta"]
    with pytest.raises(InputError, match="'meta' is missing"):
        read_city(path)


@pytest.mark.parametrize("content", [b"", b"not HDF5 at all", None])
def test_an_empty_foreign_or_truncated_file_is_an_error(tmp_path, content):
    path = write_plain_city(tmp_path / "town.h5", 64, 64)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(InputError, match=r"town\.h5: not a readable HDF5 file"):
        read_city(path)


def test_links_to_other_files_are_refused(tmp_path):
    write_plain_city(tmp_path / "other.h5")
    path = write_plain_city(tmp_path / "town.h5")
    with h5py.File(path, "r+") as file:
        del file["city_base"]
        file["city_base"] = h5py.ExternalLink("other.h5", "/city_base")
    with pytest.raises(InputError, match=r"town\.h5: .*city_base.*link"):
        read_city(path)


def test_data_stored_in_another_file_is_refused(tmp_path):
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(4 * 24 * 24 * 4))
    path = write_plain_city(tmp_path / "town.h5")
    with h5py.File(path, "r+") as file:
        del file["city_base"]
        file.create_dataset("city_base", (4, 24, 24), "f4",
                            external=[(str(secret), 0, h5py.h5f.UNLIMITED)])  # fmt: skip
    with pytest.raises(InputError, match=r"town\.h5: .*another file"):
        read_city(path)


def test_control_characters_of_a_case_name_do_not_reach_the_message(tmp_path):
    path = write_plain_city(tmp_path / "town.h5")
    with h5py.File(path, "r+") as file:
        group = file.create_group("cases/\x1b[31mevil\n")
        group.attrs["meta"] = "{}"
        group["wind_field"] = np.zeros((3, 24, 24))
    with pytest.raises(InputError) as raised:
        read_city(path)
    assert str(raised.value).isprintable()


def test_damage_inside_a_dataset_is_found_on_reading(tmp_path):
    base = make_base(64, 64)
    path = tmp_path / "town.h5"
    write_city(path, base, {"town_d000": (make_wind(base, 0.0), make_meta(64, 64, 0.0))})
    with h5py.File(path) as file:
        chunk = file["cases/town_d000/wind_field"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    middle = chunk.byte_offset + chunk.size // 2
    content[middle : middle + 8] = b"\xff" * 8
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"town\.h5: not a readable HDF5 file"):
        read_city(path)


@pytest.mark.parametrize("packing", [
    {"compression": "gzip"}, {"compression": "gzip", "shuffle": True}, {"compression": "lzf"},
    {"compression": "gzip", "fletcher32": True}, {"chunks": True}, {}])  # fmt: skip
@pytest.mark.parametrize("kind", ["<f2", ">f4", "<f8", "<i2", "|u1"])
def test_fields_are_read_alike_whatever_their_compression(tmp_path, packing, kind):
    planes = np.random.default_rng(0).uniform(0, 99, (7, 37, 51)).astype(kind)
    if packing:
        packing = {"chunks": (2, 16, 51)} | packing
    with h5py.File(tmp_path / "town.h5", "w") as file:
        file.create_dataset("planes", data=planes, **packing)
    with h5py.File(tmp_path / "town.h5") as file:
        read = hdf5.numbers(file["planes"])
    assert read.dtype == planes.dtype
    assert (read == planes).all()


def test_chunks_that_were_never_written_or_not_compressed_are_read_as_hdf5_does(tmp_path):
    packing = {"chunks": (1, 8, 8), "compression": "gzip", "shuffle": True, "fillvalue": 3.0}
    with h5py.File(tmp_path / "town.h5", "w") as file:
        sparse = file.create_dataset("sparse", (2, 16, 16), np.float32, **packing)
        sparse[0, :8, :8] = 1
        plain = file.create_dataset("plain", data=np.ones((2, 16, 16), np.float32), **packing)
        plain.id.write_direct_chunk((0, 8, 8), np.full((8, 8), 2, np.float32), filter_mask=3)
    with h5py.File(tmp_path / "town.h5") as file:
        assert hdf5.numbers(file["sparse"]).sum() == 64 + 3 * 448
        assert hdf5.numbers(file["plain"]).sum() == 448 + 2 * 64


def test_a_number_type_that_numpy_lacks_is_an_error(tmp_path):
    path = write_plain_city(tmp_path / "town.h5")
    with h5py.File(path, "r+") as file:
        del file["city_base"]
        space = h5py.h5s.create_simple((4, 24, 24))
        h5py.h5d.create(file.id, b"city_base", h5py.h5t.UNIX_D32LE, space)
    with pytest.raises(InputError, match=r"town\.h5: "):
        read_city(path)


def test_fields_that_are_zero_in_air_are_an_error(tmp_path):
    path = write_plain_city(tmp_path / "town.h5")
    with h5py.File(path, "r+") as file:
        file["city_base"][2] = 1 - file["city_base"][2]
    with pytest.raises(InputError, match=r"town\.h5: case 'town_d000': .* inverted"):
        read_city(path)


@pytest.mark.parametrize(
    ("name", "index", "message"),
    [
        ("cases/town_d000/wind_field", 4, "Uped goes down to -1"),
        ("cases/town_d000/wind_field", 5, "TKEped goes down to -1"),
        ("city_base", 0, "coord_y does not change from row to row"),
        ("city_base", 1, "coord_x does not change from column to column"),
    ],
)
def test_impossible_values_are_read_with_a_remark(tmp_path, name, index, message):
    path = write_plain_city(tmp_path / "town.h5")
    with h5py.File(path, "r+") as file:
        file[name][index] = -1
    (case,) = read_city(path)
    assert any(f"town.h5: case 'town_d000': {message}" in remark for remark in case.remarks)


@pytest.mark.parametrize("key", ["wind_dir_deg", "cityHW", "row_order"])
def test_numbers_of_thousands_of_digits_are_reported_as_the_fault(tmp_path, key):
    path = write_plain_city(tmp_path / "town.h5")
    with h5py.File(path, "r+") as file:
        file["cases/town_d000"].attrs["meta"] = f"{{'{key}': 0x{'f' * 20_000}}}"
    with pytest.raises(InputError, match=rf"case 'town_d000'.*meta\['{key}'\] is"):
        read_city(path)


def test_half_averages_are_read_if_present_and_checked(tmp_path):
    path = write_plain_city(tmp_path / "town.h5", 12, 10)
    (name,) = case_names(path)
    assert read_half_averages(path, name) is None
    halves = np.random.default_rng(0).random((2, 6, 12, 10)).astype(np.float16)
    with h5py.File(path, "a") as file:
        file[f"cases/{name}/half_averages"] = halves
    (case,) = read_city(path)
    air = case.state[2]
    for state, half in zip(read_half_averages(path, name), halves, strict=True):
        np.testing.assert_array_equal(state[:6], case.state[:6])
        np.testing.assert_array_equal(state[6:], half * air)
    for state, half in zip(read_half_averages(path, name, "north_first"), halves, strict=True):
        np.testing.assert_array_equal(state[6:], half[:, ::-1] * air[::-1])
    spoiled = halves.copy()
    spoiled[1, 3, 0, 0] = np.nan
    for wrong, complaint in ((halves[:1], "half_averages has shape"), (spoiled, "TKEped has 1 NaN"),
                             (halves[0], "expected .halves, channels, height")):  # fmt: skip
        with h5py.File(path, "a") as file:
            del file[f"cases/{name}/half_averages"]
            file[f"cases/{name}/half_averages"] = wrong
        with pytest.raises(InputError, match=complaint):
            read_half_averages(path, name)


def test_a_case_without_fields_has_the_wind_of_its_meta(tmp_path):
    path = write_plain_city(tmp_path / "town.h5", degrees=(90.0,))
    with h5py.File(path, "r+") as file:
        del file["cases/town_d090/wind_field"]
    (case,) = read_city(path)
    assert not case.remarks
    np.testing.assert_allclose(case.state[4:6, 3, 4], [0, 1], atol=1e-6)
    assert not case.state[6:].any()
    set_meta(path, {"cityHW": (48.0, 48.0), "wind_dir_deg": 90.0}, "town_d090")
    with pytest.raises(InputError, match=r"town\.h5: case 'town_d090': wind_field is missing.*xy"):
        read_city(path)


@pytest.mark.parametrize("left", ["nothing", "an empty group"])
def test_a_city_without_cases_stands_for_winds_that_are_named(tmp_path, left):
    path = write_plain_city(tmp_path / "town.h5")
    with h5py.File(path, "r+") as file:
        del file["cases"]
        if left == "an empty group":
            file.create_group("cases")
        file.attrs["meta"] = "{'cityHW': (48, 48)}"
    assert case_names(path)[::2] == [f"wind_from_{name}" for name in ("000", "090", "180", "270")]
    from_west, from_south_west = read_city(path, names=["wind_from_270", "wind_from_225"])
    np.testing.assert_allclose(from_west.state[4:6, 0, 0], [1, 0], atol=1e-6)
    np.testing.assert_allclose(from_south_west.state[4:6, 0, 0], [0.5**0.5] * 2, atol=1e-6)
    assert from_west.extent == (48.0, 48.0)
    with pytest.raises(InputError, match=r"town\.h5: case 'town_d000': .* wind must be named"):
        read_city(path, names=["town_d000"])


def test_packed_and_whole_numbers_are_refused(tmp_path):
    path = write_plain_city(tmp_path / "town.h5")
    with h5py.File(path, "r+") as file:
        planes = (100 * file[WIND][:]).astype(np.int16)
        del file[WIND]
        file[WIND] = planes
    with pytest.raises(InputError, match=r"town\.h5: .*wind_field has type int16.*floating-point"):
        read_city(path)
    with h5py.File(path, "r+") as file:
        file[WIND].attrs["scale_factor"] = 0.01
    with pytest.raises(InputError, match=r"town\.h5: .*wind_field is packed \(scale_factor\)"):
        read_city(path)


def test_a_filter_that_is_not_installed_is_named(tmp_path):
    path = tmp_path / "town.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("city_base", data=np.ones((4, 50, 50)), compression="lzf")
    path.write_bytes(path.read_bytes().replace(b"\x00\x7d", b"\xff\x7d"))  # 32000 becomes 32255
    with pytest.raises(InputError, match=r"town\.h5: .*filter that is not installed.*32255, lzf"):
        read_city(path)


def test_a_file_that_another_program_writes_is_said_to_be_open_there(tmp_path):
    path = write_plain_city(tmp_path / "town.h5")
    code = f"import h5py; file = h5py.File({str(path)!r}, 'r+'); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=PIPE, stdout=PIPE) as other:
        other.stdout.readline()
        with pytest.raises(InputError, match=r"town\.h5: is open in another program; close it"):
            read_city(path)
        other.communicate(b"\n")
    assert read_city(path)


def test_a_file_without_permission_is_said_to_be_so(tmp_path, monkeypatch):
    path = write_plain_city(tmp_path / "town.h5")

    def denied(*arguments, **more):
        raise PermissionError(13, "unable to open file: errno = 13, 'Permission denied'")

    monkeypatch.setattr(h5py, "File", denied)
    with pytest.raises(InputError, match=r"town\.h5: permission denied; give yourself the right"):
        read_city(path)
