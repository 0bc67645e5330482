r"""The variance of passing muons at a given efficiency.

Passing muons are some of all muons, with other weights: P = Σ w_p over those that pass
and G = Σ w_g over all. At the true efficiency ε the difference u = P − εG has mean 0
and variance

.. math:: V = \sum (w_p 1_{pass} - \varepsilon w_g)^2
            = S_{pp} - 2 \varepsilon S_{gp} + \varepsilon^2 S_{gg} .

S_pp and S_gp of a bin fluctuate with P and would draw the fit to bins that fluctuated
down; they are predicted as εG times their share in P in the whole row of bins.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wprops.errors import TemplateError

FloatArray = NDArray[np.float64]

#: Least variance, in units of that of passing muons.
_LEAST_VARIANCE = 1e-3


class Spread(NamedTuple):
    """Sums of squares per muon: S_pp/P and S_gp/P of a row, S_gg/G of a bin."""

    passing: FloatArray
    mixed: FloatArray
    every: FloatArray


def inverse_variance(rate: FloatArray, every: FloatArray, spread: Spread) -> FloatArray:
    """1/V of the bins, 0 in those without muons."""
    expected = np.maximum(rate, 0.0) * every
    passing = spread.passing * expected
    variance = passing - 2 * rate * spread.mixed * expected
    variance = variance + rate**2 * spread.every * every
    variance = np.maximum(variance, _LEAST_VARIANCE * passing)
    out = np.zeros_like(variance)
    return np.divide(1.0, variance, out=out, where=(every > 0) & (variance > 0))


def mean_squares(counts: FloatArray, squares: FloatArray, edges: FloatArray) -> Spread:
    """Return sums of squares per muon; checks shapes and that rows have muons."""
    rows = counts.shape[1:]
    if (
        counts.ndim != 4
        or counts.shape[0] != 2
        or squares.shape != (3, *rows)
        or rows[-1] != len(edges) - 1
    ):
        msg = (
            f"counts and squares of efficiencies have shapes {counts.shape} and "
            f"{squares.shape}, expected (2, charge, eta, {len(edges) - 1}) and "
            f"(3, charge, eta, {len(edges) - 1})"
        )
        raise TemplateError(msg)
    half = len(edges) // 2
    parts = counts[..., :half].sum(axis=-1), counts[..., half:].sum(axis=-1)
    empty = (np.minimum(*parts) <= 0).any(axis=0)
    if empty.any():
        charge, eta = np.argwhere(empty)[0]
        msg = (
            f"efficiencies of charge {(1, -1)[charge]:+d} in bin {eta} of eta have no "
            "positive sums of all and passing muons in both halves of their pT range; "
            "the sample needs more events"
        )
        raise TemplateError(msg)
    passing = counts[1].sum(axis=-1, keepdims=True)
    # A variation may have muons where the nominal sample has none.
    mean = squares[0].sum(axis=-1, keepdims=True) / counts[0].sum(
        axis=-1, keepdims=True
    )
    every = np.broadcast_to(mean, counts[0].shape).copy()
    np.divide(squares[0], counts[0], out=every, where=counts[0] > 0)
    return Spread(
        squares[2].sum(axis=-1, keepdims=True) / passing,
        squares[1].sum(axis=-1, keepdims=True) / passing,
        every,
    )
