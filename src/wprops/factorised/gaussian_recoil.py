r"""Acceptance of the cut on mT for a Gaussian residual of the recoil.

Templates use the measured residual. Its Gaussian approximation turns a shift, a width
or an efficiency that depends on the recoil into a change of the acceptance, which is
what the tests of assumptions report.
"""

from __future__ import annotations

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from wprops.factorised.recoil import MT_CUT

Array = NDArray[np.float64]

# Nodes in the hadronic vector across the muon, and weights of the normal distribution.
_NODES, _WEIGHTS = hermegauss(48)
_WEIGHTS = _WEIGHTS / np.sqrt(2.0 * np.pi)


def gaussian_acceptance(
    qt: ArrayLike,
    cosphi: ArrayLike,
    pt: ArrayLike,
    mean: tuple[ArrayLike, ArrayLike],
    variance: tuple[ArrayLike, ArrayLike],
    *,
    along_edges: ArrayLike = (),
    cut: float = MT_CUT,
) -> Array:
    r"""Probability that mT is above a cut, in classes of the recoil along the muon.

    With the hadronic vector :math:`V = q_T + e`, its parts :math:`V_p, V_t` along and
    across the muon, and :math:`c = m_{cut}^2/(2 p')`, :math:`m_T > m_{cut}` where
    :math:`V_p < (V_t^2 + m_{cut}^2 - c^2)/(2c)`. Given :math:`V_t` the part along is
    Gaussian, and the integral over :math:`V_t` is a Gauss-Hermite sum.

    Parameters
    ----------
    qt, cosphi, pt : array_like
        Boson qT [GeV], cosine of the muon's angle from it, which is taken to be
        counter-clockwise, and reconstructed pT [GeV]; they are broadcast.
    mean, variance : tuple of array_like
        Mean [GeV] and variance [GeV²] of the residual along and across qT.
    along_edges : array_like, shape (n,)
        Inner edges of n + 1 classes of :math:`-V_p/p'`.
    cut : float
        The cut on mT [GeV].

    Returns
    -------
    ndarray, shape (n + 1, ...)
        Probability of mT above the cut and the class; the sum is the acceptance.

    References
    ----------
    Follows from :math:`m_T^2 = 2 (p' |V - p'| - p' \cdot (V - p'))`.

    Examples
    --------
    A boson at rest, measured well, has mT = 2 pT:

    >>> accepted = gaussian_acceptance(0.0, 0.0, [18.0, 22.0], (0, 0), (1.0, 1.0))
    >>> accepted.round(3).tolist()
    [[0.0, 1.0]]
    """
    q, cos, p = (np.asarray(x, float) for x in (qt, cosphi, pt))
    sin = np.sqrt(np.maximum(1.0 - cos**2, 0.0))
    par, perp = (np.asarray(x, float) for x in variance)
    shift, side = (np.asarray(x, float) for x in mean)
    along = (q + shift) * cos + side * sin
    across = -(q + shift) * sin + side * cos
    var_along = par * cos**2 + perp * sin**2
    var_across = par * sin**2 + perp * cos**2
    slope = (perp - par) * sin * cos / var_across
    width = np.sqrt(var_along - slope**2 * var_across)

    offset = _NODES * np.sqrt(var_across)[..., None]
    c = (cut**2 / (2.0 * p))[..., None]
    limit = ((across[..., None] + offset) ** 2 + cut**2 - c**2) / (2.0 * c)
    centre = along[..., None] + slope[..., None] * offset
    # Classes of −V_p/p' in rising order are ranges of V_p in falling order.
    edges = np.array([np.inf, *(-np.asarray(along_edges, float)), -np.inf])
    below = [
        ndtr((np.minimum(limit, edge * p[..., None]) - centre) / width[..., None])
        for edge in edges
    ]
    parts = -np.diff(np.stack(below), axis=0)
    return parts @ _WEIGHTS
