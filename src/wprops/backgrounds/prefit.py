"""How the systematics move the prediction before a fit: the shifts, and their sum.

A shift is the change of a template at +1 and at −1. The down variation of a one-sided
source is taken to be the opposite of the up variation, which is its mirror image to
first order. A parameter that no constraint limits, such as m_W, has no size before the
fit and no part in the sum.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wprops.channels import Channel, Process
from wprops.systematics.catalog import SIGNAL
from wprops.systematics.declaration import Systematic

Array = NDArray[np.float64]


class Shift(NamedTuple):
    """Changes of the expected events at +1 and −1, shape (n_eta, n_pt)."""

    up: Array
    down: Array

    @property
    def half(self) -> Array:
        """Half the difference, the change per standard deviation."""
        return (self.up - self.down) / 2


def shift_of(record: Systematic, processes: Iterable[Process]) -> Shift | None:
    """Shift of the sum of processes; None if the systematic acts on none of them.

    Parameters
    ----------
    record : Systematic
        The source.
    processes : iterable of Process
        Templates of one channel; they move together.
    """
    up, down = [], []
    for process in processes:
        names = {process.name} | ({SIGNAL} if process.role == "signal" else set())
        if not names & record.processes:
            continue
        n = process.nominal
        if record.size is not None:
            up.append((record.size - 1) * n)
            down.append((1 / record.size - 1) * n)
            continue
        changes = [process.varied(label) - n for label in record.labels]
        up.append(changes[0])
        down.append(changes[1] if len(changes) > 1 else -changes[0])
    return Shift(np.sum(up, axis=0), np.sum(down, axis=0)) if up else None


def shifts_of(
    records: Iterable[Systematic], processes: Iterable[Process]
) -> Iterator[tuple[Systematic, Shift]]:
    """Yield what acts on the sum of processes."""
    processes = list(processes)
    for record in records:
        shift = shift_of(record, processes)
        if shift is not None:
            yield record, shift


def total_change(record: Systematic, change: Array) -> float:
    """Change of the number of events in all bins.

    That of eta-local sources, which have a parameter in each eta bin, is the root of
    the sum of the squares of these bins, and has no sign.

    Parameters
    ----------
    record : Systematic
        The source.
    change : ndarray, shape (n_eta, n_pt)
        What it does, such as `Shift.up`.
    """
    if record.eta_local:
        return float(np.sqrt(np.sum(change.sum(axis=1) ** 2)))
    return float(change.sum())


def systematic_variance(
    records: Iterable[Systematic],
    channel: Channel,
    kept: Literal["eta", "pt"] | None = None,
) -> Array:
    """Variance of the prediction of a channel from all constrained systematics.

    Parameters
    ----------
    records : iterable of Systematic
        The sources; each parameter is independent.
    channel : Channel
        All of its processes move together.
    kept : {"eta", "pt"}, optional
        Of the sum over the other axis; of each bin when omitted.

    Returns
    -------
    ndarray, shape (n_eta,), (n_pt,) or (n_eta, n_pt)
    """
    shape = {"eta": channel.shape[:1], "pt": channel.shape[1:], None: channel.shape}
    variance = np.zeros(shape[kept])
    for record, shift in shifts_of(records, channel.processes.values()):
        if not record.constrained:
            continue
        if kept is None:
            variance += shift.half**2
        elif kept == "eta":
            variance += shift.half.sum(axis=1) ** 2
        elif record.eta_local:
            variance += np.sum(shift.half**2, axis=0)
        else:
            variance += shift.half.sum(axis=0) ** 2
    return variance
