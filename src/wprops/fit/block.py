r"""The expected events of one channel and their derivatives in closed form.

The yield of process p in bin i is

.. math:: y_{pi} = μ_p \, S_{pi} \, f_{pi}, \qquad
   S_{pi} = n_{pi} + Σ_k s_{kpi}(θ_k), \quad f_{pi} = \exp Σ_k λ_{kpi}(θ_k),

with shifts s (linear, quadratic) that add and factors exp λ (norms, log-normal)
that multiply. Both are slope · θ + bend · curve(θ), see
`wprops.fit.interpolation`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wprops.fit.interpolation import Curve

Array = NDArray[np.float64]
Index = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Effects:
    """How nuisance parameters change the templates of one channel.

    Attributes
    ----------
    parameters : ndarray of int, shape (n_k,)
        Positions of the nuisance parameters.
    slope, bend : ndarray, shape (n_k, n_processes, n_bins)
        Coefficients of θ and of the curve.
    curve : callable
        The even function of θ that goes with ``bend``.
    """

    parameters: Index
    slope: Array
    bend: Array
    curve: Callable[[ArrayLike], Curve]

    def value(self, theta: Array) -> Array:
        """Sum over the parameters, shape (n_processes, n_bins)."""
        return np.tensordot(theta, self.slope, axes=1) + np.tensordot(
            self.curve(theta).value, self.bend, axes=1
        )

    def first(self, theta: Array) -> Array:
        """Differentiate in each parameter, shape (n_k, n_processes, n_bins)."""
        return self.slope + self.curve(theta).first[:, None, None] * self.bend

    def second(self, theta: Array, weight: Array) -> Array:
        """Contract second derivatives with (n_processes, n_bins), shape (n_k,)."""
        return self.curve(theta).second * np.tensordot(self.bend, weight, axes=2)


@dataclass(frozen=True, slots=True, eq=False)
class Noise:
    """Covariance of the templates from the finite simulation.

    Attributes
    ----------
    variance : ndarray, shape (n_processes, n_bins)
        Variance of templates that share no events with others; 0 for the rest.
    shared : tuple of (ndarray of int, ndarray of shape (n, n, n_bins))
        Positions of processes that share events, and their covariance.
    """

    variance: Array
    shared: tuple[tuple[Index, Array], ...]

    def total(self, strength: Array) -> Array:
        """Variance of the sum of templates, shape (n_bins,)."""
        total = strength**2 @ self.variance
        for members, products in self.shared:
            s = strength[members]
            total = total + np.einsum("p,q,pqi->i", s, s, products, optimize=True)
        return total

    def weighted(self, weight: Array) -> Array:
        """Sum over bins with a weight, shape (n_processes, n_processes)."""
        matrix = np.diag(self.variance @ weight)
        for members, products in self.shared:
            matrix[np.ix_(members, members)] += products @ weight
        return matrix


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """One channel of a model.

    Attributes
    ----------
    name : str
        Name of the channel.
    shape : tuple of int
        Numbers of (eta, pT) bins; the bins of a block are flat.
    processes : tuple of str
        Names of the processes.
    nominal : ndarray, shape (n_processes, n_bins)
        Templates [events].
    signal, poi : ndarray of int, shape (n_signal,)
        Positions of the signal processes and of their strengths in the
        parameters; all other strengths are fixed at 1.
    factors, shifts : Effects
        What multiplies (in the logarithm) and what adds.
    noise : Noise
        Covariance of the templates.
    """

    name: str
    shape: tuple[int, int]
    processes: tuple[str, ...]
    nominal: Array
    signal: Index
    poi: Index
    factors: Effects
    shifts: Effects
    noise: Noise

    @property
    def n_bins(self) -> int:
        """Number of bins."""
        return self.nominal.shape[1]

    def strengths(self, values: Array) -> Array:
        """Strength of each process, shape (n_processes,)."""
        strength = np.ones(len(self.processes))
        strength[self.signal] = values[self.poi]
        return strength

    def at(self, values: Array) -> BlockPoint:
        """Evaluate at parameter values of shape (n_par,)."""
        return BlockPoint(self, values)


class BlockPoint:
    """Yields of a channel at one point, and their derivatives on demand."""

    def __init__(self, block: Block, values: Array) -> None:
        self.block = block
        self.values = values
        self._theta_factors = values[block.factors.parameters]
        self._theta_shifts = values[block.shifts.parameters]
        factor = np.exp(block.factors.value(self._theta_factors))
        strength = block.strengths(values)[:, None]
        #: Yield at unit strength, strength times factor: (n_processes, n_bins).
        self.unit = (block.nominal + block.shifts.value(self._theta_shifts)) * factor
        self.scale = strength * factor
        self.yields = strength * self.unit
        self._factor = factor

    @cached_property
    def _first(self) -> tuple[Array, Array]:
        return (
            self.block.factors.first(self._theta_factors),
            self.block.shifts.first(self._theta_shifts),
        )

    def jacobian(self) -> Array:
        """Return derivatives of the expected events, shape (n_par, n_bins)."""
        block, (log_first, shift_first) = self.block, self._first
        jacobian = np.zeros((len(self.values), block.n_bins))
        jacobian[block.poi] = self.unit[block.signal]
        jacobian[block.factors.parameters] += np.einsum(
            "kpi,pi->ki", log_first, self.yields
        )
        jacobian[block.shifts.parameters] += np.einsum(
            "kpi,pi->ki", shift_first, self.scale
        )
        return jacobian

    def second(self, weight: Array) -> Array:
        """Contract the second derivatives with a weight per bin.

        Parameters
        ----------
        weight : ndarray, shape (n_bins,)
            Factor of the second derivatives of each bin.

        Returns
        -------
        ndarray, shape (n_par, n_par)
        """
        block, (log_first, shift_first) = self.block, self._first
        k, s = block.factors.parameters, block.shifts.parameters
        yields, scale = self.yields * weight, self.scale * weight
        matrix = np.zeros((len(self.values), len(self.values)))
        matrix[np.ix_(k, k)] += _product(log_first * yields, log_first)
        matrix[k, k] += block.factors.second(self._theta_factors, yields)
        matrix[s, s] += block.shifts.second(self._theta_shifts, scale)
        mixed = _product(log_first * scale, shift_first)
        matrix[np.ix_(k, s)] += mixed
        matrix[np.ix_(s, k)] += mixed.T
        self._add_strengths(matrix, weight)
        return matrix

    def _add_strengths(self, matrix: Array, weight: Array) -> None:
        block, (log_first, shift_first) = self.block, self._first
        signal = block.signal
        for effects, first, unit in (
            (block.factors, log_first, self.unit),
            (block.shifts, shift_first, self._factor),
        ):
            mixed = np.einsum("kpi,pi->kp", first[:, signal], unit[signal] * weight)
            matrix[np.ix_(effects.parameters, block.poi)] += mixed
            matrix[np.ix_(block.poi, effects.parameters)] += mixed.T


def _product(left: Array, right: Array) -> Array:
    """Sum over processes and bins of all pairs: one matrix product."""
    return np.tensordot(left, right, axes=((1, 2), (1, 2)))
