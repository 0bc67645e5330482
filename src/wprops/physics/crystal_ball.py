"""The symmetric Crystal Ball: a normal distribution with power-law tails."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri


def crystal_ball_quantile(
    u: ArrayLike, alpha: ArrayLike, power: ArrayLike
) -> NDArray[np.float64]:
    r"""Return quantiles of the symmetric Crystal Ball of unit width.

    Its density is :math:`e^{-x^2/2}` for :math:`|x| < \alpha`; both tails fall as
    :math:`|x|^{-n}` from there, shifted so that the slope is continuous.

    Parameters
    ----------
    u : array_like
        Probabilities, between 0 and 1.
    alpha, power : array_like, the shape of ``u``
        Where the tails begin (> 0) and how they fall (> 1).

    Returns
    -------
    ndarray, the shape of ``u``

    Examples
    --------
    >>> crystal_ball_quantile([0.001, 0.25, 0.999], 1.5, 3.0).round(3)
    array([-20.955,  -0.777,  20.955])
    """
    u, alpha, power = np.broadcast_arrays(np.asarray(u, dtype=np.float64), alpha, power)
    # Probabilities in units of the normal density, so that the core is Φ; by symmetry
    # all is done below the median.
    tail = power / (alpha * (power - 1)) * np.exp(-0.5 * alpha**2) / np.sqrt(2 * np.pi)
    beyond = ndtr(-alpha)
    total = 2 * tail + 1 - 2 * beyond
    below = np.minimum(u, 1 - u) * total
    in_tail = below < tail
    quantile = np.asarray(ndtri(np.where(in_tail, 0.5, below - tail + beyond)))
    a, n = alpha[in_tail], power[in_tail]
    ratio = tail[in_tail] / below[in_tail]
    quantile[in_tail] = n / a * (1 - ratio ** (1 / (n - 1))) - a
    return np.where(u < 0.5, quantile, -quantile)
