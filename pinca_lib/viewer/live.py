"""A rollout that goes on while its city is edited: what the viewer shows, without the widgets."""

from collections import deque
from collections.abc import Callable, Hashable, Sequence

import numpy as np
import torch
from torch import Tensor

from pinca_lib.automaton import CA
from pinca_lib.channels import BASE, GEO_MASK, KNOWN_COUNT, SPEED, U, V, fresh_states
from pinca_lib.cities import editing
from pinca_lib.datasets import WindDataset
from pinca_lib.physics import PhysicsLoss
from pinca_lib.rollouts import rollout

MEMORY = 96 * 2**20  # bytes, for the history, and for the cities to be undone to
HISTORY_COUNT = (16, 240)  # fewest and most snapshots that are kept
UNDO_COUNT = (4, 100)  # fewest and most edits that can be undone


Snapshot = tuple[int, Tensor, dict[str, float]]
"""Steps taken, the state's known channels (12, H, W) and its scores."""


class History:
    """Snapshots over the whole of a rollout, in bounded memory.

    Whenever the room is full, every second snapshot goes, and from then on only every second of
    those that come is kept.

    Parameters
    ----------
    room : int
        Most snapshots to keep.
    """

    def __init__(self, room: int):
        self.room = room
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.snapshots: list[Snapshot] = []
        self.every, self.offered = 1, 0

    def offer(self, snapshot: Snapshot) -> None:
        """Keep a snapshot if it is its turn."""
        if self.offered % self.every == 0:
            self.snapshots.append(snapshot)
        self.offered += 1
        if len(self.snapshots) > self.room:
            del self.snapshots[1::2]
            self.every *= 2

    def __len__(self) -> int:
        return len(self.snapshots)


class LiveRollout:
    """The state of one case under a sequence of rules, to be advanced and edited in turn.

    Parameters
    ----------
    rules : sequence of CA
        Applied in turn within every step.
    case : WindDataset
        Of one case.
    device : torch.device or str
        Where the rules are.

    Attributes
    ----------
    steps : int
        Steps taken since the start.
    frames : int
        Times that it was advanced since the start.
    extent : tuple of float
        Height and width of the domain, m.
    history : History
    """

    def __init__(self, rules: Sequence[CA], case: WindDataset, device="cpu"):
        self.rules, self.device, self.name = rules, device, case.names[0]
        self.simulation = case.states[0]
        self.has_dwdz = bool(case.has_dwdz[0])
        self.extent = tuple(map(float, case.extents[0]))
        cells = self.simulation[0].numel()
        self.history = History(_room(HISTORY_COUNT, 4 * KNOWN_COUNT * cells))
        self.physics = PhysicsLoss()
        self.undo_stack: deque[Tensor] = deque(maxlen=_room(UNDO_COUNT, 4 * BASE.stop * cells))
        self._stroke: Hashable = None  # of the last edit
        self._states = fresh_states(case.states).to(device)  # (1, C, H, W), or 2 with a cold start
        self.restart()

    @property
    def state(self) -> Tensor:
        """The rollout's state, (C, H, W)."""
        return self._states[0]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in cells."""
        return tuple(self.state.shape[-2:])

    def target_of(self, state: Tensor) -> Tensor | None:
        """Return the simulated case, (12, H, W), if it is of a state's city and wind."""
        unedited = torch.equal(state[BASE].cpu(), self.simulation[BASE])
        return self.simulation if unedited else None

    def moment(self, index: int | None = None) -> tuple[int, Tensor]:
        """Return steps and state, (>= 12, H, W): of the history's entry, or of now."""
        if index is None or index >= len(self.history):
            return self.steps, self.state
        return self.history.snapshots[index][:2]

    def record(self) -> list[Snapshot]:
        """Return the history up to the last advance."""
        kept = list(self.history.snapshots)
        return kept if kept[-1] is self._latest else [*kept, self._latest]

    def curves(self) -> tuple[list[str], np.ndarray]:
        """Return the scores' names, and steps and scores over the history.

        The array is of shape (1 + names, snapshots), float32; NaN where a score was not defined.
        """
        kept = self.record()
        names = list(dict.fromkeys(name for *_, scores in kept for name in scores))
        rows = [[steps, *(scores.get(name, np.nan) for name in names)] for steps, _, scores in kept]
        return names, np.array(rows, np.float32).reshape(len(kept), -1).T.copy()

    @property
    def cold(self) -> Tensor | None:
        """A rollout from zero over the same city, begun at the last edit, (C, H, W)."""
        return self._states[1] if len(self._states) > 1 else None

    def compare_with_cold_start(self, wanted: bool) -> None:
        """Begin a cold start now, to be advanced beside the rollout; or end it."""
        if wanted != (self.cold is not None):
            self._begin(self._states[:1], cold=wanted)

    def restart(self) -> None:
        """Set the field to zero everywhere; the city stays as it is."""
        self.steps = self.frames = 0
        self.history.clear()
        self._begin(fresh_states(self._states[:1], self._states.shape[1]), self.cold is not None)
        self._remember()

    def revert(self) -> None:
        """Undo all edits and restart."""
        base = self.simulation[BASE].to(self._states)
        if not torch.equal(self.state[BASE], base):
            self._edit(lambda state: _over(state, base))
        self.restart()

    def advance(self, steps: int) -> None:
        """Take some steps.

        Raises
        ------
        FloatingPointError
            If a value would become infinite or NaN; nothing is changed.
        """
        states = rollout(self.rules, self._states, steps)
        if not states.isfinite().all():
            raise FloatingPointError(
                f"the field diverges after step {self.steps}: restart it, or undo the edit"
            )
        self._states = states
        self.steps += steps
        self.frames += 1
        self._remember()

    def build(self, cells: Tensor, height: float, stroke: Hashable = None) -> None:
        """Put buildings of a height (m) in some cells (H, W); see ``editing.build``.

        Edits of one stroke, whatever names it, are undone together.
        """
        self._edit(lambda state: editing.build(state, cells, height), stroke)

    def clear(self, cells: Tensor, stroke: Hashable = None) -> None:
        """Turn some cells (H, W) to open ground."""
        self._edit(lambda state: editing.clear(state, cells), stroke)

    def turn_wind(self, degrees: float, stroke: Hashable = None) -> None:
        """Let the wind blow towards a direction; see ``editing.turn_wind``."""
        self._edit(lambda state: editing.turn_wind(state, degrees), stroke)

    def undo(self) -> bool:
        """Take the last edit back; False if there is none. The field heals from where it is."""
        if not self.undo_stack:
            return False
        base, self._stroke = self.undo_stack.pop(), None
        self._begin(_over(self._states[:1], base), self.cold is not None)
        return True

    def scores(self) -> dict[str, float]:
        """Return errors against simulation and cold start where they are, and all violations.

        Errors are relative L2 over cells in air, of the vector (u, v) and of the mean speed;
        violations are those of ``physics.PhysicsLoss``, in SI units.
        """
        found = {}
        for name, other in (("simulation", self.target_of(self.state)), ("cold start", self.cold)):
            if other is not None:
                found[f"(u, v) against {name}"] = self._misfit(other, [U, V])
                found[f"speed against {name}"] = self._misfit(other, [SPEED])
        _, terms = self.physics(self.state[None], [self.extent])
        return found | {name: float(terms[name]) for name in self.physics.TERMS}

    def _misfit(self, other: Tensor, channels: list[int]) -> float:
        air = self.state[GEO_MASK] > 0
        own, other = (x[channels][:, air.to(x.device)].cpu() for x in (self.state, other))
        return float((own - other).norm() / other.norm().clamp_min(1e-12))

    def _edit(self, change: Callable[[Tensor], Tensor], stroke: Hashable = None) -> None:
        before, edited = self._states[:1], change(self._states[:1])  # it may be refused
        if torch.equal(before, edited):
            return
        if stroke is None or stroke != self._stroke:
            self.undo_stack.append(before[0, BASE].clone())
        self._stroke = stroke
        self._begin(edited, self.cold is not None)

    def _begin(self, state: Tensor, cold: bool) -> None:
        """Go on from a state (1, C, H, W), with a new cold start over its city if wanted."""
        fresh = [fresh_states(state, state.shape[1])] if cold else []
        self._states = torch.cat([state, *fresh])

    def _remember(self) -> None:
        known = self.state[:KNOWN_COUNT].to("cpu", copy=True)
        self._latest = (self.steps, known, self.scores())
        self.history.offer(self._latest)


def _room(count: tuple[int, int], bytes_each: int) -> int:
    fewest, most = count
    return max(fewest, min(most, MEMORY // bytes_each))


def _over(state: Tensor, base: Tensor) -> Tensor:
    """Return a state (1, C, H, W) over another city (6, H, W): zero where buildings come to be."""
    dynamic = state[:, BASE.stop :] * (base[GEO_MASK] > 0)
    return torch.cat([base[None], dynamic], dim=1)
