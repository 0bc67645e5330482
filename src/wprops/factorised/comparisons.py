"""Comparison of classes of events that should share the moments of a distribution.

Means of several features are compared with the covariance of all events together:
under the hypothesis that is to be tested the classes share it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Classes with fewer effective events (Σw)²/Σw² are left out: their means of squares
#: are not Gaussian.
MIN_EFFECTIVE = 100.0
#: Combinations with a smaller part of the largest scaled variance are without
#: information: they are sums that vanish by construction.
NO_VARIANCE = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Deviations of classes from their common mean.

    Attributes
    ----------
    weight : ndarray, shape (n,)
        Σw of the classes; 0 for those with too few events.
    centre : ndarray, shape (k,)
        Common mean of the k features.
    deviation : ndarray, shape (n, k)
        Mean of a class minus the common one; 0 for classes with too few events.
    inverse : ndarray, shape (n, n)
        Covariance of the deviations of a feature of unit variance.
    covariance : ndarray, shape (k, k)
        Covariance of the features of one event.
    """

    weight: Array
    centre: Array
    deviation: Array
    inverse: Array
    covariance: Array

    def chi2(self, project: Array | None = None) -> tuple[float, int]:
        """χ² of the deviations, or of their sums ``project`` (m, n), and its ndf."""
        deviation, inverse = self.deviation, self.inverse
        if project is not None:
            deviation, inverse = project @ deviation, project @ inverse @ project.T
        size = deviation.size
        covariance = np.einsum("ij,ab->iajb", inverse, self.covariance)
        return chi2_of(deviation.ravel(), covariance.reshape(size, size))

    def squares(self, slopes: Array, weights: Array) -> tuple[Array, Array]:
        """Mean squares of linear effects of the deviations.

        Parameters
        ----------
        slopes : ndarray, shape (n_effects, k)
            Change of an effect with the means of the features.
        weights : ndarray, shape (n_effects,)
            Weights of the effects in the mean.

        Returns
        -------
        squares, noise : ndarray, shape (n,)
            Per class, and what statistics alone gives.
        """
        squares = (self.deviation @ slopes.T) ** 2 @ weights
        one = np.einsum("ra,ab,rb,r->", slopes, self.covariance, slopes, weights)
        return squares, one * np.diag(self.inverse)


def compare(cells: Array, products: Array) -> Comparison | None:
    """Compare classes with their common mean.

    Parameters
    ----------
    cells : ndarray, shape (n, k + 2)
        Σw, Σw x of the k features, and Σw² of each class.
    products : ndarray, shape (k + 1, k + 1)
        Σw² z zᵀ of all classes together, z = (1, x).

    Returns
    -------
    Comparison or None
        None if fewer than two classes have enough events.
    """
    weight, squares = cells[:, 0], cells[:, -1]
    used = (weight > 0.0) & (weight**2 >= MIN_EFFECTIVE * squares)
    if used.sum() < 2:
        return None
    n = np.divide(weight**2, squares, out=np.zeros(len(cells)), where=used)
    mean = np.divide(
        cells[:, 1:-1],
        weight[:, None],
        out=np.zeros((len(cells), cells.shape[1] - 2)),
        where=used[:, None],
    )
    centre = n @ mean / n.sum()
    shift = np.column_stack([-centre, np.eye(len(centre))])
    inverse = np.divide(1.0, n, out=np.zeros_like(n), where=used)
    return Comparison(
        weight=np.where(used, weight, 0.0),
        centre=centre,
        deviation=np.where(used[:, None], mean - centre, 0.0),
        inverse=np.diag(inverse) - np.outer(used, used) / n.sum(),
        covariance=shift @ products @ shift.T / products[0, 0],
    )


def chi2_of(deviation: Array, covariance: Array) -> tuple[float, int]:
    """χ² and its number of degrees of freedom, the rank of the covariance."""
    scale = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    used = scale > 0.0
    if not used.any():
        return 0.0, 0
    scale = scale[used]
    correlation = covariance[np.ix_(used, used)] / np.outer(scale, scale)
    values, vectors = np.linalg.eigh(correlation)
    kept = values > NO_VARIANCE * values[-1]
    projected = vectors[:, kept].T @ (deviation[used] / scale)
    return float(np.sum(projected**2 / values[kept])), int(kept.sum())


def excess(squares: Array | float, noise: Array | float) -> float:
    """Largest root of mean squares beyond what statistics alone gives."""
    return float(np.sqrt(np.maximum(np.asarray(squares) - noise, 0.0)).max())


def reach(noise: Array | float, ndf: int) -> float:
    """Size of an effect, the same in all classes, that the sample would show.

    It raises χ² by three of its standard deviations √(2 ndf).
    """
    return float(np.sqrt(np.mean(noise) * 3.0 * np.sqrt(2.0 / max(ndf, 1))))
