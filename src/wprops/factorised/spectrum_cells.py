"""Integrals of smooth spectra over cells of (qT, |Y|)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.polynomial.chebyshev import chebvander
from numpy.typing import ArrayLike, NDArray

from wprops.factorised.panels import gauss_legendre

FloatArray = NDArray[np.float64]

#: Scale of the logarithm in qT [GeV].
QT_SCALE = 5.0
#: Nodes of the integral over a cell in qT and |Y|.
_QT_NODES, _Y_NODES = 5, 4
#: Steps of a fit may try logarithms beyond this, where nothing is to be found.
_MOST_LOG = 100.0
#: Cells that expect fewer events count together with their neighbours in |Y|.
_LEAST_EVENTS = 10.0


class CellIntegrals(NamedTuple):
    """Polynomials and weights at the nodes of all cells.

    Attributes
    ----------
    in_qt : ndarray, shape (n_qt, nodes, degree + 1)
        Polynomials in qT.
    in_y : ndarray, shape (n_y, nodes, degree + 1)
        Polynomials in |Y|.
    weights : ndarray, shape (n_qt, nodes, n_y, nodes)
        Weights of the nodes, times qT.
    """

    in_qt: FloatArray
    in_y: FloatArray
    weights: FloatArray

    def density(self, parameters: FloatArray) -> FloatArray:
        """Density times weights at all nodes, shape (rows, *weights.shape)."""
        shape = len(parameters), self.in_qt.shape[-1], self.in_y.shape[-1]
        log = np.einsum(
            "qia,rab,yjb->rqiyj",
            self.in_qt,
            parameters.reshape(shape),
            self.in_y,
            optimize=True,
        )
        return np.exp(np.clip(log, -_MOST_LOG, _MOST_LOG)) * self.weights

    def expected(self, parameters: FloatArray) -> FloatArray:
        """Return counts of cells, shape (rows, n_cells)."""
        counts = self.density(parameters).sum(axis=(2, 4))
        return counts.reshape(len(parameters), -1)

    def derivatives(self, parameters: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return counts (rows, n_cells) and their derivatives (rows, n_cells, k)."""
        density = self.density(parameters)
        slopes = np.einsum(
            "rqiyj,qia,yjb->rqyab", density, self.in_qt, self.in_y, optimize=True
        )
        n, cells = len(parameters), self.in_qt.shape[0] * self.in_y.shape[0]
        counts = density.sum(axis=(2, 4)).reshape(n, cells)
        return counts, slopes.reshape(n, cells, -1)


def log_qt(qt: ArrayLike) -> FloatArray:
    """Return the logarithm that polynomials in qT [GeV] are of."""
    return np.log1p(np.asarray(qt, dtype=float) / QT_SCALE)


def polynomials(x: FloatArray, limits: ArrayLike, degree: int) -> FloatArray:
    """Return Chebyshev polynomials of x on its limits, shape (..., degree + 1)."""
    low, high = np.asarray(limits, dtype=float)
    return np.asarray(chebvander((2 * x - low - high) / (high - low), degree), float)


def cell_integrals(
    qt_edges: FloatArray, y_edges: FloatArray, degrees: tuple[int, int]
) -> CellIntegrals:
    """Lay nodes into the cells between the edges."""
    qt, qt_weights = gauss_legendre(qt_edges, _QT_NODES)
    absy, y_weights = gauss_legendre(y_edges, _Y_NODES)
    return CellIntegrals(
        polynomials(log_qt(qt), log_qt(qt_edges[[0, -1]]), degrees[0]),
        polynomials(absy**2, y_edges[[0, -1]] ** 2, degrees[1]),
        (qt * qt_weights)[:, :, None, None] * y_weights,
    )


def pearson(
    counts: FloatArray, mean: FloatArray, kappa: FloatArray
) -> tuple[FloatArray, NDArray[np.int64]]:
    """Return χ² and its number of terms, from arrays of shape (rows, n_qt, n_y).

    Neighbours in |Y| are one term until enough events are expected in it.
    """
    chi2 = np.zeros(len(mean))
    n_terms = np.zeros(len(mean), dtype=np.int64)
    off, variance, events = np.zeros((3, *mean.shape[:2]))
    last = mean.shape[2] - 1
    for j in range(mean.shape[2]):
        off += counts[:, :, j] - mean[:, :, j]
        variance += kappa[:, :, j] * mean[:, :, j]
        events += mean[:, :, j] / kappa[:, :, j]
        full = (events >= _LEAST_EVENTS) | (j == last)
        chi2 += np.where(full, off**2 / variance, 0.0).sum(axis=1)
        n_terms += full.sum(axis=1)
        for total in (off, variance, events):
            total[full] = 0.0
    return chi2, n_terms
