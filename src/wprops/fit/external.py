r"""Measurements from elsewhere of linear combinations of parameters.

A measurement c of Lθ with covariance V adds :math:`½ (Lθ - c)^T V^{-1} (Lθ - c)` to the
negative log-likelihood.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg

from wprops.errors import ConfigError
from wprops.fit.parameters import Parameters

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Constraint:
    """A Gaussian measurement of combinations of parameters.

    Attributes
    ----------
    combinations : sequence of mapping of str to float
        Coefficient of each parameter in each combination.
    values : array_like, shape (n,)
        Measured values.
    covariance : array_like, shape (n, n)
        Their covariance.

    Examples
    --------
    Two strengths are equal to 1 %:

    >>> Constraint([{"Wplus/W_a": 1.0, "Wplus/W_b": -1.0}], [0.0], [[1e-4]]).values
    [0.0]
    """

    combinations: Sequence[Mapping[str, float]]
    values: ArrayLike
    covariance: ArrayLike


@dataclass(frozen=True, slots=True, eq=False)
class External:
    """All constraints of a model, as arrays.

    Attributes
    ----------
    combinations : ndarray, shape (n, n_par)
        L.
    values : ndarray, shape (n,)
        c.
    covariance, precision : ndarray, shape (n, n)
        V and its inverse.
    """

    combinations: Array
    values: Array
    covariance: Array
    precision: Array

    @property
    def information(self) -> Array:
        """Second derivative of the term, shape (n_par, n_par)."""
        return self.combinations.T @ self.precision @ self.combinations

    def residual(self, parameters: Array, values: Array) -> Array:
        """Lθ − c for measured ``values``, shape (n,)."""
        return self.combinations @ parameters - values


def join(constraints: Sequence[Constraint], parameters: Parameters) -> External:
    """Look up the parameters and join independent constraints.

    Raises
    ------
    TemplateError
        If the model has no parameter of a name.
    ConfigError
        If numbers of combinations, values and covariance differ, or a covariance is
        not symmetric and positive definite.
    """
    combinations = np.zeros(
        (sum(len(c.combinations) for c in constraints), len(parameters))
    )
    rows = iter(combinations)
    values, covariances, precisions = [], [], []
    for constraint in constraints:
        measured = np.asarray(constraint.values, dtype=float)
        covariance = np.asarray(constraint.covariance, dtype=float)
        precisions.append(_inverse(constraint, measured, covariance))
        values.append(measured)
        covariances.append(covariance)
        for combination in constraint.combinations:
            row = next(rows)
            for name, coefficient in combination.items():
                row[parameters.index(name)] = coefficient
    return External(
        combinations=combinations,
        values=np.concatenate([np.empty(0), *values]),
        covariance=_diagonal(covariances),
        precision=_diagonal(precisions),
    )


def _diagonal(blocks: Sequence[Array]) -> Array:
    # block_diag of nothing has the shape (1, 0)
    return np.asarray(linalg.block_diag(*blocks)) if blocks else np.zeros((0, 0))


def _inverse(constraint: Constraint, values: Array, covariance: Array) -> Array:
    n = len(constraint.combinations)
    what = f"the external constraint on {', '.join(_names(constraint))}"
    if values.shape != (n,) or covariance.shape != (n, n):
        msg = (
            f"{what} has {n} combinations, values of shape {values.shape} and a "
            f"covariance of shape {covariance.shape}; expected ({n},) and ({n}, {n})"
        )
        raise ConfigError(msg)
    finite = np.isfinite(values).all() and np.isfinite(covariance).all()
    if not finite or not np.allclose(covariance, covariance.T, rtol=1e-9, atol=0):
        msg = f"{what} needs finite values and a finite, symmetric covariance"
        raise ConfigError(msg)
    try:
        return linalg.cho_solve(linalg.cho_factor(covariance), np.eye(n))
    except linalg.LinAlgError as error:
        msg = (
            f"{what} has a covariance that is not positive definite; constrain "
            "combinations that are independent"
        )
        raise ConfigError(msg) from error


def _names(constraint: Constraint) -> list[str]:
    return sorted({name for names in constraint.combinations for name in names})
