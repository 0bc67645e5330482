"""Time and memory of the fit: each step, whole fits, toys, and growth with the size.

One BLAS thread, as the command line has; the kernels use all cores. Each size runs in
its own process, so that the peak memory is its own; it includes the templates.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # BLAS reads it when it is loaded

import multiprocessing
import resource
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from full_size_problem import BOTH, FULL, QUARTER, Size, build_problem

from wprops.fit.covariance import factorise
from wprops.fit.likelihood import Likelihood, relative_variance
from wprops.fit.model import Model, build_model, observed
from wprops.fit.pseudo_data import thrower
from wprops.fit.run import fit_model
from wprops.fit.toys import Experiment, run_ensemble

#: Parts of one step of the minimiser.
STEPS = ("value", "jacobian", "fisher", "hessian", "factorise")
SIZES = {"quarter": QUARTER, "full": FULL, "both": BOTH}
#: One size at a time is enlarged.
GROWTH = {
    "reference": QUARTER,
    "bins x 2": replace(QUARTER, n_pt=60),
    "bins x 4": replace(QUARTER, n_pt=120),
    "processes x 2": replace(QUARTER, n_y=6),
    "processes x 3.5": replace(QUARTER, n_qt=11, n_y=6),
    "nuisances + 100": replace(QUARTER, n_pdf=130),
    "nuisances + 200": replace(QUARTER, n_pdf=230),
}
Times = dict[str, float]


def main() -> None:
    """Measure what is asked for and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", default=["quarter", "full"])
    parser.add_argument("--toys", type=int, default=10, help="toys per size")
    parser.add_argument("--simulated", type=float, default=4.0, help="events per event")
    parser.add_argument("--growth", action="store_true", help="only growth with size")
    parser.add_argument("--figure", type=Path, help="picture of the growth to write")
    arguments = parser.parse_args()
    chosen = GROWTH if arguments.growth else {s: SIZES[s] for s in arguments.sizes}
    toys = 0 if arguments.growth else arguments.toys
    context = multiprocessing.get_context("spawn")
    found = {}
    for name, size in chosen.items():
        with context.Pool(1) as pool:
            what = name, size, arguments.simulated, toys
            text, found[name] = pool.apply(measure, what)
        print(text)
    if arguments.figure is not None:
        plot_growth(found, arguments.figure)


def plot_growth(found: dict[str, Times], path: Path) -> None:
    """Draw the time of each size, grouped by what is enlarged."""
    names = list(found)
    steps = [sum(times[s] for s in STEPS) for times in found.values()]
    figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
    where = np.arange(len(names))
    fits = [times["fit"] for times in found.values()]
    axes.barh(where - 0.2, fits, 0.4, label="fit of fluctuated data")
    axes.barh(where + 0.2, steps, 0.4, label="one step: " + ", ".join(STEPS))
    axes.set_yticks(where, names)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("wall time [s]")
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)


def measure(name: str, size: Size, simulated: float, n_toys: int) -> tuple[str, Times]:
    """Run one size and return its table and its times."""
    times: Times = {}
    model, counts = prepare(size, simulated, times)
    steps(model, counts, times)  # compiles, and pages memory in
    steps(model, counts, times)
    notes = fits(model, counts, times)
    if n_toys:
        notes += toys(model, n_toys, times)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    n_processes = sum(len(block.processes) for block in model.blocks)
    stored = sum(g.tiles.nbytes for block in model.blocks for g in block.groups) / 1e6
    lines = [
        f"{name}: {model.n_bins} bins, {n_processes} processes, "
        f"{len(model.parameters) - model.parameters.n_poi} nuisance parameters, "
        f"{len(model.parameters)} parameters; {stored:.0f} MB of effects, "
        f"{peak:.2f} GB at most",
        *(f"  {step:<12}{seconds:>9.3f} s" for step, seconds in times.items()),
        *(f"  {note}" for note in notes),
    ]
    return "\n".join(lines), times


def prepare(size: Size, simulated: float, times: Times) -> tuple[Model, np.ndarray]:
    """Build the model and let go of the templates."""
    templates = _timed(
        times, "templates", lambda: build_problem(size, simulated=simulated)
    )
    model = _timed(times, "model", lambda: build_model(templates))
    return model, observed(templates, model)


def steps(model: Model, counts: np.ndarray, times: Times) -> None:
    """Time the parts of an iteration."""
    likelihood = Likelihood(
        model, counts, np.zeros_like(counts), model.parameters.start
    )
    values = model.parameters.start + 0.01
    point = _timed(times, "value", lambda: likelihood.at(values))
    # the derivatives of the expectation and with them the gradient
    _timed(times, "jacobian", point.gradient)
    fisher = _timed(times, "fisher", point.fisher)
    _timed(times, "hessian", point.hessian)
    _timed(times, "factorise", lambda: factorise(fisher))
    _timed(times, "variance", lambda: relative_variance(model, model.parameters.start))


def fits(model: Model, counts: np.ndarray, times: Times) -> list[str]:
    """Fit fluctuated data, without and with the noise of the templates."""
    notes = []
    for label, barlow_beeston in (("fit", False), ("fit BB", True)):
        cpu = time.process_time()
        minimum = _timed(
            times,
            label,
            lambda b=barlow_beeston: fit_model(model, counts, barlow_beeston=b),
        )
        cpu = time.process_time() - cpu
        covariance = _timed(
            times, "covariance", lambda m=minimum: m.covariance(model.parameters.names)
        )
        errors = np.sqrt(np.diag(covariance))
        notes.append(
            f"{label}: NLL {minimum.nll:.4f}, edm {minimum.edm:.1e} after "
            f"{minimum.iterations} steps and {cpu:.2f} CPU s, median error of the "
            f"strengths {np.median(errors[: model.parameters.n_poi]):.3g}"
        )
    return notes


def toys(model: Model, n: int, times: Times) -> list[str]:
    """Fit toys on all cores."""
    cores = os.cpu_count() or 1
    cpu = time.process_time()
    ensemble = _timed(
        times,
        f"{n} toys",
        lambda: run_ensemble(
            Experiment(thrower(model, model.parameters.start, 1)),
            range(n),
            n_workers=cores,
        ),
    )
    cpu = (time.process_time() - cpu) / n
    return [
        f"toys: {times[f'{n} toys'] / n:.2f} s each on {cores} cores, {cpu:.2f} CPU s, "
        f"{len(ensemble.failures)} without a minimum, "
        f"RMS of the pulls {np.sqrt((ensemble.pulls**2).mean()):.3f}"
    ]


def _timed(times: Times, label: str, function: Callable[[], Any]) -> Any:
    start = time.perf_counter()
    result = function()
    times[label] = time.perf_counter() - start
    return result


if __name__ == "__main__":
    main()
