"""Compiled loops over the air cells: the automaton's step on a CPU, and its gradient.

Numba compiles them, and ``np.dot`` calls SciPy's BLAS. A loop works on the cells first to last, in
blocks of at most ``rule.most`` cells, which fit into the cache of a core. All channels of a cell
are one vector (``lanes``).

States, and gradients with respect to them, are arrays (B, H, W, D) of the D dynamic channels, or
(B, h, w, D) for coarse cells. Gradients with respect to what the filters see are (B, h, w, 4 D),
filter by filter as in ``automaton.FILTERS``. What cells perceive is filter by filter, too, but with
the slope across the wind last (``crossed``). Names that start with ``by_`` are gradients with
respect to the rest of the name.

In the wind frame, what a cell perceives has an *even part*, which is the same in the mirror image,
and an *odd part*, which changes its sign there. Let e be what W1 makes of the even part, together
with the bias, and o what it makes of the odd part. The hidden layer is then relu(e + o) for the
city and relu(e - o) for its mirror image. W2 turns their sum into the even channels of the
increment, and their difference into the odd ones. (``prepared`` has already divided W2 by two.) So
a city and its mirror image need no more multiplications than a city alone, and all winds use the
same weights.

Channels are in the order of ``wind_frame.even_and_odd``: M even channels, then N odd channels, with
D = M + N. A rule that does not use the wind frame treats all channels as even, and its wind is
(1, 0).
"""

from typing import NamedTuple

import numpy as np

from pinca_lib.automaton.rule import HIDDEN_LIMIT
from pinca_lib.channels import BASE_COUNT, KNOWN_COUNT
from pinca_lib.physics import MARGIN
from pinca_lib.rollouts.cpu.lanes import head, joined, load, store, tail
from pinca_lib.rollouts.cpu.native import native

U_AT, FLUX_AT, SPEED_AT, TKE_AT = range(4)  # places among the dynamic channels in this order
HIDDEN_AT = KNOWN_COUNT - BASE_COUNT - 1  # place from which all channels are hidden ones, except V


class Parts(NamedTuple):
    """An even and an odd part. Without the wind frame the odd part has no columns, or no rows."""

    even: np.ndarray
    odd: np.ndarray


class Frame(NamedTuple):
    """Even and odd channels, and the winds. The tuples count them (``sized`` in ``lanes``)."""

    channels: tuple[int, ...]  # D entries
    evens: tuple[int, ...]  # M entries
    odds: tuple[int, ...]  # N entries
    vectors: tuple[int, ...]  # one entry per vector: x is in the even part, y in the odd part
    wind: np.ndarray  # (B, 2), unit vectors


class City(NamedTuple):
    """Cities on the cells of a rule: (B, H, W) cells, (B, h, w) coarse ones, A of these in air."""

    scale: int  # width of a coarse cell, in cells
    shape: tuple[int, int, int]  # B, h, w
    cells: np.ndarray  # (A, 3), int32: sample, row and column
    air: np.ndarray  # (A,): share of air, above 0 and up to 1, by which increments are multiplied
    wind: np.ndarray  # (B, 2): ``heading`` for a rule in the wind frame, otherwise (1, 0)
    perceived: Parts  # (A, K) and (A, 24 - K): what the cells perceive of the base channels
    shares: np.ndarray  # (B, H, W): as ``shares_of_air`` returns them
    has_air: np.ndarray  # (B, H, W): 1 in cells with air, else 0


class Rule(NamedTuple):
    """A rule over cities, with ``hidden`` units."""

    city: City
    frame: Frame
    w1: Parts  # (3 M + N, hidden) and (3 N + M, hidden): for the dynamic channels
    w2: Parts  # (hidden, M) and (hidden, N)
    constant: np.ndarray  # (1 or 2, A, hidden): what base channels and bias add to e and o
    alpha: float  # bound of |<u'w'>| / TKE; -1 for a rule without bounds
    v_at: int  # place of V, the first odd channel
    most: int  # largest number of cells to compute at a time
    means: np.ndarray  # (B, h, w, D): room for the means of blocks; empty at scale 1
    increments: np.ndarray  # the same, for their increments


@native
def rotated(cos, sin, x, y):
    """Rotate a vector by the angle with this cosine and sine."""
    return cos * x - sin * y, sin * x + cos * y


@native
def store_parts(frame, b, lanes, parts, i, at_even, at_odd):
    """Rotate channels to the wind frame; store each part in row i, from its column on."""
    cos, sin = frame.wind[b, 0], frame.wind[b, 1]
    even, odd = head(lanes, frame.evens), tail(lanes, frame.evens)
    x, y = rotated(cos, -sin, head(even, frame.vectors), head(odd, frame.vectors))
    store(parts.even, (i, at_even), joined(x, tail(even, frame.vectors)))
    store(parts.odd, (i, at_odd), joined(y, tail(odd, frame.vectors)))


@native
def load_parts(frame, b, parts, i, at_even, at_odd):
    """Load channels from row i, each part from its column on, and rotate them to the grid."""
    cos, sin = frame.wind[b, 0], frame.wind[b, 1]
    even = load(frame.evens, parts.even, (i, at_even))
    odd = load(frame.odds, parts.odd, (i, at_odd))
    x, y = rotated(cos, sin, head(even, frame.vectors), head(odd, frame.vectors))
    return joined(joined(x, tail(even, frame.vectors)), joined(y, tail(odd, frame.vectors)))


@native
def neighbours(i, count):
    """Return the rows or columns before and after one, on a periodic grid."""
    return i - 1 if i > 0 else count - 1, i + 1 if i < count - 1 else 0


@native
def three(sized, state, b, y, left, x, right):
    """Return the channels of the western neighbour, of the cell, and of the eastern neighbour."""
    own, west = load(sized, state, (b, y, x)), load(sized, state, (b, y, left))
    return west, own, load(sized, state, (b, y, right))


@native
def look(frame, state, b, y, x):
    """Return the filtered channels of a cell: itself, slope along the wind, Laplacian, across."""
    up, down = neighbours(y, state.shape[1])
    left, right = neighbours(x, state.shape[2])
    west, own, east = three(frame.channels, state, b, y, left, x, right)
    above_west, above, above_east = three(frame.channels, state, b, up, left, x, right)
    below_west, below, below_east = three(frame.channels, state, b, down, left, x, right)
    above = above_west + 2 * above + above_east
    below = below_west + 2 * below + below_east
    laplacian = above + below + 2 * (west + east) - 12 * own
    slope = above_east + 2 * east + below_east - (above_west + 2 * west + below_west)
    along, across = rotated(frame.wind[b, 0], -frame.wind[b, 1], slope, below - above)
    return own, along, laplacian, across


@native
def crossed(frame, perceived):
    """Return where slopes across the wind belong: those of even channels first, with their column.

    The mirror image swaps the two sides of the wind, so the slope of an even channel is odd, and
    that of an odd channel is even. Without odd channels there is only the even part.
    """
    if len(frame.odds) > 0:
        return Parts(perceived.odd, perceived.even), 3 * len(frame.odds)
    return perceived, 3 * len(frame.evens)


@native
def perceive(cells, frame, state, perceived):
    """Write what n cells perceive: its even part (n, 3 M + N) and its odd part (n, 3 N + M)."""
    m, n = len(frame.evens), len(frame.odds)
    other_parts, at_even = crossed(frame, perceived)
    for i in range(len(cells)):
        b, y, x = cells[i]
        own, along, laplacian, across = look(frame, state, b, y, x)
        store_parts(frame, b, own, perceived, i, 0, 0)
        store_parts(frame, b, along, perceived, i, m, n)
        store_parts(frame, b, laplacian, perceived, i, 2 * m, 2 * n)
        store_parts(frame, b, across, other_parts, i, at_even, 3 * m)


@native
def perception_gradient(cells, frame, perceived, by_seen):
    """Write the gradient with respect to what filters see, from that of ``perceived``."""
    m, n, d = len(frame.evens), len(frame.odds), len(frame.channels)
    other_parts, at_even = crossed(frame, perceived)
    for i in range(len(cells)):
        b, y, x = cells[i]
        own = load_parts(frame, b, perceived, i, 0, 0)
        along = load_parts(frame, b, perceived, i, m, n)
        laplacian = load_parts(frame, b, perceived, i, 2 * m, 2 * n)
        across = load_parts(frame, b, other_parts, i, at_even, 3 * m)
        slope_x, slope_y = rotated(frame.wind[b, 0], frame.wind[b, 1], along, across)
        store(by_seen, (b, y, x, 0), own)
        store(by_seen, (b, y, x, d), slope_x)
        store(by_seen, (b, y, x, 2 * d), slope_y)
        store(by_seen, (b, y, x, 3 * d), laplacian)


@native
def room(rule):
    """Return room for a block of cells: perceived, hidden layer and increment, each as parts."""
    most, dtype = rule.most, rule.constant.dtype
    (w1_even, w1_odd), (w2_even, w2_odd) = rule.w1, rule.w2
    perceived = Parts(np.empty((most, len(w1_even)), dtype), np.empty((most, len(w1_odd)), dtype))
    hidden = Parts(np.empty((most, len(w2_even)), dtype), np.empty((most, len(w2_odd)), dtype))
    added = Parts(
        np.empty((most, w2_even.shape[1]), dtype), np.empty((most, w2_odd.shape[1]), dtype)
    )
    return perceived, hidden, added


@native
def rows(parts, count):
    """Return the first rows of both parts."""
    return Parts(parts.even[:count], parts.odd[:count])


@native
def multiply(parts, layer, products):
    """Write the product of each part and its layer."""
    np.dot(parts.even, layer.even, products.even)
    if layer.odd.size > 0:
        np.dot(parts.odd, layer.odd, products.odd)


@native
def step(first, last, rule, old, new):
    """Write the next state of the cells to ``new``; of coarse cells, only their increments.

    ``grids.add_blocks`` adds the increments of coarse cells to the state, and bounds it.
    """
    city, frame, constant = rule.city, rule.frame, rule.constant
    perceived, hidden, added = room(rule)
    for start in range(first, last, rule.most):
        stop = min(start + rule.most, last)
        here, k = city.cells[start:stop], stop - start
        perceive(here, frame, old, perceived)
        multiply(rows(perceived, k), rule.w1, rows(hidden, k))
        for i in range(k):
            for j in range(constant.shape[2]):
                e = hidden.even[i, j] + constant[0, start + i, j]
                if len(frame.odds) > 0:
                    o = hidden.odd[i, j] + constant[1, start + i, j]
                    plain, image = np.maximum(e + o, 0), np.maximum(e - o, 0)
                    hidden.even[i, j], hidden.odd[i, j] = plain + image, plain - image
                else:
                    hidden.even[i, j] = np.maximum(e, 0)
        multiply(rows(hidden, k), rule.w2, rows(added, k))
        for i in range(k):
            b, y, x = here[i]
            increment = city.air[start + i] * load_parts(frame, b, added, i, 0, 0)
            if city.scale == 1:
                lanes = load(frame.channels, old, (b, y, x)) + increment
                put(rule, rule.alpha, lanes, new, b, y, x)
            else:
                store(new, (b, y, x), increment)


@native
def put(rule, alpha, lanes, new, b, y, x):
    """Write the channels of a cell, bounded as by ``automaton.bounded`` unless ``alpha`` is -1."""
    store(new, (b, y, x), lanes)
    if alpha < 0:
        return
    cell, limit = new[b, y, x], new.dtype.type(HIDDEN_LIMIT)
    u, v = cell[U_AT], cell[rule.v_at]
    for c in range(HIDDEN_AT, len(rule.frame.channels)):
        cell[c] = np.minimum(np.maximum(cell[c], -limit), limit)
    cell[rule.v_at] = v  # it lies among the hidden channels, but has no limit
    speed = np.sqrt(u * u + v * v)
    cell[SPEED_AT] = np.maximum(cell[SPEED_AT], (1 + MARGIN) * speed)
    cell[TKE_AT] = np.maximum(cell[TKE_AT], 0)
    largest = (1 - MARGIN) * alpha * cell[TKE_AT]
    cell[FLUX_AT] = np.minimum(np.maximum(cell[FLUX_AT], -largest), largest)


@native
def update_backward(first, last, rule, seen, by_new, by_seen, by_constant):
    """Write the gradient with respect to what the filters see of ``seen``; return W1's and W2's.

    ``by_new`` is the gradient with respect to the state after the update. The gradient with respect
    to ``rule.constant`` is added to ``by_constant``. Those with respect to W1 and W2, each as
    parts, are sums over the cells first to last.
    """
    city, frame, constant = rule.city, rule.frame, rule.constant
    perceived, hidden, by_added = room(rule)
    by_hidden = room(rule)[1]
    by_w1, by_w2 = zeros_like(rule.w1), zeros_like(rule.w2)
    w1_back, w2_back = transposed(rule.w1), transposed(rule.w2)
    for start in range(first, last, rule.most):
        stop = min(start + rule.most, last)
        here, k = city.cells[start:stop], stop - start
        perceive(here, frame, seen, perceived)
        multiply(rows(perceived, k), rule.w1, rows(hidden, k))
        for i in range(k):
            b, y, x = here[i]
            increment = city.air[start + i] * load(frame.channels, by_new, (b, y, x))
            store_parts(frame, b, increment, by_added, i, 0, 0)
        multiply(rows(by_added, k), w2_back, rows(by_hidden, k))
        for i in range(k):
            for j in range(constant.shape[2]):
                e, by_e = hidden.even[i, j] + constant[0, start + i, j], by_hidden.even[i, j]
                if len(frame.odds) > 0:
                    o, by_o = hidden.odd[i, j] + constant[1, start + i, j], by_hidden.odd[i, j]
                    plain, image = np.maximum(e + o, 0), np.maximum(e - o, 0)
                    by_plain = by_e + by_o if plain > 0 else 0
                    by_image = by_e - by_o if image > 0 else 0
                    hidden.even[i, j], hidden.odd[i, j] = plain + image, plain - image
                    by_hidden.even[i, j] = by_plain + by_image
                    by_hidden.odd[i, j] = by_plain - by_image
                    by_constant[1, start + i, j] += by_hidden.odd[i, j]
                else:
                    hidden.even[i, j] = np.maximum(e, 0)
                    by_hidden.even[i, j] = by_e if e > 0 else 0
                by_constant[0, start + i, j] += by_hidden.even[i, j]
        add_products(by_w2, rows(hidden, k), rows(by_added, k))
        add_products(by_w1, rows(perceived, k), rows(by_hidden, k))
        multiply(rows(by_hidden, k), w1_back, rows(perceived, k))
        perception_gradient(here, frame, perceived, by_seen)
    return by_w1, by_w2


@native
def zeros_like(layer):
    """Return a layer of zeros."""
    return Parts(np.zeros_like(layer.even), np.zeros_like(layer.odd))


@native
def transposed(layer):
    """Return both parts transposed, as copies, with which products are faster than with views."""
    return Parts(np.ascontiguousarray(layer.even.T), np.ascontiguousarray(layer.odd.T))


@native
def add_products(total, parts, others):
    """Add the products of each part, transposed, and its other."""
    even, odd = total
    even += np.dot(parts.even.T, others.even)
    if odd.size > 0:
        odd += np.dot(parts.odd.T, others.odd)
