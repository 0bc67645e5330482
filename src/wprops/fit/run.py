"""From a template set to a result: what ``wprops fit`` calls."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from wprops import provenance
from wprops.errors import ConfigError
from wprops.fit.derived import derive
from wprops.fit.finite_mc import assess
from wprops.fit.likelihood import Likelihood, relative_variance
from wprops.fit.minimise import TOLERANCE, Minimum, minimise
from wprops.fit.model import Model, build_model, observed
from wprops.fit.results import FitResult, GoodnessOfFit, Postfit
from wprops.store import TemplateSet

Array = NDArray[np.float64]
Data = Literal["observed", "asimov"]
#: How often the effective counts of Barlow-Beeston are refreshed at the minimum:
#: after two refreshes strengths change by less than 1e-3 of their errors.
REFRESHES = 3


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
        If the model has no parameter of a name in ``fixed``.
    FitError
        If there is no valid minimum; the message says why.
    """
    parameters, fixed = model.parameters, fixed or {}
    first = (parameters.start if start is None else start).copy()
    for name, value in fixed.items():
        first[parameters.index(name)] = value
    likelihood = Likelihood(
        model=model,
        observed=counts,
        relative_variance=(
            relative_variance(model, first)
            if barlow_beeston
            else np.zeros(model.n_bins)
        ),
        centre=parameters.start if centre is None else centre,
        external=external,
    )
    minimum = minimise(likelihood, first, tolerance=tolerance, fixed=fixed)
    iterations = minimum.iterations
    for _ in range(REFRESHES if barlow_beeston else 0):
        likelihood = replace(
            likelihood, relative_variance=relative_variance(model, minimum.values)
        )
        minimum = minimise(likelihood, minimum.values, tolerance=tolerance, fixed=fixed)
        iterations += minimum.iterations
    return replace(minimum, iterations=iterations)


def goodness_of_fit(model: Model, minimum: Minimum) -> GoodnessOfFit:
    """Compare a minimum with the saturated model, ν = n in every bin.

    Returns
    -------
    GoodnessOfFit
        Twice the difference of the NLL, which includes the constraints, with as
        many degrees of freedom as fitted bins and external measurements less free
        parameters.
    """
    n_free = int((minimum.free & (model.parameters.precision == 0)).sum())
    n_measured = int(model.counted.sum()) + len(model.external.values)
    statistic, ndf = 2 * minimum.nll, n_measured - n_free
    return GoodnessOfFit(statistic, ndf, float(chi2.sf(statistic, ndf)))


def run_fit(
    templates: TemplateSet,
    *,
    data: Data = "observed",
    barlow_beeston: bool = True,
    channels: Sequence[str] | None = None,
) -> FitResult:
    """Fit a template set and derive everything that is measured.

    Parameters
    ----------
    templates : TemplateSet
        Templates, data and declarations.
    data : {"observed", "asimov"}
        The data of the set, or the nominal prediction for expected errors.
    barlow_beeston : bool
        Whether the statistical error of the templates counts in the fit.
    channels : sequence of str, optional
        Channels to fit together; all when omitted.

    Returns
    -------
    FitResult

    Raises
    ------
    TemplateError
        If no model can be made of the set.
    FitError
        If there is no valid minimum.
    ConfigError
        If ``data`` is neither of the two.
    """
    model = build_model(templates, channels=channels)
    counts = _counts(templates, model, data)
    minimum = fit_model(model, counts, barlow_beeston=barlow_beeston)
    parameters = model.parameters
    matrix = minimum.covariance(parameters.names)
    finite = assess(model, minimum.point)
    corrected = (
        None
        if finite.values is None or finite.covariance is None
        else derive(templates, parameters, finite.values, finite.covariance)
    )
    return FitResult(
        parameters=parameters,
        values=minimum.values,
        covariance=matrix,
        nll=minimum.nll,
        edm=minimum.edm,
        iterations=minimum.iterations,
        gof=goodness_of_fit(model, minimum),
        derived=derive(templates, parameters, minimum.values, matrix),
        corrected=corrected,
        finite_mc=finite,
        postfit=_postfit(model, minimum, counts),
        linearised=model.linearised,
        inactive=model.inactive,
        provenance=provenance.collect(
            fit={"data": data, "barlow_beeston": barlow_beeston},
            template_digest=template_digest(templates),
            templates=templates.provenance,
        ),
    )


def _counts(templates: TemplateSet, model: Model, data: Data) -> Array:
    if data == "observed":
        return observed(templates, model)
    if data == "asimov":
        return model.expected(model.parameters.start)
    msg = f"data={data!r} is unknown; expected 'observed' or 'asimov'"
    raise ConfigError(msg)


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
