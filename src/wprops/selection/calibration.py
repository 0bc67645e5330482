"""Momentum of the candidate muon, calibrated where the catalogue asks for it."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from wprops.corrections.rochester import Rochester
from wprops.corrections.sets import version_of
from wprops.datasets import Dataset
from wprops.event_random import event_uniform
from wprops.events.schema import get_branch
from wprops.systematics.catalog import MUON_SCALE

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class MuonPt(NamedTuple):
    """Transverse momenta [GeV] of the muons, and one standard deviation off."""

    nominal: FloatArray
    up: FloatArray
    down: FloatArray


@lru_cache(maxsize=8)
def _rochester(path: Path, _version: tuple[int, int]) -> Rochester:
    return Rochester.read(path)


def calibrated_pt(
    events: ak.Array, dataset: Dataset, event: IntArray, index: IntArray
) -> MuonPt:
    """Calibrated momenta of one muon in each of some events.

    Without a calibration in the catalogue the momenta are those of the file, and the
    uncertainty is `wprops.systematics.catalog.MUON_SCALE`.

    Parameters
    ----------
    events : awkward.Array
        A chunk of NanoEvents.
    dataset : Dataset
        Its ``corrections: muons:`` names the file.
    event : ndarray of int, shape (n,)
        Events in the chunk.
    index : ndarray of int, shape (n,)
        Which of the muons of the event.

    Raises
    ------
    InputError
        If a branch that the calibration needs is missing.
    """

    def muon(name: str) -> NDArray[np.generic]:
        remedy = "take `muons:` out of the corrections of this dataset"
        values = get_branch(events, f"Muon_{name}", remedy=remedy)
        offsets = np.concatenate([[0], np.cumsum(ak.to_numpy(ak.num(values)))])
        return ak.to_numpy(ak.flatten(values))[offsets[event] + index]

    pt = muon("pt").astype(float)
    path = dataset.corrections.muons
    if path is None:
        return MuonPt(pt, (1.0 + MUON_SCALE) * pt, (1.0 - MUON_SCALE) * pt)
    rochester = _rochester(path, version_of(path))
    kinematics = muon("charge"), pt, muon("eta"), muon("phi")
    if dataset.kind == "data":
        return MuonPt(*rochester.correct_data(*kinematics))
    # The partner's momentum, NaN without one.
    partner = muon("genPartIdx").astype(np.int64)
    generated = get_branch(events, "GenPart_pt", remedy="use files with GenPart")
    starts = np.concatenate([[0], np.cumsum(ak.to_numpy(ak.num(generated)))])
    flat = ak.to_numpy(ak.flatten(generated)).astype(float)
    matched = partner >= 0
    gen_pt = np.full(len(pt), np.nan)
    gen_pt[matched] = flat[starts[event[matched]] + partner[matched]]
    run, section, number = (
        ak.to_numpy(events[name])[event] for name in ("run", "luminosityBlock", "event")
    )
    u = event_uniform(run, section, number, stream=index)
    corrected = rochester.correct_mc(*kinematics, gen_pt, muon("nTrackerLayers"), u)
    return MuonPt(*corrected)
