"""From the result of a fit to the regularised one: what ``wprops regularise`` calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import linalg
from scipy.stats import chi2

from wprops.axes import EVEN_COMPONENTS
from wprops.channels import Generated
from wprops.errors import ConfigError, TemplateError
from wprops.fit.ansatz import SIGMA, Ansatz, default_ansatz
from wprops.fit.blinding import require_revealed
from wprops.fit.degrees import compare_degrees, find_degrees, lowest_ansatz
from wprops.fit.derived import MASS, Derived, Quantity, derive, quantities
from wprops.fit.model import build_model
from wprops.fit.parameters import Parameters
from wprops.fit.penalised import correct_regularised, fit_regularised
from wprops.fit.positivity import Positivity, check_positivity
from wprops.fit.preparation import measured
from wprops.fit.regularisation import (
    Estimate,
    Smoothed,
    estimate,
    generated_strengths,
)
from wprops.fit.regularised import Quality, Regularised, Source
from wprops.fit.results import FitResult, GoodnessOfFit
from wprops.fit.run import likelihood_at, template_digest
from wprops.fit.smoothing import l_curve, scatter
from wprops.fit.span import Span, build_span
from wprops.fit.template_noise import mass_derivatives
from wprops.store import TemplateSet
from wprops.systematics.catalog import MASS_STEP

Array = NDArray[np.float64]


def regularise(
    templates: TemplateSet,
    result: FitResult,
    *,
    ansatz: Ansatz | None = None,
    strength: float = np.inf,
    simultaneous: bool = False,
    search: bool = False,
) -> Regularised:
    """Regularise the result of a fit.

    Parameters
    ----------
    templates : TemplateSet
        What was fitted.
    result : FitResult
        Its result.
    ansatz : Ansatz, optional
        What is smooth; `wprops.fit.ansatz.default_ansatz` when omitted.
    strength : float
        τ: departures are expected to scatter by 1/√τ. Infinity allows none.
    simultaneous : bool
        Whether to fit again, with a penalty in the likelihood, instead of smoothing
        the result. Either is corrected for the finite simulation where that is
        possible: what draws a naive fit to the generated values stays in a smooth one.
    search : bool
        Whether to find the degrees by F-tests, from the lowest of the quantities of
        the ansatz on; see `wprops.fit.degrees.find_degrees`.

    Raises
    ------
    ConfigError
        If the result is blind or was corrected with a declared prior on strengths, or
        ansatz or strength make no sense.
    TemplateError
        If the result is of other templates.
    FitError
        If there is no regularised result.
    """
    require_revealed(result, "regularised results")
    if result.provenance["template_digest"] != template_digest(templates):
        msg = (
            "the fit was made with other templates; give the template file of this fit"
        )
        raise TemplateError(msg)
    ansatz = default_ansatz(templates) if ansatz is None else ansatz
    free, free_source = _unregularised(result)
    parameters = result.parameters
    start = _first_point(templates, parameters, ansatz, free)
    if search:
        first = lowest_ansatz(ansatz)
        ansatz, _ = find_degrees(templates, parameters, first, *free, start)
    span = build_span(templates, parameters, ansatz, start)
    hard = estimate(span, *free, start=start)
    found: Estimate = estimate(span, *free, strength=strength, start=start)
    source = free_source
    if simultaneous:
        found, source = _penalised(templates, result, span, strength)
    derived = quantities(templates, parameters)
    numbers = _cells(derived)
    responses = responses_to_truth(numbers, parameters, found)
    n_smooth = len(span.labels) + sum(
        len(q.labels) for name, q in numbers.items() if name not in span.quantities
    )
    is_observed = result.provenance["fit"]["data"] == "observed"
    truth, true_values = _truth(templates, parameters, numbers, is_observed)
    left = span.complement @ span.numbers(found.values)
    regular = found.values, found.covariance
    return Regularised(
        kind="simultaneous" if simultaneous else "post-fit",
        source=source,
        free_source=free_source,
        verdict=result.finite_mc.verdict,
        strength=None if np.isinf(strength) else strength,
        degrees=dict(ansatz.degrees),
        lam_tung=ansatz.lam_tung,
        names=parameters.names,
        values=found.values,
        covariance=found.covariance,
        spread=found.spread,
        free=derive(templates, parameters, *free),
        derived=derive(templates, parameters, *regular),
        quality=_quality(
            derived,
            found,
            responses,
            (true_values, true_values + found.bias(span, true_values)),
        ),
        truth=truth,
        factors=_factors(span, found),
        gof=_goodness(hard),
        n_smooth=n_smooth,
        n_effective=float(sum(r.sum() for r in responses.values())),
        n_numbers=sum(len(q.labels) for q in numbers.values()),
        penalty=0.0 if np.isinf(strength) else float(strength * left @ left),
        scatter=scatter(hard.departures),
        comparisons=compare_degrees(templates, parameters, ansatz, *free, start),
        curve=l_curve(hard.departures, n_smooth),
        positivity_free=_positivity(numbers, *free),
        positivity=_positivity(numbers, *regular),
        provenance=result.provenance,
    )


def _unregularised(result: FitResult) -> tuple[tuple[Array, Array], Source]:
    """Values and covariance without regularisation, corrected where possible."""
    finite = result.finite_mc
    if result.gate.prior is not None:
        msg = (
            f"the fit was corrected with a declared prior of {result.gate.prior:g} on "
            "strengths, which smooth values would inherit unseen; fit without a prior "
            "(no --strength-prior) and regularise that, with --simultaneous where the "
            "simulation does not determine it"
        )
        raise ConfigError(msg)
    if finite.values is not None and finite.covariance is not None:
        return (finite.values, finite.covariance), "corrected"
    return (result.values, result.covariance), "fit"


def _penalised(
    templates: TemplateSet,
    result: FitResult,
    span: Span,
    strength: float,
) -> tuple[Estimate, Source]:
    """Fit the data of a result again, with a penalty; corrected where possible."""
    model = build_model(templates, channels=tuple(result.postfit))
    options = result.provenance["fit"]
    counts, centre, external = measured(
        templates, model, options["data"], options["seed"] or 0
    )
    given = {"centre": centre, "external": external}
    with_noise = options["barlow_beeston"]
    fit = fit_regularised(
        model,
        counts,
        span,
        strength,
        fixed=options["frozen"],
        barlow_beeston=with_noise,
        **given,
    )
    values = fit.estimate.values
    likelihood = likelihood_at(
        model, counts, values, barlow_beeston=with_noise, **given
    )
    corrected = correct_regularised(
        likelihood,
        span,
        strength,
        values,
        free=fit.minimum.free,
        derivatives=mass_derivatives(templates, model),
    )
    if corrected is None:
        return fit.estimate, "fit"
    if options["data"] == "asimov":
        # not independent of the templates: only the errors are corrected
        corrected = replace(corrected, values=values)
    return corrected, "corrected"


def _first_point(
    templates: TemplateSet,
    parameters: Parameters,
    ansatz: Ansatz,
    free: tuple[Array, Array],
) -> Array:
    """Find smooth values with the generated cross sections as weight of averages.

    Without smoothness, cross sections of bins may be far off and negative.
    """
    start = generated_strengths(parameters, free[0])
    span = build_span(templates, parameters, ansatz, start)
    return estimate(span, *free, start=start).values


def _goodness(hard: Smoothed) -> GoodnessOfFit:
    ndf = len(hard.departures.z)
    return GoodnessOfFit(hard.chi2, ndf, float(chi2.sf(hard.chi2, ndf)))


def _cells(derived: Mapping[str, Quantity]) -> dict[str, Quantity]:
    """Cross sections and coefficients of bins: as many as strengths."""
    wanted = (SIGMA, *EVEN_COMPONENTS[1:])
    return {n: q for n, q in derived.items() if n.rpartition("/")[2] in wanted}


def responses_to_truth(
    numbers: Mapping[str, Quantity], parameters: Parameters, found: Estimate
) -> dict[str, Array]:
    """Response of each number to its own truth, all others staying as they are.

    Parameters
    ----------
    numbers : mapping of str to Quantity
        As many independent numbers as strengths that enter them.
    parameters : Parameters
        What is fitted.
    found : Estimate
        Regularised parameters.

    Returns
    -------
    dict of str to ndarray
        1 for a number that is left alone; below for one that is drawn to smoothness.
        The sum over a quantity is its effective number of parameters.
    """
    J = np.vstack([q.jacobian(found.values) for q in numbers.values()])
    moving = np.unique(np.concatenate([q.over for q in numbers.values()]))
    moving = moving[moving < parameters.n_poi]
    diagonal = np.diag(J @ found.response[:, moving] @ linalg.inv(J[:, moving]))
    ends = np.cumsum([len(q.labels) for q in numbers.values()])
    return dict(zip(numbers, np.split(diagonal, ends[:-1]), strict=True))


def _truth(
    templates: TemplateSet,
    parameters: Parameters,
    numbers: Mapping[str, Quantity],
    is_observed: bool,
) -> tuple[Literal["truth", "generated"], Array]:
    """Return parameters at the truth of what was fitted.

    That of the pseudo-data of the templates if these were fitted and it is known, and
    the generated values otherwise, where expected data and toys are made.
    """
    if templates.truth is None or not is_observed:
        return "generated", parameters.start
    values = parameters.start.copy()
    if MASS in parameters.names:
        shift = templates.truth.boson_mass - templates.boson_mass
        values[parameters.index(MASS)] = shift / MASS_STEP
    for name, quantity in numbers.items():
        channel, _, kind = name.rpartition("/")
        generated = templates.channel(channel).generated
        truth = templates.truth.channels.get(channel)
        if truth is None or generated is None:
            return "generated", parameters.start
        _require_same_bins(channel, truth, generated)
        ratio = (truth.sigma / generated.sigma).ravel()
        if kind != SIGMA:
            true_A = truth.coefficients[int(kind[1:])].ravel()
            ratio = ratio * true_A / np.diag(quantity.matrix)
        values[quantity.over] = ratio
    return "truth", values


def _require_same_bins(channel: str, truth: Generated, generated: Generated) -> None:
    for name in ("absy_edges", "qt_edges"):
        if not np.array_equal(getattr(truth, name), getattr(generated, name)):
            msg = (
                f"channel {channel!r}: {name} of the truth are not those of the "
                "generated maps; make both with one binning"
            )
            raise TemplateError(msg)


def _quality(
    derived: Mapping[str, Quantity],
    found: Estimate,
    responses: Mapping[str, Array],
    truth: tuple[Array, Array],
) -> dict[str, Quality]:
    """Judge all numbers, with parameters in truth and what is expected of them."""
    true, expected = truth
    return {
        name: Quality(
            spread=quantity.measure(found.values, found.spread).errors,
            bias=quantity.function(expected) - quantity.function(true),
            response=responses.get(name, np.empty(0)),
        )
        for name, quantity in derived.items()
    }


def _factors(span: Span, found: Estimate) -> Derived:
    numbers = span.numbers(found.values)
    J = span.factors(span.jacobian(found.values))
    return Derived(
        labels=span.labels,
        unit="",
        shape=(len(span.labels),),
        values=span.factors(numbers),
        covariance=J @ found.covariance @ J.T,
    )


def _positivity(
    numbers: Mapping[str, Quantity], values: Array, covariance: Array
) -> dict[str, Positivity]:
    """Check the channels in which A0 … A4 are measured."""
    found = {}
    for channel in dict.fromkeys(name.rpartition("/")[0] for name in numbers):
        names = [f"{channel}/{c}" for c in EVEN_COMPONENTS[1:]]
        if not set(names) <= set(numbers):
            continue
        J = np.stack([numbers[name].jacobian(values) for name in names])
        own = np.einsum("inp,jnp->nij", J @ covariance, J)
        A = np.stack([numbers[name].function(values) for name in names])
        found[channel] = check_positivity(A, own)
    return found
