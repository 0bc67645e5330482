"""Reconstructed muons of generated W → μν decays, whether selected or not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import awkward as ak
import numba
import numpy as np
from numpy.typing import NDArray

from wprops.events.schema import get_branch
from wprops.factorised.decays import FloatArray, IntArray
from wprops.physics.collins_soper import BosonDecay
from wprops.selection.calibration import calibrated_pt
from wprops.selection.candidates import Candidates
from wprops.selection.met import find_convention, missing_momentum
from wprops.selection.regions import SIGNAL
from wprops.selection.shifts import kinematic_shifts
from wprops.systematics.declaration import NOMINAL, Systematic, variation_label

#: Farthest reconstructed muon from the lepton before radiation, in (eta, phi).
MAX_DISTANCE = 0.1


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MatchedMuons:
    """Decays with a reconstructed muon.

    Attributes
    ----------
    decay : ndarray of int, shape (m,)
        Which of the decays.
    event : ndarray of int, shape (m,)
        Their events in the chunk.
    candidates : Candidates
        These events as if the matched muon were their candidate.
    passes : ndarray of bool, shape (m,)
        Whether it is, and the event passes all cuts of the signal region that do not
        depend on its momentum or the missing one.
    """

    decay: IntArray
    event: IntArray
    candidates: Candidates
    passes: NDArray[np.bool_]

    def momenta(self, systematics: Iterable[Systematic]) -> dict[str, FloatArray]:
        """Transverse momenta [GeV], nominal and as the calibration varies them."""
        found = {NOMINAL: self.candidates.pt}
        for record in systematics:
            if record.name == "muon_scale":
                for side in record.variations:
                    pt = getattr(self.candidates, f"pt_{side}")
                    found[variation_label(record.name, side)] = pt
        return found

    def residuals(
        self, events: ak.Array, boson: BosonDecay, systematics: Iterable[Systematic]
    ) -> dict[str, FloatArray]:
        """Missing momentum plus the muon's minus qT, by kinematic variation.

        Parameters
        ----------
        events : awkward.Array
            The chunk of NanoEvents.
        boson : BosonDecay
            Bosons of all decays.
        systematics : iterable of Systematic
            The declarations in force.

        Returns
        -------
        dict of str to ndarray, shape (2, m)
            Components [GeV] along qT, and across it a quarter turn counter-clockwise.
        """
        dataset = events.metadata["record"]
        qt, phi = boson.qt[self.decay], boson.phi[self.decay]
        residuals = {}
        for label, shifted in kinematic_shifts(
            events, dataset, self.candidates, self.event, systematics
        ):
            along = shifted.met * np.cos(shifted.met_phi - phi)
            across = shifted.met * np.sin(shifted.met_phi - phi)
            along += shifted.pt * np.cos(shifted.phi - phi) - qt
            across += shifted.pt * np.sin(shifted.phi - phi)
            residuals[label] = np.stack([along, across])
        return residuals


def match_muons(
    events: ak.Array,
    candidates: Candidates,
    pick: IntArray,
    leptons: tuple[FloatArray, FloatArray, IntArray],
) -> MatchedMuons:
    """Find the reconstructed muons of generated leptons.

    It is the nearest one with the lepton's charge, within `MAX_DISTANCE`.

    Parameters
    ----------
    events : awkward.Array
        The chunk of NanoEvents.
    candidates : Candidates
        Its events as selected.
    pick : ndarray of int, shape (n,)
        Events of the decays in the chunk.
    leptons : tuple of ndarray, shape (n,)
        Pseudorapidity, azimuth [rad] before radiation, and charge.

    Raises
    ------
    InputError
        If a branch is missing.
    """
    columns = {
        name: get_branch(
            events, f"Muon_{name}", remedy="produce the file again with this branch"
        )
        for name in ("pt", "eta", "phi", "charge")
    }
    offsets = np.concatenate([[0], np.cumsum(ak.to_numpy(ak.num(columns["pt"])))])
    flat = {name: ak.to_numpy(ak.flatten(values)) for name, values in columns.items()}
    place = flat["eta"], flat["phi"], flat["charge"]
    index = _nearest_muon(offsets, place, pick, leptons, MAX_DISTANCE)
    decay = np.flatnonzero(index >= 0)
    event, index = pick[decay], index[decay]
    muon = {name: v[offsets[event] + index] for name, v in flat.items()}
    chosen = candidates.take(event)
    same = np.logical_and.reduce(
        [getattr(chosen, name) == muon[name] for name in ("eta", "phi", "charge")]
    )
    return MatchedMuons(
        decay=decay,
        event=event,
        candidates=_with_muons(events, chosen, (event, index), muon),
        passes=same & SIGNAL.unshifted.passes(chosen),
    )


def _with_muons(
    events: ak.Array,
    chosen: Candidates,
    place: tuple[IntArray, IntArray],
    muon: dict[str, NDArray[np.generic]],
) -> Candidates:
    """Events with other muons as candidates, and the missing momentum they give."""
    dataset = events.metadata["record"]
    met, met_phi = missing_momentum(events, find_convention(events, dataset))
    calibrated = calibrated_pt(events, dataset, *place)
    raw = replace(
        chosen,
        pt=muon["pt"].astype(float),
        pt_up=calibrated.up,
        pt_down=calibrated.down,
        eta=muon["eta"].astype(float),
        phi=muon["phi"].astype(float),
        charge=muon["charge"].astype(np.int64),
    ).with_met(met[place[0]], met_phi[place[0]])
    if dataset.corrections.propagate_muons:
        return raw.with_muon_pt(calibrated.nominal)
    return replace(raw, pt=calibrated.nominal).with_met(raw.met, raw.met_phi)


@numba.njit(cache=True, nogil=True)
def _nearest_muon(offsets, muons, event, leptons, max_distance):  # type: ignore[no-untyped-def]
    """Index in its event of the nearest muon of the lepton's charge, −1 without one.

    Distances are those in (eta, phi); ``muons`` are flat eta, phi and charge,
    ``leptons`` the same of the leptons of the events.
    """
    eta, phi, charge = muons
    nearest = np.full(len(event), -1, np.int64)
    for i in range(len(event)):
        best = max_distance * max_distance
        start = offsets[event[i]]
        for k in range(start, offsets[event[i] + 1]):
            if charge[k] != leptons[2][i]:
                continue
            turn = abs(phi[k] - leptons[1][i]) % (2.0 * np.pi)
            turn = min(turn, 2.0 * np.pi - turn)
            distance = (eta[k] - leptons[0][i]) ** 2 + turn * turn
            if distance < best:
                best, nearest[i] = distance, k - start
    return nearest
