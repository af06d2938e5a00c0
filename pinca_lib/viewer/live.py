"""The rollout behind the viewer: it can be advanced, edited and undone, and knows no widgets."""

from collections import deque
from collections.abc import Callable, Hashable, Sequence

import numpy as np
import torch
from torch import Tensor

from pinca_lib.automaton import CA
from pinca_lib.channels import BASE, GEO_MASK, KNOWN_COUNT, SPEED, TOPO, U, V, fresh_states
from pinca_lib.cities import editing
from pinca_lib.physics import PhysicsLoss
from pinca_lib.rollouts import rollout
from pinca_lib.viewer.scenes import Scene

MEMORY = 96 * 2**20  # bytes, for the history and again for undo
HISTORY_COUNT = (4, 240)  # least and largest number of snapshots to keep
UNDO_COUNT = (4, 100)  # least and largest number of edits that can be undone


Snapshot = tuple[int, Tensor, dict[str, float]]
"""Number of steps, channels 0-11 of the state, (12, H, W), and its scores."""


class History:
    """Snapshots that cover a whole rollout evenly, in bounded memory.

    When the history is full, every second snapshot is dropped. From then on, only every second
    one of the new snapshots is kept.

    Parameters
    ----------
    capacity : int
        Largest number of snapshots to keep.
    """

    def __init__(self, capacity: int):
        self.capacity = capacity
        self.clear()

    def clear(self) -> None:
        """Remove all snapshots."""
        self.snapshots: list[Snapshot] = []
        self.stride, self.offered = 1, 0

    def offer(self, snapshot: Snapshot) -> None:
        """Keep a snapshot, or skip it if it lies between those that are kept."""
        if self.offered % self.stride == 0:
            self.snapshots.append(snapshot)
        self.offered += 1
        if len(self.snapshots) > self.capacity:
            del self.snapshots[1::2]
            self.stride *= 2

    def __len__(self) -> int:
        return len(self.snapshots)


class LiveRollout:
    """A rollout over one scene that can be advanced and edited in any order.

    Parameters
    ----------
    rules : sequence of CA
        Applied in turn within every step.
    scene : Scene
        The city to start with.
    device : torch.device or str
        Device of the rules.

    Attributes
    ----------
    steps : int
        Number of steps since the start.
    frames : int
        Number of calls of ``advance`` since the start.
    history : History
    """

    def __init__(self, rules: Sequence[CA], scene: Scene, device: torch.device | str = "cpu"):
        self.rules, self.device, self.scene = rules, device, scene
        cells = scene.start[0].numel()
        self.history = History(_capacity(HISTORY_COUNT, 4 * KNOWN_COUNT * cells))
        self.physics = PhysicsLoss()
        self.undo_stack: deque[Tensor] = deque(maxlen=_capacity(UNDO_COUNT, 4 * BASE.stop * cells))
        self._stroke: Hashable = None  # stroke of the last edit
        # (1, C, H, W), or (2, C, H, W) with the fresh rollout that it is compared with
        self._states = fresh_states(scene.start[None]).to(device)
        self.restart()

    @property
    def state(self) -> Tensor:
        """The current state, (C, H, W)."""
        return self._states[0]

    def target_of(self, state: Tensor) -> Tensor | None:
        """Return the simulation, (12, H, W); None if there is none of the state's city and wind."""
        unedited = torch.equal(state[BASE].cpu(), self.scene.start[BASE])
        return self.scene.simulation if unedited else None

    @property
    def has_new_buildings(self) -> bool:
        """Whether the buildings are other than those of the scene."""
        return not torch.equal(self.state[TOPO].cpu(), self.scene.start[TOPO])

    def state_at(self, index: int | None = None) -> tuple[int, Tensor]:
        """Return the number of steps and the state at an index of the history.

        Parameters
        ----------
        index : int, optional
            Index into the history. Without it, or beyond the end, the current state is returned.

        Returns
        -------
        steps : int
        state : Tensor of shape (>= 12, H, W)
        """
        if index is None or index >= len(self.history):
            return self.steps, self.state
        return self.history.snapshots[index][:2]

    def record(self) -> list[Snapshot]:
        """Return the snapshots of the history, and the latest one if it is not among them."""
        kept = list(self.history.snapshots)
        return kept if kept[-1] is self._latest else [*kept, self._latest]

    def curves(self) -> tuple[list[str], np.ndarray]:
        """Return the scores over the history.

        Returns
        -------
        names : list of str
            Names of the scores.
        curves : ndarray of shape (1 + names, snapshots), float32
            Steps in the first row, then one row per score, NaN where a score was not defined.
        """
        kept = self.record()
        names = list(dict.fromkeys(name for *_, scores in kept for name in scores))
        rows = [[steps, *(scores.get(name, np.nan) for name in names)] for steps, _, scores in kept]
        return names, np.array(rows, np.float32).reshape(len(kept), -1).T.copy()

    @property
    def fresh(self) -> Tensor | None:
        """State of the fresh rollout over the same city, (C, H, W), or None if there is none.

        It starts with all dynamic channels at zero, and starts again after every edit.
        """
        return self._states[1] if len(self._states) > 1 else None

    def compare_with_fresh_rollout(self, wanted: bool) -> None:
        """Start a fresh rollout that is advanced together with this one, or drop it."""
        if wanted != (self.fresh is not None):
            self._continue_from(self._states[:1], with_fresh=wanted)

    def restart(self) -> None:
        """Set all dynamic channels to zero and keep the city as it is."""
        self.steps = self.frames = 0
        self.history.clear()
        start = fresh_states(self._states[:1], self._states.shape[1])
        self._continue_from(start, self.fresh is not None)
        self._add_snapshot()

    def revert(self) -> None:
        """Undo all edits and restart. This counts as an edit and can be undone."""
        base = self.scene.start[BASE].to(self._states)
        if not torch.equal(self.state[BASE], base):
            self._edit(lambda state: _with_base(state, base))
        self.restart()

    def advance(self, steps: int) -> None:
        """Take some steps.

        Raises
        ------
        FloatingPointError
            If a value becomes infinite or NaN. The rollout then stays as it was.
        """
        states = rollout(self.rules, self._states, steps)
        if not states.isfinite().all():
            raise FloatingPointError(
                f"the field diverges after step {self.steps}: restart the rollout or undo the edit"
            )
        self._states = states
        self.steps += steps
        self.frames += 1
        self._add_snapshot()

    def build(self, cells: Tensor, height: float, stroke: Hashable = None) -> None:
        """Add buildings.

        Parameters
        ----------
        cells : Tensor of shape (H, W), bool
        height : float
            Height of the buildings, m.
        stroke : hashable, optional
            Edits with the same stroke are undone together.

        Raises
        ------
        InputError
            As ``editing.build``.
        """
        self._edit(lambda state: editing.build(state, cells, height), stroke)

    def clear(self, cells: Tensor, stroke: Hashable = None) -> None:
        """Turn some cells, (H, W), into open ground; ``stroke`` as for ``build``."""
        self._edit(lambda state: editing.clear(state, cells), stroke)

    def turn_wind(self, wind_from: float, stroke: Hashable = None) -> None:
        """Turn the driving wind as ``editing.turn_wind`` does; ``stroke`` as for ``build``."""
        self._edit(lambda state: editing.turn_wind(state, wind_from), stroke)

    def undo(self) -> bool:
        """Undo the last edit and keep the flow; return False if there is nothing to undo."""
        if not self.undo_stack:
            return False
        base, self._stroke = self.undo_stack.pop(), None
        self._continue_from(_with_base(self._states[:1], base), self.fresh is not None)
        return True

    def scores(self) -> dict[str, float]:
        """Return errors and violations of the current state.

        Returns
        -------
        dict of str to float
            Relative L2 errors over the cells in air that are shown, of the vector (u, v) and of
            the mean speed: against the simulation unless the city is edited, and against the fresh
            rollout if there is one. If there is a simulation, then the terms of ``PhysicsLoss``,
            in SI units.
        """
        found = {}
        references = {
            "simulation": self.target_of(self.state),
            "fresh rollout": self.fresh,
        }
        for name, reference in references.items():
            if reference is not None:
                found[f"(u, v) against {name}"] = self._relative_error(reference, [U, V])
                found[f"speed against {name}"] = self._relative_error(reference, [SPEED])
        if self.scene.simulation is None:
            return found
        _, terms = self.physics(self.state[None], [self.scene.extent])
        return found | {name: float(terms[name]) for name in self.physics.TERMS}

    def _relative_error(self, reference: Tensor, channels: list[int]) -> float:
        site = self.scene.site
        air = self.state[GEO_MASK][site] > 0
        ours, theirs = (x[(channels, *site)][:, air.to(x.device)].cpu()
                        for x in (self.state, reference))  # fmt: skip
        return float((ours - theirs).norm() / theirs.norm().clamp_min(1e-12))

    def _edit(self, change: Callable[[Tensor], Tensor], stroke: Hashable = None) -> None:
        before, edited = self._states[:1], change(self._states[:1])  # may raise InputError
        if torch.equal(before, edited):
            return
        if stroke is None or stroke != self._stroke:
            self.undo_stack.append(before[0, BASE].clone())
        self._stroke = stroke
        self._continue_from(edited, self.fresh is not None)

    def _continue_from(self, state: Tensor, with_fresh: bool) -> None:
        """Replace the state by another, (1, C, H, W), and start a fresh rollout if wanted."""
        fresh = [fresh_states(state, state.shape[1])] if with_fresh else []
        self._states = torch.cat([state, *fresh])

    def _add_snapshot(self) -> None:
        known = self.state[:KNOWN_COUNT].to("cpu", copy=True)
        self._latest = (self.steps, known, self.scores())
        self.history.offer(self._latest)


def _capacity(count: tuple[int, int], bytes_each: int) -> int:
    least, most = count
    return max(least, min(most, MEMORY // bytes_each))


def _with_base(state: Tensor, base: Tensor) -> Tensor:
    """Return a state (1, C, H, W) with other base channels (6, H, W), zero in new buildings."""
    dynamic = state[:, BASE.stop :] * (base[GEO_MASK] > 0)
    return torch.cat([base[None], dynamic], dim=1)
