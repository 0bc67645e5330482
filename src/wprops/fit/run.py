"""From a template set to a result: what ``wprops fit`` calls."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from wprops import provenance
from wprops.errors import FitError
from wprops.fit.checks import check_counts
from wprops.fit.derived import Derived, derive, quantities
from wprops.fit.diagnosis import explain_failure, with_reasons
from wprops.fit.finite_mc import FiniteMC
from wprops.fit.impacts import compute_impacts
from wprops.fit.intervals import Interval, interval
from wprops.fit.likelihood import Likelihood, relative_variance
from wprops.fit.minimise import TOLERANCE, Minimum, minimise
from wprops.fit.model import Model, build_model
from wprops.fit.parameters import Parameters
from wprops.fit.preparation import (
    Data,
    frozen_values,
    measured,
    starting_values,
)
from wprops.fit.quoted import state
from wprops.fit.results import FitResult, GoodnessOfFit, Postfit
from wprops.fit.scans import Axis, Profile, Scan, find_axis, require_free, scan
from wprops.fit.uncertainties import Yields, prior_covariance, propagate_yields
from wprops.store import TemplateSet

Array = NDArray[np.float64]
#: How often the effective counts of Barlow-Beeston are refreshed at the minimum:
#: after two refreshes strengths change by less than 1e-3 of their errors.
REFRESHES = 3


def likelihood_at(
    model: Model,
    counts: Array,
    values: Array,
    *,
    barlow_beeston: bool = True,
    centre: Array | None = None,
    external: Array | None = None,
) -> Likelihood:
    """Build the likelihood with the effective counts of the templates at a point.

    Parameters
    ----------
    model : Model
        What to fit.
    counts : ndarray, shape (n_bins,)
        Observed events.
    values : ndarray, shape (n_par,)
        The point, such as an earlier minimum.
    barlow_beeston : bool
        Whether the noise of the templates counts.
    centre : ndarray, shape (n_par,), optional
        Auxiliary measurements of the constrained parameters; the generated
        values when omitted.
    external : ndarray, shape (n_external,), optional
        Results of the external measurements; those of the model when omitted.

    Raises
    ------
    FitError
        If a bin has less than one effective simulated event, or expects none.
    """
    return Likelihood(
        model=model,
        observed=counts,
        relative_variance=(
            relative_variance(model, values)
            if barlow_beeston
            else np.zeros(model.n_bins)
        ),
        centre=model.parameters.start if centre is None else centre,
        external=external,
    )


def fit_model(
    model: Model,
    counts: Array,
    *,
    barlow_beeston: bool = True,
    centre: Array | None = None,
    external: Array | None = None,
    fixed: Mapping[str, float] | None = None,
    start: Array | None = None,
    tolerance: float = TOLERANCE,
) -> Minimum:
    """Fit counts with a model.

    Parameters
    ----------
    model : Model
        What to fit.
    counts : ndarray, shape (n_bins,)
        Observed events.
    barlow_beeston : bool
        Whether the noise of the templates counts. Its effective counts come
        from the starting point and are refreshed `REFRESHES` times.
    centre : ndarray, shape (n_par,), optional
        Auxiliary measurements of the constrained parameters; the generated
        values when omitted.
    external : ndarray, shape (n_external,), optional
        Results of the external measurements; those of the model when omitted.
    fixed : mapping of str to float, optional
        Parameters that stay at a value.
    start : ndarray, shape (n_par,), optional
        Where to begin; the generated values when omitted.
    tolerance : float
        Largest estimated distance to the minimum [units of the NLL].

    Returns
    -------
    Minimum

    Raises
    ------
    TemplateError
        If the model has no parameter of a name in ``fixed``, or counts have the
        wrong length, are negative or not finite.
    FitError
        If there is no valid minimum; the message says why, with the findings of
        `wprops.fit.diagnosis.explain_failure`.
    """
    parameters, fixed = model.parameters, fixed or {}
    if not len(parameters):
        msg = (
            "the model has no parameters: no process of its channels is a signal and "
            "no systematic acts on one; declare what is to be measured"
        )
        raise FitError(msg)
    first = (parameters.start if start is None else start).copy()
    for name, value in fixed.items():
        first[parameters.index(name)] = value
    check_counts(model, counts)
    likelihood = partial(
        likelihood_at,
        model,
        counts,
        barlow_beeston=barlow_beeston,
        centre=centre,
        external=external,
    )
    try:
        minimum = minimise(likelihood(first), first, tolerance=tolerance, fixed=fixed)
        iterations = minimum.iterations
        for _ in range(REFRESHES if barlow_beeston else 0):
            values = minimum.values
            minimum = minimise(
                likelihood(values), values, tolerance=tolerance, fixed=fixed
            )
            iterations += minimum.iterations
    except FitError as error:
        reasons = explain_failure(model, counts, first, fixed=fixed)
        raise with_reasons(error, reasons) from error
    return replace(minimum, iterations=iterations)


def goodness_of_fit(model: Model, minimum: Minimum) -> GoodnessOfFit:
    """Compare a minimum with the saturated model, ν = n in every bin.

    Returns
    -------
    GoodnessOfFit
        Twice the difference of the NLL, which includes the constraints of fitted
        parameters, with as many degrees of freedom as fitted bins and external
        measurements less free parameters.
    """
    n_free = int((minimum.free & (model.parameters.precision == 0)).sum())
    n_measured = int(model.counted.sum()) + len(model.external.values)
    frozen = float(minimum.point.constraints[~minimum.free].sum())
    statistic, ndf = 2 * (minimum.nll - frozen), n_measured - n_free
    return GoodnessOfFit(statistic, ndf, float(chi2.sf(statistic, ndf)))


def run_fit(
    templates: TemplateSet,
    *,
    data: Data = "observed",
    seed: int = 1,
    barlow_beeston: bool = True,
    channels: Sequence[str] | None = None,
    freeze: Mapping[str, float | None] | None = None,
    start: FitResult | None = None,
    impacts: bool = False,
    scans: Sequence[Mapping[str, Array]] = (),
    intervals: Sequence[str] = (),
    strength_prior: float | None = None,
) -> FitResult:
    """Fit a template set and derive everything that is measured.

    Parameters
    ----------
    templates : TemplateSet
        Templates, data and declarations.
    data : {"observed", "asimov", "toy"}
        The data of the set, the nominal prediction for expected errors, or
        pseudo-data thrown from it, with auxiliary measurements.
    seed : int
        Of the pseudo-data.
    barlow_beeston : bool
        Whether the statistical error of the templates counts in the fit.
    channels : sequence of str, optional
        Channels to fit together; all when omitted.
    freeze : mapping of str to (float or None), optional
        Parameters that are not fitted, by name or pattern such as ``"pdf_*"``, and
        their value; None leaves them where the fit starts.
    start : FitResult, optional
        An earlier fit; parameters begin at its values where it has them.
    impacts : bool
        Whether to compute the impacts on all parameters and derived quantities.
    scans : sequence of mapping of str to ndarray
        Profile likelihoods to scan: one or two parameters, or ``"m_W"``, each with
        the values of its grid.
    intervals : sequence of str
        Parameters, or ``"m_W"``, of which to find profile-likelihood intervals.
    strength_prior : float, optional
        Width of a declared prior on all strengths in the fit that is corrected for the
        finite simulation, where the simulation does not determine it without; see
        `wprops.fit.gate`. All other fits have none.

    Returns
    -------
    FitResult

    Raises
    ------
    TemplateError
        If no model can be made of the set, there is no parameter of a name, or the
        set has no multijet although it has what to estimate it from.
    FitError
        If there is no valid minimum.
    ConfigError
        If ``data`` is none of the three, a frozen parameter is to be scanned, or the
        width of a prior is not positive.
    """
    model = build_model(templates, channels=channels)
    parameters = model.parameters
    derived = quantities(templates, parameters)
    first = starting_values(parameters, start)
    fixed = frozen_values(parameters, freeze or {}, first)
    axes = {
        name: find_axis(name, parameters, derived)
        for name in (*intervals, *(name for grids in scans for name in grids))
    }
    require_free(axes.values(), parameters, fixed)
    counts, centre, external = measured(templates, model, data, seed)
    options: dict[str, Any] = {
        "barlow_beeston": barlow_beeston,
        "centre": centre,
        "external": external,
    }
    minimum = fit_model(model, counts, fixed=fixed, start=first, **options)
    matrix = minimum.covariance(parameters.names)
    likelihood = likelihood_at(model, counts, minimum.values, **options)
    finite, gate = state(
        templates,
        likelihood,
        minimum,
        barlow_beeston=barlow_beeston,
        prior=strength_prior,
        is_expected=data == "asimov",
    )
    profiles = _profiles(likelihood, minimum.values, fixed, axes, scans, intervals)
    return FitResult(
        parameters=parameters,
        values=minimum.values,
        covariance=matrix,
        nll=minimum.nll,
        edm=minimum.edm,
        iterations=minimum.iterations,
        gof=goodness_of_fit(model, minimum),
        derived=derive(templates, parameters, minimum.values, matrix),
        corrected=_corrected(templates, parameters, finite),
        finite_mc=finite,
        gate=gate,
        postfit=_postfit(model, minimum, counts),
        prefit_yields=_prefit_yields(model, minimum),
        postfit_yields=propagate_yields(model, minimum.values, matrix),
        impacts=(
            compute_impacts(model, minimum.point, matrix, derived) if impacts else None
        ),
        scans=profiles[0],
        intervals=profiles[1],
        frozen=tuple(fixed),
        linearised=model.linearised,
        inactive=model.inactive,
        provenance=provenance.collect(
            fit={
                "data": data,
                "seed": seed if data == "toy" else None,
                "barlow_beeston": barlow_beeston,
                "frozen": fixed,
                "strength_prior": strength_prior,
                "start": None if start is None else start.provenance,
            },
            template_digest=template_digest(templates),
            templates=templates.provenance,
        ),
    )


def _corrected(
    templates: TemplateSet, parameters: Parameters, finite: FiniteMC
) -> dict[str, Derived] | None:
    if finite.values is None or finite.covariance is None:
        return None
    return derive(templates, parameters, finite.values, finite.covariance)


def _prefit_yields(model: Model, minimum: Minimum) -> dict[str, Yields]:
    """Predict events at the generated values, frozen parameters where they are."""
    before = np.where(minimum.free, model.parameters.start, minimum.values)
    return propagate_yields(model, before, prior_covariance(model, minimum.free))


def _profiles(
    likelihood: Likelihood,
    values: Array,
    frozen: Collection[str],
    axes: Mapping[str, Axis],
    scans: Sequence[Mapping[str, Array]],
    intervals: Sequence[str],
) -> tuple[dict[str, Scan], dict[str, Interval]]:
    if not axes:
        return {}, {}
    profile = Profile(likelihood, values, frozen)
    scanned = {}
    for grids in scans:
        points = np.stack(np.meshgrid(*grids.values(), indexing="ij"), axis=-1)
        scanned[", ".join(grids)] = scan(
            profile, [axes[name] for name in grids], points
        )
    return scanned, {name: interval(profile, axes[name]) for name in intervals}


def _postfit(model: Model, minimum: Minimum, counts: Array) -> dict[str, Postfit]:
    yields = minimum.point.point.yields()
    data = model.split(counts)
    return {
        block.name: Postfit(block.processes, yields[block.name], data[block.name])
        for block in model.blocks
    }


def template_digest(templates: TemplateSet) -> str:
    """SHA-256 of all templates, variations and data of a set."""
    content = hashlib.sha256()
    for channel in templates.channels.values():
        content.update(channel.name.encode())
        for process in channel.processes.values():
            content.update(process.name.encode())
            content.update(np.ascontiguousarray(process.nominal).tobytes())
            content.update(np.ascontiguousarray(process.variance).tobytes())
            for label, varied in process.variations.items():
                content.update(label.encode())
                content.update(np.ascontiguousarray(varied).tobytes())
        if channel.data is not None:
            content.update(np.ascontiguousarray(channel.data).tobytes())
    return content.hexdigest()
