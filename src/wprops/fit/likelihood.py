r"""The likelihood of binned counts, with the template statistics profiled out.

Per bin with n observed and ν expected events,

.. math:: ℓ = ν - n \ln ν

up to a constant; with Barlow-Beeston lite one factor β per bin scales ν and is
measured by a Poisson auxiliary count k = ν²/v, the number of unweighted events
with the same relative variance as the templates:

.. math:: ℓ = \min_β \, [βν - n \ln(βν) + k(β - \ln β)]
   = (n + k) \ln(ν + k) - n \ln ν + \mathrm{const},
   \qquad \hat β = (n + k)/(ν + k).

k is frozen while minimising: it comes from the expectation and the variance at
an earlier point and is refreshed a few times (`wprops.fit.run.fit_model`). All
values are relative to the saturated model ν = n, so that they are small and
twice the value is the goodness-of-fit statistic.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

from wprops.errors import FitError
from wprops.fit.model import Model, ModelPoint

Array = NDArray[np.float64]


class BinTerms(NamedTuple):
    """The negative log-likelihood per bin and its derivatives in ν."""

    value: Array
    first: Array
    second: Array
    information: Array


def bin_terms(observed: Array, expected: Array, relative_variance: Array) -> BinTerms:
    """Negative log-likelihood of each bin, relative to the saturated model.

    Parameters
    ----------
    observed, expected : ndarray, shape (n_bins,)
        Counts n ≥ 0 and expectations ν > 0.
    relative_variance : ndarray, shape (n_bins,)
        1/k = v/ν² of the templates, 0 for templates without noise.

    Returns
    -------
    BinTerms
        Value, first and second derivative in ν, and the expectation 1/(ν + v)
        of the second derivative over data.

    Examples
    --------
    >>> counts = np.array([4.0])
    >>> bin_terms(counts, counts, np.array([0.0])).value.tolist()
    [0.0]
    """
    n, nu, q = observed, expected, relative_variance
    damping = 1 / (1 + nu * q)  # k / (ν + k)
    # (n + k) ln[(ν + k)/(n + k)] as (ν − n) ln(1 + z)/z, which has a limit at k = ∞
    z = q * (nu - n) / (1 + n * q)
    stretch = np.divide(np.log1p(z), z, out=np.ones_like(z), where=z != 0)
    return BinTerms(
        value=(nu - n) * stretch - xlogy(n, nu / np.where(n > 0, n, 1.0)),
        first=damping * (nu - n) / nu,
        second=n / nu**2 - q * (1 + n * q) * damping**2,
        information=damping / nu,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Likelihood:
    """Negative log-likelihood of a model for given counts.

    Attributes
    ----------
    model : Model
        Gives the expectations.
    observed : ndarray, shape (n_bins,)
        Counts; those of masked channels do not matter.
    relative_variance : ndarray, shape (n_bins,)
        Frozen 1/k of the templates; zeros switch Barlow-Beeston off.
    centre : ndarray, shape (n_par,)
        Where the auxiliary measurements put the constrained parameters.
    external : ndarray, shape (n_external,), optional
        Results of the external measurements; those of the model when omitted.
    """

    model: Model
    observed: Array
    relative_variance: Array
    centre: Array
    external: Array | None = None

    def at(self, values: Array) -> LikelihoodPoint | None:
        """Evaluate at parameter values, None where a bin expects ≤ 0 events."""
        point = self.model.at(values)
        counted, expected = self.model.counted, point.expected
        if not (expected[counted] > 0).all():
            return None
        terms = [np.zeros_like(expected) for _ in BinTerms._fields]
        arrays = (self.observed, expected, self.relative_variance)
        found = bin_terms(*(array[counted] for array in arrays))
        for term, values_counted in zip(terms, found, strict=True):
            term[counted] = values_counted
        return LikelihoodPoint(self, values, point, BinTerms(*terms))


class LikelihoodPoint:
    """The likelihood at one point, with derivatives on demand."""

    def __init__(
        self,
        likelihood: Likelihood,
        values: Array,
        point: ModelPoint,
        terms: BinTerms,
    ) -> None:
        self.values = values
        self.point = point
        self.terms = terms
        model = self._model = likelihood.model
        external, measured = model.external, likelihood.external
        away = values - likelihood.centre
        residual = external.residual(
            values, external.values if measured is None else measured
        )
        pull = model.parameters.precision * away
        external_pull = external.precision @ residual
        self._pull = pull + external.combinations.T @ external_pull
        #: What the constraint of each parameter adds, shape (n_par,).
        self.constraints = 0.5 * pull * away
        constraint = 0.5 * float(pull @ away + external_pull @ residual)
        self.value = float(terms.value.sum()) + constraint

    @cached_property
    def jacobian(self) -> Array:
        """Derivatives of the expected events, shape (n_par, n_bins)."""
        return self.point.jacobian()

    def gradient(self) -> Array:
        """First derivatives, shape (n_par,)."""
        return self.point.gradient(self.terms.first) + self._pull

    def information(self, weight: Array) -> Array:
        """Information of the bins with a weight each, and of all constraints.

        Parameters
        ----------
        weight : ndarray, shape (n_bins,)
            Weight of the products of derivatives; masked channels do not count.

        Returns
        -------
        ndarray, shape (n_par, n_par)
        """
        counted = np.where(self._model.counted, weight, 0.0)
        return self.point.information(counted) + self._model.prior

    def fisher(self) -> Array:
        """Return the expected information with the constraints, (n_par, n_par)."""
        return self._fisher

    @cached_property
    def _fisher(self) -> Array:
        return self.information(self.terms.information)

    def hessian(self) -> Array:
        """Exact second derivatives, shape (n_par, n_par)."""
        return self.information(self.terms.second) + self.point.second(self.terms.first)


def relative_variance(model: Model, values: Array) -> Array:
    """1/k = v/ν² of each bin at given parameters, shape (n_bins,).

    It is zero in masked channels.

    Raises
    ------
    FitError
        If a bin has less than one effective simulated event, or expects none:
        its content is not known and no factor β can repair it.
    """
    expected = model.expected(values)
    variance = model.variance(values)
    require_positive(model, expected)
    counted = model.counted
    too_few = np.flatnonzero(counted & (variance > expected**2))
    if len(too_few):
        msg = (
            f"{len(too_few)} bins have less than one effective simulated event: "
            f"{describe_bins(model, too_few)}; merge bins or simulate more events"
        )
        raise FitError(msg)
    return np.divide(variance, expected**2, out=np.zeros_like(variance), where=counted)


def require_positive(model: Model, expected: Array) -> None:
    """Raise FitError that lists the fitted bins which expect no events or less."""
    bad = np.flatnonzero(model.counted & ~(expected > 0))
    if len(bad):
        msg = (
            f"{len(bad)} bins expect no events or a negative number: "
            f"{describe_bins(model, bad)}; merge bins or simulate more events"
        )
        raise FitError(msg)


def describe_bins(model: Model, bins: NDArray[np.int64], n_shown: int = 5) -> str:
    """Write flat bin numbers as channel (eta, pt) indices, the first few of them."""
    labels = [
        f"{block.name} ({index // block.shape[1]}, {index % block.shape[1]})"
        for block in model.blocks
        for index in range(block.n_bins)
    ]
    shown = ", ".join(labels[i] for i in bins[:n_shown])
    return shown + (", …" if len(bins) > n_shown else "")
