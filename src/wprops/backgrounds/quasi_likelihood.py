r"""The likelihood of a rate, the fraction of muons that are isolated.

In a bin, x and y are the estimates of isolated and anti-isolated muons of one kind,
independent, with expectations rT and (1 − r)T and variances

.. math:: V_x = a_x r T + b_x, \qquad V_y = a_y (1 - r) T + b_y .

Their ratio is neither binomial, as x and y are differences or weighted, nor Gaussian,
but :math:`u = (1 - r) x - r y` has mean 0 and variance
:math:`V = (1 - r)^2 V_x + r^2 V_y` at the true r, and Σ u²/V is the χ² that is left
when T is adjusted in each bin. V is predicted by the fit, not taken from the observed
counts: an observed variance is small just where the count fluctuated down, and
draws the fit there. With V held fixed the condition for the minimum is
Σ T u ∂r/V = 0, whose mean is zero since the adjusted T and u are uncorrelated. It is
that of a quasi-likelihood (R. W. M. Wedderburn, Biometrika 61 (1974) 439), which serves
to find the solution; with unit a and no variance from simulation, of the Poisson one.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Variances are predicted with rates at least this far from 0 and 1.
_MARGIN = 1e-3
#: Keeps the logarithm finite where negative weights leave no muons.
_TINY = 1e-300


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Isolated and anti-isolated muons, and what their variances are made of.

    Attributes
    ----------
    passing, failing : ndarray, shape (..., n_pt)
        Estimates x and y of isolated and anti-isolated muons.
    passing_scale, failing_scale : ndarray, shape (..., n_pt)
        Variance per expected muon, a_x and a_y.
    passing_extra, failing_extra : ndarray, shape (..., n_pt)
        Variance that does not depend on the rate, b_x and b_y.
    """

    passing: Array
    failing: Array
    passing_scale: Array
    failing_scale: Array
    passing_extra: Array
    failing_extra: Array

    def rows(self) -> tuple[tuple[int, ...], Self]:
        """Return the shape of the fits and the same with one axis (n_fits, n_pt)."""
        arrays = np.broadcast_arrays(*(getattr(self, f.name) for f in fields(self)))
        shape = arrays[0].shape
        return shape[:-1], type(self)(*(a.reshape(-1, shape[-1]) for a in arrays))

    def take(self, chosen: NDArray[np.int64]) -> Self:
        """Return some of the fits of `rows`."""
        return type(self)(*(getattr(self, f.name)[chosen] for f in fields(self)))


class Profile(NamedTuple):
    """Bins of a fit at given rates, each of shape (..., n_pt).

    Attributes
    ----------
    total : ndarray
        Muons T, adjusted to x and y, not below 0.
    residual : ndarray
        u = (1 − r) x − r y.
    variance : ndarray
        Predicted variance of u; 0 in bins without any information.
    """

    total: Array
    residual: Array
    variance: Array


def profile(split: Split, rate: Array) -> Profile:
    """Adjust the number of muons in each bin; see the module for the formulas.

    The condition on T, r (x − rT)/V_x + (1 − r)(y − (1 − r)T)/V_y = 0 with variances
    that depend on T, is a quadratic equation.
    """
    r = np.clip(rate, _MARGIN, 1 - _MARGIN)
    s = 1 - r
    x, y = split.passing, split.failing
    ax, ay = split.passing_scale, split.failing_scale
    bx, by = split.passing_extra, split.failing_extra
    square = r * s * (r * ay + s * ax)
    line = r * s * (ay * x + ax * y) - r**2 * by - s**2 * bx
    constant = r * x * by + s * y * bx
    root = np.sqrt(np.maximum(line**2 + 4 * square * constant, 0.0))
    total = np.divide(
        line + root, 2 * square, out=np.zeros_like(root), where=square > 0
    )
    total = np.maximum(total, 0.0)
    variance = s**2 * (ax * r * total + bx) + r**2 * (ay * s * total + by)
    return Profile(total, (1 - rate) * x - rate * y, variance)


def deviance(split: Split, rate: Array) -> Array:
    """Return −2 ln of the quasi-likelihood at given rates, shape (...).

    Its derivative in the mean μ of a count n is −2 (n − μ)/V(μ), which for V = μ is
    that of the Poisson likelihood.
    """
    r = np.clip(rate, _MARGIN, 1 - _MARGIN)
    total, residual, variance = profile(split, rate)
    # Beyond the margins T and V do not change, and the derivative −2 T u/V is linear.
    at_margin = (1 - r) * split.passing - r * split.failing
    slope = total * inverse(variance) * (residual + at_margin)
    value = -np.sum((rate - r) * slope, axis=-1)
    for count, mean, scale, extra in (
        (split.passing, r * total, split.passing_scale, split.passing_extra),
        (split.failing, (1 - r) * total, split.failing_scale, split.failing_extra),
    ):
        # V(n), which is negative where a subtraction leaves less than nothing. Its size
        # inside of the logarithm adds a constant.
        observed = scale * count + extra
        ratio = np.ones_like(total)
        known = (observed != 0) & (scale > 0)
        np.divide(scale * mean + extra, np.abs(observed), out=ratio, where=known)
        by_scale = inverse(np.broadcast_to(scale, total.shape))
        log = np.log(np.maximum(ratio, _TINY))
        part = by_scale * (mean - count - observed * by_scale * log)
        value += 2 * part.sum(axis=-1)
    return value


def inverse(variance: Array) -> Array:
    """Return 1/variance, and 0 in bins without information."""
    out = np.zeros_like(variance)
    return np.divide(1.0, variance, out=out, where=variance > 0)
