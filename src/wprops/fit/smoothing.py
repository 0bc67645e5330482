r"""Linear algebra of smoothing: penalties, effective parameters, L-curve, F-test.

Departures z from a smooth span, measured with covariance C, are drawn to zero by a
penalty :math:`τ/2\,|z|^2`: the declared prior that departures scatter by
:math:`1/\sqrt τ`. In the eigenvectors of C, with variances s², what is left of z is

.. math:: z' = f z, \qquad f = \frac{1}{1 + τ s^2},

and all that is correlated with z follows. τ = ∞ is the fit of the smooth functions
themselves, with χ² = Σ z²/s².
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg
from scipy.optimize import minimize_scalar
from scipy.stats import chi2
from scipy.stats import f as f_distribution

from wprops.errors import FitError

Array = NDArray[np.float64]
_N_CURVE = 121


@dataclass(frozen=True, slots=True, eq=False)
class Departures:
    """Departures from smooth values along independent directions.

    Attributes
    ----------
    z : ndarray, shape (n,)
        Measured departures.
    variance : ndarray, shape (n,)
        Their variances s².
    """

    z: Array
    variance: Array

    def kept(self, strengths: Array) -> Array:
        """Fraction f of each that a penalty leaves, (n_strengths, n)."""
        return 1 / (1 + strengths[:, None] * self.variance)


def independent(departures: Array, covariance: Array) -> Departures:
    """Diagonalise the covariance of departures.

    Raises
    ------
    FitError
        If it is not positive definite.

    Examples
    --------
    >>> found = independent(np.array([1.0, 2.0]), np.diag([1.0, 4.0]))
    >>> found.kept(np.array([1.0])).tolist()
    [[0.5, 0.2]]
    """
    variance, vectors = linalg.eigh(covariance)
    if not variance[0] > 0:
        msg = (
            "departures from smooth values have no error of their own in "
            f"{int((variance <= 0).sum())} of {len(variance)} directions; merge cells"
        )
        raise FitError(msg)
    return Departures(vectors.T @ departures, variance)


def scatter(departures: Departures) -> float:
    """Most likely scatter 1/√τ of the true departures, 0 if noise explains them.

    Departures are taken for Gaussian with the variance s² + 1/τ.
    """
    square, variance = departures.z**2, departures.variance

    def minus_log_likelihood(log_scatter: float) -> float:
        total = variance + np.exp(2 * log_scatter)
        return float((np.log(total) + square / total).sum())

    bounds = 0.5 * np.log(1e-4 * variance[0]), 0.5 * np.log(square.max() + variance[-1])
    found = minimize_scalar(minus_log_likelihood, bounds=bounds, method="bounded")
    nothing = float((np.log(variance) + square / variance).sum())
    return float(np.exp(found.x)) if found.fun < nothing else 0.0


@dataclass(frozen=True, slots=True, eq=False)
class LCurve:
    """Misfit against roughness as a function of the strength of a penalty.

    Attributes
    ----------
    strength : ndarray, shape (n,)
        τ, ascending.
    misfit, roughness : ndarray, shape (n,)
        χ² to the measurement, and the square of the departures.
    parameters : ndarray, shape (n,)
        Effective number of parameters.
    curvature : ndarray, shape (n,)
        Of log roughness against log misfit; positive at the corner of an L.
    corner : int, optional
        Where the curvature has its largest positive maximum; None without one, as
        where the errors of departures are alike in all directions.
    """

    strength: Array
    misfit: Array
    roughness: Array
    parameters: Array
    curvature: Array
    corner: int | None


def l_curve(departures: Departures, n_smooth: int) -> LCurve | None:
    """Compute the L-curve of a penalty.

    Parameters
    ----------
    departures : Departures
        What is penalised.
    n_smooth : int
        Number of parameters that no penalty takes away.

    Returns
    -------
    LCurve, optional
        None if nothing departs, as with expected data of a smooth truth.

    References
    ----------
    P. C. Hansen, SIAM Review 34 (1992) 561.
    """
    square, variance = departures.z**2, departures.variance
    if not (square > 1e-20 * variance).any():
        return None
    strengths = np.geomspace(1e-2 / variance[-1], 1e2 / variance[0], _N_CURVE)
    kept = departures.kept(strengths)
    gone = 1 - kept
    # derivatives in log τ, where that of f is −f(1 − f)
    misfit = _logarithmic(
        gone**2 @ (square / variance),
        2 * (kept * gone**2) @ (square / variance),
        -2 * (kept * gone**2 * (1 - 3 * kept)) @ (square / variance),
    )
    roughness = _logarithmic(
        kept**2 @ square,
        -2 * (kept**2 * gone) @ square,
        2 * (kept**2 * gone * (2 - 3 * kept)) @ square,
    )
    curvature = (misfit[1] * roughness[2] - misfit[2] * roughness[1]) / (
        misfit[1] ** 2 + roughness[1] ** 2
    ) ** 1.5
    return LCurve(
        strength=strengths,
        misfit=gone**2 @ (square / variance),
        roughness=kept**2 @ square,
        parameters=n_smooth + kept.sum(axis=1),
        curvature=curvature,
        corner=_corner(curvature),
    )


def _corner(curvature: Array) -> int | None:
    inner = curvature[1:-1]
    peaks = (inner > 0) & (inner > curvature[:-2]) & (inner > curvature[2:])
    if not peaks.any():
        return None
    return 1 + int(np.argmax(np.where(peaks, inner, -np.inf)))


def _logarithmic(value: Array, first: Array, second: Array) -> tuple[Array, ...]:
    slope = first / value
    return np.log(value), slope, second / value - slope**2


@dataclass(frozen=True, slots=True)
class Comparison:
    """Test of one ansatz against a larger one that contains it.

    Attributes
    ----------
    what : str
        What the larger one has more.
    n_more : int
        Number of its additional parameters.
    chi2_small, chi2_large : float
        χ² of both.
    ndf_large : int
        Degrees of freedom of the larger.
    """

    what: str
    n_more: int
    chi2_small: float
    chi2_large: float
    ndf_large: int

    @property
    def statistic(self) -> float:
        """F: improvement per parameter over the χ² per degree of freedom."""
        gain = (self.chi2_small - self.chi2_large) / self.n_more
        return gain / (self.chi2_large / self.ndf_large)

    @property
    def p_value(self) -> float:
        """The larger of both probabilities.

        That of F alone is small wherever χ² is, as in a fit to expected data.
        """
        return max(self.p_f, self.p_chi2)

    @property
    def p_f(self) -> float:
        """Probability of a larger F if the smaller ansatz is true.

        With (``n_more``, ``ndf_large``) degrees of freedom.
        """
        return float(f_distribution.sf(self.statistic, self.n_more, self.ndf_large))

    @property
    def p_chi2(self) -> float:
        """Probability of a larger difference in χ², for errors that are known."""
        gain = self.chi2_small - self.chi2_large
        return float(chi2.sf(gain, self.n_more))
