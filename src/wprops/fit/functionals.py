"""The numbers that a fit is quoted for, and their derivatives in the parameters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wprops.fit.derived import Quantity, quantities
from wprops.fit.parameters import Parameters
from wprops.store import TemplateSet

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Functionals:
    """Numbers that follow from the parameters of a fit.

    Attributes
    ----------
    names, units : tuple of str
        What they are.
    quantities : tuple of Quantity
        Functions that give them, in this order.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    quantities: tuple[Quantity, ...]

    def values(self, parameters: Array) -> Array:
        """Numbers at parameters of shape (n_par,), shape (n,)."""
        return np.concatenate([q.function(parameters) for q in self.quantities])

    def gradient(self, parameters: Array) -> Array:
        """Return their derivatives in the parameters, shape (n, n_par)."""
        return np.vstack([q.jacobian(parameters) for q in self.quantities])


def functionals(templates: TemplateSet, parameters: Parameters) -> Functionals:
    """List what a fit is quoted for: strengths and derived quantities."""
    n = parameters.n_poi
    strengths = Quantity(
        parameters.names[:n], "", (n,), np.eye(n), np.arange(n, dtype=np.int64)
    )
    derived = quantities(templates, parameters)
    return Functionals(
        names=parameters.names[:n]
        + tuple(x for name, q in derived.items() for x in q.names(name)),
        units=parameters.units[:n]
        + tuple(q.unit for q in derived.values() for _ in q.labels),
        quantities=(strengths, *derived.values()),
    )


def variances(gradient: Array, covariance: Array) -> Array:
    """Variances aᵀVa of numbers with gradients a in the rows, shape (n,)."""
    return np.einsum("ni,ni->n", gradient @ covariance, gradient)


def slopes_of(gradient: Array, inverse: Array, floor: Array) -> Array:
    """Response of numbers when the truth moves along their profiles, shape (n,).

    The profile is the direction in which the data constrain a number least, H⁻¹a: its
    own direction together with all that can make up for it. The response is the mean of
    1 − 1/λ over the directions of (H, M), weighted with their shares of the variance.
    It is 1 for numbers that depend on no fitted parameter.

    Parameters
    ----------
    gradient : ndarray, shape (n, n_free)
        Gradients a in the rows.
    inverse, floor : ndarray, shape (n_free, n_free)
        (H + Λ)⁻¹ and M.
    """
    variance = variances(gradient, inverse)
    noise = variances(gradient @ inverse, floor)
    share = np.divide(noise, variance, out=np.zeros_like(noise), where=variance > 0)
    return np.asarray(1 - share)
