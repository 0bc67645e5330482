"""The branches of a toy event in the NanoAOD versions v6, v9 and v15.

Versions differ in names, not in content: v6 carries the post-processed missing
momentum (``MET_pt_nom`` …) and ``PrefireWeight``, v9 ``MET_T1_*`` and
``L1PreFiringWeight_*``, v15 ``PFMET_*`` and ``PuppiMET_*``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import awkward as ak
import numpy as np
from numpy.typing import DTypeLike, NDArray

from wprops.errors import ConfigError
from wprops.events.toy.events import Reconstructed
from wprops.events.toy.parameters import DetectorTruth

NanoVersion = Literal["v6", "v9", "v15"]
Branches = dict[str, Any]


def check_version(nano: str) -> None:
    """Raise ConfigError unless the toy writes this version of NanoAOD."""
    if nano not in get_args(NanoVersion):
        msg = f"the toy writes NanoAOD {', '.join(get_args(NanoVersion))}, not {nano!r}"
        raise ConfigError(msg)


class Jagged:
    """Turns (n, k) columns into variable-length lists of what is present."""

    def __init__(self, present: NDArray[np.bool_]) -> None:
        self.present = present
        self.full = bool(present.all())
        offsets = np.zeros(len(present) + 1, np.int64)
        np.cumsum(present.sum(axis=1), out=offsets[1:])
        self.offsets = ak.index.Index64(offsets)

    def __call__(self, values: NDArray[Any], dtype: DTypeLike) -> ak.Array:
        """Return the lists of ``values``, shape (n, k), as ``dtype``."""
        flat = values.ravel() if self.full else values[self.present]
        content = ak.contents.NumpyArray(np.ascontiguousarray(flat, dtype=dtype))
        return ak.Array(ak.contents.ListOffsetArray(self.offsets, content))


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """Run, lumi section and event number of each event, shape (n,)."""

    run: NDArray[np.uint32]
    luminosity_block: NDArray[np.uint32]
    event: NDArray[np.uint64]


def detector_branches(
    events: Reconstructed,
    identity: Identity,
    nano: NanoVersion,
    detector: DetectorTruth,
    rng: np.random.Generator,
) -> Branches:
    """Branches that data and simulation share."""
    small = nano == "v15"
    muons = Jagged(events.found)
    shape = events.found.shape
    true = np.ones(shape, bool)
    branches: Branches = {
        "run": identity.run,
        "luminosityBlock": identity.luminosity_block,
        "event": identity.event,
        "Muon_pt": muons(events.pt, np.float32),
        "Muon_eta": muons(events.eta, np.float32),
        "Muon_phi": muons(events.phi, np.float32),
        "Muon_mass": muons(np.full(shape, 0.1056583745), np.float32),
        "Muon_charge": muons(events.charge, np.int32),
        "Muon_pdgId": muons(-13 * events.charge, np.int32),
        "Muon_dxy": muons(0.003 * rng.standard_normal(shape), np.float32),
        "Muon_dz": muons(0.02 * rng.standard_normal(shape), np.float32),
        "Muon_pfRelIso04_all": muons(events.isolation, np.float32),
        "Muon_mediumId": muons(events.medium_id, np.bool_),
        "Muon_looseId": muons(true, np.bool_),
        "Muon_isPFcand": muons(true, np.bool_),
        "Muon_isGlobal": muons(true, np.bool_),
        "Muon_nTrackerLayers": muons(
            rng.integers(10, 16, shape), np.uint8 if small else np.int32
        ),
    }
    branches |= _electrons(events, small=small)
    branches |= _trigger_and_flags(events, rng)
    branches |= _missing_momentum(events, nano, detector)
    branches["PV_npvs"] = events.vertices.astype(np.uint8 if small else np.int32)
    branches["PV_npvsGood"] = branches["PV_npvs"]
    branches["PV_z"] = (3.5 * rng.standard_normal(len(events.vertices))).astype("f4")
    return branches


def _electrons(events: Reconstructed, *, small: bool) -> Branches:
    electrons = Jagged(events.has_electron[:, None])
    n = len(events.has_electron)

    def column(values: Any, dtype: DTypeLike) -> ak.Array:
        return electrons(np.broadcast_to(values, (n,))[:, None], dtype)

    return {
        "Electron_pt": column(events.electron_pt, np.float32),
        "Electron_eta": column(events.electron_eta, np.float32),
        "Electron_phi": column(events.phi[:, 1], np.float32),
        "Electron_mass": column(0.000511, np.float32),
        "Electron_charge": column(np.where(events.vertices % 2, 1, -1), np.int32),
        "Electron_deltaEtaSC": column(0.0, np.float32),
        "Electron_dxy": column(0.01, np.float32),
        "Electron_dz": column(0.02, np.float32),
        "Electron_cutBased": column(
            events.electron_id, np.uint8 if small else np.int32
        ),
        "Electron_pfRelIso03_all": column(0.1, np.float32),
    }


def _trigger_and_flags(events: Reconstructed, rng: np.random.Generator) -> Branches:
    """Both paths fire for 80 % of triggered events, each alone for 10 %."""
    draw = rng.random(len(events.triggered))
    passed = np.ones(len(draw), bool)
    branches: Branches = {
        "HLT_IsoMu24": events.triggered & (draw < 0.9),
        "HLT_IsoTkMu24": events.triggered & ((draw < 0.8) | (draw >= 0.9)),
        "Flag_HBHENoiseFilter": events.passes_flags,
    }
    for name in (
        "goodVertices",
        "globalTightHalo2016Filter",
        "globalSuperTightHalo2016Filter",
        "HBHENoiseIsoFilter",
        "EcalDeadCellTriggerPrimitiveFilter",
        "BadPFMuonFilter",
    ):
        branches[f"Flag_{name}"] = passed
    return branches


def _missing_momentum(
    events: Reconstructed, nano: NanoVersion, detector: DetectorTruth
) -> Branches:
    values: dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]] = {}
    for label, scale in {
        "nominal": 1.0,
        "jesUp": 1.0 + detector.jes,
        "jesDown": 1.0 - detector.jes,
        "unclusteredUp": 1.0 + detector.unclustered,
        "unclusteredDown": 1.0 - detector.unclustered,
    }.items():
        pt, phi = events.missing_momentum(scale)
        values[label] = (pt.astype(np.float32), phi.astype(np.float32))
    nominal = values["nominal"]
    branches: Branches = {}
    if nano == "v15":
        for prefix in ("PFMET", "PuppiMET"):
            branches |= _pair(prefix, "", nominal)
            for side in ("Up", "Down"):
                varied = values[f"unclustered{side}"]
                branches |= _pair(prefix, f"Unclustered{side}", varied)
        return branches
    branches |= _pair("MET", "", nominal)
    if nano == "v6":
        for suffix, label in {
            "nom": "nominal",
            "jesTotalUp": "jesUp",
            "jesTotalDown": "jesDown",
            "unclustEnUp": "unclusteredUp",
            "unclustEnDown": "unclusteredDown",
        }.items():
            branches |= _pair("MET", f"_{suffix}", values[label])
        return branches
    branches |= _pair("MET_T1", "", nominal)
    for side in ("Up", "Down"):
        branches |= _pair("MET_T1", f"_jesTotal{side}", values[f"jes{side}"])
    up = values["unclusteredUp"]
    for axis, function in (("X", np.cos), ("Y", np.sin)):
        delta = up[0] * function(up[1]) - nominal[0] * function(nominal[1])
        branches[f"MET_MetUnclustEnUpDelta{axis}"] = delta.astype(np.float32)
    return branches


def _pair(
    prefix: str,
    suffix: str,
    values: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> Branches:
    """Magnitude and azimuth under NanoAOD's names."""
    return {
        f"{prefix}_pt{suffix}": values[0],
        f"{prefix}_phi{suffix}": values[1],
    }
