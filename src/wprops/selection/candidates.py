"""From events to single-muon candidates: objects, vetoes and what is cut on.

Everything a cut needs becomes one column per event, so that regions are data
(`wprops.selection.regions`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import awkward as ak
import numba
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
_MUON = (
    *("pt", "eta", "dxy", "dz", "pfRelIso04_all"),
    *("mediumId", "isPFcand", "phi", "charge"),
)
_ELECTRON = ("pt", "eta", "deltaEtaSC", "dxy", "dz", "pfRelIso03_all", "cutBased")
#: Muons: |eta|, |dxy| and |dz| [cm] below, pT [GeV] above; loose ones have a relative
#: isolation below 0.25; medium ones pT above 20 GeV, isolated up to 0.15.
MUON_CUTS = (2.4, 0.05, 0.2, 10.0, 0.25, 20.0, 0.15)
#: Veto electrons: pT [GeV] above, relative isolation below; up to |eta| of the cluster
#: 1.479 the first |dxy| and |dz| [cm] are the limits, beyond the second.
ELECTRON_CUTS = (10.0, 0.30, 1.479, 0.05, 0.1, 0.10, 0.2)


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
    muons = _flat(events, "Muon", _MUON)
    m = muons.columns
    n_loose, index = np.zeros(n, dtype=np.int64), np.full(n, -1)
    isolated, anti_isolated = np.zeros((2, n), dtype=bool)
    _choose_muons(
        muons.offsets,
        tuple(m[name] for name in _MUON[:5]),
        (m["mediumId"], m["isPFcand"]),
        _like(m["pt"], MUON_CUTS),
        (n_loose, index, isolated, anti_isolated),
    )
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
        n_loose=n_loose,
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
    electrons = _flat(events, "Electron", _ELECTRON)
    e = electrons.columns
    n_veto = np.zeros(len(events), dtype=np.int64)
    kinematics = tuple(e[name] for name in _ELECTRON[:6])
    cuts = _like(e["pt"], ELECTRON_CUTS)
    _count_electrons(electrons.offsets, kinematics, e["cutBased"], cuts, n_veto)
    return n_veto


def _like(column: NDArray[Any], cuts: tuple[float, ...]) -> tuple[Any, ...]:
    """Return cuts in the precision of a column, whose values they are compared with."""
    return tuple(np.array(cuts, dtype=column.dtype))


@numba.njit(cache=True, nogil=True)
def _choose_muons(offsets, kinematics, flags, cuts, into):  # type: ignore[no-untyped-def]
    pt, eta, dxy, dz, isolation = kinematics
    medium, particle_flow = flags
    max_eta, max_dxy, max_dz, min_pt, max_loose, min_medium, max_isolated = cuts
    n_loose, index, isolated, anti_isolated = into
    for event in range(len(n_loose)):
        n_isolated = n_others = 0
        inside = outside = -1
        for i in range(offsets[event], offsets[event + 1]):
            if not (
                abs(eta[i]) < max_eta
                and abs(dxy[i]) < max_dxy
                and abs(dz[i]) < max_dz
                and pt[i] > min_pt
            ):
                continue
            n_loose[event] += bool(particle_flow[i]) and isolation[i] < max_loose
            if medium[i] and pt[i] > min_medium:
                if isolation[i] <= max_isolated:
                    n_isolated += 1
                    inside = i
                else:
                    n_others += 1
                    outside = i
        if n_isolated == 1:
            isolated[event], index[event] = True, inside
        elif n_isolated == 0 and n_others == 1:
            anti_isolated[event], index[event] = True, outside


@numba.njit(cache=True, nogil=True)
def _count_electrons(offsets, kinematics, identification, cuts, n_veto):  # type: ignore[no-untyped-def]
    pt, eta, to_cluster, dxy, dz, isolation = kinematics
    min_pt, max_isolation, barrel, dxy_in, dz_in, dxy_out, dz_out = cuts
    for event in range(len(n_veto)):
        for i in range(offsets[event], offsets[event + 1]):
            if not (
                pt[i] > min_pt
                and identification[i] >= 1
                and isolation[i] < max_isolation
            ):
                continue
            if abs(eta[i] + to_cluster[i]) <= barrel:
                passes = abs(dxy[i]) < dxy_in and abs(dz[i]) < dz_in
            else:
                passes = abs(dxy[i]) < dxy_out and abs(dz[i]) < dz_out
            n_veto[event] += passes
