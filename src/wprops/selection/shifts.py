"""Kinematic variations: what moves events between bins and across cuts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from wprops.datasets import Dataset
from wprops.selection.candidates import Candidates, FloatArray
from wprops.selection.met import find_convention, missing_momentum, varied_momentum
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
    nominal = _components(missing_momentum(events, convention), pick)
    used = _components((candidates.met, candidates.met_phi), slice(None))
    for record in systematics:
        if record.kind != "kinematic":
            continue
        for side in record.variations:
            label = variation_label(record.name, side)
            if record.name == "muon_scale":
                yield label, _muon_shift(candidates, dataset, side)
            else:
                met = varied_momentum(events, convention, record.name, side)
                # The change of the vector, since the candidates' one may be corrected.
                x, y = _components(met, pick) - nominal + used
                yield label, candidates.with_met(np.hypot(x, y), np.arctan2(y, x))


def _components(
    met: tuple[FloatArray, FloatArray], pick: NDArray[np.int64] | slice
) -> FloatArray:
    """Return x and y of some missing momenta [GeV], shape (2, n)."""
    size, phi = met[0][pick], met[1][pick]
    return np.stack([size * np.cos(phi), size * np.sin(phi)])


def _muon_shift(candidates: Candidates, dataset: Dataset, side: str) -> Candidates:
    """Shift the muon's momentum; the missing one follows if the correction did."""
    pt = candidates.pt_up if side == "up" else candidates.pt_down
    if dataset.corrections.propagate_muons:
        return candidates.with_muon_pt(pt)
    return replace(candidates, pt=pt).with_met(candidates.met, candidates.met_phi)
