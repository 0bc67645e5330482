r"""Remedy for an efficiency that depends on the recoil along the muon.

Isolation sees hadrons, so muons with much recoil along them pass less often. The
efficiency is then taken as :math:`ε_0(η, p') g(u_p/p')` with one factor per class of
the recoil along the muon. The factor joins the integral over the residual that gives
the acceptance of the cut on mT,

.. math::

    E_g(q, \cos φ, p') = \sum_e h(e|q)\, 1[m_T > m_{cut}]\,
    g\left(-\frac{V_p}{p'}\right) / \bar g(p'),

where :math:`V_p` is the part of :math:`q_T + e` along the muon and :math:`\bar g` the
mean of the factor over all muons of the same p', which the average efficiency has
already. The residual has to be that of all matched muons, because those that pass are
the ones with little recoil along the muon.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.polynomial.chebyshev import chebvander
from numpy.typing import NDArray
from scipy.fft import dct

from wprops.errors import TemplateError
from wprops.factorised.check_sums import ALONG, find_class, strata
from wprops.factorised.decays import FloatArray
from wprops.factorised.panels import RESIDUAL_PAR, RESIDUAL_PERP, Panels
from wprops.factorised.recoil import MT_CUT, acceptance

BoolArray = NDArray[np.bool_]

#: Effective events (Σw)²/Σw² of a stratum that has a rate.
MIN_STRATUM = 5.0
MAX_ITERATIONS = 200
# The factors have statistical errors of 1e-4 at best.
TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class AlongEfficiency:
    """Factor of the efficiency in classes of the recoil along the muon.

    Attributes
    ----------
    factor, error : ndarray, shape (8,)
        g in the classes of u_p/p' between the edges `check_sums.ALONG`, with mean 1
        over all muons, and its statistical error.
    pt : ndarray, shape (n_pt,)
        Centres of the strata in p' [GeV].
    mean : ndarray, shape (n_pt,)
        Mean of the factor over the muons of a stratum.
    """

    factor: FloatArray
    error: FloatArray
    pt: FloatArray
    mean: FloatArray

    def mean_at(self, pt: FloatArray) -> FloatArray:
        """Mean factor at some p' [GeV]."""
        return np.interp(pt, self.pt, self.mean)


def well_filled(efficiency: FloatArray) -> BoolArray:
    """Strata (2, n_eta, n_pt) with some effective events: negative weights cancel."""
    every, passing, squares = efficiency[:3].sum(axis=-1)
    return (passing > 0.0) & (every > 0.0) & (every**2 > MIN_STRATUM * squares)


def fit_along(efficiency: FloatArray, panels: Panels) -> AlongEfficiency:
    r"""Fit the factors by the multiplicative model :math:`ε_{sc} = ε_s g_c`.

    Parameters
    ----------
    efficiency : ndarray, shape (5, 2, n_eta, n_pt, 8)
        ``check_efficiency`` of `check_sums.fill_checks`.
    panels : Panels
        The grid of the sums.

    Raises
    ------
    TemplateError
        If a class has no muons or the fit does not settle.

    References
    ----------
    W. E. Deming and F. F. Stephan, Ann. Math. Stat. 11 (1940) 427: alternating fits of
    the rows and of the columns.
    """
    every, passing, squares, products, passing_squares = efficiency
    used = well_filled(efficiency)
    a, p = every[used], passing[used]
    total = a.sum(axis=0)
    if len(total) == 0 or not (total > 0.0).all():
        empty = "all" if not used.any() else str(np.flatnonzero(total <= 0.0).tolist())
        msg = (
            f"check_efficiency: no muons in the classes {empty} of u_p/p' between "
            f"{ALONG.tolist()}; the efficiency's dependence on the recoil needs more "
            "simulated events"
        )
        raise TemplateError(msg)
    factor = np.ones(len(total))
    for _ in range(MAX_ITERATIONS):
        stratum = p.sum(axis=1) / (a @ factor)
        update = p.sum(axis=0) / (stratum @ a)
        update *= total.sum() / (update @ total)
        step = np.abs(update - factor).max()
        factor = update
        if step < TOLERANCE:
            break
    else:
        msg = (
            f"check_efficiency: factors of the recoil still move by {step:.1e} after "
            f"{MAX_ITERATIONS} iterations; look for strata of large negative weights"
        )
        raise TemplateError(msg)
    rate = stratum[:, None] * factor
    variance = passing_squares[used] - 2 * rate * products[used]
    variance = np.sum(variance + rate**2 * squares[used], axis=0)
    by_pt = np.einsum("sepc->pc", every)
    _, pt = strata(panels)
    return AlongEfficiency(
        factor=factor,
        error=np.sqrt(np.maximum(variance, 0.0)) / (stratum @ a),
        pt=(pt[:-1] + pt[1:]) / 2,
        # A stratum without muons has no mean, and needs none.
        mean=np.divide(
            by_pt @ factor,
            by_pt.sum(axis=1),
            out=np.ones(len(by_pt)),
            where=by_pt.sum(axis=1) > 0.0,
        ),
    )


def weighted_acceptance(
    histogram: FloatArray,
    mean_qt: FloatArray,
    qt: FloatArray,
    pt: FloatArray,
    efficiency: AlongEfficiency,
    *,
    cut: float = MT_CUT,
    workers: int = 2,
) -> FloatArray:
    r"""Integrate an efficiency that depends on the recoil into the acceptance.

    The result :math:`E_g` replaces that of `wprops.factorised.recoil.acceptance`, which
    is multiplied by `acceptance_ratio` at the azimuths of a Chebyshev series.

    Parameters
    ----------
    histogram : ndarray, shape (n_class, n_par, n_perp)
        ``recoil_matched`` of `ResponseSums`: residuals of all matched muons.
    mean_qt, qt, pt, cut, workers
        As of `wprops.factorised.recoil.acceptance`.
    efficiency : AlongEfficiency
        Factors of the classes of recoil along the muon.

    Returns
    -------
    ndarray, shape (n_q, n_order, n_pt)
        Coefficients of :math:`T_l(\cos\phi)`. Averages over all muons of one p' may
        exceed 1 a little, because the factor is relative to the average efficiency.

    Raises
    ------
    TemplateError
        As of `wprops.factorised.recoil.acceptance`.
    """
    series = acceptance(histogram, mean_qt, qt, pt, cut=cut, workers=workers)
    # With twice as many azimuths as polynomials the steps of g average out.
    n = 2 * series.shape[1]
    cosphi = np.cos(np.pi * (np.arange(n) + 0.5) / n)
    values = chebvander(cosphi, series.shape[1] - 1) @ series
    values *= acceptance_ratio(histogram, mean_qt, qt, cosphi, pt, efficiency, cut=cut)
    out = chebyshev_series(values, series.shape[1])
    # A node keeps its number of polynomials, beyond which there is only noise.
    return np.where(np.any(series != 0.0, axis=2, keepdims=True), out, 0.0)


def chebyshev_series(values: FloatArray, n_order: int) -> FloatArray:
    r"""Coefficients of :math:`T_l(\cos\phi)` of values at the Chebyshev nodes.

    Parameters
    ----------
    values : ndarray, shape (n_q, n, n_pt)
        At :math:`\cos\phi = \cos(\pi (i + 1/2)/n)`.
    n_order : int
        Number of coefficients, at most n.

    Returns
    -------
    ndarray, shape (n_q, n_order, n_pt)
    """
    out: FloatArray = dct(values, axis=1)[:, :n_order] / values.shape[1]
    out[:, 0] *= 0.5
    return out


def acceptance_ratio(
    histogram: FloatArray,
    mean_qt: FloatArray,
    qt: FloatArray,
    cosphi: FloatArray,
    pt: FloatArray,
    efficiency: AlongEfficiency,
    *,
    cut: float = MT_CUT,
) -> FloatArray:
    r"""Ratio :math:`E_g/E` by which the acceptance of the cut on mT is multiplied.

    Both are sums over the same cells, so what the cells' width does cancels to first
    order.

    Parameters
    ----------
    histogram : ndarray, shape (n_class, n_par, n_perp)
        Residuals of all matched muons, in the cells of `ResponseSums`.
    mean_qt : ndarray, shape (n_class,)
        Mean qT of the classes [GeV], rising; in between the histograms are mixed.
    qt, cosphi : ndarray, shapes (n_q,), (n_cosphi,)
        Nodes in qT [GeV] and in the cosine of the muon's angle from it.
    pt : ndarray, shape (n_pt,)
        Reconstructed pT [GeV], rising.
    efficiency : AlongEfficiency
        Factors of the classes.
    cut : float
        The cut on mT [GeV].

    Returns
    -------
    ndarray, shape (n_q, n_cosphi, n_pt)
        The ratio; 1 / mean factor where no event has mT above the cut.
    """
    shape = histogram / histogram.sum(axis=(1, 2), keepdims=True)
    par = (RESIDUAL_PAR[:-1] + RESIDUAL_PAR[1:]) / 2
    perp = (RESIDUAL_PERP[:-1] + RESIDUAL_PERP[1:]) / 2
    place = np.interp(qt, mean_qt, np.arange(len(mean_qt)))
    low = place.astype(int)
    high = np.minimum(low + 1, len(mean_qt) - 1)
    out = np.empty((len(qt), len(cosphi), len(pt)))
    for i, q in enumerate(qt):
        part = place[i] - low[i]
        mixed = (1.0 - part) * shape[low[i]] + part * shape[high[i]]
        _fill_ratio(q, cosphi, pt, mixed, par, perp, efficiency.factor, cut, out[i])
    return out / efficiency.mean_at(pt)


@numba.njit(cache=True, nogil=True)
def _fill_ratio(qt, cosphi, pt, shape, par, perp, factor, cut, out):  # type: ignore[no-untyped-def]
    """Set ``out``, shape (n_cosphi, n_pt), to Σ h 1[mT > cut] g / Σ h 1[mT > cut]."""
    n_pt = len(pt)
    plain, weighted = np.empty(n_pt + 1), np.empty(n_pt + 1)
    for k in range(len(cosphi)):
        cos = cosphi[k]
        sin = np.sqrt(max(1.0 - cos * cos, 0.0))
        plain[:], weighted[:] = 0.0, 0.0
        for i in range(len(par)):
            for j in range(len(perp)):
                h = 0.5 * shape[i, j]
                if h == 0.0:
                    continue
                total = qt + par[i]
                v2 = total * total + perp[j] * perp[j]
                for side in (-1.0, 1.0):
                    along = total * cos + side * perp[j] * sin
                    # mT is above the cut for muons above this pT.
                    lowest = 0.5 * cut * cut / (np.sqrt(v2 + cut * cut) - along)
                    first = np.searchsorted(pt, lowest)
                    plain[first] += h
                    if first < n_pt:
                        _add_steps(-along, pt, first, h, factor, weighted)
        above = above_weighted = 0.0
        for m in range(n_pt):
            above += plain[m]
            above_weighted += weighted[m]
            out[k, m] = above_weighted / above if above > 0.0 else 1.0


@numba.njit(cache=True, nogil=True)
def _add_steps(recoil, pt, first, h, factor, out):  # type: ignore[no-untyped-def]
    """Add h g(recoil/pT) from bin ``first`` on, as differences between bins.

    The ratio moves towards zero as pT rises, so few classes follow one another.
    """
    group = find_class(ALONG, recoil / pt[first])
    out[first] += h * factor[group]
    while True:
        following = group - 1 if recoil > 0.0 else group + 1
        edge = ALONG[group - 1] if recoil > 0.0 else ALONG[group]
        # The ratio keeps its sign, so it does not pass an edge of the other sign.
        if recoil * edge <= 0.0:
            return
        start = np.searchsorted(pt, recoil / edge)
        if start >= len(pt):
            return
        out[start] += h * (factor[following] - factor[group])
        group = following
