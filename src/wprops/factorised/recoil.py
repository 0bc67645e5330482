r"""The acceptance of the cut on mT, from measured residuals of the recoil.

The hadronic vector :math:`V = q_T + e` is the boson's transverse momentum plus the
residual :math:`e` of its measurement. A muon of reconstructed transverse momentum
:math:`p'`, at the azimuth :math:`\phi` from the boson, has mT above a cut :math:`M`
unless :math:`V` is inside a parabola along the muon,

.. math:: V_p > \frac{M^2 - c^2 + V_t^2}{2c}, \qquad c = \frac{M^2}{2p'},

with :math:`V_p, V_t` its parts along and across the muon. Given qT, the residual
depends neither on the decay nor on its polarisation. So one histogram of it serves
every decay angle and every :math:`p'`, and all templates share it.

The histogram is turned into the density that is a quadratic spline and has the same
content in every cell, and this is integrated over the parabola: across the muon by
equal steps, which is exact for a smooth integrand, along it by its primitive.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.fft import dct
from scipy.ndimage import spline_filter

from wprops.errors import TemplateError
from wprops.factorised.panels import RESIDUAL_MAX, RESIDUAL_PERP, RESIDUAL_STEP
from wprops.selection.regions import HIGH_MT

FloatArray = NDArray[np.float64]

#: The cut on mT of the signal region [GeV].
MT_CUT = HIGH_MT.low
# The acceptance varies with cos φ over σ/qT, σ the recoil's resolution. For a Gaussian
# recoil 4 + 3.9 qT/σ polynomials leave 1e-5 of it; one more for other shapes.
_ORDER, _ORDER_PER_RATIO = 5.0, 3.9
# More azimuths than polynomials average the noise of the histogram.
_SPARE_AZIMUTHS = 8
#: Step of the integral over the residual [GeV]: the cells', finer than the histogram's
#: noise can vary.
_STEP = RESIDUAL_STEP


def chebyshev_order(qt: ArrayLike, width: ArrayLike) -> NDArray[np.int64]:
    """Chebyshev polynomials in cos φ that the acceptance needs.

    Parameters
    ----------
    qt, width : array_like, broadcastable
        Boson qT and resolution of the recoil [GeV].

    Returns
    -------
    ndarray of int, broadcast shape
        Numbers of polynomials.
    """
    ratio = np.asarray(qt, dtype=float) / np.asarray(width, dtype=float)
    return np.ceil(_ORDER + _ORDER_PER_RATIO * ratio).astype(np.int64)


def acceptance(
    histogram: ArrayLike,
    mean_qt: ArrayLike,
    qt: ArrayLike,
    pt: ArrayLike,
    *,
    cut: float = MT_CUT,
    workers: int = 2,
) -> FloatArray:
    r"""Probability that mT is above the cut, as Chebyshev series in :math:`\cos\phi`.

    Between the mean qT of two classes, the residual is a mixture of those of the
    classes; below the first and above the last it is theirs.

    Parameters
    ----------
    histogram : array_like, shape (n_class, n_par, n_perp)
        Weights of the residuals by class of qT, part along qT and size of the part
        across, in the cells of `wprops.factorised.panels`. Every class counts by its
        shape alone.
    mean_qt : array_like, shape (n_class,)
        Mean qT of the events of every class [GeV], increasing.
    qt : array_like, shape (n_q,)
        Boson qT [GeV] at which the acceptance is wanted.
    pt : array_like, shape (n_pt,)
        Reconstructed transverse momenta of the muon [GeV].
    cut : float
        The cut on mT [GeV].
    workers : int
        Threads.

    Returns
    -------
    ndarray, shape (n_q, n_order, n_pt)
        Coefficients of :math:`T_l(\cos\phi)`; they are zero beyond the
        `chebyshev_order` for the measured resolution.

    Raises
    ------
    TemplateError
        If a class is empty, or shapes or mean values do not fit together.

    References
    ----------
    The condition follows from
    :math:`m_T^2 = 2 (p' |V - p'| - p' \cdot (V - p'))` for vectors in the transverse
    plane; the mixture is the interpolation of histograms that keeps them positive.

    Examples
    --------
    A boson at rest has mT = 2 pT, up to the resolution, here 6 GeV:

    >>> e = np.arange(-89.0, 90.0, 2.0)
    >>> cells = np.exp(-np.add.outer(e**2, e[45:] ** 2) / (2.0 * 6.0**2))
    >>> series = acceptance(cells[None], [0.0], [0.0], [10.0, 30.0])
    >>> series[0, 0].round(2).tolist()
    [0.0, 1.0]
    """
    cells = np.asarray(histogram, dtype=float)
    mean = np.asarray(mean_qt, dtype=float)
    q, p = np.asarray(qt, dtype=float), np.asarray(pt, dtype=float)
    _check(cells, mean)
    shapes = cells / cells.sum(axis=(1, 2), keepdims=True)
    # Over one cell, the average of the spline with these coefficients is its content.
    # The density is even across qT; along it nothing is near the end of the range.
    splines = np.stack([spline_filter(shape, 3, mode="reflect") for shape in shapes])
    orders = chebyshev_order(q, np.interp(q, mean, [_width(shape) for shape in shapes]))
    out = np.zeros((q.size, orders.max(), p.size))
    work = partial(_series, splines=splines, mean=mean, pt=p, cut=cut)
    with ThreadPoolExecutor(workers) as pool:
        for i, series in enumerate(pool.map(work, q, orders)):
            out[i, : orders[i]] = series
    return out


def _check(cells: FloatArray, mean: FloatArray) -> None:
    expected = (mean.size, 2 * (RESIDUAL_PERP.size - 1), RESIDUAL_PERP.size - 1)
    if cells.shape != expected:
        msg = (
            f"the histogram of the recoil has shape {cells.shape}, expected {expected}"
            ": classes of qT, cells along and across; sum the residuals over folds"
        )
        raise TemplateError(msg)
    if not (np.isfinite(mean).all() and (np.diff(mean) > 0.0).all()):
        msg = (
            f"the mean qT of the classes of the recoil is {mean.tolist()} GeV, "
            "expected increasing numbers; check recoil_qt in the response file"
        )
        raise TemplateError(msg)
    empty = np.flatnonzero(~(cells.sum(axis=(1, 2)) > 0.0))
    if empty.size:
        msg = (
            f"the histogram of the recoil has no events in class {empty[0]} of qT "
            f"({empty.size} of {mean.size} classes are empty); run over more simulation"
        )
        raise TemplateError(msg)


def _width(shape: FloatArray) -> float:
    """Resolution [GeV]: 68.3 % of the residuals across qT are smaller."""
    below = np.concatenate([[0.0], np.cumsum(shape.sum(axis=0))])
    # Negative weights can make the sum fall; a search needs it to rise.
    return float(np.interp(0.683, np.maximum.accumulate(below), RESIDUAL_PERP))


def _series(
    qt: float,
    order: int,
    *,
    splines: FloatArray,
    mean: FloatArray,
    pt: FloatArray,
    cut: float,
) -> FloatArray:
    """Coefficients at one qT, shape (order, n_pt)."""
    place = float(np.interp(qt, mean, np.arange(mean.size, dtype=float)))
    low = min(int(place), mean.size - 1)
    high = min(low + 1, mean.size - 1)
    spline = (1.0 - place + low) * splines[low] + (place - low) * splines[high]
    n = order + _SPARE_AZIMUTHS
    azimuth = np.pi * (np.arange(n) + 0.5) / n
    values = np.empty((n, pt.size))
    _accept(qt, azimuth, spline, cut, cut**2 / (2.0 * pt), values)
    series = dct(values, axis=0)[:order] / n
    series[0] *= 0.5
    return series


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _density(spline, x, y):  # type: ignore[no-untyped-def]
    """Weight per cell of the quadratic spline at x, y [cells from the lower edges]."""
    n_x, n_y = spline.shape
    i, j = int(np.floor(x)), int(np.floor(y))
    if i < 0 or i >= n_x or j >= n_y:
        return 0.0
    a, b = x - i, y - j
    along = (0.5 * (1.0 - a) ** 2, 0.5 + a * (1.0 - a), 0.5 * a * a)
    across = (0.5 * (1.0 - b) ** 2, 0.5 + b * (1.0 - b), 0.5 * b * b)
    total = 0.0
    for s in range(3):
        # Beyond the edges the spline is mirrored, as by the filter.
        row = min(max(i + s - 1, 0), n_x - 1)
        part = 0.0
        for t in range(3):
            part += across[t] * spline[row, min(max(j + t - 1, 0), n_y - 1)]
        total += along[s] * part
    return total


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _accept(qt, azimuth, spline, cut, c, out):  # type: ignore[no-untyped-def]
    """Set ``out``, shape (n_azimuth, n_pt), to the acceptance at c = cut²/(2 p')."""
    # The square of residuals fits into this range in every direction.
    reach = 1.5 * RESIDUAL_MAX
    n = int(2.0 * reach / _STEP) + 1
    density = np.empty(n + 3)
    above = np.empty(n)  # integral of the density from a node to infinity
    for k in range(azimuth.size):
        cosine, sine = np.cos(azimuth[k]), np.sin(azimuth[k])
        total = 0.0
        out[k] = 0.0
        for i in range(n):
            across = i * _STEP - reach
            density[:] = 0.0
            filled = 0.0
            for j in range(n):
                along = j * _STEP - reach
                x = (along * cosine - across * sine + RESIDUAL_MAX) / RESIDUAL_STEP
                y = abs(along * sine + across * cosine) / RESIDUAL_STEP
                density[j + 1] = _density(spline, x, y)
                filled += abs(density[j + 1])
            if filled == 0.0:
                continue
            above[n - 1] = 0.0
            for j in range(n - 2, -1, -1):
                # Integral of the cubic through four neighbours over one step.
                f0, f1, f2, f3 = density[j : j + 4]
                above[j] = above[j + 1] + (13.0 * (f1 + f2) - f0 - f3) / 24.0
            total += above[0]
            part = (across - qt * sine) ** 2 + cut * cut
            for j in range(c.size):
                # Where the parabola begins, in steps.
                start = (part - c[j] * c[j]) / (2.0 * c[j]) - qt * cosine
                place = (start + reach) / _STEP
                if place <= 0.0:
                    out[k, j] += above[0]
                elif place < n - 1:
                    m = int(place)
                    out[k, j] += _between(above, density, m, place - m)
        for j in range(c.size):
            out[k, j] = 1.0 - out[k, j] / total


@numba.njit(cache=True, nogil=True, inline="always")
def _between(above, density, m, t):  # type: ignore[no-untyped-def]
    """Cubic in t from 0 to 1 with the values and slopes of the nodes m and m + 1."""
    f0, f1 = above[m], above[m + 1]
    d0, d1 = -density[m + 1], -density[m + 2]
    rise = f1 - f0
    return f0 + t * (d0 + t * (3.0 * rise - 2.0 * d0 - d1 + t * (d0 + d1 - 2.0 * rise)))
