"""Kinematic variations: what moves events between bins and across cuts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from wprops.datasets import Dataset
from wprops.selection.candidates import Candidates
from wprops.selection.met import find_convention, varied_momentum
from wprops.systematics.declaration import NOMINAL, Systematic, variation_label


def kinematic_shifts(
    events: ak.Array,
    dataset: Dataset,
    candidates: Candidates,
    pick: NDArray[np.int64],
    systematics: Iterable[Systematic],
) -> Iterator[tuple[str, Candidates]]:
    """Yield the candidates as they are, and shifted by each kinematic systematic.

    Parameters
    ----------
    events : awkward.Array
        A chunk of NanoEvents.
    dataset : Dataset
        Its sample; data are not shifted.
    candidates : Candidates
        Some events of the chunk.
    pick : ndarray of int, shape (n,)
        Where they are in it.
    systematics : iterable of Systematic
        The declarations in force.

    Yields
    ------
    label : str
        Of the variation, ``nominal`` first.
    candidates : Candidates

    Raises
    ------
    InputError
        If the file lacks a variation of the missing momentum.
    """
    yield NOMINAL, candidates
    if dataset.kind == "data":
        return
    convention = find_convention(events, dataset)
    for record in systematics:
        if record.kind != "kinematic":
            continue
        for side in record.variations:
            label = variation_label(record.name, side)
            if record.name == "muon_scale":
                pt = candidates.pt_up if side == "up" else candidates.pt_down
                yield label, candidates.with_muon_pt(pt)
            else:
                met, phi = varied_momentum(events, convention, record.name, side)
                yield label, candidates.with_met(met[pick], phi[pick])
