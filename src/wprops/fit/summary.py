"""The result of a fit as lines of text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from wprops.fit.finite_mc import FiniteMC
    from wprops.fit.results import FitResult


def summary_lines(result: FitResult) -> Iterator[str]:
    """Yield the lines of `FitResult.summary`."""
    parameters, gof = result.parameters, result.gof
    yield (
        f"fit of {parameters.n_poi} strengths and "
        f"{len(parameters) - parameters.n_poi} nuisance parameters: "
        f"edm {result.edm:.1e} after {result.iterations} steps"
    )
    yield (
        f"goodness of fit: {gof.statistic:.1f} for {gof.ndf} degrees of freedom, "
        f"p = {gof.p_value:.3f}"
    )
    if "m_W" in result.derived:
        mass = result.derived["m_W"]
        yield f"m_W = {mass.values[0]:.4f} ± {mass.errors[0]:.4f} GeV"
    yield from _nuisance_lines(result)
    yield from _map_lines(result)
    yield from _simulation_lines(result, result.finite_mc)
    if result.linearised:
        yield (
            f"{len(result.linearised)} templates change sign and are linear in a "
            "log-normal parameter"
        )
    if result.inactive:
        yield f"without a process in this fit: {', '.join(result.inactive)}"


def _nuisance_lines(result: FitResult) -> Iterator[str]:
    parameters = result.parameters
    yield f"{'parameter':<24}{'value':>9}{'error':>9}  unit"
    for index in range(parameters.n_poi, len(parameters)):
        free = "" if parameters.precision[index] else ", free"
        yield (
            f"{parameters.names[index]:<24}{result.values[index]:>9.3f}"
            f"{result.errors[index]:>9.3f}  {parameters.units[index]}{free}"
        )


def _map_lines(result: FitResult) -> Iterator[str]:
    yield f"{'quantity':<24}{'numbers':>9}  median error"
    for name, derived in result.derived.items():
        unit = f" {derived.unit}" if derived.unit else ""
        yield (
            f"{name:<24}{len(derived.values):>9}  {np.median(derived.errors):.3g}{unit}"
        )


def _simulation_lines(result: FitResult, finite: FiniteMC) -> Iterator[str]:
    n_poi = result.parameters.n_poi
    slopes = finite.slopes[:n_poi]
    yield f"finite simulation: {finite.verdict}"
    if not n_poi:
        return
    yield (
        f"  apparent information over noise from {finite.eigenvalues[0]:.2f} (1 is "
        f"noise alone) in {n_poi} directions; slopes of the strengths to the truth "
        f"{slopes.min():.2f} … {slopes.max():.2f}, median {np.median(slopes):.2f}"
    )
    yield (
        "  expected pull RMS, truth as generated: "
        f"{finite.pull_rms_naive[:n_poi].max():.2f} at most without the noise of the "
        f"templates, {finite.pull_rms_barlow_beeston[:n_poi].max():.2f} with "
        "Barlow-Beeston, which does not see the pull to the generated values"
    )
    if finite.needed is not None:
        yield f"  sound with {finite.needed:.1f} times the simulation"
    for direction in finite.lost:
        yield f"  undetermined: {direction}"
