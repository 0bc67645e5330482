"""The result of a fit as lines of text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, get_args

import numpy as np

from wprops.fit.derived import MASS
from wprops.fit.finite_mc import SOUND, Verdict
from wprops.fit.gate import METHODS
from wprops.fit.impacts import PARTS, signed_root

if TYPE_CHECKING:
    from wprops.fit.finite_mc import FiniteMC
    from wprops.fit.gate import Gate
    from wprops.fit.results import FitResult

#: How far below the minimum a scan may fall by the precision of fits.
DEEPER = 1e-4
#: The mass is a parabola through three templates; within this multiple of their
#: distance of 50 MeV it follows the exact line shape.
MOST_MASS_STEPS = 4.0
_N_GROUPS = 8
_N_WEAKEST = 3


def summary_lines(result: FitResult) -> Iterator[str]:
    """Yield the lines of `FitResult.summary`."""
    parameters, gof = result.parameters, result.gof
    if result.is_blind:
        yield (
            "BLIND: values are shifted by a secret; errors, impacts, yields, scans and "
            "the finite simulation are those expected of the nominal prediction"
        )
    yield (
        f"fit of {parameters.n_poi} strengths and "
        f"{len(parameters) - parameters.n_poi} nuisance parameters: "
        f"edm {result.edm:.1e} after {result.iterations} steps"
    )
    yield (
        f"goodness of fit: {gof.statistic:.1f} for {gof.ndf} degrees of freedom, "
        f"p = {gof.p_value:.3f}"
    )
    if result.frozen:
        yield f"frozen: {', '.join(result.frozen)}"
    if "m_W" in result.derived:
        mass = result.derived["m_W"]
        yield f"m_W = {mass.values[0]:.4f} ± {mass.errors[0]:.4f} GeV"
        yield from _quoted_mass(result)
    yield from _profile_lines(result)
    yield from _nuisance_lines(result)
    yield from _map_lines(result)
    yield from _impact_lines(result)
    yield from _yield_lines(result)
    yield from _simulation_lines(result, result.finite_mc)
    if result.linearised:
        yield (
            f"{len(result.linearised)} templates change sign and are linear in a "
            "log-normal parameter"
        )
    if result.inactive:
        yield f"without a process in this fit: {', '.join(result.inactive)}"


def _quoted_mass(result: FitResult) -> Iterator[str]:
    """Say what to quote for the mass, corrected for the finite simulation."""
    if "m_W" not in result.gate.names or result.is_blind:
        return
    verdict = result.gate.verdicts[result.gate.index("m_W")]
    steps = abs(result.values[result.parameters.index(MASS)])
    if steps > MOST_MASS_STEPS:
        yield (
            f"  not to be quoted: {steps:.0f} times as far from the simulated mass as "
            "the varied templates are, where their interpolation holds no more; fix "
            "coefficients, merge cells or take more data"
        )
        return
    if verdict == "undetermined" or result.corrected is None:
        yield "  not to be quoted: undetermined by this simulation, see below"
    else:
        mass = result.corrected["m_W"]
        yield (
            f"  to quote: {mass.values[0]:.4f} ± {mass.errors[0]:.4f} GeV, corrected "
            f"for the finite simulation ({verdict})"
        )


def _nuisance_lines(result: FitResult) -> Iterator[str]:
    parameters = result.parameters
    yield f"{'parameter':<24}{'value':>9}{'error':>9}  unit"
    for index in range(parameters.n_poi, len(parameters)):
        free = "" if parameters.precision[index] else ", free"
        if parameters.names[index] in result.frozen:
            free = ", frozen"
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


def _profile_lines(result: FitResult) -> Iterator[str]:
    for name, found in result.intervals.items():
        ends = ", ".join(
            f"[{low:.5g}, {high:.5g}] at ΔNLL = {delta:g}"
            for delta, low, high in zip(
                found.deltas, found.low, found.high, strict=True
            )
        )
        yield f"interval of {name}: {ends}"
        for reason in found.reasons:
            yield f"  no {reason}"
    for name, scan in result.scans.items():
        failed = [reason for reason in scan.reasons if reason]
        yield (
            f"scan of {name}: {len(scan.nll)} points, {len(failed)} without a minimum"
        )
        yield from (f"  {reason}" for reason in dict.fromkeys(failed))
        deepest = float(np.nanmin(scan.nll, initial=0.0))
        if deepest < -DEEPER:
            yield (
                f"  the NLL falls {-deepest:.3g} below the fit: it found another "
                "minimum; fit again from there"
            )


def _impact_lines(result: FitResult) -> Iterator[str]:
    impacts = result.impacts
    if impacts is None:
        return
    measured = impacts.quantities[len(result.names) :]
    if not measured:
        return
    index = impacts.index(measured[0])
    unit = f" {impacts.units[index]}" if impacts.units[index] else ""
    yield f"error of {measured[0]}: {np.sqrt(impacts.total[index]):.3g}{unit}, from"
    parts = dict(zip(PARTS, signed_root(impacts.parts[index]), strict=True))
    groups = dict(zip(impacts.groups, impacts.global_groups[index], strict=True))
    largest = sorted(groups.items(), key=lambda item: -item[1])[:_N_GROUPS]
    for name, size in (*parts.items(), *((f"  {n}", size) for n, size in largest)):
        if size:
            yield f"  {name:<22}{size:>12.3g}{unit}"


def _yield_lines(result: FitResult) -> Iterator[str]:
    for name, after in result.postfit_yields.items():
        before = result.prefit_yields[name]
        yield f"{name:<20}{'before the fit':>26}{'after':>26}"
        rows = [
            (group, *numbers)
            for group, *numbers in zip(
                after.groups,
                before.group_events,
                before.group_errors,
                after.group_events,
                after.group_errors,
                strict=True,
            )
        ]
        total = (
            *("total", before.events.sum(), before.total_error),
            *(after.events.sum(), after.total_error),
        )
        for group, *numbers in (*rows, total):
            first, second = (
                f"{events:>14,.1f} ± {error:>9,.1f}"
                for events, error in (numbers[:2], numbers[2:])
            )
            yield f"  {group:<18}{first:>26}{second:>26}"


def _simulation_lines(result: FitResult, finite: FiniteMC) -> Iterator[str]:
    n_poi = result.parameters.n_poi
    slopes = finite.slopes[:n_poi]
    yield f"finite simulation: {finite.verdict}"
    if not n_poi:
        return
    yield (
        f"  {information_over_noise(finite)}; slopes of the strengths to the truth "
        f"{slopes.min():.2f} … {slopes.max():.2f}, median {np.median(slopes):.2f}"
    )
    yield (
        "  expected pull RMS, truth as generated: "
        f"{finite.pull_rms_naive[:n_poi].max():.2f} at most without the noise of the "
        f"templates, {finite.pull_rms_barlow_beeston[:n_poi].max():.2f} with "
        "Barlow-Beeston, which does not see the pull to the generated values"
    )
    yield f"  {scope(result)}"
    for n_folds, ratio in finite.fold_ratios:
        yield f"  noise floor of {n_folds:.0f} folds: {ratio:.3f} times the stored one"
    if finite.needed is not None:
        yield f"  sound with {finite.needed:.1f} times the simulation"
    for direction in finite.lost:
        yield f"  undetermined: {direction}"
    if finite.verdict != "undetermined" and np.isnan(result.gate.errors[-1]).all():
        yield "  the corrected fit does not settle, or loses a direction on its way"
    yield from _gate_lines(result.gate, is_blind=result.is_blind)


def information_over_noise(finite: FiniteMC) -> str:
    """Say how much of the information is noise in the weakest direction."""
    n_noisy = int(np.isfinite(finite.eigenvalues).sum())
    return (
        f"apparent information over noise from {finite.eigenvalues[0]:.2f} (1 is noise "
        f"alone, {SOUND:g} and more is sound) in {n_noisy} directions with noise"
    )


def scope(result: FitResult) -> str:
    """Say of which parameters the noise is counted."""
    counted = result.finite_mc.counted
    free = set(result.names[result.parameters.n_poi :]) - set(result.frozen)
    others = len(free - set(counted))
    return (
        f"noise counted in the strengths{' and ' if counted else ''}"
        f"{', '.join(counted)}; that of the derivatives in {others} other nuisance "
        "parameters is not known and counts as zero"
    )


def verdict_counts(gate: Gate) -> str:
    """Count the verdicts, such as "3 sound, 1 limited"."""
    counted = Counter(gate.verdicts)
    return ", ".join(f"{n} {v}" for v in get_args(Verdict) if (n := counted[v]))


def _gate_lines(gate: Gate, *, is_blind: bool) -> Iterator[str]:
    if not gate.names:
        return
    yield f"quoted numbers: {verdict_counts(gate)}"
    if gate.prior is not None:
        yield (
            f"  corrected with a declared prior of {gate.prior:g} on cross sections "
            "(relative) and A_i at the generated values; what moves when it is twice "
            "as wide is undetermined"
        )
    # all derived numbers that stand alone, and the weakest of the others
    alone = [i for i, name in enumerate(gate.names) if "/" not in name]
    weakest = [i for i in np.argsort(gate.slopes).tolist() if i not in alone]
    for index in (*alone, *weakest[:_N_WEAKEST]):
        yield from quoted_lines(gate, index, is_blind=is_blind)


def quoted_lines(gate: Gate, index: int, *, is_blind: bool) -> Iterator[str]:
    """Yield the three fits of one quoted number, and what limits the corrected one."""
    unit = gate.units[index]
    yield (
        f"  {gate.names[index]} [{unit}]: {gate.verdicts[index]}, slope "
        f"{gate.slopes[index]:.2f}, λ {gate.eigenvalues[index]:.2f}, "
        f"{gate.weak[index]:.0%} of the variance from λ < 2"
        f"{_need(gate.needed[index])}"
    )
    results = [
        f"{method} {'' if is_blind else f'{value:.5g} '}± {error:.3g}"
        for method, value, error in zip(
            METHODS, gate.values[:, index], gate.errors[:, index], strict=True
        )
        if np.isfinite(error)
    ]
    yield f"    {'; '.join(results)}"
    if np.isfinite(gate.parts[:, index]).all():
        parts = signed_root(gate.parts[:, index])
        yield (
            f"    of it data {parts[0]:.3g}, simulation {parts[1]:.3g}, constraints "
            f"{parts[2]:.3g}"
        )


def _need(factor: float) -> str:
    if factor == 1:
        return ""
    if np.isinf(factor):
        return ", noise alone"
    return f", needs MC × {factor:.1f}"
