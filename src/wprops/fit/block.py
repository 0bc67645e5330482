r"""The expected events of one channel and their derivatives in closed form.

The yield of process p in bin i is

.. math:: y_{pi} = μ_p \, u_{pi}, \quad u_{pi} = S_{pi} \, f_{pi}, \qquad
   S_{pi} = n_{pi} + Σ_k s_{kpi}(θ_k), \quad
   f_{pi} = \exp[Σ_k λ_{kpi}(θ_k) + Σ_m L_{pm} θ_m],

with shifts s (linear, quadratic) that add and factors that multiply: exp λ (log-normal)
by bin, exp Lθ (norms) by process. λ and s are slope · θ + bend · curve(θ), see
`wprops.fit.interpolation`. A strength or a norm multiplies the whole process, so with
:math:`G_{pk} = Σ_i w_i ∂u_{pi}/∂θ_k` the second derivatives of :math:`Σ_i w_i ν_i` are

.. math:: (μ_p, k): G_{pk}, \qquad (m, k): Σ_p L_{pm} μ_p G_{pk}, \qquad
   (k, l): Σ_{pi} w_i [λ'_k λ'_l y + (λ'_k s'_l + s'_k λ'_l) μ_p f]_{pi},

and for k = l also the bends with the second derivative of their curve. Shifts alone
have no (k, l): templates that change sign cost nothing there.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from wprops.fit import kernels
from wprops.fit.effects import Group, Noise, Norms

Array = NDArray[np.float64]
Index = NDArray[np.int64]


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
    columns : ndarray of int, shape (n_columns, n_eta)
        Position of the parameter of each column in each eta row.
    groups : tuple of Group
        What the columns do; each process is in one group.
    norms : Norms
        Factors of whole processes.
    noise : Noise
        Covariance of the templates.
    """

    name: str
    shape: tuple[int, int]
    processes: tuple[str, ...]
    nominal: Array
    signal: Index
    poi: Index
    columns: Index
    groups: tuple[Group, ...]
    norms: Norms
    noise: Noise

    @property
    def n_bins(self) -> int:
        """Number of bins."""
        return self.nominal.shape[1]

    @property
    def active(self) -> Index:
        """Positions of the parameters that act on this channel, ascending."""
        return np.unique(np.r_[self.poi, self.columns.ravel(), self.norms.parameters])

    def strengths(self, values: Array) -> Array:
        """Strength of each process, shape (n_processes,)."""
        strength = np.ones(len(self.processes))
        strength[self.signal] = values[self.poi]
        return strength

    def at(self, values: Array) -> BlockPoint:
        """Evaluate at parameter values of shape (n_par,)."""
        return BlockPoint(self, values)


class BlockPoint:
    """Yields of a channel at one point, and their derivatives on demand.

    Derivatives are in the parameters at `active` only, in that order.
    """

    def __init__(self, block: Block, values: Array) -> None:
        self.block = block
        self.active = block.active
        self._poi = np.searchsorted(self.active, block.poi)
        self._norms = np.searchsorted(self.active, block.norms.parameters)
        self._columns = np.searchsorted(self.active, block.columns)
        theta = values[block.columns]
        self._multipliers = [group.at(theta) for group in block.groups]
        self._strength = block.strengths(values)
        shape = (len(block.processes), *block.shape)
        self._unit, self._factor = np.empty(shape), np.empty(shape)
        norm = block.norms.log_size @ values[block.norms.parameters]
        nominal = block.nominal.reshape(shape)
        for group, multiplier in zip(block.groups, self._multipliers, strict=True):
            kernels.over_rows(
                kernels.evaluate,
                group.tiles,
                group.members,
                group.is_log,
                multiplier.value,
                norm,
                nominal,
                self._unit,
                self._factor,
            )

    @cached_property
    def yields(self) -> Array:
        """Events by process, shape (n_processes, n_bins)."""
        return self._strength[:, None] * self._unit.reshape(self.block.nominal.shape)

    @cached_property
    def expected(self) -> Array:
        """Expected events, shape (n_bins,)."""
        return self._strength @ self._unit.reshape(self.block.nominal.shape)

    @cached_property
    def jacobian(self) -> Array:
        """Derivatives of the expected events, shape (n_active, n_bins)."""
        block = self.block
        n_eta, n_pt = block.shape
        scale = self._strength[:, None, None] * self._factor
        yields = self.yields.reshape(scale.shape)
        out = np.zeros((n_eta, len(block.columns), n_pt))
        for group, multiplier in zip(block.groups, self._multipliers, strict=True):
            kernels.over_rows(
                kernels.differentiate,
                group.tiles,
                group.members,
                group.is_log,
                multiplier.first,
                group.column,
                yields,
                scale,
                out,
            )
        jacobian = np.zeros((len(self.active), n_eta, n_pt))
        jacobian[self._poi] = self._unit[block.signal]
        jacobian[self._columns, np.arange(n_eta)] = out.transpose(1, 0, 2)
        flat = jacobian.reshape(len(self.active), block.n_bins)
        flat[self._norms] = block.norms.log_size.T @ self.yields
        return flat

    def information(self, weight: Array) -> Array:
        """Sum over bins of weighted products of derivatives, (n_active, n_active)."""
        return (self.jacobian * weight) @ self.jacobian.T

    def second(self, weight: Array) -> Array:
        """Contract the second derivatives with a weight per bin.

        Parameters
        ----------
        weight : ndarray, shape (n_bins,)
            Factor of the second derivatives of each bin.

        Returns
        -------
        ndarray, shape (n_active, n_active)
        """
        weight = weight.reshape(self.block.shape)
        unit, factor = self._unit * weight, self._factor * weight
        matrix = np.zeros((len(self.active), len(self.active)))
        self._add_products(matrix, unit, factor)
        self._add_bends(matrix, unit, factor)
        mixed = self._contract(unit, factor, "first")
        log_size = self.block.norms.log_size
        mixed[:, self._norms] = log_size * unit.sum(axis=(1, 2))[:, None]
        self._add_mixed(matrix, self._poi, mixed[self.block.signal])
        self._add_mixed(
            matrix, self._norms, (log_size * self._strength[:, None]).T @ mixed
        )
        return matrix

    @staticmethod
    def _add_mixed(matrix: Array, rows: Index, mixed: Array) -> None:
        """Add rows and their mirror image; what is both counts once."""
        matrix[rows] += mixed
        matrix[:, rows] += mixed.T
        matrix[np.ix_(rows, rows)] -= mixed[:, rows]

    def _contract(self, unit: Array, factor: Array, order: str) -> Array:
        """Sum derivatives of the unit yields over bins, (n_processes, n_active)."""
        n_eta = self.block.shape[0]
        out = np.zeros((n_eta, len(unit), len(self.block.columns)))
        for group, multiplier in zip(self.block.groups, self._multipliers, strict=True):
            kernels.over_rows(
                kernels.contract,
                group.tiles,
                group.members,
                group.is_log,
                getattr(multiplier, order),
                group.column,
                unit,
                factor,
                out,
            )
        total = np.zeros((len(unit), len(self.active)))
        for row, columns in zip(out, self._columns.T, strict=True):
            total[:, columns] += row
        return total

    def _add_bends(self, matrix: Array, unit: Array, factor: Array) -> None:
        diagonal = np.arange(len(matrix))
        bends = self._contract(unit, factor, "second")
        matrix[diagonal, diagonal] += self._strength @ bends

    def _add_products(self, matrix: Array, unit: Array, factor: Array) -> None:
        """Add what logarithms have with each other and with shifts."""
        strength = self._strength[:, None, None]
        yields, scale = strength * unit, strength * factor
        for group, multiplier in zip(self.block.groups, self._multipliers, strict=True):
            n = group.n_slopes
            if not group.n_log:
                continue
            out = np.zeros((self.block.shape[0], n, n))
            kernels.over_rows(
                kernels.curve,
                group.tiles,
                group.members,
                group.n_log,
                n,
                multiplier.first,
                group.bent,
                yields,
                scale,
                out,
            )
            columns = self._columns[group.column[:n]].T
            for products, where in zip(out, columns, strict=True):
                both = products + np.tril(products, -1).T
                matrix[np.ix_(where, where)] += both
