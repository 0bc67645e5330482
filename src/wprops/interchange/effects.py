"""The effects of nuisance parameters in a model, taken out of their compact storage."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wprops.fit.block import Block

Array = NDArray[np.float64]
Index = NDArray[np.int64]


class Effect(NamedTuple):
    """What one column does to the processes of a group.

    Attributes
    ----------
    members : ndarray of int, shape (n_members,)
        Positions of the processes in the channel.
    parameters : ndarray of int, shape (n_eta,)
        Position of the parameter of each eta row in the parameters of the model.
    is_log : bool
        Whether the effect adds to the logarithm of the template.
    slope : ndarray, shape (n_members, n_eta, n_pt)
        Coefficient of θ.
    bend : ndarray, shape (n_members, n_eta, n_pt), or None
        Coefficient of the even function of θ; None where there is none.
    """

    members: Index
    parameters: Index
    is_log: bool
    slope: Array
    bend: Array | None


#: Relative size below which a bend is rounding and no asymmetry.
ROUNDING = 1e-13


def effects(block: Block) -> Iterator[Effect]:
    """Give all effects of a channel but norms."""
    for group in block.groups:
        # the bends follow the slopes
        bends = {int(slope): i for i, slope in enumerate(group.bent, group.n_slopes)}
        size = float(abs(block.nominal[group.members]).max())
        for position, row in enumerate(group.rows[: group.n_slopes]):
            bend = None
            if position in bends:
                bend = _double(group.tiles[:, :, bends[position]])
                if abs(bend).max() <= ROUNDING * (1.0 if row.is_log else size):
                    bend = None
            yield Effect(
                members=group.members,
                parameters=block.columns[row.column],
                is_log=row.is_log,
                slope=_double(group.tiles[:, :, position]),
                bend=bend,
            )


def _double(values: NDArray[np.floating]) -> Array:
    return values.astype(np.float64, copy=False)
