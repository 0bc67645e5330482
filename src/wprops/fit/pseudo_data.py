"""Pseudo-data: counts and auxiliary measurements thrown around a truth.

The random numbers of a toy follow from the seed and its index alone, so that any toy
can be thrown again by itself, whatever was thrown before or beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wprops.fit.likelihood import relative_variance, require_positive
from wprops.fit.model import Model

Array = NDArray[np.float64]


class PseudoData(NamedTuple):
    """What one toy would have measured.

    Attributes
    ----------
    counts : ndarray, shape (n_bins,)
        Events; 0 in masked channels.
    centre : ndarray, shape (n_par,)
        Auxiliary measurements of the constrained parameters; the truth of the free
        ones, which nobody measured before.
    external : ndarray, shape (n_external,)
        Results of the external measurements.
    """

    counts: Array
    centre: Array
    external: Array


@dataclass(frozen=True, slots=True, eq=False)
class Thrower:
    """Draws toys; made by `thrower`.

    Attributes
    ----------
    model : Model
        Gives constraints and external measurements.
    truth : ndarray, shape (n_par,)
        True parameters.
    seed : int
        Of all toys together.
    expected : ndarray, shape (n_bins,)
        True expectation; 0 in masked channels.
    relative_variance : ndarray, shape (n_bins,)
        1/k by which the truth differs from the templates; 0 where it does not.
    """

    model: Model
    truth: Array
    seed: int
    expected: Array
    relative_variance: Array

    def throw(self, index: int) -> PseudoData:
        """Draw the toy of an index, which is 0 or more."""
        rng = np.random.default_rng([self.seed, index])
        precision = self.model.parameters.precision
        sigma = np.divide(
            1.0, np.sqrt(precision), out=np.zeros_like(precision), where=precision > 0
        )
        counts = rng.poisson(self.expected * self._noise(rng)).astype(np.float64)
        centre = self.truth + sigma * rng.standard_normal(len(self.truth))
        external = self.model.external
        measured = np.empty(0)
        if len(external.values):  # numpy refuses a covariance of nothing
            measured = rng.multivariate_normal(
                external.combinations @ self.truth,
                external.covariance,
                method="cholesky",
            )
        return PseudoData(counts, centre, measured)

    def _noise(self, rng: np.random.Generator) -> Array:
        """Draw the factor between truth and templates in each bin, of mean 1."""
        factor = np.ones_like(self.expected)
        noisy = self.relative_variance > 0
        q = self.relative_variance[noisy]
        factor[noisy] = q * rng.gamma(1 / q)
        return factor


def thrower(
    model: Model, truth: Array, seed: int, *, template_noise: bool = False
) -> Thrower:
    r"""Prepare pseudo-data.

    Parameters
    ----------
    model : Model
        Gives the expectations.
    truth : ndarray, shape (n_par,)
        True parameters.
    seed : int
        Of all toys together, 0 or more.
    template_noise : bool
        Whether each toy has a truth of its own that the templates estimate with
        their statistical error: each bin expects a multiple of gamma distribution,
        of mean 1 and variance 1/k, as in the likelihood with Barlow-Beeston (see
        `wprops.fit.likelihood`), whose errors then cover.

    Returns
    -------
    Thrower

    Raises
    ------
    FitError
        If a bin expects no events or less, or has less than one effective simulated
        event and the noise counts.
    """
    expected = model.expected(truth)
    require_positive(model, expected)
    return Thrower(
        model=model,
        truth=truth,
        seed=seed,
        expected=np.where(model.counted, expected, 0.0),
        relative_variance=(
            relative_variance(model, truth)
            if template_noise
            else np.zeros_like(expected)
        ),
    )
