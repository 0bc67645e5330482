"""From events to single-muon candidates: objects, vetoes and what is cut on.

Everything a cut needs becomes one column per event, so that regions are data
(`wprops.selection.regions`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import awkward as ak
import numpy as np
from coffea.lumi_tools import LumiMask
from numpy.typing import NDArray

from wprops.catalog import Catalog
from wprops.datasets import Dataset
from wprops.events.schema import get_branch
from wprops.physics.kinematics import transverse_mass
from wprops.selection.calibration import calibrated_pt
from wprops.selection.met import find_convention, missing_momentum

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_REBUILD = "produce the file again with this branch"


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidates:
    """What regions cut on, one entry per event.

    Attributes
    ----------
    certified, triggered, passes_flags : ndarray of bool, shape (n,)
        Luminosity section is certified, a trigger fired, all filters passed.
    n_veto_electrons, n_loose : ndarray of int, shape (n,)
        Numbers of veto electrons and of loose muons.
    isolated, anti_isolated : ndarray of bool, shape (n,)
        Exactly one isolated medium muon; none, but one that is not isolated.
    pt, eta, phi, isolation : ndarray, shape (n,)
        The candidate [GeV, rad]; NaN in events without one. The momentum is the
        calibrated one.
    pt_up, pt_down : ndarray, shape (n,)
        Its momentum one standard deviation of the calibration off [GeV].
    charge : ndarray of int, shape (n,)
        Charge of the candidate; 0 without one.
    met, met_phi : ndarray, shape (n,)
        Missing transverse momentum [GeV] and its azimuth [rad].
    mt : ndarray, shape (n,)
        Transverse mass [GeV].
    """

    certified: BoolArray
    triggered: BoolArray
    passes_flags: BoolArray
    n_veto_electrons: NDArray[np.int64]
    n_loose: NDArray[np.int64]
    isolated: BoolArray
    anti_isolated: BoolArray
    pt: FloatArray
    pt_up: FloatArray
    pt_down: FloatArray
    eta: FloatArray
    phi: FloatArray
    isolation: FloatArray
    charge: NDArray[np.int64]
    met: FloatArray
    met_phi: FloatArray
    mt: FloatArray

    def take(self, index: NDArray[np.int64]) -> Candidates:
        """Return some of the events."""
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        return Candidates(**{name: values[index] for name, values in columns.items()})

    def with_muon_pt(self, pt: FloatArray) -> Candidates:
        """Return the candidates with other momenta.

        The missing momentum is minus the sum of what is measured, so it takes up
        the change of the muon.

        Parameters
        ----------
        pt : ndarray, shape (n,)
            Transverse momenta of the candidates [GeV].
        """
        x = self.met * np.cos(self.met_phi) - (pt - self.pt) * np.cos(self.phi)
        y = self.met * np.sin(self.met_phi) - (pt - self.pt) * np.sin(self.phi)
        # Events without a candidate keep their missing momentum.
        found = np.isfinite(pt)
        met = np.where(found, np.hypot(x, y), self.met)
        met_phi = np.where(found, np.arctan2(y, x), self.met_phi)
        return replace(self, pt=pt).with_met(met, met_phi)

    def with_met(self, met: FloatArray, met_phi: FloatArray) -> Candidates:
        """Return the candidates with another missing momentum [GeV, rad]."""
        mt = transverse_mass(self.pt, self.phi, met, met_phi)
        return replace(self, met=met, met_phi=met_phi, mt=mt)


@dataclass(frozen=True, slots=True, eq=False)
class _Flat:
    """A collection as flat columns with offsets."""

    offsets: NDArray[np.int64]
    columns: dict[str, NDArray[Any]]

    def count(self, mask: BoolArray) -> NDArray[np.int64]:
        """Objects per event that pass."""
        running = np.concatenate([[0], np.cumsum(mask)])
        return np.diff(running[self.offsets])


def _flat(events: ak.Array, collection: str, fields: tuple[str, ...]) -> _Flat:
    columns = {
        name: get_branch(events, f"{collection}_{name}", remedy=_REBUILD)
        for name in fields
    }
    counts = ak.to_numpy(ak.num(columns[fields[0]]))
    return _Flat(
        np.concatenate([[0], np.cumsum(counts)]),
        {name: ak.to_numpy(ak.flatten(values)) for name, values in columns.items()},
    )


def golden_mask(catalog: Catalog) -> LumiMask | None:
    """Certified luminosity sections of a catalogue; None if it names none."""
    golden = catalog.golden_json
    return None if golden is None else LumiMask(str(golden))


def certified_events(
    events: ak.Array, dataset: Dataset, golden: LumiMask | None
) -> BoolArray:
    """Events of certified luminosity sections, shape (n,).

    Parameters
    ----------
    events : awkward.Array
        A chunk of NanoEvents.
    dataset : Dataset
        The sample; all events of simulation are certified.
    golden : LumiMask, optional
        Certified sections; without them all data are certified.
    """
    if dataset.kind == "mc" or golden is None:
        return np.ones(len(events), bool)
    return ak.to_numpy(golden(events.run, events.luminosityBlock))


def select(events: ak.Array, dataset: Dataset, certified: BoolArray) -> Candidates:
    """Identify muons and electrons and choose the candidate of each event.

    Parameters
    ----------
    events : awkward.Array
        A chunk of NanoEvents.
    dataset : Dataset
        Says which triggers, filters and missing momentum to use.
    certified : ndarray of bool, shape (n,)
        Events of certified luminosity sections, see `certified_events`.

    Returns
    -------
    Candidates

    Raises
    ------
    InputError
        If a branch is missing; the message names file, branch and the setting of
        the catalogue with which one could go on.
    """
    n = len(events)
    muons = _flat(
        events,
        "Muon",
        (
            "pt",
            "eta",
            "phi",
            "charge",
            "dxy",
            "dz",
            "pfRelIso04_all",
            "mediumId",
            "isPFcand",
        ),
    )
    m = muons.columns
    fiducial = (
        (np.abs(m["eta"]) < 2.4)
        & (np.abs(m["dxy"]) < 0.05)
        & (np.abs(m["dz"]) < 0.2)
        & (m["pt"] > 10.0)
    )
    loose = fiducial & m["isPFcand"].astype(bool) & (m["pfRelIso04_all"] < 0.25)
    medium = fiducial & m["mediumId"].astype(bool) & (m["pt"] > 20.0)
    is_isolated = medium & (m["pfRelIso04_all"] <= 0.15)
    n_isolated = muons.count(is_isolated)
    isolated = n_isolated == 1
    anti_isolated = (n_isolated == 0) & (muons.count(medium & ~is_isolated) == 1)
    # The one medium muon of each class of events; all others have no candidate.
    chosen = np.flatnonzero(medium & np.repeat(isolated, np.diff(muons.offsets)))
    chosen = chosen[is_isolated[chosen]]
    anti = np.flatnonzero(medium & np.repeat(anti_isolated, np.diff(muons.offsets)))
    index = np.full(n, -1)
    index[isolated], index[anti_isolated] = chosen, anti
    found = index >= 0

    def column(name: str) -> FloatArray:
        values = np.full(n, np.nan)
        values[found] = m[name][index[found]]
        return values

    charge = np.zeros(n, dtype=np.int64)
    charge[found] = m["charge"][index[found]]
    event = np.flatnonzero(found)
    calibrated = np.full((3, n), np.nan)
    calibrated[:, found] = calibrated_pt(
        events, dataset, event, index[found] - muons.offsets[event]
    )
    raw, phi = column("pt"), column("phi")
    met, met_phi = missing_momentum(events, find_convention(events, dataset))
    candidates = Candidates(
        certified=certified,
        triggered=_any_of(events, dataset),
        passes_flags=_all_of(events, dataset),
        n_veto_electrons=_veto_electrons(events),
        n_loose=muons.count(loose),
        isolated=isolated,
        anti_isolated=anti_isolated,
        pt=raw,
        pt_up=calibrated[1],
        pt_down=calibrated[2],
        eta=column("eta"),
        phi=phi,
        isolation=column("pfRelIso04_all"),
        charge=charge,
        met=met,
        met_phi=met_phi,
        mt=transverse_mass(raw, phi, met, met_phi),
    )
    if dataset.corrections.propagate_muons:
        return candidates.with_muon_pt(calibrated[0])
    return replace(candidates, pt=calibrated[0]).with_met(met, met_phi)


def _any_of(events: ak.Array, dataset: Dataset) -> BoolArray:
    """Or of the triggers; true without any."""
    fired = np.full(len(events), not dataset.triggers)
    for name in dataset.triggers:
        fired |= _bit(events, name, dataset, "triggers")
    return fired


def _all_of(events: ak.Array, dataset: Dataset) -> BoolArray:
    """And of the filters; true without any."""
    passed = np.ones(len(events), bool)
    for name in dataset.flags:
        passed &= _bit(events, name, dataset, "flags")
    return passed


def _bit(events: ak.Array, name: str, dataset: Dataset, setting: str) -> BoolArray:
    kept = [other for other in getattr(dataset, setting) if other != name]
    remedy = (
        f"set `{setting}: [{', '.join(kept)}]` for dataset {dataset.name!r} to go on "
        "without it"
    )
    return ak.to_numpy(get_branch(events, name, remedy=remedy)).astype(bool)


def _veto_electrons(events: ak.Array) -> NDArray[np.int64]:
    """Count electrons of the veto identification, pT > 10 GeV."""
    electrons = _flat(
        events,
        "Electron",
        ("pt", "eta", "deltaEtaSC", "dxy", "dz", "cutBased", "pfRelIso03_all"),
    )
    e = electrons.columns
    barrel = np.abs(e["eta"] + e["deltaEtaSC"]) <= 1.479
    veto = (
        (e["pt"] > 10.0)
        & (e["cutBased"] >= 1)
        & (e["pfRelIso03_all"] < 0.30)
        & (np.abs(e["dxy"]) < np.where(barrel, 0.05, 0.10))
        & (np.abs(e["dz"]) < np.where(barrel, 0.1, 0.2))
    )
    return electrons.count(veto)
