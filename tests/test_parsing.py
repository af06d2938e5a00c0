"""Whatever is parsed gives a value or one line, never a traceback: texts made up by Hypothesis."""

import json
import math
import tempfile
import warnings
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, example, given, settings, strategies as st

from pinca_lib.cities.coordinates import parse_site
from pinca_lib.cities.heights import TALLEST, parse_height, usable_heights
from pinca_lib.comfort import Climate, load_climate
from pinca_lib.datasets.meta import parse_meta
from pinca_lib.errors import InputError
from pinca_lib.runs.parameters import PARAMETERS, checked

quick = settings(
    max_examples=80, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip

numbers = st.one_of(st.integers(), st.floats(), st.sampled_from([10**400, -(10**400), 0.0, 360]))
words = st.one_of(st.text(max_size=20), st.sampled_from(["", "nan", "12 m", "40' 6\"", "1e999"]))
plain = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), words
)
plain = st.recursive(plain, lambda inner: st.lists(inner, max_size=3), max_leaves=8)
anything = st.one_of(numbers, plain, st.binary(max_size=9), st.dictionaries(words, numbers))


def value_or_line(act, *given):
    """Return what a function returns, or None if it refuses what it is given in one line."""
    with warnings.catch_warnings(action="ignore"):
        try:
            return act(*given)
        except InputError as error:
            line = str(error)
    assert line
    assert line.isprintable()
    return None


@st.composite
def edited(draw, texts):
    """Texts in which a part was replaced by other characters."""
    text = draw(texts)
    start, stop = sorted(draw(st.tuples(*[st.integers(0, len(text))] * 2)))
    return text[:start] + draw(st.text("{}[]()'\",:;-+.#\\\n\t019eE ü\0", max_size=4)) + text[stop:]


@quick
@given(st.dictionaries(words, plain, max_size=4))
def test_meta_is_read_as_it_was_written(meta):
    assert parse_meta(json.dumps(meta), "file") == parse_meta(repr(meta), "file") == meta


@quick
@given(st.one_of(st.text(), edited(st.dictionaries(words, plain).map(repr))))
def test_meta_is_a_dict_or_a_line(text):
    found = value_or_line(parse_meta, text, "file")
    assert found is None or isinstance(found, dict)


@quick
@given(st.sampled_from(sorted(PARAMETERS)), anything)
def test_a_parameter_is_of_its_type_and_in_its_range_or_a_line(name, value):
    found, about = value_or_line(checked, name, value), PARAMETERS[name]
    assert found is None or type(found) is about.type
    if about.type in (int, float) and found is not None:
        assert about.low <= found <= about.high or found == about.special


@quick
@given(anything, st.sampled_from([1.0, 0.3048]))
@example(10**400, 1.0)
def test_a_height_is_a_number(value, unit):
    assert isinstance(parse_height(value, unit), float)


@quick
@given(st.floats(0, 999), st.sampled_from(["{}", "{} m", " {}m ", "{} metres"]))
def test_a_height_is_read_as_it_was_written(metres, form):
    assert parse_height(form.format(round(metres, 3))) == round(metres, 3)


@quick
@given(st.lists(anything, min_size=1, max_size=6), st.one_of(st.none(), st.floats(3, 300)))
def test_heights_of_footprints_are_usable_or_a_line(values, default):
    found = value_or_line(usable_heights, {"height": values}, len(values), "file", default)
    if found is not None:
        assert np.isfinite(found.metres).all()
        assert ((found.metres > 0) & (found.metres <= TALLEST)).all()


@quick
@given(st.one_of(
    words, anything, st.lists(numbers, min_size=3, max_size=4),
    st.lists(st.floats(), min_size=2, max_size=5).map(lambda site: str(site)[1:-1]),
))  # fmt: skip
def test_a_site_is_three_or_four_finite_numbers_or_a_line(site):
    found = value_or_line(parse_site, site)
    assert found is None or (len(found) in (3, 4) and all(map(math.isfinite, found)))


HOURS = "direction,speed\n" + "".join(f"{30 * n % 360},{n % 9}\n" for n in range(60))
SECTORS = "direction;frequency;A;k\n" + "".join(f"{45 * n};0,125;5,0;2\n" for n in range(8))
EPW = "LOCATION,Town\nDATA PERIODS,1\n" + "".join(
    f"1986,1,1,1,0,?9{',0' * 14},{30 * n % 360},{n % 9},9\n" for n in range(60)
)
files = [("town.csv", HOURS), ("town.csv", SECTORS), ("town.epw", EPW)]
cells = st.one_of(numbers.map(str), words).map(lambda text: text.replace("\n", " "))
tables = st.lists(st.lists(cells, min_size=2, max_size=4).map(",".join), min_size=1, max_size=30)


@quick
@given(st.one_of(
    *[st.tuples(st.just(name), edited(st.just(text))) for name, text in files],
    st.tuples(st.just("town.csv"), tables.map(lambda rows: "\n".join(["direction,speed", *rows]))),
    st.tuples(st.sampled_from(["town.csv", "town.epw"]), st.text()),
))  # fmt: skip
def test_a_weather_file_is_a_climate_or_a_line(file):
    name, text = file
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_text(text, encoding="utf-8", errors="replace", newline="")
        found = value_or_line(load_climate, path)
    if found is not None:
        assert isinstance(found, Climate)
        assert math.isclose(found.frequency.sum() + found.calm, 1, abs_tol=1e-6)
