"""Which degrees the measured coefficients ask for: F-tests of polynomials."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from wprops.errors import ConfigError
from wprops.fit.ansatz import LAM_TUNG, Ansatz, Degrees, build_span
from wprops.fit.parameters import Parameters
from wprops.fit.regularisation import step
from wprops.fit.smoothing import Comparison
from wprops.store import TemplateSet

Array = NDArray[np.float64]


def compare_degrees(
    templates: TemplateSet,
    parameters: Parameters,
    ansatz: Ansatz,
    result: tuple[Array, Array],
    point: Array,
) -> tuple[Comparison, ...]:
    """Test whether one degree more, in qT or in |Y|, describes the result better.

    Parameters
    ----------
    templates, parameters
        What was fitted.
    ansatz : Ansatz
        The smaller ansatz of each comparison.
    result : tuple of ndarray
        Values (n_par,) and covariance of the fit.
    point : ndarray, shape (n_par,)
        Where derivatives are taken, and cross sections weight averages.

    Returns
    -------
    tuple of Comparison
        Quantity by quantity, as far as there are bins for another polynomial.
    """
    chi2 = partial(_chi2, templates, parameters, result, point)
    small, ndf = chi2(ansatz)
    comparisons = []
    for what, larger in _neighbours(ansatz):
        try:
            large, ndf_large = chi2(larger)
        except ConfigError:  # no more polynomials than bins
            continue
        if 0 < ndf_large < ndf:
            comparisons.append(
                Comparison(what, ndf - ndf_large, small, large, ndf_large)
            )
    return tuple(comparisons)


def find_degrees(
    templates: TemplateSet,
    parameters: Parameters,
    result: tuple[Array, Array],
    start: Ansatz,
    *,
    point: Array,
    level: float = 0.01,
) -> tuple[Ansatz, tuple[Comparison, ...]]:
    """Raise degrees one by one while an F-test finds that significant.

    Each step takes the most significant of all additions, until none has a p-value
    below ``level`` over the number that were tried.

    Parameters
    ----------
    templates, parameters, result, point
        As for `compare_degrees`.
    start : Ansatz
        The smallest ansatz to consider.
    level : float
        Probability to add one degree too many in a step.

    Returns
    -------
    ansatz : Ansatz
        The smallest that no step improves.
    steps : tuple of Comparison
        What was added.
    """
    ansatz, steps = start, list[Comparison]()
    while True:
        tried = compare_degrees(templates, parameters, ansatz, result, point)
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


def _chi2(
    templates: TemplateSet,
    parameters: Parameters,
    result: tuple[Array, Array],
    point: Array,
    ansatz: Ansatz,
) -> tuple[float, int]:
    """χ² of an ansatz with derivatives at a point, and degrees of freedom."""
    values, covariance = result
    span = build_span(templates, parameters, ansatz, point)
    found = step(span, values, covariance, point, np.inf).departures
    return found.chi2, len(found.z)
