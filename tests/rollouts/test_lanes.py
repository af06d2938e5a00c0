"""SIMD vectors of any number of lanes give the results of NumPy arrays."""

import numpy as np
import pytest
from numba import njit

from pinca_lib.rollouts.cpu.lanes import head, joined, load, store, tail


def rows(count, dtype):
    """Return three rows of random numbers. The first and last number of a row must not change."""
    return np.random.default_rng(count).standard_normal((3, count + 2)).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("count", [1, 2, 7, 8, 18, 33])
def test_sums_and_products_are_those_of_arrays(count, dtype):
    @njit
    def work(sized, number, given, found):
        one, other = load(sized, given, (0, 1)), load(sized, given, (1, 1))
        store(found, (2, 1), 2 * one - other * one + number * other)

    given, found = rows(count, dtype), np.zeros((3, count + 2), dtype)
    work((0,) * count, 0.3, given, found)
    one, other = given[:2, 1:-1]
    expected = 2 * one - other * one + given.dtype.type(0.3) * other
    np.testing.assert_allclose(found[2, 1:-1], expected, rtol=1e-6)
    found[2, 1:-1] = 0
    assert not found.any()


@pytest.mark.parametrize("parts", [(1, 1), (5, 3), (10, 8), (0, 4), (4, 0)])
def test_vectors_are_split_and_joined(parts):
    @njit
    def work(some, others, given, found):
        whole = load(some + others, given, (0, 1))
        store(found, (0, 1), joined(tail(whole, some), head(whole, some)))
        store(found, (1, 1), tail(whole, some))
        store(found, (2, 1), joined(load(some, given, (1, 1)), load(others, given, (2, 1))))

    count = sum(parts)
    given, found = rows(count, "float32"), np.zeros((3, count + 2), "float32")
    work((0,) * parts[0], (0,) * parts[1], given, found)
    expected = np.zeros_like(found)
    expected[0, 1:-1] = np.roll(given[0, 1:-1], -parts[0])
    expected[1, 1 : parts[1] + 1] = given[0, 1 + parts[0] : -1]
    expected[2, 1:-1] = [*given[1, 1 : parts[0] + 1], *given[2, 1 : parts[1] + 1]]
    np.testing.assert_array_equal(found, expected)


def test_places_may_be_any_integers_and_arrays_need_not_be_contiguous():
    @njit
    def work(sized, cells, given, found):
        for b, y in cells:
            store(found, (b, y, 0), load(sized, given, (b, y)))

    given = rows(18, "float32").reshape(3, 4, 5).transpose(1, 0, 2)
    found = np.zeros(given.shape, "float32")
    work((0,) * 5, np.argwhere(np.ones((4, 3))).astype("int32"), given, found)
    np.testing.assert_array_equal(found, given)
