"""Climates are read as people have them, and what is wrong with a file is said in one line."""

import numpy as np
import pandas as pd
import pytest

from pinca_lib.comfort import load_climate
from pinca_lib.errors import InputError
from pinca_lib.runs import PROJECT_ROOT

CHICAGO = PROJECT_ROOT / "data" / "climates" / "chicago.csv"
ANYWHERE = np.ones((16, 1, 1))


def epw(tmp_path, hours, name="town.epw"):
    """Write an EPW file of (direction, speed) hours."""
    head = ["LOCATION,Windhaven,XX,YYY,TMY3,123456,41.50,-87.25,-6.0,201.0", "DESIGN CONDITIONS,0",
            "TYPICAL/EXTREME PERIODS,0", "GROUND TEMPERATURES,0", "HOLIDAYS/DAYLIGHT SAVINGS,No",
            "COMMENTS 1", "COMMENTS 2", "DATA PERIODS,1,1,Data,Sunday, 1/ 1,12/31"]  # fmt: skip
    fields = [f"1986,1,1,1,0,?9{',0' * 14},{direction},{speed},9,9" for direction, speed in hours]
    path = tmp_path / name
    path.write_text("\n".join(head + fields) + "\n")
    return path


def written(tmp_path, text, name="town.csv", encoding="utf-8"):
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    return path


def table(sectors=8, frequency=0.125, A=5.0, k=2.0):
    rows = [f"{360 * n / sectors:g},{frequency},{A},{k}" for n in range(sectors)]
    return "direction,frequency,A,k\n" + "\n".join(rows) + "\n"


def test_the_shipped_climate_is_one():
    climate = load_climate(CHICAGO)
    assert climate.name.startswith("Chicago")
    assert len(climate.sectors) == 16
    assert climate.frequency.sum() + climate.calm == pytest.approx(1)
    assert (climate.height, climate.roughness) == (10, 0.03)
    assert 4 < climate.mean_speed < 5
    # counted over the 8760 hours that it was made from: 0.403, 0.0783 and 0.0196 of the time
    found = climate.exceedance(ANYWHERE, [5, 8, 10]).ravel()
    np.testing.assert_allclose(found, [0.403, 0.0783, 0.0196], atol=0.03)


def test_an_epw_file_says_where_it_is_and_how_the_wind_blows(tmp_path):
    hours = [(270, 4.0)] * 5000 + [(360, 8.0)] * 2500 + [(0, 0.0)] * 1260
    climate = load_climate(epw(tmp_path, hours))
    assert climate.name == "Windhaven, XX, YYY"
    assert climate.position == (41.5, -87.25)
    assert climate.calm == pytest.approx(1260 / 8760)
    assert climate.frequency[12] == pytest.approx(5000 / 8760)
    assert climate.frequency[0] == pytest.approx(2500 / 8760)
    assert climate.exceedance(ANYWHERE, [5])[0, 0, 0] == pytest.approx(2500 / 8760)
    assert climate.remarks == ()


def test_direction_0_is_north_unless_north_is_360(tmp_path):
    climate = load_climate(epw(tmp_path, [(0, 5.0), (123, 5.0)]))
    assert climate.calm == 0
    assert climate.frequency[0] == 0.5
    climate = load_climate(epw(tmp_path, [(0, 5.0), (123, 5.0), (360, 5.0)]))
    assert climate.calm == pytest.approx(1 / 3)
    assert any("direction 0" in remark for remark in climate.remarks)


def test_missing_hours_are_left_out_and_said(tmp_path):
    climate = load_climate(epw(tmp_path, [(999, 5.0), (90, 999), (90, 5.0), (91, 6.0)]))
    assert climate.frequency.sum() == pytest.approx(1)
    assert "2 of 4 hours" in climate.remarks[0]
    assert "less than a year" in climate.remarks[1]


@pytest.mark.parametrize(
    "text",
    [
        "direction,speed\n270,4.5\n90,2\n",
        "﻿direction,speed\n270,4.5\n90,2\n",
        "speed;direction\n4,5;270\n2;90\n",
        "time\tWind Dir (deg)\tWind Speed [m/s]\n1\tW\t4.5\n2\tE\t2\n",
        "# name: here\nwdir,wspd\n270,4.5\n\n90,2\n",
        "latitude,longitude\n52.5,13.4\n\n"
        "time,wind_speed_10m (m/s),wind_direction_10m (°)\n1,4.5,270\n2,2,90\n",
        'date,WD10M,WS10M\n"1 Jan, 0 h",270,"4,5"\n2,90,2\n3,-999,-999\n',
        "valid,drct,wind_speed_kmh\n1,270,16.2\n2,90,7.2\n3,M,M\n",
    ],
)
def test_hours_are_found_under_the_names_that_people_give_them(tmp_path, text):
    climate = load_climate(written(tmp_path, text))
    assert climate.frequency[[4, 12]].tolist() == [0.5, 0.5]
    assert climate.mean_speed == pytest.approx(3.25)
    assert climate.exceedance(ANYWHERE, [4.4, 4.6]).ravel().tolist() == [0.5, 0]


def test_text_of_a_spreadsheet_is_read_whatever_its_encoding(tmp_path):
    text = "Direction °;Speed\n270;4,5\n"
    for encoding in ("utf-8-sig", "utf-16", "cp1252"):
        assert load_climate(written(tmp_path, text, encoding=encoding)).frequency[12] == 1


def test_a_unit_in_a_columns_name_is_believed_and_said(tmp_path):
    climate = load_climate(written(tmp_path, "dir,speed (knots)\n270,10\n"))
    assert climate.mean_speed == pytest.approx(5.144, abs=1e-3)
    assert "knots" in climate.remarks[0]


def test_speeds_that_look_like_another_unit_are_remarked(tmp_path):
    climate = load_climate(written(tmp_path, "dir,speed\n270,15\n90,14\n"))
    assert any("km/h or knots" in remark for remark in climate.remarks)
    with pytest.raises(InputError, match="nowhere on Earth.*tenths"):
        load_climate(written(tmp_path, "dir,speed\n270,45\n90,31\n"))


@pytest.mark.parametrize("sectors", [8, 12, 16, 36])
def test_a_table_keeps_its_own_sectors(tmp_path, sectors):
    climate = load_climate(written(tmp_path, table(sectors, 1 / sectors)))
    np.testing.assert_allclose(climate.sectors, np.arange(sectors) * 360 / sectors)
    found = climate.exceedance(np.ones((sectors, 1, 1)), [5])
    assert found[0, 0, 0] == pytest.approx(np.exp(-1))


def test_a_table_may_be_in_percent_in_any_order_with_calms_and_points_of_the_compass(tmp_path):
    points = ["W", "N", "NE", "E", "SE", "S", "SW", "NW"]
    rows = [f"{point};{20 if point == 'W' else 10};5,5;2,1" for point in points]
    text = "Sector;Frequency (%);Weibull A (m/s);Weibull k\n" + "\n".join([*rows, "Calm;10;;"])
    climate = load_climate(written(tmp_path, text))
    np.testing.assert_allclose(climate.frequency, [0.1] * 6 + [0.2, 0.1])
    assert climate.calm == pytest.approx(0.1)
    assert (climate.weibull.scale == 5.5).all()
    assert climate.remarks == ()


def test_a_table_says_its_height_and_its_roughness(tmp_path):
    text = "# name: Farm\n# height: 60 m\n# roughness: farmland\n" + table()
    climate = load_climate(written(tmp_path, text))
    assert (climate.name, climate.height, climate.roughness) == ("Farm", 60, 0.1)
    with pytest.raises(InputError, match="height: high"):
        load_climate(written(tmp_path, "# height: high\n" + table()))


def test_a_data_frame_is_a_table_too():
    frame = pd.DataFrame({"direction": np.arange(8) * 45, "frequency": 0.125, "A": 5.0, "k": 2.0})
    assert load_climate(frame).weibull.scale.tolist() == [5] * 8
    frame = pd.DataFrame({"wind_direction": [270.0, None], "wind_speed": [4.0, 3.0]})
    assert load_climate(frame).frequency[12] == 1
    with pytest.raises(InputError, match="climate table, row 1: wind speed -3"):
        load_climate(pd.DataFrame({"direction": [270, 90], "speed": [4, -3]}))


def test_frequencies_that_nearly_add_up_are_scaled_and_said(tmp_path):
    climate = load_climate(written(tmp_path, table(frequency=0.126)))
    assert climate.frequency.sum() == pytest.approx(1)
    assert "add up to 1.008" in climate.remarks[0]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the file is empty"),
        ("\n\n", "the file is empty"),
        ("# name: nothing\n", "columns"),
        ("direction,speed\n", "no hours"),
        ("direction,frequency,A,k\n", "no sectors"),
        ("height,colour\n3,red\n", "the columns are height, colour; expected wind direction"),
        ("speed\n3\n", "expected wind direction"),
        ("direction,speed\n270,4\n400,4\n", "line 3: wind direction 400"),
        ("direction,speed\n-20,4\n", "line 2: wind direction -20"),
        ("direction,speed\n270,4\n\n270,-4\n", "line 4: wind speed -4 m/s is below 0"),
        ("direction,speed\n270,fast\n", "line 2: speed is 'fast'; expected a number"),
        ("direction,speed\n270,4,5\n", "line 2: 3 columns under 2 names.*semicolons"),
        ("direction,speed\n,4\n270,\n", "missing in every hour"),
        ("direction,speed\n270,0\n0,0\n", "all hours are calm"),
        (table(frequency=0.2), "add up to 1.6; expected 1, or 100"),
        (table(frequency=0), "add up to 0"),
        (table(6, 1 / 6), "6 sectors; expected 8"),
        (table(A=-5), "line 2: Weibull A -5.*8 lines"),
        (table(k=50), "line 2: Weibull k 50"),
        (table(A=""), "line 2: Weibull A nan"),
        (table().replace("\n45,", "\n0,"), "0° stands there twice"),
        (table().replace("\n45,", "\n70,"), "not equally wide"),
        (table().replace("\n45,", "\n405,"), "line 3: direction 405"),
        (table().replace("0.125", "-0.125", 1), "line 2: frequency -0.125"),
        (table(frequency=0) + "calm,1,,\n", "always calm"),
        ("PK\3\4", "spreadsheet"),
        ("a\0b", "not text"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_table_is_said(tmp_path, text, says):
    with pytest.raises(InputError, match=f"town.csv.*{says}"):
        load_climate(written(tmp_path, text))


def test_what_is_wrong_with_an_epw_file_is_said(tmp_path):
    with pytest.raises(InputError, match="line 10: wind direction 500"):
        load_climate(epw(tmp_path, [(90, 4), (500, 4)]))
    with pytest.raises(InputError, match="all hours are calm"):
        load_climate(epw(tmp_path, [(0, 0), (0, 0)]))
    with pytest.raises(InputError, match="there are no hours"):
        load_climate(epw(tmp_path, []))
    with pytest.raises(InputError, match="no line DATA PERIODS"):
        load_climate(written(tmp_path, "LOCATION,here\n", "town.epw"))
    path = epw(tmp_path, [(90, 4)])
    path.write_text(path.read_text() + "1986,1,1,2,0,?9,3\n")
    with pytest.raises(InputError, match="line 10: expected wind direction in column 21"):
        load_climate(path)


def test_what_is_no_file_is_said(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_climate(tmp_path / "none.epw")
    with pytest.raises(InputError, match="folder"):
        load_climate(tmp_path)


@pytest.mark.parametrize("sectors", [0, 4, 100, 12.5, "16"])
def test_too_few_or_too_many_sectors_are_refused(sectors):
    with pytest.raises(InputError, match="sectors="):
        load_climate(CHICAGO, sectors)
