r"""Angular coefficients as smooth functions of qT and \|Y\|, from averages in bins.

Weights of pure harmonics need the coefficients of a simulation at the point of each
event. Averages over bins are fitted with products of polynomials that vanish where
the coefficients do: A0 … A3 and A5 … A7 at qT = 0, where no azimuth is defined, A1 and
A4 at Y = 0, where protons from both sides are alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.polynomial.chebyshev import chebvander
from numpy.polynomial.legendre import leggauss
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import PchipInterpolator
from scipy.stats import chi2

FloatArray = NDArray[np.float64]

#: Coefficients that vanish at qT = 0, and at Y = 0.
VANISH_AT_QT_0, VANISH_AT_Y_0 = (0, 1, 2, 3, 5, 6, 7), (1, 4)
#: Coefficients that are zero at leading order; the others have templates.
MAY_BE_ZERO = (5, 6, 7)
#: Largest numbers of polynomials in qT and in |Y|.
MAX_QT, MAX_ABSY = 6, 5
#: Nodes of the quadrature in a bin, per direction.
_NODES = 6


class CoefficientFit(NamedTuple):
    """Fit of one coefficient.

    Attributes
    ----------
    parameters : ndarray, shape (n_qt, n_absy)
        Factors of the polynomials; shape (0, 0) for a coefficient that is zero.
    chi2 : float
        Sum of squared residuals over their errors.
    ndf : int
        Bins minus parameters.
    """

    parameters: FloatArray
    chi2: float
    ndf: int

    @property
    def p_value(self) -> float:
        """Probability of a larger chi2."""
        return float(chi2.sf(self.chi2, self.ndf))


@dataclass(frozen=True, slots=True, eq=False)
class SmoothCoefficients:
    """A0 … A7 as functions of qT and the absolute rapidity.

    Attributes
    ----------
    qt_max, absy_max : float
        Range in which the functions are defined, from zero on [GeV].
    fits : tuple of CoefficientFit
        One per coefficient.
    """

    qt_max: float
    absy_max: float
    fits: tuple[CoefficientFit, ...]

    def __call__(self, qt: ArrayLike, absy: ArrayLike) -> FloatArray:
        """Coefficients at points, shape (8, n).

        Raises
        ------
        ValueError
            If a point lies outside of the range, where polynomials know nothing.
        """
        qt, absy = np.asarray(qt, dtype=float), np.asarray(absy, dtype=float)
        inside = (qt >= 0) & (qt <= self.qt_max) & (absy >= 0) & (absy <= self.absy_max)
        if not inside.all():
            first = int(np.argmax(~inside))
            msg = (
                f"{int((~inside).sum())} points are outside of qT ≤ {self.qt_max:g} "
                f"GeV and |Y| ≤ {self.absy_max:g}, the first has qT = "
                f"{qt.flat[first]:g} GeV and |Y| = {absy.flat[first]:g}"
            )
            raise ValueError(msg)
        out = np.zeros((8, *qt.shape))
        for i, fit in enumerate(self.fits):
            if fit.parameters.size:
                in_qt, in_absy = self._polynomials(i, qt, absy, fit.parameters.shape)
                out[i] = np.einsum(
                    "...a,ab,...b->...", in_qt, fit.parameters, in_absy, optimize=True
                )
        return out

    def _polynomials(
        self, i: int, qt: FloatArray, absy: FloatArray, orders: tuple[int, ...]
    ) -> tuple[FloatArray, FloatArray]:
        """Polynomials in qT and |Y| of one coefficient, shape (..., n) each."""
        return (
            _basis(qt / self.qt_max, orders[0], vanish=i in VANISH_AT_QT_0),
            _basis(absy / self.absy_max, orders[1], vanish=i in VANISH_AT_Y_0),
        )


class Nodes(NamedTuple):
    """Quadrature of averages over bins, with the density of the bosons.

    Attributes
    ----------
    points : ndarray, shape (n_bins, n_nodes)
        Places in each bin.
    weights : ndarray, shape (n_bins, n_nodes)
        Shares of the bin; a row adds up to 1.
    """

    points: FloatArray
    weights: FloatArray


def density_nodes(edges: ArrayLike, sigma: ArrayLike, *, power: int) -> Nodes:
    """Nodes of averages in one variable x, from the cross sections of its bins.

    The density inside of bins is the slope of a monotone cubic through the cumulated
    cross section (F. Fritsch and R. Carlson, SIAM J. Numer. Anal. 17 (1980) 238).

    Parameters
    ----------
    edges : array_like, shape (n_bins + 1,)
        Edges of the bins.
    sigma : array_like, shape (n_bins,)
        Cross sections; negative ones, which few events of both signs may have, count
        as zero.
    power : int
        The cumulated cross section grows like ``x**power`` from zero: 1 for |Y|, 2
        for qT, which is the length of a vector.
    """
    edges = np.asarray(edges, dtype=float)
    filled = np.maximum(np.asarray(sigma, dtype=float), 0.0)
    cumulated = np.concatenate([[0.0], np.cumsum(filled)])
    x, w = leggauss(_NODES)
    half = np.diff(edges)[:, None] / 2
    points = (edges[1:] + edges[:-1])[:, None] / 2 + half * x
    smooth = PchipInterpolator(edges**power, cumulated)
    density = smooth(points**power, 1) * points ** (power - 1)
    weights = np.maximum(density, 0.0) * w
    total = weights.sum(axis=1, keepdims=True)
    # A bin without bosons has no density; flat is as good as any.
    weights = np.where(total > 0, weights / np.where(total > 0, total, 1.0), w / 2)
    return Nodes(points, weights)


def boson_nodes(
    edges: tuple[ArrayLike, ArrayLike], sigma: ArrayLike
) -> tuple[Nodes, Nodes]:
    r"""Nodes in \|Y\| and in qT, from the cross sections (n_y, n_qt) of all bins."""
    absy, qt = edges
    sigma = np.asarray(sigma, dtype=float)
    return (
        density_nodes(absy, sigma.sum(axis=1), power=1),
        density_nodes(qt, sigma.sum(axis=0), power=2),
    )


def fit_coefficients(
    edges: tuple[ArrayLike, ArrayLike],
    sigma: ArrayLike,
    coefficients: ArrayLike,
    errors: ArrayLike,
) -> SmoothCoefficients:
    r"""Fit the averages of A0 … A7 in bins of \|Y\| and qT.

    Each coefficient is fitted by itself with as many polynomials in each variable as
    minimise χ² + n ln(bins), with n products of them (G. Schwarz, Ann. Statist. 6
    (1978) 461): more would follow the noise. A5 … A7 may have none, and be zero.

    Parameters
    ----------
    edges : tuple of array_like, shapes (n_y + 1,), (n_qt + 1,)
        Edges in \|Y\| and in qT [GeV], from zero on.
    sigma : array_like, shape (n_y, n_qt)
        Cross sections of the bins.
    coefficients, errors : array_like, shape (8, n_y, n_qt)
        Averages and their errors; bins where one of them is not finite, or the error
        is zero, are left out.

    Returns
    -------
    SmoothCoefficients

    Raises
    ------
    ValueError
        If edges do not begin at zero, or there are less than two bins to fit.
    """
    absy, qt = (np.asarray(values, dtype=float) for values in edges)
    sigma = np.asarray(sigma, dtype=float)
    values, errors = np.asarray(coefficients, float), np.asarray(errors, float)
    if absy[0] != 0 or qt[0] != 0:
        msg = f"edges begin at |Y| = {absy[0]:g} and qT = {qt[0]:g}, expected zero"
        raise ValueError(msg)
    nodes = boson_nodes((absy, qt), sigma)
    usable = np.isfinite(values) & np.isfinite(errors) & (errors > 0)
    fits = []
    for i in range(8):
        if usable[i].sum() < 2:
            msg = f"A{i} is known in {usable[i].sum()} bins, which is too few for a fit"
            raise ValueError(msg)
        averages = [
            np.einsum("bn,bnk->bk", n.weights, _basis(n.points / top, most, vanish=v))
            for n, top, most, v in (
                (nodes[1], qt[-1], MAX_QT, i in VANISH_AT_QT_0),
                (nodes[0], absy[-1], MAX_ABSY, i in VANISH_AT_Y_0),
            )
        ]
        fits.append(
            min(
                _fits(averages, values[i], errors[i], usable[i], zero=i in MAY_BE_ZERO),
                key=_criterion,
            )
        )
    return SmoothCoefficients(float(qt[-1]), float(absy[-1]), tuple(fits))


def _basis(x: FloatArray, n: int, *, vanish: bool) -> FloatArray:
    """Chebyshev polynomials on [0, 1], times x where they have to vanish at 0."""
    polynomials = np.asarray(chebvander(2.0 * x - 1.0, n - 1), dtype=float)
    return polynomials * x[..., None] if vanish else polynomials


def _fits(
    averages: list[FloatArray],
    values: FloatArray,
    errors: FloatArray,
    usable: NDArray[np.bool_],
    *,
    zero: bool,
) -> Iterator[CoefficientFit]:
    """Yield the fits of all numbers of polynomials, and that of none if zero."""
    pulls = values[usable] / errors[usable]
    if zero:
        yield CoefficientFit(np.zeros((0, 0)), float(pulls @ pulls), len(pulls))
    # One row per bin, one column per product of a polynomial in qT and one in |Y|.
    table = np.einsum("qa,yb->yqab", *averages)[usable] / errors[usable][:, None, None]
    for n_qt in range(1, MAX_QT + 1):
        for n_absy in range(1, MAX_ABSY + 1):
            matrix = table[:, :n_qt, :n_absy].reshape(len(pulls), -1)
            if matrix.shape[1] >= len(pulls):
                continue
            found, *_ = np.linalg.lstsq(matrix, pulls, rcond=None)
            residual = pulls - matrix @ found
            yield CoefficientFit(
                found.reshape(n_qt, n_absy),
                float(residual @ residual),
                len(pulls) - matrix.shape[1],
            )


def _criterion(fit: CoefficientFit) -> float:
    n = fit.parameters.size
    return float(fit.chi2 + n * np.log(fit.ndf + n))
