"""The values of u = eta − Y at which decays are needed.

Panels of eta and of |Y| have the same width and the same nodes, so differences of
nodes depend on the distance of the panels and on the two places inside of them alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.polynomial.legendre import leggauss
from numpy.typing import NDArray

from wprops.factorised.panels import ABSY_MAX, MASS_RANGE, RATIO_ABSETA, STEP, Panels

#: No muon is measured at more than this multiple of its generated pT, but for tails
#: that no template can see.
LARGEST_RATIO = 1.4


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Lattice:
    """All u ≥ 0 within reach of a decay, and where the differences of nodes are.

    Attributes
    ----------
    u : ndarray, shape (n_u,)
        The values, increasing.
    place : ndarray of int, shape (2 n + 1, n_nodes, n_nodes)
        Position of |u| in `u`, of the panels' distance −n … n, the node in eta and
        the node in Y; −1 beyond the reach.
    sign : ndarray, shape (2 n + 1, n_nodes, n_nodes)
        −1 where u is negative, otherwise 1.
    """

    u: NDArray[np.float64]
    place: NDArray[np.int64]
    sign: NDArray[np.float64]

    @classmethod
    def of(cls, panels: Panels) -> Self:
        r"""Lay the lattice for the panels' nodes.

        :math:`|\cos\theta^*| \le 1` bounds :math:`\sinh|u|` by :math:`m/2p`.
        """
        distance = round((ABSY_MAX + RATIO_ABSETA[-1]) / STEP)
        nodes = leggauss(panels.n_y_nodes)[0] / 2
        steps = np.arange(-distance, distance + 1)[:, None, None]
        signed = STEP * (steps + nodes[:, None] - nodes)
        # Rounding merges differences that are the same but for the last digits.
        u, place = np.unique(np.round(np.abs(signed), 10), return_inverse=True)
        limit = np.arcsinh(MASS_RANGE[1] * LARGEST_RATIO / (2.0 * panels.pt[0]))
        within = u <= limit
        return cls(
            u=u[within],
            place=np.where(within[place], place, -1).reshape(signed.shape),
            sign=np.where(signed < -1e-10, -1.0, 1.0),
        )
