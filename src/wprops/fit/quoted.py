"""Naive, Barlow-Beeston and corrected fit of the same counts, and what to quote."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wprops.fit.covariance import factorise
from wprops.fit.finite_mc import FiniteMC, assess, correct
from wprops.fit.functionals import functionals
from wprops.fit.gate import (
    METHODS,
    Fits,
    Gate,
    judge,
)
from wprops.fit.likelihood import Likelihood
from wprops.fit.minimise import Minimum
from wprops.fit.score import Solution, solve_score, weighted
from wprops.fit.strength_prior import prior_widths, with_strength_prior
from wprops.fit.template_noise import (
    Derivatives,
    fold_ratios,
    mass_derivatives,
    noise_floor,
)
from wprops.store import TemplateSet

Array = NDArray[np.float64]


class Statement(NamedTuple):
    """What the finite simulation does to a fit, and to every quoted number."""

    finite_mc: FiniteMC
    gate: Gate


def state(
    templates: TemplateSet,
    likelihood: Likelihood,
    minimum: Minimum,
    *,
    barlow_beeston: bool = True,
    prior: float | None = None,
    is_expected: bool = False,
) -> Statement:
    """Correct a fit for the finite simulation, and judge what it measures.

    Parameters
    ----------
    templates : TemplateSet
        The set the model was built of.
    likelihood : Likelihood
        What was minimised.
    minimum : Minimum
        Its minimum.
    barlow_beeston : bool
        Whether it counts the noise of the templates; the fit with the other choice is
        made here.
    prior : float, optional
        Width of a declared prior on the strengths in the corrected fit, see
        `wprops.fit.strength_prior.prior_widths`.
    is_expected : bool
        Whether the counts are the prediction of the templates themselves. The
        correction supposes independent counts, so that only the errors are corrected.

    Returns
    -------
    Statement

    Raises
    ------
    FitError
        If the expected information is not positive definite.
    ConfigError
        If the width is not positive.
    """
    model, free = likelihood.model, minimum.free
    derivatives = mass_derivatives(templates, model)
    solutions = _corrected(templates, likelihood, minimum, prior, derivatives)
    if is_expected:
        solutions = [s and replace(s, values=minimum.values) for s in solutions]
    solution, wider = solutions[0], solutions[-1]
    lite = weighted(likelihood, minimum.values, barlow_beeston=True).at(minimum.values)
    assert lite is not None  # a minimum expects events in all bins
    floor, _ = noise_floor(model, minimum.values, lite.terms.information, derivatives)
    fits = Fits(
        results=_side_by_side(likelihood, minimum, barlow_beeston),
        fisher=lite.fisher(),
        floor=floor,
        solution=solution,
        wider=wider,
    )
    finite = assess(
        model,
        minimum.point,
        free=free,
        derivatives=derivatives,
        solution=solution,
        prior=prior,
        folds=fold_ratios(templates, model, lite.terms.information, derivatives),
    )
    gate = judge(
        functionals(templates, model.parameters),
        fits,
        free=free,
        n_bins=int(model.counted.sum()),
        derivatives=derivatives,
        prior=prior,
    )
    return Statement(finite, gate)


def _corrected(
    templates: TemplateSet,
    likelihood: Likelihood,
    minimum: Minimum,
    prior: float | None,
    derivatives: Derivatives,
) -> list[Solution | None]:
    """Corrected fit, and with a declared prior that with twice its width."""
    chosen = [likelihood]
    if prior is not None:
        widths = prior_widths(templates, likelihood.model.parameters, prior)
        chosen = [with_strength_prior(likelihood, f * widths) for f in (1, 2)]
    return [
        correct(c, minimum.values, free=minimum.free, derivatives=derivatives)
        for c in chosen
    ]


def _side_by_side(
    likelihood: Likelihood, minimum: Minimum, barlow_beeston: bool
) -> dict[str, tuple[Array, Array]]:
    """Naive and Barlow-Beeston fit, the minimum for the one that it is.

    Errors are those of the exact Hessian; a fit is missing where it has no minimum.
    """
    free, names = minimum.free, likelihood.model.parameters.names
    results = {METHODS[barlow_beeston]: (minimum.values, minimum.covariance(names))}
    other = solve_score(
        likelihood,
        minimum.values,
        free=free,
        barlow_beeston=not barlow_beeston,
        corrected=False,
    )
    if other is not None:
        hessian = factorise(other.point.hessian()[np.ix_(free, free)])
        if hessian is not None:
            covariance = np.zeros_like(other.covariance)
            covariance[np.ix_(free, free)] = hessian.inverse()
            results[METHODS[not barlow_beeston]] = other.values, covariance
    return results
