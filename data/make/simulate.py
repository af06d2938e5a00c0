# SPDX-License-Identifier: GPL-3.0-or-later
"""Run building-resolving large-eddy simulations of the layouts.

This script uses lbmpy, which is under the GPL. The script is therefore under the GPL as well, and
not part of the package. The licence of the resulting data is not affected.

Method. The flow over a doubly periodic layout is solved with a lattice Boltzmann method: D3Q27
stencil, cumulant collision with a fourth-order correction limited by 0.01, no subgrid model,
compressible and zero-centred populations in single precision, half-way bounce-back at the ground
and the walls, a free-slip lid at 64 m, or at twice the height of the tallest building if that is
higher. Cells are cubes of 2 m; the reference height is H = 16 m = 8 cells. The lattice viscosity is
0.01 H / 500. A uniform body force along the wind (Guo's scheme) is controlled such that the bulk
velocity is 0.07 in lattice units. Its time mean F gives the friction velocity, u_tau^2 = F V_air /
A. The unit of time is T = H / u_tau. The flow starts from the logarithmic profile of a rough wall
with noise. The spin-up takes 10 T, longer in proportion below a higher lid, and the averaging 50 T,
with a sample every 0.04 T. Regular arrays are averaged for 30 T and also over their repeats, test
cases of the families (`families.py`) for 30 T. Training cases of the families have a spin-up of 6 T
(12 T where less than a fifth of the ground is built over) and an average over 10 T (the first ones
10 T and 15 T): what is left of the turbulence in a mean is independent from case to case, so it
does not bias what is learned from many cases. `docs/simulation.md` compares short runs with longer
ones.

Usage
-----
python data/make/simulate.py [--sionna-wheel PATH] [--workers 2] [--gpu] [--only NAME ...]

A run that was stopped can be continued with the same command: cases in a city file or in
``rejected.csv`` are skipped, and the moments of simulated cases are stored in ``data/work/``. On a
CPU the state of an unfinished case is stored there every ten minutes, too. To
check simulated cases again, after the checks were changed, remove ``rejected.csv`` (and the city
files) and run with ``--judge``. This writes every case whose moments are stored and simulates
nothing.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # each core runs one process

import argparse  # noqa: E402
import multiprocessing  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402
import time  # noqa: E402
import zlib  # noqa: E402
from concurrent.futures import ProcessPoolExecutor, as_completed  # noqa: E402
from dataclasses import dataclass  # noqa: E402
from pathlib import Path  # noqa: E402

import families  # noqa: E402
import fields as store  # noqa: E402
import numpy as np  # noqa: E402
from layouts import CELL, Case, Layout, plan  # noqa: E402
from tqdm import tqdm  # noqa: E402

REFERENCE = 16.0  # reference height H, m
PLANE = 2.0  # height of the pedestrian plane, m
BULK = 0.07  # bulk velocity, lattice units
FASTEST = 0.45  # lattice units; a simulation with a faster cell counts as diverged
SAMPLE = 0.04  # time between two samples, T
FIRST_SPIN_UP = 10.0  # T, of stored moments that do not say it
SAVE_EVERY = 600  # seconds between two saved states of an unfinished case
PACKAGES = ("lbmpy", "pystencils", "sympy", "numpy")


@dataclass(frozen=True)
class Numerics:
    """Resolution and numerical settings of a simulation; the defaults are those of the data.

    Attributes
    ----------
    cell : float
        Side of a cell, m; the pedestrian plane must lie between two layers of cells.
    lid : float
        Height of the free-slip lid, m.
    reynolds : float
        Reynolds number H u_tau / viscosity for the first guess of u_tau, BULK / 7 = 0.01.
    smagorinsky : float
        Constant of a Smagorinsky model; 0 for no model.
    roughness : float
        Roughness length of the ground, m, for a wall function (the logarithmic law, applied to the
        velocity in the lowest cells at every step); 0 for half-way bounce-back.
    """

    cell: float = CELL
    lid: float = 64.0
    reynolds: float = 500.0
    smagorinsky: float = 0.0
    roughness: float = 0.0

    @property
    def height(self) -> int:
        """Reference height H in cells."""
        return round(REFERENCE / self.cell)

    @property
    def levels(self) -> int:
        """Height of the lid in cells."""
        return round(self.lid / self.cell)

    @property
    def plane(self) -> slice:
        """Layers of cells below and above the pedestrian plane."""
        below = round(PLANE / self.cell) - 1
        return slice(below, below + 2)

    @property
    def viscosity(self) -> float:
        """Viscosity in lattice units."""
        return 0.01 * self.height / self.reynolds


@dataclass
class Progress:
    """What a simulation has come to: its control and the sums over its samples, lattice units."""

    moments: np.ndarray  # sums of `fields.MOMENTS` in each half, (2, 2, 8, H, W)
    counts: np.ndarray  # samples in each half, (2,)
    profiles: np.ndarray  # sums of the velocity along the wind and its vertical flux, (2, levels)
    density: np.ndarray  # sum of the density, (levels, H, W)
    force: float  # body force that balances the drag
    applied: float  # body force that is applied
    u_tau: float = BULK / 7
    bulk: float = BULK
    clock: float = 0.0  # T
    force_sum: float = 0.0
    steps: int = 0
    seconds: float = 0.0


class Solver:
    """Lattice Boltzmann solver for one grid, which can simulate any layout on this grid.

    Parameters
    ----------
    shape : tuple of (int, int)
        Number of cells along x and y.
    numerics : Numerics, optional
        By default the settings of the data.
    gpu : bool
        Run on a CUDA GPU (with cupy) instead of one CPU core.
    """

    def __init__(self, shape: tuple[int, int], numerics: Numerics = Numerics(), gpu: bool = False):
        import pystencils as ps
        import sympy
        from lbmpy import (
            ForceModel,
            LBMConfig,
            LBMOptimisation,
            LBStencil,
            Method,
            Stencil,
            SubgridScaleModel,
        )
        from lbmpy.boundaries import (
            FreeSlip,
            MoninObukhovSimilarityTheory,
            NoSlip,
            WallFunctionBounce,
        )
        from lbmpy.lbstep import LatticeBoltzmannStep

        self.numerics = numerics
        shape = (*shape, numerics.levels)
        stencil = LBStencil(Stencil.D3Q27)
        force = (*sympy.symbols("F_x F_y"), 0)
        subgrid = None
        if numerics.smagorinsky:
            subgrid = (SubgridScaleModel.SMAGORINSKY, numerics.smagorinsky)
        physics = LBMConfig(
            stencil=stencil,
            method=Method.CUMULANT,
            relaxation_rate=1 / (3 * numerics.viscosity + 0.5),
            subgrid_scale_model=subgrid,
            fourth_order_correction=0.01,
            force=force,
            force_model=ForceModel.GUO,
            compressible=True,
            zero_centered=True,
        )
        available = ps.Target.available_vector_cpu_targets()
        fast = ps.Target.X86_AVX512 if ps.Target.X86_AVX512 in available else ps.Target.X86_AVX
        target = ps.Target.CUDA if gpu else fast
        config = ps.CreateKernelConfig(target=target, default_dtype="float32")
        config.cpu.openmp.enable = False
        if not gpu:
            config.cpu.vectorize.enable = True
            config.cpu.vectorize.assume_inner_stride_one = True
        data = ps.create_data_handling(
            shape,
            periodicity=(True, True, False),
            default_ghost_layers=1,
            default_target=ps.Target.CUDA if gpu else ps.Target.CPU,
        )
        self.shape = shape
        self.step = LatticeBoltzmannStep(
            data_handling=data,
            lbm_config=physics,
            lbm_optimisation=LBMOptimisation(cse_global=False, field_layout="fzyx"),
            config=config,
            name="lbm",
            kernel_params={"F_x": 0.0, "F_y": 0.0},
            compute_velocity_in_every_step=bool(numerics.roughness),
        )
        # lbmpy uploads the populations before every run. Only `start` changes them on the host, so
        # they are uploaded there.
        self.upload, self.step.pre_run = self.step.pre_run, lambda: None
        self.forces = []
        self.walls = self.ground = NoSlip()
        if numerics.roughness:
            law = MoninObukhovSimilarityTheory(numerics.roughness / numerics.cell)
            self.ground = WallFunctionBounce(
                self.step.method,
                data.fields[self.step.velocity_data_name],
                normal_direction=(0, 0, 1),
                wall_function_model=law,
                reference_velocity=WallFunctionBounce.ReferenceVelocity.INSTANTANEOUS_VELOCITY,
                data_type="float32",
                name="ground",
            )
        self.lid = FreeSlip(stencil, (0, 0, -1))
        self.lid_slice, self.ground_slice = ps.make_slice[:, :, -1], ps.make_slice[:, :, 0]
        # Views without ghost cells: velocity (3, z, y, x) and density (z, y, x).
        arrays = data.cpu_arrays
        self.populations = None if gpu else (arrays, self.step.pdf_array_name)
        self.velocity = arrays[self.step.velocity_data_name].T[:, 1:-1, 1:-1, 1:-1]
        density = arrays[self.step.density_data_name]
        density = density[..., 0] if density.ndim == 4 else density
        self.density = density.T[1:-1, 1:-1, 1:-1]

    def set_geometry(self, heights: np.ndarray) -> None:
        """Set walls and lid for building heights in cells, shape (y, x)."""
        nx, ny, nz = self.shape
        self.solid = np.arange(nz)[:, None, None] < heights  # (z, y, x)
        wall = np.zeros((nx + 2, ny + 2, nz + 2), bool)
        wall[..., 1:-1] = np.pad(heights.T, 1, mode="wrap")[..., None] > np.arange(nz)
        handling = self.step.boundary_handling
        handling.set_boundary("domain")
        handling.set_boundary(self.walls, mask_callback=lambda *_: wall)
        handling.set_boundary(self.ground, self.ground_slice)
        handling.set_boundary(self.lid, self.lid_slice)

    def start(self, wind: np.ndarray, seed: int) -> None:
        """Set a logarithmic profile along ``wind`` (2,), with noise of 15 % of the bulk speed.

        Its displacement is that of dense quarters, 0.7 of the mean height of the buildings, and
        less in proportion where less than 35 % of the ground is built over.
        """
        nx, ny, nz = self.shape
        z = (np.arange(nz) + 0.5) / self.numerics.height
        mean_height = self.solid.sum() / max(self.solid[0].sum(), 1) / self.numerics.height
        displacement = 0.7 * min(self.solid[0].mean() / 0.35, 1) * mean_height
        profile = np.log(np.maximum(z - displacement, 0.07) / 0.06) / np.log(3.3 / 0.06)
        profile = np.where(self.solid, 0.0, np.maximum(profile, 0.05)[:, None, None])
        profile *= BULK / profile[~self.solid].mean()
        noise = 0.15 * BULK * np.random.default_rng(seed).standard_normal((3, nz, ny, nx))
        direction = np.array([*wind, 0.0])[:, None, None, None]
        self.velocity[...] = np.where(self.solid, 0.0, profile * direction + noise)
        self.density[...] = 1.0
        self.step.set_pdf_fields_from_macroscopic_values()
        self.upload()

    def push(self, force: float, wind: np.ndarray) -> None:
        """Set the body force along ``wind`` (2,), in lattice units.

        All values are kept in a list, because pystencils caches the arguments of a GPU kernel by
        the identity of the objects: a new number must not reuse the address of an old one.
        """
        self.forces.append({"F_x": force * wind[0], "F_y": force * wind[1]})
        self.step.kernel_params.update(self.forces[-1])

    def form_drag(self, density: np.ndarray, wind: np.ndarray) -> float:
        """Sum the pressure on the walls along the wind.

        Parameters
        ----------
        density : numpy.ndarray
            Time mean of the density, shape (z, y, x). The pressure is (density - 1) / 3.
        wind : numpy.ndarray
            Unit vector of the wind, shape (2,).

        Returns
        -------
        float
            Force in lattice units.
        """
        air = ~self.solid
        pressure = (density - 1) / 3
        total = 0.0
        for part, axis in zip(wind, (2, 1), strict=True):
            front = pressure[air & np.roll(self.solid, -1, axis)].sum()
            back = pressure[air & np.roll(self.solid, 1, axis)].sum()
            total += part * (front - back)
        return float(total)

    def save(self, progress: Progress, file: Path) -> None:
        """Write an unfinished simulation to ``file``, which is replaced as a whole."""
        arrays, name = self.populations
        temporary = file.with_suffix(".part")
        with temporary.open("wb") as stream:
            np.savez(stream, populations=arrays[name], **vars(progress))
        os.replace(temporary, file)

    def resume(self, file: Path) -> Progress:
        """Continue the simulation in ``file``; the result is that of an uninterrupted one."""
        arrays, name = self.populations
        with np.load(file) as saved:
            arrays[name][...] = saved["populations"]
            values = {key: saved[key] for key in saved.files if key != "populations"}
        return Progress(**{k: v if v.ndim else v.item() for k, v in values.items()})

    def run(
        self,
        heights: np.ndarray,
        degrees: float,
        seed: int,
        spin_up: float,
        averaging: float,
        unfinished: Path | None = None,
    ) -> dict:
        """Simulate a layout under one wind direction.

        Parameters
        ----------
        heights : numpy.ndarray
            Building heights in cells, shape (H, W).
        degrees : float
            Direction towards which the wind blows, counter-clockwise from +x.
        seed : int
            Seed of the noise at the start.
        spin_up, averaging : float
            Times in T = H / u_tau.
        unfinished : Path, optional
            File in which the state is stored every `SAVE_EVERY` seconds, and from which the
            simulation continues if it exists. CPU only. It is removed at the end.

        Returns
        -------
        dict
            In lattice units: ``moments`` (2, 2, 8, H, W), the time means of `fields.MOMENTS` for
            each half of the averaging time, in the layers below and above the pedestrian plane;
            ``counts`` (2,), the number of samples in each half; ``u_tau``; ``form_drag_share``, of
            the body force; ``stress_ratio``, measured over expected stress at each level above the
            roofs; ``profile``, the mean velocity along the wind over the air of each level;
            ``stress``, the resolved and viscous stress at each level, over the whole area;
            ``steps``; ``spin_up_time`` and ``averaging_time`` in T; ``wall_seconds``.

        Raises
        ------
        FloatingPointError
            If the velocity is not finite or larger than `FASTEST`.
        """
        nx, ny, nz = self.shape
        area, step, H, plane = nx * ny, self.step, self.numerics.height, self.numerics.plane
        self.set_geometry(heights)
        air = ~self.solid
        volume = int(air.sum())
        angle = np.deg2rad(degrees)
        wind = np.array([np.cos(angle), np.sin(angle)])
        force = (BULK / 7) ** 2 * area / volume  # first guess: u_tau = BULK / 7
        self.push(force, wind)
        self.start(wind, seed)
        # The staggered invariants of the lattice change sign with every step. With an odd number
        # of steps between samples they cancel in the time means.
        now = Progress(
            moments=np.zeros((2, 2, len(store.MOMENTS), ny, nx)),
            counts=np.zeros(2, int),
            profiles=np.zeros((2, nz)),
            density=np.zeros((nz, ny, nx)),
            force=force,
            applied=force,
        )
        chunk = 2 * round(SAMPLE * H / now.u_tau / 2) + 1
        if unfinished and unfinished.exists():
            now = self.resume(unfinished)
        flow = np.empty((3, nz, ny, nx), np.float32)
        began = time.perf_counter() - now.seconds
        saved = time.perf_counter()
        while now.clock < spin_up + averaging:
            self.push(now.applied, wind)
            step.run(chunk)
            now.steps += chunk
            now.clock += chunk * now.u_tau / H
            np.copyto(flow, self.velocity)
            np.copyto(flow, 0.0, where=self.solid)
            along = wind[0] * flow[0] + wind[1] * flow[1]
            bulk = float(along.sum(dtype=float) / volume)
            fastest = max(float(flow.max()), -float(flow.min()))
            if not fastest <= FASTEST:  # true for NaN as well
                raise FloatingPointError(f"velocity {fastest:.3g} after {now.steps} steps")
            # Control: the drag is the part of the applied force that did not accelerate the flow.
            drag = now.applied - (bulk - now.bulk) / chunk
            now.bulk = bulk
            share = min(1.0, chunk * now.u_tau / H / (1.0 if now.clock < spin_up else 5.0))
            now.force = (1 - share) * now.force + share * max(drag, 0.0)
            now.applied = max(now.force + (BULK - bulk) / (2 * H / now.u_tau), 0.0)
            now.u_tau = float(np.sqrt(now.force * volume / area))
            if now.clock > spin_up:
                half = int(now.clock > spin_up + averaging / 2)
                u, v, w = flow[:, plane].astype(float)
                products = (u, v, w, np.hypot(u, v), u * u, v * v, w * w, u * w)
                for k, product in enumerate(products):
                    now.moments[half, :, k] += product
                now.counts[half] += 1
                now.profiles[0] += along.sum(axis=(1, 2), dtype=float)
                now.profiles[1] += (along * flow[2]).sum(axis=(1, 2), dtype=float)
                now.density += self.density
                now.force_sum += now.applied
            if unfinished and time.perf_counter() - saved > SAVE_EVERY:
                now.seconds = time.perf_counter() - began
                self.save(now, unfinished)
                saved = time.perf_counter()
        if unfinished:
            unfinished.unlink(missing_ok=True)

        samples = now.counts.sum()
        force = now.force_sum / samples
        # Above the roofs, resolved and viscous stress together must balance the body force on the
        # air above.
        top = int(heights.max())
        velocity, flux = now.profiles / samples / area
        stress = self.numerics.viscosity * np.gradient(velocity) - flux
        above = np.arange(top + 1, max(3 * nz // 4, top + 2))
        expected = force * (nz - above - 0.5)
        density = np.where(self.solid, 1.0, now.density / samples)
        return {
            "moments": now.moments / now.counts[:, None, None, None, None],
            "counts": now.counts,
            "u_tau": float(np.sqrt(force * volume / area)),
            "form_drag_share": self.form_drag(density, wind) / (force * volume),
            "stress_ratio": stress[above] / expected,
            "profile": velocity * area / air.sum(axis=(1, 2)),
            "stress": stress,
            "steps": now.steps,
            "spin_up_time": spin_up,
            "averaging_time": now.clock - spin_up,
            "wall_seconds": time.perf_counter() - began,
        }


_solvers: dict[tuple, Solver] = {}


def _start_worker() -> None:
    """Lower the priority of a worker process, and end it when its parent ends."""
    os.nice(10)

    def follow() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def keep(file: Path, raw: dict) -> None:
    """Write the result of `Solver.run` to an ``.npz`` file, which is never incomplete."""
    temporary = file.with_suffix(".part.npz")
    np.savez_compressed(temporary, **raw)
    os.replace(temporary, file)


def simulate(case: Case, file: Path, spin_up: float, averaging: float, gpu: bool) -> str:
    """Simulate a case in a worker process and write the result of `Solver.run` to ``file`` (npz).

    Returns
    -------
    str
        Empty, or a message that the simulation diverged; then no file is written.
    """
    heights = case.layout.heights
    key = (heights.shape[1], heights.shape[0], case.lid)
    if key not in _solvers:
        _solvers[key] = Solver(key[:2], Numerics(lid=case.lid), gpu)
    seed = zlib.crc32(case.name.encode())
    unfinished = None if gpu else file.with_suffix(".state")
    try:
        raw = _solvers[key].run(heights, case.degrees, seed, spin_up, averaging, unfinished)
    except FloatingPointError as error:
        return f"diverged: {error}"
    keep(file, raw)
    return ""


def describe(case: Case, raw: dict, figures: dict) -> dict:
    """Collect the ``meta`` of a case as plain values."""
    from importlib.metadata import version

    layout: Layout = case.layout
    angle = np.deg2rad(case.degrees)
    return {
        "wind_dir_deg": case.degrees,
        "wind_dir_xy": (round(float(np.cos(angle)), 6), round(float(np.sin(angle)), 6)),
        "channels": list(store.CHANNELS),
        "cityHW": tuple(n * CELL for n in layout.heights.shape),
        "row_order": "south_first",
        "split": layout.split,
        "kind": layout.kind,
        **figures,
        "u_tau": store.U_TAU,
        "lid": case.lid,
        "u_tau_lattice": round(float(raw["u_tau"]), 7),
        "spin_up_time": float(raw.get("spin_up_time", FIRST_SPIN_UP)),
        "averaging_time": round(float(raw["averaging_time"]), 2),
        "steps": int(raw["steps"]),
        "wall_seconds": round(float(raw["wall_seconds"]), 1),
        "solver": ", ".join(f"{name} {version(name)}" for name in PACKAGES),
        "source": layout.source,
        "crop_origin": layout.origin,
    }


def finish(case: Case, file: Path, reason: str, out: Path) -> str:
    """Check a simulated case, store or reject it, and return a line for the log."""
    if reason:
        store.reject(out, case, reason, {})
        return f"{case.name}: rejected, {reason}"
    with np.load(file) as archive:
        raw = dict(archive)
    fields, halves, figures, reason = store.evaluate(case, raw)
    if reason:
        store.reject(out, case, reason, figures)
    else:
        store.store(out, case, fields, halves, raw, describe(case, raw, figures))
    text = ", ".join(f"{k} {v}" for k, v in figures.items())
    seconds = float(raw["wall_seconds"])
    speed = int(raw["steps"]) * case.layout.heights.size * case.lid / CELL / seconds / 1e6
    verdict = f"rejected ({reason})" if reason else "accepted"
    return f"{case.name}: {verdict}; {text}; {seconds:.0f} s, {speed:.1f} MLUPS"


def fetch_wheel(work: Path) -> Path:
    """Return the wheel of sionna-rt 2.2.0 in ``work``; download it from PyPI if it is missing."""
    pattern = "sionna_rt-2.2.0-*.whl"
    if not list(work.glob(pattern)):
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "-d", str(work)]
        subprocess.run([*command, "sionna-rt==2.2.0"], check=True)
    return next(work.glob(pattern))


def main() -> None:
    """Run the command: simulate the missing cases."""
    parser = argparse.ArgumentParser(description="Simulate the cases of the data set.")
    parser.add_argument("--sionna-wheel", type=Path, help="wheel of sionna-rt 2.2.0")
    parser.add_argument(
        "--workers", type=int, default=2, help="number of processes, one for each core"
    )
    parser.add_argument("--gpu", action="store_true", help="simulate on a CUDA GPU (needs cupy)")
    parser.add_argument("--only", nargs="+", default=[], help="run only cases whose names begin so")
    parser.add_argument("--limit", type=int, help="largest number of cases to run")
    parser.add_argument("--judge", action="store_true", help="only check simulated cases")
    parser.add_argument("--list", action="store_true", help="list all cases and exit")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[1])
    parser.add_argument("--spin-up", type=float, help="spin-up time in H/u_tau, for tests")
    parser.add_argument("--averaging", type=float, help="averaging time in H/u_tau, for tests")
    options = parser.parse_args()

    work = options.out / "work"
    work.mkdir(parents=True, exist_ok=True)
    wheel = options.sionna_wheel or fetch_wheel(work)
    cases = plan(wheel, work) + families.cases(wheel, work)
    if options.only:
        cases = [case for case in cases if case.name.startswith(tuple(options.only))]
    if options.list:
        for case in cases:
            print(case.name, case.layout.split, f"{(case.layout.heights > 0).mean():.2f}")
        return
    pending = [case for case in cases if not store.done(options.out, case)]
    pending = pending[: options.limit]
    bar = tqdm(total=len(cases), initial=len(cases) - len(pending), unit="case")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.workers, context, _start_worker) as pool:
        futures = {}
        for case in pending:
            file = work / f"{case.name}.npz"
            if file.exists():  # simulated in an earlier run
                bar.write(finish(case, file, "", options.out))
                bar.update()
                continue
            if options.judge:
                continue
            spin_up = case.spin_up if options.spin_up is None else options.spin_up
            averaging = options.averaging or case.averaging
            future = pool.submit(simulate, case, file, spin_up, averaging, options.gpu)
            futures[future] = (case, file)
        for future in as_completed(futures):
            case, file = futures[future]
            try:
                bar.write(finish(case, file, future.result(), options.out))
            except Exception as error:  # noqa: BLE001  the other cases continue
                bar.write(f"{case.name}: failed, {error!r}")
            bar.update()
    bar.close()


if __name__ == "__main__":
    main()
