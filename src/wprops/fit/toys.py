"""Pseudo-experiments: data and auxiliary measurements thrown from the model.

Toys from the same templates that are fitted know nothing of the noise in the
templates: they test the likelihood and its errors, never the effect of finite
simulation (`wprops.fit.finite_mc`).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wprops.errors import FitError
from wprops.fit.kernels import threads
from wprops.fit.minimise import Minimum
from wprops.fit.model import Model
from wprops.fit.run import fit_model

Array = NDArray[np.float64]
#: A pull needs its minimum to 1e-3 of an error, no better.
TOY_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Ensemble:
    """Fits of pseudo-experiments.

    Attributes
    ----------
    truth : ndarray, shape (n_par,)
        Parameters the toys were thrown with.
    values, errors : ndarray, shape (n_valid, n_par)
        Fitted parameters and their errors.
    failures : tuple of str
        Reason of each fit that has no valid result.
    """

    truth: Array
    values: Array
    errors: Array
    failures: tuple[str, ...]

    @property
    def pulls(self) -> Array:
        """(fitted − true)/error, shape (n_valid, n_par)."""
        return (self.values - self.truth) / self.errors


def throw(model: Model, values: Array, rng: np.random.Generator, n: int) -> Array:
    """Draw counts.

    Parameters
    ----------
    model : Model
        Gives the expectations.
    values : ndarray, shape (n_par,)
        True parameters.
    rng : numpy.random.Generator
        Source of randomness.
    n : int
        Number of toys.

    Returns
    -------
    ndarray, shape (n, n_bins)
        Poisson counts.
    """
    expected = model.expected(values)
    return rng.poisson(expected, (n, len(expected))).astype(np.float64)


def throw_auxiliary(
    model: Model, values: Array, rng: np.random.Generator, n: int
) -> Array:
    """Draw where the auxiliary measurements put the constrained parameters.

    Returns
    -------
    ndarray, shape (n, n_par)
        Equal to ``values`` for free parameters, which nobody measured before.
    """
    precision = model.parameters.precision
    sigma = np.divide(
        1.0, np.sqrt(precision), out=np.zeros_like(precision), where=precision > 0
    )
    return values + sigma * rng.standard_normal((n, len(values)))


def throw_external(
    model: Model, values: Array, rng: np.random.Generator, n: int
) -> Array:
    """Draw results of the external measurements, shape (n, n_external)."""
    external = model.external
    if not len(external.values):
        return np.empty((n, 0))
    true = external.combinations @ values
    return rng.multivariate_normal(true, external.covariance, n, method="cholesky")


def run_ensemble(
    model: Model,
    values: Array,
    rng: np.random.Generator,
    n: int,
    *,
    barlow_beeston: bool = False,
    n_workers: int = 1,
) -> Ensemble:
    """Throw and fit toys.

    Parameters
    ----------
    model : Model
        Throws and fits.
    values : ndarray, shape (n_par,)
        True parameters.
    rng : numpy.random.Generator
        Source of randomness.
    n : int
        Number of toys.
    barlow_beeston : bool
        Whether the fits count the noise of the templates, which toys from the
        same templates do not have: pulls are then too narrow.
    n_workers : int
        Toys that are fitted at the same time, each by one thread; results do not
        depend on it. BLAS has to be limited to one thread then
        (``OPENBLAS_NUM_THREADS=1``), as ``wprops`` does.

    Returns
    -------
    Ensemble
        A toy whose fit fails is counted with its reason.
    """
    counts = throw(model, values, rng, n)
    centres = throw_auxiliary(model, values, rng, n)
    measured = throw_external(model, values, rng, n)

    def fit(observed: Array, centre: Array, external: Array) -> Minimum:
        with threads(1):
            return fit_model(
                model,
                observed,
                barlow_beeston=barlow_beeston,
                centre=centre,
                external=external,
                tolerance=TOY_TOLERANCE,
            )

    def values_errors(toy: tuple[Array, Array, Array]) -> tuple[Array, Array] | str:
        try:
            minimum = fit(*toy)
        except FitError as error:
            return str(error)
        covariance = minimum.covariance(model.parameters.names)
        return minimum.values, np.sqrt(np.diag(covariance))

    with ThreadPoolExecutor(n_workers) as pool:
        toys = list(
            pool.map(values_errors, zip(counts, centres, measured, strict=True))
        )
    valid = [toy for toy in toys if not isinstance(toy, str)]
    shape = (-1, len(values))
    return Ensemble(
        truth=values,
        values=np.reshape([fitted for fitted, _ in valid], shape),
        errors=np.reshape([errors for _, errors in valid], shape),
        failures=tuple(toy for toy in toys if isinstance(toy, str)),
    )
