"""Fits of rates to counts in bins of pT, all of them at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2 as chi2_distribution

from wprops.backgrounds.quasi_likelihood import (
    Profile,
    Split,
    deviance,
    inverse,
    profile,
)
from wprops.physics.rate_curves import Curve
from wprops.physics.row_fits import invert_rows, minimise_rows

Array = NDArray[np.float64]

#: Fits that are iterated together, so that their arrays stay in the cache.
_CHUNK = 1024


@dataclass(frozen=True, slots=True, eq=False)
class RateFit:
    """Fitted rates; leading axes are those of the counts.

    Attributes
    ----------
    curve : Curve
        The shape.
    pt : ndarray, shape (n_pt,)
        Where the bins are taken to be, their centres [GeV].
    parameters : ndarray, shape (..., k)
        Best values.
    covariance : ndarray, shape (..., k, k)
        Inverse of the expected information; NaN where parameters are not determined.
    chi2, ndf : ndarray, shape (...)
        Σ u²/V, and bins with any information less parameters.
    converged : ndarray of bool, shape (...)
        Whether the solution was found and all parameters are determined.
    """

    curve: Curve
    pt: Array
    parameters: Array
    covariance: Array
    chi2: Array
    ndf: NDArray[np.int64]
    converged: NDArray[np.bool_]

    def rates(self) -> Array:
        """Rates at the bin centres, shape (..., n_pt)."""
        return self.curve.value(self.pt, self.parameters)

    def jacobian(self) -> Array:
        """Return derivatives of `rates` in the parameters, (..., n_pt, k)."""
        return self.curve.jacobian(self.pt, self.parameters)

    def p_value(self) -> Array:
        """Probability of a larger χ², shape (...); 1 without degrees of freedom."""
        free = np.maximum(self.ndf, 1)
        values = np.where(self.ndf > 0, chi2_distribution.sf(self.chi2, free), 1.0)
        return np.asarray(values)


def fit_rate(
    curve: Curve, pt: Array, split: Split, start: Array | None = None
) -> RateFit:
    """Fit a curve to all rows of counts at once.

    The solution is the minimum of the `deviance`, found by damped steps.

    Parameters
    ----------
    curve : Curve
        The shape.
    pt : ndarray, shape (n_pt,)
        Centres of the bins [GeV]. The rate of a bin is taken there: with bins of
        0.5 GeV and a spectrum that falls by e in 6 GeV the mean pT is 0.004 GeV lower.
    split : Split
        The counts.
    start : ndarray, shape (..., k), optional
        Parameters to start from, such as those of the nominal fit.

    Returns
    -------
    RateFit
        Failures are told by ``converged``; none raises.
    """
    shape, rows = split.rows()
    if start is None:
        begin = _start(curve, pt, rows)
    else:
        begin = np.broadcast_to(start, (*shape, start.shape[-1]))
        begin = begin.reshape(-1, start.shape[-1])
    n_fits, k = begin.shape
    chunks = [np.arange(i, min(i + _CHUNK, n_fits)) for i in range(0, n_fits, _CHUNK)]
    parts = [_fit_rows(curve, pt, rows.take(c), begin[c]) for c in chunks]
    joined = [np.concatenate(column) for column in zip(*parts, strict=True)]
    ends = ((k,), (k, k), (), (), ())
    reshaped = [a.reshape((*shape, *end)) for a, end in zip(joined, ends, strict=True)]
    return RateFit(curve, pt, *reshaped)


def _start(curve: Curve, pt: Array, rows: Split) -> Array:
    """Start from the rates in the lower and the upper half of the pT bins."""
    half = max(len(pt) // 2, 1)
    points, rates = [], []
    for part in (slice(None, half), slice(half, None)):
        passing = rows.passing[:, part].sum(axis=1)
        total = passing + rows.failing[:, part].sum(axis=1)
        rate = np.divide(passing, total, out=np.full_like(total, 0.5), where=total > 0)
        rates.append(np.clip(rate, 0.0, 1.0))
        points.append(np.full_like(total, pt[part].mean()))
    return curve.start(np.stack(points, axis=-1), np.stack(rates, axis=-1))


def _fit_rows(curve: Curve, pt: Array, rows: Split, begin: Array) -> tuple[Any, ...]:
    def objective(chosen: NDArray[np.int64], parameters: Array) -> Array:
        return deviance(rows.take(chosen), curve.value(pt, parameters))

    def normal(chosen: NDArray[np.int64], parameters: Array) -> tuple[Array, Array]:
        bins = profile(rows.take(chosen), curve.value(pt, parameters))
        return _normal(curve.jacobian(pt, parameters), bins)

    parameters, finished = minimise_rows(objective, normal, begin)
    return _conclude(curve, pt, rows, parameters, finished)


def _normal(jacobian: Array, bins: Profile) -> tuple[Array, Array]:
    """Gradient (n, k) and information (n, k, k) of the parameters."""
    weight = inverse(bins.variance)
    scaled = jacobian * bins.total[..., None]
    weighted = scaled * weight[..., None]
    gradient = np.einsum("nbk,nb->nk", weighted, bins.residual)
    return gradient, np.swapaxes(weighted, 1, 2) @ scaled


def _conclude(
    curve: Curve,
    pt: Array,
    rows: Split,
    parameters: Array,
    finished: NDArray[np.bool_],
) -> tuple[Any, ...]:
    """Parameters, covariance, χ², degrees of freedom, success; as in `RateFit`."""
    bins = profile(rows, curve.value(pt, parameters))
    _, information = _normal(curve.jacobian(pt, parameters), bins)
    covariance, determined = invert_rows(information)
    chi2 = np.sum(inverse(bins.variance) * bins.residual**2, axis=1)
    ndf = (bins.variance > 0).sum(axis=1) - parameters.shape[1]
    return parameters, covariance, chi2, ndf, finished & determined
