"""Find the leptons of the hard process before they radiate, in GenPart."""

from __future__ import annotations

from dataclasses import dataclass

import awkward as ak
import numba
import numpy as np
from numpy.typing import NDArray

from wprops.events.schema import get_branch

#: Bits of ``GenPart_statusFlags``.
FROM_HARD_PROCESS, LAST_COPY, LAST_COPY_BEFORE_FSR = 8, 13, 14
MUON, TAU = 13, 15

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class HardLeptons:
    """The two leptons of a boson's decay, one entry per event.

    Attributes
    ----------
    flavour : ndarray of int, shape (n,)
        |pdgId| of the charged lepton, of the neutrinos for Z → νν; 0 for events
        without exactly two leptons of one family from the hard process. Nothing
        tells the W of a semileptonic top pair from one that was produced alone.
    charge : ndarray of int, shape (n,)
        Charge of the boson.
    lepton, other : ndarray, shape (3, n)
        pT [GeV], eta and phi [rad] before radiation: the charged lepton and the
        neutrino of a W, the negative and the positive lepton of a Z; NaN in events
        of flavour 0.
    """

    flavour: IntArray
    charge: IntArray
    lepton: FloatArray
    other: FloatArray


def hard_leptons(events: ak.Array) -> HardLeptons:
    """Pick the leptons of the hard process, before radiation.

    A lepton is taken in its last copy (taus in the one that decays) and followed
    up its copies to the one before radiation, or to the first one that the file
    keeps.

    Parameters
    ----------
    events : awkward.Array
        A chunk of NanoEvents with GenPart.

    Raises
    ------
    InputError
        If a GenPart branch is missing.
    """
    columns = {
        name: get_branch(
            events, f"GenPart_{name}", remedy="use a file with generator particles"
        )
        for name in ("pt", "eta", "phi", "pdgId", "statusFlags", "genPartIdxMother")
    }
    counts = ak.to_numpy(ak.num(columns["pdgId"]))
    offsets = np.concatenate([[0], np.cumsum(counts)])
    flat = {name: ak.to_numpy(ak.flatten(values)) for name, values in columns.items()}
    flavour, charge = np.zeros((2, len(counts)), dtype=np.int64)
    lepton, other = np.full((2, 3, len(counts)), np.nan)
    # The kernel is compiled for the integers of the file: copies would cost as much.
    particles = flat["pdgId"], flat["genPartIdxMother"], flat["statusFlags"]
    momenta = flat["pt"], flat["eta"], flat["phi"]
    _pick(offsets, particles, momenta, flavour, charge, lepton, other)
    return HardLeptons(flavour=flavour, charge=charge, lepton=lepton, other=other)


@numba.njit(cache=True, nogil=True)
def _before_radiation(start, i, ids, mothers, flags):  # type: ignore[no-untyped-def]
    while not flags[i] >> LAST_COPY_BEFORE_FSR & 1:
        mother = mothers[i]
        if mother < 0 or ids[start + mother] != ids[i]:
            return i
        i = start + mother
    return i


@numba.njit(cache=True, nogil=True)
def _pick(offsets, particles, momenta, flavour, charge, lepton, other):  # type: ignore[no-untyped-def]
    ids, mothers, flags = particles
    pt, eta, phi = momenta
    for event in range(len(offsets) - 1):
        start, n = offsets[event], 0
        first = second = -1
        for i in range(start, offsets[event + 1]):
            hard = flags[i] >> FROM_HARD_PROCESS & 1 and flags[i] >> LAST_COPY & 1
            if hard and 11 <= abs(ids[i]) <= 16:
                first, second, n = second, i, n + 1
        if n != 2:
            continue
        a, b = ids[first], ids[second]
        # Charged leptons have odd ids, negative ones positive ids.
        if (abs(b) % 2 == 1) and (abs(a) % 2 == 0 or b > a):
            a, b, first, second = b, a, second, first
        charged = (abs(a) % 2) + (abs(b) % 2)
        same_family = abs(b) == abs(a) + 1 if charged == 1 else abs(a) == abs(b)
        if a * b > 0 or not same_family:
            continue
        flavour[event] = abs(a)
        charge[event] = 0 if charged != 1 else (-1 if a > 0 else 1)
        for place, out in ((first, lepton), (second, other)):
            i = _before_radiation(start, place, ids, mothers, flags)
            out[0, event], out[1, event], out[2, event] = pt[i], eta[i], phi[i]
