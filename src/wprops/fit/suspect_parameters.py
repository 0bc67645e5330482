"""Parameters whose values or errors are doubtful, by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from wprops.fit.covariance import correlation, flat_directions
from wprops.fit.findings import Finding
from wprops.fit.model import Model
from wprops.fit.variation_noise import ETA_ORDER, roughness

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
#: Error over prior below which the data know a source suspiciously well.
STRONG = 0.3
#: Correlation above which two parameters are one.
DEGENERATE = 0.99
#: Probability of one larger pull among all of them.
PULL_PROBABILITY = 0.01
#: Smallest variance of a pull that is taken at its word.
LEAST_SPREAD = 0.02
#: What to do on a pull, where the data have information on the parameter and where not.
INFORMED = (
    "look at data and prediction where the parameter acts; a source may be missing, or "
    "its size be too small"
)
UNINFORMED = (
    "the data know nothing of it, noise of the templates in a curved valley moves it; "
    "see what the fit says on the finite simulation"
)
#: Share of a constraint that may be noise above which it is doubtful.
DOUBTFUL = 0.3
#: Error over prior above which the data say nothing on a parameter.
CONSTRAINED = 0.95
#: Information of noise alone, in units of the prior, that is worth a word.
FAKE_INFORMATION = 0.05


def flat(fisher: Array, names: Sequence[str], free: Mask) -> Iterator[Finding]:
    """Find combinations of parameters that the data do not determine.

    Parameters
    ----------
    fisher : ndarray, shape (n_par, n_par)
        Expected information of the parameters, constraints included.
    names : sequence of str
        Their names.
    free : ndarray of bool, shape (n_par,)
        Whether a parameter is fitted.
    """
    fitted = [name for name, is_free in zip(names, free, strict=True) if is_free]
    for direction in flat_directions(fisher[np.ix_(free, free)], fitted):
        yield Finding(
            kind="flat direction",
            severity="error",
            where=direction,
            what=(
                "data and constraints say nothing on this combination of parameters, "
                "each in units of its error with all others known"
            ),
            remedy="merge cells, drop one of the parameters, fix or constrain it",
            size=1.0,
        )


def extreme_pulls(
    model: Model, values: Array, errors: Array, centre: Array
) -> Iterator[Finding]:
    """Find constrained parameters that the data move too far from their ``centre``.

    The difference of the fitted value and the constraint has the variance 1 − σ²
    with σ the error after the fit.
    """
    constrained = np.flatnonzero(model.parameters.precision > 0)
    limit = norm.isf(PULL_PROBABILITY / 2 / max(len(constrained), 1))
    for index in constrained:
        moved = values[index] - centre[index]
        # with hardly any information of the data, departures from a parabola count more
        spread = max(1 - errors[index] ** 2, LEAST_SPREAD)
        if abs(moved) < limit * np.sqrt(spread):
            continue
        yield Finding(
            kind="extreme pull",
            severity="warning",
            where=model.parameters.names[index],
            what=(
                f"fitted {moved:+.2f} ± {errors[index]:.2f} from its constraint, "
                f"{abs(moved) / np.sqrt(spread):.1f} standard deviations of such a "
                f"difference; {limit:.1f} is exceeded once in "
                f"{1 / PULL_PROBABILITY:.0f} fits"
            ),
            remedy=(UNINFORMED if errors[index] ** 2 > 1 - LEAST_SPREAD else INFORMED),
            size=abs(moved) / float(np.sqrt(spread)),
        )


def degenerate_pairs(model: Model, covariance: Array) -> Iterator[Finding]:
    """Find pairs of parameters with a correlation close to ±1."""
    names = model.parameters.names
    free = np.flatnonzero(np.diag(covariance) > 0)
    rho = correlation(covariance[np.ix_(free, free)])
    first, second = np.nonzero(np.triu(abs(rho) > DEGENERATE, 1))
    for i, j in zip(first, second, strict=True):
        one, other = names[free[i]], names[free[j]]
        yield Finding(
            kind="degenerate pair",
            severity="warning",
            where=f"{one} and {other}",
            what=f"their correlation is {rho[i, j]:+.4f}",
            remedy="measure their sum or difference: merge cells, or fix one of them",
            size=float(abs(rho[i, j])),
        )


def strong_constraints(model: Model, errors: Array) -> Iterator[Finding]:
    """Find constrained parameters that the data know far better than their prior."""
    for index in np.flatnonzero(model.parameters.precision > 0):
        # a fixed parameter has no error
        if not 0 < errors[index] < STRONG:
            continue
        yield Finding(
            kind="strong constraint",
            severity="warning",
            where=model.parameters.names[index],
            what=f"known to {errors[index]:.3f} of its prior after the fit",
            remedy=(
                "ask whether one parameter may describe all bins at once; else split "
                "the source, by eta or by process, or check its size"
            ),
            size=1 / float(errors[index]),
        )


def noise_information(model: Model, jacobian: Array, weight: Array) -> Array:
    """Estimate how much information may come from noise in the derivatives.

    Parameters
    ----------
    model : Model
        Gives the channels.
    jacobian : ndarray, shape (n_par, n_bins)
        Derivatives of the expected events.
    weight : ndarray, shape (n_bins,)
        Information per squared event in each bin; 0 in masked channels.

    Returns
    -------
    ndarray, shape (n_par,)
        Information with all other parameters known. The estimate is that of
        `wprops.fit.variation_noise`: structure of a few bins counts as noise, and
        0 stands for channels with too few bins in pT to say.
    """
    scaled = jacobian * np.sqrt(weight)
    noise = np.zeros(len(jacobian))
    ends = np.cumsum([block.n_bins for block in model.blocks])
    parts = np.split(scaled, ends[:-1], axis=1)
    for block, part, active in zip(
        model.blocks, parts, np.split(weight, ends[:-1]), strict=True
    ):
        grid = part.reshape(-1, *block.shape)
        rows = (grid != 0).any(axis=2).sum(axis=1)
        for across_eta in (True, False):
            chosen = (rows > ETA_ORDER) == across_eta
            filled = (active > 0).reshape(block.shape)
            estimator = roughness(filled, across_eta=across_eta)
            if estimator is not None:
                noise[chosen] += estimator.noise(grid[chosen])
    return noise


def constraints_from_noise(
    model: Model, noise: Array, errors: Array
) -> Iterator[Finding]:
    """Find parameters that noise of the simulation may constrain.

    Parameters
    ----------
    model : Model
        Gives names and priors.
    noise : ndarray, shape (n_par,)
        See `noise_information`.
    errors : ndarray, shape (n_par,)
        Errors after the fit.
    """
    parameters = model.parameters
    for index in range(parameters.n_poi, len(parameters)):
        prior, error = parameters.precision[index], errors[index]
        # a fixed parameter has no error, and who learns nothing has no constraint
        if error == 0 or (prior and error > CONSTRAINED):
            continue
        share = min(1.0, noise[index] * error**2 / (1 - prior * error**2))
        if share < DOUBTFUL:
            continue
        yield Finding(
            kind="noise in a constraint",
            severity="warning",
            where=parameters.names[index],
            what=(
                f"its error is {error:.3g}{' of the prior' if prior else ''}; up to "
                f"{share:.0%} of this knowledge may come from noise of the simulation "
                "in its variation"
            ),
            remedy="smooth the variation in pT, simulate more events, or merge bins",
            size=share,
        )
