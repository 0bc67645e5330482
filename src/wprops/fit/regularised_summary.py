"""The regularised result as lines of text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from wprops.fit.regularised import Regularised
    from wprops.fit.smoothing import LCurve

#: Probability below which an ansatz is refused by its χ² or a degree by its test.
LEVEL = 0.01


def summary_lines(result: Regularised) -> Iterator[str]:
    """Yield the lines of `Regularised.summary`."""
    strength = "∞" if result.strength is None else f"{result.strength:g}"
    yield (
        f"{result.kind} regularisation, strength {strength}"
        f"{', A0 = A2' if result.lam_tung else ''}"
    )
    yield f"finite simulation: {result.verdict} without regularisation"
    known = {"fit": "not corrected for it", "corrected": "corrected for it"}
    yield (
        f"  regularised result {known[result.source]}, unregularised "
        f"{known[result.free_source]}"
    )
    if result.free_source == "fit":
        yield (
            "  χ², tests and L-curve take the errors of the fit as they are: too small "
            "where the simulation is"
        )
    degrees = (f"{n} qT^{qt} |Y|^{y}" for n, (qt, y) in result.degrees.items())
    yield f"highest powers: {', '.join(degrees)}"
    yield (
        f"parameters: {result.n_effective:.1f} effective of {result.n_numbers} cross "
        f"sections and coefficients; {result.n_smooth} in smooth functions and free"
    )
    gof = result.gof
    yield (
        f"smooth functions: χ² = {gof.statistic:.1f} for {gof.ndf} degrees of freedom, "
        f"p = {gof.p_value:.3f}"
    )
    if gof.p_value < LEVEL:
        yield "  the result is not as smooth as that: raise degrees, or lower strength"
    if result.strength is not None:
        yield f"  penalty of the departures that are left: {result.penalty:.1f}"
    yield (
        "true departures scatter by "
        f"{result.scatter:.2g}, most likely; as a prior τ = {result.scatter**-2:.2g}"
        if result.scatter
        else "departures are explained by their errors"
    )
    yield from _degree_lines(result)
    yield from _curve_lines(result.curve)
    yield from _table(result)
    yield from _positivity_lines(result)


def _degree_lines(result: Regularised) -> Iterator[str]:
    wanted = [c for c in result.comparisons if c.p_value < LEVEL]
    yield f"{len(wanted)} of {len(result.comparisons)} tests ask for one degree more"
    yield from (
        f"  {c.what}: F = {c.statistic:.2f}, p = {c.p_f:.1e}; "
        f"Δχ² = {c.chi2_small - c.chi2_large:.1f}, p = {c.p_chi2:.1e}"
        for c in wanted
    )


def _curve_lines(curve: LCurve | None) -> Iterator[str]:
    if curve is None:
        yield "L-curve: nothing departs from smooth functions"
        return
    at = curve.corner
    if at is None:
        yield "L-curve: no corner"
        return
    yield (
        f"corner of the L-curve: τ = {curve.strength[at]:.2g}, departures of "
        f"{curve.strength[at] ** -0.5:.2g}, {curve.parameters[at]:.1f} parameters"
    )


def _table(result: Regularised) -> Iterator[str]:
    yield (
        f"{'medians of':<24}{'error':>10}{'regular.':>10}{'ratio':>7}{'spread':>10}"
        f"{'max |bias|':>12}{'bias/error':>11}{'response':>10}"
    )
    for name, smooth in result.derived.items():
        free, quality = result.free[name], result.quality[name]
        errors = free.errors, smooth.errors
        known = errors[1] > 0
        if not known.any():
            continue
        bias = abs(quality.bias[known])
        response = f"{np.median(quality.response):.2f}" if quality.response.size else ""
        unit = f" {smooth.unit}" if smooth.unit else ""
        yield (
            f"{name:<24}{np.median(errors[0]):>10.3g}{np.median(errors[1]):>10.3g}"
            f"{np.median(errors[1][known] / errors[0][known]):>7.2f}"
            f"{np.median(quality.spread):>10.3g}{bias.max():>12.2g}"
            f"{(bias / errors[1][known]).max():>11.2g}{response:>10}{unit}"
        )
    where = {"truth": "truth of the pseudo-data", "generated": "generated values"}
    yield f"bias: what is expected for the {where[result.truth]}"
    if "m_W" in result.derived:
        for kind, found in (("without", result.free), ("with", result.derived)):
            mass = found["m_W"]
            yield (
                f"m_W {kind} regularisation: {mass.values[0]:.4f} ± "
                f"{mass.errors[0]:.4f} GeV"
            )


def _positivity_lines(result: Regularised) -> Iterator[str]:
    for name, smooth in result.positivity.items():
        for what, found in (
            ("without", result.positivity_free[name]),
            ("with", smooth),
        ):
            yield (
                f"density of decays of {name} {what} regularisation: smallest "
                f"{found.minimum.min():.2f}, negative in {found.n_negative} of "
                f"{len(found.minimum)} bins, by {found.worst:.1f} errors at most"
            )
