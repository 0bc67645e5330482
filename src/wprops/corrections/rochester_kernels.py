"""Arithmetic of the Rochester corrections: parameters and muons in, factors out."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from wprops.physics.crystal_ball import crystal_ball_quantile

Floats = NDArray[np.float64]


# The sums over members may be reordered, so that they run in vector registers.
@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc"})
def fill_scale(cell, charge_pt, scale, weights, factor, error):  # type: ignore[no-untyped-def]
    """Set ``factor`` and ``error`` of the scale."""
    for i in range(cell.size):
        offset, slope = scale[cell[i]]
        nominal = 100.0 / (100.0 + offset[0] + slope[0] * charge_pt[i])
        variance = 0.0
        for j in range(1, weights.size):
            k = 100.0 / (100.0 + offset[j] + slope[j] * charge_pt[i])
            variance += weights[j] * (k - nominal) ** 2
        factor[i] = nominal
        error[i] = np.sqrt(variance) if weights.size > 1 else np.nan


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc"})
def fill_spread(  # type: ignore[no-untyped-def]
    cell, ring, charge_pt, gen_over_pt, scale, ratio, weights, factor, error
):
    """Set ``factor`` and ``error`` of scale and spread."""
    for i in range(cell.size):
        offset, slope = scale[cell[i]]
        stretch = ratio[ring[i]]
        x = gen_over_pt[i]
        # With k = 1/c, k x c / (1 + (x c - 1) r) is what follows.
        c = 1.0 + (offset[0] + slope[0] * charge_pt[i]) / 100.0
        nominal = x / (1.0 + (x * c - 1.0) * stretch[0])
        variance = 0.0
        for j in range(1, weights.size):
            c = 1.0 + (offset[j] + slope[j] * charge_pt[i]) / 100.0
            k = x / (1.0 + (x * c - 1.0) * stretch[j])
            variance += weights[j] * (k - nominal) ** 2
        factor[i] = nominal
        error[i] = np.sqrt(variance) if weights.size > 1 else np.nan


def smearing(parameters: Floats, pt: Floats, u: Floats) -> Floats:
    """Return the smearing part of the factor; ``pt`` has the scale already."""
    data, mc, constant, linear, quadratic, width, alpha, power = parameters
    missing = np.sqrt(np.maximum(data**2 - mc**2, 0))
    distance = pt - 45
    resolution = constant + linear * distance + quadratic / 100 * distance**2
    x = missing * resolution * width * crystal_ball_quantile(u, alpha, power)
    return 1 / (1 + np.where(x > -1, x, 0))
