"""Diagnosis of a model and its fit: what is wrong or doubtful, by name, and remedies.

`diagnose` looks at everything; `explain_failure` at what can make a fit fail.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from wprops.errors import FitError
from wprops.fit import suspect_bins as bins
from wprops.fit import suspect_parameters as parameters
from wprops.fit.covariance import factorise
from wprops.fit.findings import Finding, ordered, table
from wprops.fit.likelihood import Likelihood
from wprops.fit.minimise import Minimum
from wprops.fit.model import Model, ModelPoint
from wprops.fit.parabola import not_quadratic
from wprops.fit.parameters import nuisance_names
from wprops.fit.suspect_parameters import FAKE_INFORMATION
from wprops.fit.variation_noise import VariationNoise, judge_variations
from wprops.store import TemplateSet
from wprops.systematics.declaration import Interpolation

Array = NDArray[np.float64]
#: Cosine between the two variations of a source above which they are on one side.
SAME_SIDE = 0.5
#: Where a negative expectation is found.
AT_START, AFTER_STEP = "at the start of the fit", "where its first step leads"
_N_NAMED = 3


def diagnose(
    model: Model,
    minimum: Minimum | None,
    templates: TemplateSet,
    *,
    centre: Array | None = None,
    likelihood: Likelihood | None = None,
) -> tuple[Finding, ...]:
    """Look for all that makes a fit doubtful.

    Parameters
    ----------
    model : Model
        The model.
    minimum : Minimum, optional
        Its fit; without one, the generated point is looked at.
    templates : TemplateSet
        What the model was made of.
    centre : ndarray, shape (n_par,), optional
        Auxiliary measurements of the constrained parameters; the starting values when
        omitted.
    likelihood : Likelihood, optional
        What was minimised, to be compared with its parabola at one standard deviation,
        at the cost of two evaluations per parameter and ten fits; not when omitted.

    Returns
    -------
    tuple of Finding
        The worst first; empty if nothing was found.
    """
    if minimum is None:
        values = model.parameters.start
        point = model.at(values)
        jacobian, free = point.jacobian(), np.ones(len(values), dtype=bool)
    else:
        values, point = minimum.values, minimum.point.point
        jacobian, free = minimum.point.jacobian, minimum.free
    weight = _weight(model, values, point)
    fisher = (jacobian * weight) @ jacobian.T + model.prior
    nowhere = np.zeros(len(values))
    found = [
        *parameters.flat(fisher, model.parameters.names, free),
        *bins.negative_expectations(model, point, nowhere, AT_START),
        *bins.thin_bins(model, values, point),
        *bins.templates_of_noise(model),
    ]
    fake = parameters.noise_information(model, jacobian, weight)
    errors = None
    if minimum is not None:
        covariance = minimum.covariance(model.parameters.names)
        errors = np.sqrt(np.diag(covariance))
        found += [
            *parameters.strong_constraints(model, errors),
            *parameters.constraints_from_noise(model, fake, errors),
            *parameters.extreme_pulls(
                model,
                values,
                errors,
                model.parameters.start if centre is None else centre,
            ),
            *parameters.degenerate_pairs(model, covariance),
        ]
        if likelihood is not None:
            found += not_quadratic(likelihood, values, covariance)
    found += bins.negative_processes(model, values, errors, point)
    found += _variations(model, templates, fake)
    return ordered(found)


def _weight(model: Model, values: Array, point: ModelPoint) -> Array:
    """Information per squared event of the bins that are fitted and expect some."""
    weight = np.zeros(model.n_bins)
    sound = model.counted & (point.expected > 0)
    weight[sound] = 1 / (point.expected + model.variance(values))[sound]
    return weight


def explain_failure(
    model: Model, counts: Array, start: Array, *, fixed: Collection[str] = ()
) -> tuple[Finding, ...]:
    """Say what can make a fit fail, from the point where it begins.

    Parameters
    ----------
    model : Model
        The model.
    counts : ndarray, shape (n_bins,)
        What was fitted.
    start : ndarray, shape (n_par,)
        Where the fit began.
    fixed : collection of str
        Parameters that stayed there.

    Returns
    -------
    tuple of Finding
        Errors only: flat directions, bins without simulation or with negative
        expectations, at the start or after one step of the fit. They hold no values
        that the data give to parameters. Empty if none of these is the reason.
    """
    point, names = model.at(start), model.parameters.names
    nowhere = np.zeros(len(start))
    found = list(bins.negative_expectations(model, point, nowhere, AT_START))
    found += bins.thin_bins(model, start, point)
    found = [finding for finding in found if finding.severity == "error"]
    if found:
        return ordered(found)
    likelihood = Likelihood(model, counts, np.zeros(model.n_bins), start)
    first = likelihood.at(start)
    if first is None:
        return ()
    free = np.array([name not in fixed for name in names], dtype=bool)
    fisher = first.fisher()
    found += parameters.flat(fisher, names, free)
    factor = factorise(fisher[np.ix_(free, free)])
    if factor is not None and not found:
        step = nowhere.copy()
        step[free] = -factor.solve(first.gradient()[free])
        there = model.at(start + step)
        found += bins.negative_expectations(model, there, step, AFTER_STEP)
    return ordered(found)


def with_reasons(error: FitError, findings: tuple[Finding, ...]) -> FitError:
    """Add what explains it to the error of a fit."""
    if not findings:
        return error
    return FitError(f"{error}\n{table(findings)}")


def _variations(model: Model, templates: TemplateSet, fake: Array) -> Iterator[Finding]:
    """Judge each systematic in each channel by what it does to the processes."""
    for block in model.blocks:
        channel = templates.channel(block.name)
        judged = judge_variations(channel, templates.systematics)
        for systematic in templates.systematics:
            rows = [row for row in judged if row.systematic == systematic.name]
            if not rows:
                continue
            where = f"{systematic.name} in {block.name}"
            own = nuisance_names(systematic, channel)
            noise = max(float(fake[model.parameters.index(name)]) for name in own)
            yield from _without_effect(where, rows)
            yield from _noisy(where, rows, noise)
            yield from _one_sided(where, rows, systematic.interpolation)


def _without_effect(where: str, rows: Sequence[VariationNoise]) -> Iterator[Finding]:
    still = [row.process for row in rows if row.effect == 0]
    if still:
        yield Finding(
            kind="variation without effect",
            severity="warning" if len(still) == len(rows) else "note",
            where=where,
            what=f"equals the nominal template for {_listed(still, len(rows))}",
            remedy=(
                "check that the variation was filled, or take the process out of the "
                "declaration"
            ),
            size=len(still),
        )


def _noisy(
    where: str, rows: Sequence[VariationNoise], information: float
) -> Iterator[Finding]:
    noisy = [row for row in rows if row.effect > 0 and row.is_compatible_with_noise]
    if not noisy:
        return
    noisy.sort(key=lambda row: -row.effect)
    yield Finding(
        kind="noisy variation",
        severity="warning" if information > FAKE_INFORMATION else "note",
        where=where,
        what=(
            f"compatible with noise for "
            f"{_listed([_evidence(row) for row in noisy], len(rows))}; noise may give "
            f"the parameter an information of {information:.2g}, a prior gives 1"
        ),
        remedy=(
            "smooth the variation in pT, fill it with more events, or take the process "
            "out of the declaration"
        ),
        size=information,
    )


def _evidence(row: VariationNoise) -> str:
    """Say what shows that a variation is noise."""
    parts = []
    if not np.isnan(row.ratio):
        parts.append(f"roughness {row.ratio:.2f}, of noise 1 ± {row.spread:.2f}")
    if not np.isnan(row.moved):
        parts.append(f"net {row.moved:.2g} simulated events moved")
    return f"{row.process} ({'; '.join(parts)})"


def _one_sided(
    where: str, rows: Sequence[VariationNoise], kind: Interpolation
) -> Iterator[Finding]:
    same = [
        f"{row.process} (cosine {row.cosine:.2f})"
        for row in sorted(rows, key=lambda row: -row.effect)
        if row.cosine > SAME_SIDE and not row.is_compatible_with_noise
    ]
    if same:
        lost = "; linear interpolation leaves out what they have in common"
        yield Finding(
            kind="one-sided variation",
            severity="warning",
            where=where,
            what=(
                f"up and down move the template the same way for "
                f"{_listed(same, len(rows))}{lost if kind == 'linear' else ''}"
            ),
            remedy=(
                "check that up and down are not the same variation; declare a source "
                "with one side as such, with variations=('up',)"
            ),
            size=len(same),
        )


def _listed(names: Sequence[str], n_all: int) -> str:
    shown = ", ".join(names[:_N_NAMED]) + (", …" if len(names) > _N_NAMED else "")
    return f"{len(names)} of {n_all} templates: {shown}"
