"""Which degrees the measured coefficients ask for: F-tests of polynomials."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from wprops.errors import ConfigError
from wprops.fit.ansatz import LAM_TUNG, Ansatz, Degrees, lowest_degrees
from wprops.fit.parameters import Parameters
from wprops.fit.regularisation import estimate, reachable_chi2
from wprops.fit.smoothing import Comparison
from wprops.fit.span import build_span
from wprops.store import TemplateSet

Array = NDArray[np.float64]


def compare_degrees(
    templates: TemplateSet,
    parameters: Parameters,
    ansatz: Ansatz,
    values: Array,
    covariance: Array,
    start: Array,
) -> tuple[Comparison, ...]:
    """Test whether one degree more, in qT or in |Y|, describes a result better.

    Derivatives are taken at the fit of the smaller ansatz.

    Parameters
    ----------
    templates, parameters
        What was fitted.
    ansatz : Ansatz
        The smaller ansatz of each comparison.
    values, covariance : ndarray, shapes (n_par,), (n_par, n_par)
        Result of the fit.
    start : ndarray, shape (n_par,)
        First point, whose cross sections weight averages.

    Returns
    -------
    tuple of Comparison
        Quantity by quantity, as far as there are bins for another polynomial.

    Raises
    ------
    ConfigError, FitError
        As `wprops.fit.span.build_span` and `wprops.fit.regularisation.estimate`.
    """
    span = build_span(templates, parameters, ansatz, start)
    small = estimate(span, values, covariance, start=start)
    n_small = len(span.complement)
    comparisons = []
    for what, larger in _neighbours(ansatz):
        try:
            span = build_span(templates, parameters, larger, start)
        except ConfigError:  # no more polynomials than bins
            continue
        n_large = len(span.complement)
        large = reachable_chi2(span, values, covariance, small.values)
        comparisons.append(
            Comparison(what, n_small - n_large, small.chi2, large, n_large)
        )
    return tuple(comparisons)


def lowest_ansatz(ansatz: Ansatz) -> Ansatz:
    """Return the ansatz of the same quantities with one polynomial each."""
    lowest = {name: lowest_degrees(name) for name in ansatz.degrees}
    return replace(ansatz, degrees=lowest)


def find_degrees(
    templates: TemplateSet,
    parameters: Parameters,
    lowest: Ansatz,
    values: Array,
    covariance: Array,
    start: Array,
    *,
    level: float = 0.01,
) -> tuple[Ansatz, tuple[Comparison, ...]]:
    """Raise degrees one by one while an F-test finds that significant.

    Each step takes the most significant of all additions, until none has a p-value
    below ``level`` over the number that were tried.

    Parameters
    ----------
    templates, parameters, values, covariance, start
        As for `compare_degrees`.
    lowest : Ansatz
        The smallest ansatz to consider.
    level : float
        Probability to add one degree too many in a step. A degree that helps only
        together with another one is not found.

    Returns
    -------
    ansatz : Ansatz
        The smallest that no step improves.
    steps : tuple of Comparison
        What was added.
    """
    ansatz, steps = lowest, list[Comparison]()
    while True:
        tried = compare_degrees(
            templates, parameters, ansatz, values, covariance, start
        )
        best = min(tried, key=lambda c: c.p_value, default=None)
        if best is None or best.p_value > level / len(tried):
            return ansatz, tuple(steps)
        steps.append(best)
        ansatz = dict(_neighbours(ansatz))[best.what]


def _neighbours(ansatz: Ansatz) -> list[tuple[str, Ansatz]]:
    """All that have one degree more in one quantity and variable."""
    return [
        (
            f"{name} {what}^{getattr(degrees, which) + 1}",
            ansatz.changed(
                name,
                Degrees(degrees.qt + (which == "qt"), degrees.absy + (which == "absy")),
            ),
        )
        for name, degrees in ansatz.degrees.items()
        # what is shared is raised once
        if not (ansatz.lam_tung and name == LAM_TUNG[1])
        for which, what in (("qt", "qT"), ("absy", "|Y|"))
    ]
