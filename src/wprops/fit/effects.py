r"""How the nuisance parameters change the templates of one channel, stored compactly.

A *column* is one systematic in one channel. Its parameter is the same in all eta rows,
or another one in each row where it is eta-local, so that an eta-local systematic costs
one column, not one per parameter. Norms are one number per process. A process stores
only the columns that act on it, and processes with the same columns form a group.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wprops.fit.interpolation import Curve, bounded_square, smooth_abs

Array = NDArray[np.float64]
Index = NDArray[np.int64]
Mask = NDArray[np.bool_]


class Row(NamedTuple):
    """One line of coefficients: its column, what it is and what it multiplies."""

    column: int
    is_log: bool
    is_bend: bool


@dataclass(frozen=True, eq=False)
class Group:
    """Processes of a channel that answer to the same columns in the same way.

    Attributes
    ----------
    members : ndarray of int, shape (n_members,)
        Positions of the processes in the channel.
    rows : tuple of Row
        Slopes of logarithms, then slopes of shifts, then bends; at most one slope
        and one bend per column.
    tiles : ndarray, shape (n_members, n_eta, n_rows, n_pt)
        Coefficients of θ (slopes) and of the even function of θ (bends), see
        `wprops.fit.interpolation`.
    """

    members: Index
    rows: tuple[Row, ...]
    tiles: NDArray[np.floating]

    @cached_property
    def column(self) -> Index:
        """Column of each row."""
        return np.array([row.column for row in self.rows], dtype=np.int64)

    @cached_property
    def is_log(self) -> Mask:
        """Whether a row adds to the logarithm."""
        return np.array([row.is_log for row in self.rows], dtype=bool)

    @cached_property
    def is_bend(self) -> Mask:
        """Whether a row goes with the even function of θ."""
        return np.array([row.is_bend for row in self.rows], dtype=bool)

    @cached_property
    def n_slopes(self) -> int:
        """Number of rows that go with θ."""
        return int((~self.is_bend).sum())

    @cached_property
    def n_log(self) -> int:
        """Number of slopes that add to the logarithm."""
        return int((self.is_log & ~self.is_bend).sum())

    @cached_property
    def bent(self) -> Index:
        """Row of the slope that goes with each bend."""
        slopes = {row.column: i for i, row in enumerate(self.rows) if not row.is_bend}
        bends = [slopes[row.column] for row in self.rows if row.is_bend]
        return np.array(bends, dtype=np.int64)

    def at(self, theta: Array) -> Curve:
        """Evaluate what multiplies each row, and its derivatives in θ.

        Parameters
        ----------
        theta : ndarray, shape (n_columns, n_eta)
            Values of the parameters.

        Returns
        -------
        Curve
            Arrays of shape (n_eta, n_rows).
        """
        slope = np.ascontiguousarray(theta[self.column].T)
        multiplier = Curve(slope, np.ones_like(slope), np.zeros_like(slope))
        for function, kind in (
            (smooth_abs, self.is_log),
            (bounded_square, ~self.is_log),
        ):
            rows = self.is_bend & kind
            for target, values in zip(
                multiplier, function(slope[:, rows]), strict=True
            ):
                target[:, rows] = values
        return multiplier


@dataclass(frozen=True, slots=True, eq=False)
class Norms:
    """Factors of whole processes.

    Attributes
    ----------
    parameters : ndarray of int, shape (n_norms,)
        Positions of the nuisance parameters.
    log_size : ndarray, shape (n_processes, n_norms)
        Logarithm of the factor at +1; 0 where a norm does not act.
    """

    parameters: Index
    log_size: Array


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
            total += np.outer(s, s).ravel() @ products.reshape(len(s) ** 2, -1)
        return total

    def weighted(self, weight: Array) -> Array:
        """Sum over bins with a weight, shape (n_processes, n_processes)."""
        matrix = np.diag(self.variance @ weight)
        for members, products in self.shared:
            matrix[np.ix_(members, members)] += products @ weight
        return matrix
