"""The UrbanTALES converter, on small raw folders that the tests write."""

import io
import sys
from pathlib import Path

import h5py
import netCDF4
import numpy as np
import pytest

from pinca_lib.datasets.city_files import read_city
from pinca_lib.datasets.urbantales import convert, main, read_raw_case
from pinca_lib.errors import InputError

PLANES = ("uped", "vped", "Uped", "TKEped", "Tuwped")


def geometry(height: int = 20, width: int = 28) -> np.ndarray:
    """Return building heights without symmetry; row 0 is in the south."""
    topo = np.zeros((height, width))
    topo[2:8, 3:10], topo[12:15, 18:25] = 12.0, 7.5
    return topo


def write_raw(
    folder: Path,
    name: str = "CH-BAS-V1_d30",
    topo: np.ndarray | None = None,
    flow_to: float = 30.0,
    dtype: str = "f8",
    flip_topo: bool = True,
    **changes,
) -> Path:
    """Write one case as UrbanTALES ships it: planes south first, heights north first."""
    topo = geometry() if topo is None else topo
    y, x = np.meshgrid(*(np.linspace(0, 1, n) for n in topo.shape), indexing="ij")
    angle = np.deg2rad(flow_to)
    u, v = np.cos(angle) + 0.2 * y, np.sin(angle) + 0.1 * x
    values = {"uped": u, "vped": v, "Uped": 1.1 * np.hypot(u, v), "TKEped": 0.2 + 0.1 * y,
              "Tuwped": -0.05 + 0 * x} | changes  # fmt: skip
    case = folder / name
    case.mkdir(parents=True)
    with netCDF4.Dataset(case / f"{name}_ped.nc", "w") as file:
        for axis, count in zip("yx", topo.shape, strict=True):
            file.createDimension(axis, count)
            file.createVariable(axis, "f8", (axis,))[:] = np.arange(count) * count / (count - 1)
        for number, plane in enumerate(PLANES):
            hidden = topo > 1.75
            hidden[number, number] = True  # the masks differ from variable to variable
            if values[plane] is not None:
                variable = file.createVariable(plane, dtype, ("y", "x"))
                variable[:] = np.where(hidden, np.nan, values[plane])
    np.savetxt(case / f"{name}_topo", topo[::-1] if flip_topo else topo, fmt="%.2f")
    return case


def test_a_converted_case_has_consistent_axes(tmp_path):
    write_raw(tmp_path / "raw")
    (report,), _ = convert(tmp_path / "raw", tmp_path / "cities")
    assert "heights flipped (overlap" in report
    assert "wind (cos, sin)" in report
    (case,) = read_city(tmp_path / "cities" / "CH-BAS-V1.h5")
    assert case.name == "CH-BAS-V1_d30"
    assert case.extent == (20.0, 28.0)
    assert case.meta["row_order"] == "south_first"
    topo = geometry()
    expected_air = topo == 0
    expected_air[range(5), range(5)] = False  # a cell that is NaN in one variable is not air
    np.testing.assert_array_equal(case.state[2], expected_air)
    np.testing.assert_array_equal(case.state[3], topo)
    assert case.state[4, 0, 0] == pytest.approx(np.cos(np.pi / 6), abs=1e-3)
    assert case.state[5, 0, 0] == pytest.approx(np.sin(np.pi / 6), abs=1e-3)
    y = np.linspace(0, 1, 20)[10]
    assert case.state[6, 10, 15] == pytest.approx(np.cos(np.pi / 6) + 0.2 * y, abs=2e-3)
    assert not case.state[6:11, ~expected_air].any()


def test_heights_that_are_stored_south_first_are_not_flipped(tmp_path):
    case = read_raw_case(write_raw(tmp_path, flip_topo=False))
    assert "heights as stored" in case.report
    np.testing.assert_array_equal(case.topo > 0, geometry() > 0)


def test_the_other_wind_convention_is_recognised_and_written_as_cos_sin(tmp_path):
    case = read_raw_case(write_raw(tmp_path, name="Town_d0", flow_to=88.0))
    assert case.degrees == 90.0
    assert "wind (sin, cos)" in case.report


@pytest.mark.parametrize(("stated", "flow"), [(30, 50), (10, 50), (120, 85)])
def test_a_deflected_flow_does_not_change_the_convention(tmp_path, stated, flow):
    case = read_raw_case(write_raw(tmp_path, name=f"Town_d{stated}", flow_to=float(flow)))
    assert case.degrees == stated
    assert "wind (cos, sin)" in case.report


@pytest.mark.parametrize("size", ["-1", "0", "inf"])
def test_a_cell_size_must_be_positive_and_finite(tmp_path, size):
    write_raw(tmp_path / "raw")
    with pytest.raises(SystemExit, match="expected metres, more than 0"):
        main([str(tmp_path / "raw"), str(tmp_path / "cities"), "--cell-size", size])
    assert not (tmp_path / "cities").exists()


def test_cases_of_one_city_share_a_file_even_if_their_holes_differ(tmp_path):
    for degrees in (0, 90):
        speed = np.ones((20, 28))
        speed[4, 5 + degrees // 90] = speed[16, degrees // 90] = np.nan
        write_raw(tmp_path / "raw", name=f"Town_d{degrees:02d}", flow_to=degrees, Uped=speed)
    convert(tmp_path / "raw", tmp_path / "cities")
    cases = read_city(tmp_path / "cities" / "Town.h5")
    assert [case.name for case in cases] == ["Town_d00", "Town_d90"]
    assert [case.meta["wind_dir_deg"] for case in cases] == [0.0, 90.0]
    assert not cases[0].state[2, 16, :2].any()  # no air where one case has a hole
    np.testing.assert_array_equal(cases[0].state[3], geometry())


@pytest.mark.parametrize(("dtype", "given", "extent"), [
    ("f4", None, (10.0, 14.0)), ("f8", None, (20.0, 28.0)), ("f4", 2.0, (40.0, 56.0)),
])  # fmt: skip
def test_the_extent_follows_the_data_type_or_the_given_cell_size(tmp_path, dtype, given, extent):
    write_raw(tmp_path / "raw", dtype=dtype)
    convert(tmp_path / "raw", tmp_path / "cities", given)
    (case,) = read_city(tmp_path / "cities" / "CH-BAS-V1.h5")
    assert case.extent == extent


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"TKEped": None}, "TKEped missing"),
        ({"uped": np.full((20, 28), np.nan)}, "no cell has a value"),
        ({"uped": np.full((20, 28), 9.9e36)}, "fill value"),
        ({"uped": np.full((20, 28), np.inf)}, "infinite values"),
        ({"flow_to": 200.0}, "fits neither convention"),
        ({"name": "Town"}, "ends in the wind direction"),
    ],
)
def test_the_error_of_an_invalid_case_names_it_and_nothing_is_written(tmp_path, changes, message):
    name = changes.get("name", "CH-BAS-V1_d30")
    write_raw(tmp_path / "raw", **changes)
    with pytest.raises(InputError, match=rf"{name}.*{message}"):
        convert(tmp_path / "raw", tmp_path / "cities")
    assert not (tmp_path / "cities").exists()


def test_invalid_heights_are_an_error(tmp_path):
    case = write_raw(tmp_path)
    topo = case / f"{case.name}_topo"
    for content, message in [
        (None, "_topo: no such file; expected heights"),
        ("a b\nc d\n", "not a readable text matrix"),
        ("1 2\n3 4\n", "2×2 heights, but the planes have 20×28"),
        ("\n".join([" ".join(["nan"] * 28)] * 20), "finite"),
        ("\n".join([" ".join(["0 9"] * 14)] * 20), "do not fit each other"),
    ]:
        topo.unlink(missing_ok=True)
        if content is not None:
            topo.write_text(content)
        with pytest.raises(InputError, match=message):
            read_raw_case(case)


def test_a_case_that_cannot_be_used_is_skipped_and_the_others_are_converted(tmp_path):
    raw = tmp_path / "raw"
    write_raw(raw, name="Town_d00", flow_to=0)
    write_raw(raw, name="Town_d90", flow_to=90, topo=np.roll(geometry(), 3, 1))
    write_raw(raw, name="Village", flow_to=90)
    (raw / "Hamlet_d00").mkdir()
    (raw / "Hamlet_d00" / "Hamlet_d00_ped.nc").write_bytes(b"")
    written, skipped = convert(raw, tmp_path / "cities")
    assert [path.name for path in (tmp_path / "cities").iterdir()] == ["Town.h5"]
    assert [line.partition(":")[0] for line in written] == ["Town_d00"]
    assert [line.partition(":")[0] for line in skipped] == [
        "Hamlet_d00_ped.nc", "Town_d90", "Village"]  # fmt: skip
    assert "its buildings differ from those of Town_d00" in skipped[1]
    assert "expected a name that ends in the wind direction" in skipped[2]


def change(case: Path, plan) -> Path:
    """Change the NetCDF file of a raw case with netCDF4."""
    with netCDF4.Dataset(case / f"{case.name}_ped.nc", "r+") as file:
        plan(file)
    return case


def test_rows_that_run_south_are_flipped(tmp_path):
    expected = read_raw_case(write_raw(tmp_path / "plain"))

    def descend(file):
        file["y"][:] = file["y"][::-1].copy()
        for plane in PLANES:
            file[plane][:] = file[plane][::-1].copy()

    case = read_raw_case(change(write_raw(tmp_path / "raw"), descend))
    assert "planes flipped, because y descends" in case.report
    np.testing.assert_array_equal(case.planes, expected.planes)
    np.testing.assert_array_equal(case.topo, expected.topo)
    assert case.degrees == expected.degrees


@pytest.mark.parametrize(
    ("speed", "square", "factor"),
    [
        ("m s-1", "m2 s-2", 1.0),
        ("m/s", "m²/s²", 1.0),
        ("cm s**-1", "cm**2 s**-2", 0.01),
        ("km/h", "km^2/h^2", 1 / 3.6),
        ("knots", "m2.s-2", 1852 / 3600),
    ],
)
def test_known_units_are_converted(tmp_path, speed, square, factor):
    plain = read_raw_case(write_raw(tmp_path / "plain"))

    def name_units(file):
        for plane, unit in zip(PLANES, (speed,) * 3 + (square,) * 2, strict=True):
            file[plane].units = unit

    case = read_raw_case(change(write_raw(tmp_path / "raw"), name_units))
    np.testing.assert_allclose(case.planes[:3], factor * plain.planes[:3], rtol=1e-5)
    squared = 1.0 if square == "m2.s-2" else factor**2
    np.testing.assert_allclose(case.planes[3:], squared * plain.planes[3:], rtol=1e-5)
    assert ("converted from" in case.report) == (factor != 1)


@pytest.mark.parametrize(("plane", "unit"), [("uped", "1"), ("vped", "m2 s-2"), ("TKEped", "m/s")])
def test_units_that_are_not_known_or_do_not_fit_are_refused(tmp_path, plane, unit):
    case = change(write_raw(tmp_path), lambda file: setattr(file[plane], "units", unit))
    with pytest.raises(InputError, match=rf"_ped\.nc: {plane} has units '{unit}', which are not"):
        read_raw_case(case)


@pytest.mark.parametrize(
    ("step", "unit", "dtype", "cell"),
    [
        (2.5, "", "f8", 2.5),
        (1.0, "m", "f4", 1.0),
        (0.002, "km", "f8", 2.0),
        (1.0, "", "f4", 0.5),
        (None, "m", "f4", 0.5),
        (0.01, "degrees_north", "f8", 1.0),
        (900.0, "m", "f8", 1.0),
    ],
)
def test_cells_are_those_of_the_coordinates_if_they_are_metres(tmp_path, step, unit, dtype, cell):
    def place(file):
        for axis in "yx":
            if step is not None:
                file[axis][:] = step * np.arange(len(file[axis]))
            if unit:
                file[axis].units = unit

    assert read_raw_case(change(write_raw(tmp_path, dtype=dtype), place)).cell_size == cell


@pytest.mark.parametrize("kind", [">f4", ">f8", "packed"])
def test_packed_and_big_endian_planes_are_read_as_they_are_meant(tmp_path, kind):
    plain = read_raw_case(write_raw(tmp_path / "plain"))
    case = write_raw(tmp_path / "raw")
    path = case / f"{case.name}_ped.nc"
    with netCDF4.Dataset(path) as file:
        planes = {plane: np.ma.filled(file[plane][:], np.nan) for plane in PLANES}
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("y", 20)
        file.createDimension("x", 28)
        for plane, values in planes.items():
            if kind == "packed":
                variable = file.createVariable(plane, "i2", ("y", "x"), fill_value=-32768)
                variable.scale_factor, variable.add_offset = 0.0002, 1.0
                variable[:] = np.ma.masked_array(np.nan_to_num(values), np.isnan(values))
            else:
                file.createVariable(plane, kind, ("y", "x"), endian="big")[:] = values
    if kind == "packed":
        with pytest.raises(InputError, match="size of its cells is not known.*--cell-size"):
            read_raw_case(case)
    found = read_raw_case(case, cell_size=1.0 if kind == "packed" else None)
    assert found.cell_size == {">f4": 0.5}.get(kind, 1.0)
    np.testing.assert_array_equal(found.air, plain.air)
    np.testing.assert_allclose(found.planes, plain.planes, atol=2e-4)


def test_planes_of_float16_are_refused_before_netcdf4_crashes_on_them(tmp_path):
    case = write_raw(tmp_path)
    with h5py.File(case / f"{case.name}_ped.nc", "w") as file:
        for plane in PLANES:
            file[plane] = np.ones((20, 28), np.float16)
    with pytest.raises(InputError, match=r"_ped\.nc: .* has type float16, which NetCDF lacks"):
        read_raw_case(case)


def test_a_filter_that_netcdf4_lacks_is_named_as_the_cause(tmp_path):
    case = write_raw(tmp_path)
    with h5py.File(case / f"{case.name}_ped.nc", "w") as file:
        for plane in PLANES:
            file.create_dataset(plane, data=np.ones((20, 28), "f4"), compression="lzf")
    with pytest.raises(InputError, match=r"_ped\.nc: compressed by a filter that is not installed"):
        read_raw_case(case)


def test_a_place_that_cannot_be_written_is_said_in_one_line(tmp_path):
    write_raw(tmp_path / "raw")
    (tmp_path / "cities").write_text("a file, not a folder")
    with pytest.raises(SystemExit, match=r"error: .*CH-BAS-V1\.h5: cannot be written \("):
        main([str(tmp_path / "raw"), str(tmp_path / "cities")])


def test_the_command_reports_and_does_not_overwrite(tmp_path, capsys):
    write_raw(tmp_path / "raw")
    main([str(tmp_path / "raw"), str(tmp_path / "cities")])
    assert "1 cases written" in capsys.readouterr().out
    before = (tmp_path / "cities" / "CH-BAS-V1.h5").read_bytes()
    with pytest.raises(SystemExit, match="error: .*exists already"):
        main([str(tmp_path / "raw"), str(tmp_path / "cities")])
    assert (tmp_path / "cities" / "CH-BAS-V1.h5").read_bytes() == before
    with pytest.raises(SystemExit, match="no UrbanTALES cases"):
        main([str(tmp_path / "cities"), str(tmp_path / "more")])


def test_a_console_without_the_signs_of_the_report_does_not_end_the_command(tmp_path, monkeypatch):
    write_raw(tmp_path / "raw")
    with io.TextIOWrapper(io.BytesIO(), encoding="cp1251") as console:
        monkeypatch.setattr(sys, "stdout", console)
        main([str(tmp_path / "raw"), str(tmp_path / "cities")])
        console.seek(0)
        assert "20?28 cells" in console.read()
