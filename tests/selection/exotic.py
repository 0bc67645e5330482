"""Events around every threshold of the selection, and the selection as a loop.

The loop follows the definitions of the ntuples (event types of the W analysis): it
knows nothing of the columns of `wprops.selection`.
"""

import math
from types import SimpleNamespace

import awkward as ak
import numpy as np

from tests.events.nano import write_nano

TRIGGERS = ("HLT_IsoMu24", "HLT_IsoTkMu24")
FLAGS = (
    "Flag_goodVertices",
    "Flag_globalTightHalo2016Filter",
    "Flag_HBHENoiseFilter",
    "Flag_HBHENoiseIsoFilter",
    "Flag_EcalDeadCellTriggerPrimitiveFilter",
)
F = np.float32
JUST_ABOVE = {x: np.nextafter(F(x), F(9)) for x in (0.15, 10, 20)}
JUST_BELOW = {x: np.nextafter(F(x), F(0)) for x in (0.05, 0.25, 2.4)}
#: Values of each column with the share of ordinary ones, which come first.
MUONS = {
    "pt": (0.6, [24.5, 26.0, 31.0, 44.0, 54.0], [9.0, 10, JUST_ABOVE[10], 15]),
    "eta": (0.9, [-1.7, 0.0, 0.4, 2.3], [2.4, -2.4, JUST_BELOW[2.4], 2.45]),
    "dxy": (0.9, [-0.01, 0.0, 0.02], [0.05, -0.05, JUST_BELOW[0.05], 0.06]),
    "dz": (0.9, [-0.1, 0.0, 0.1], [0.2, -0.2, 0.19, 0.3]),
    "pfRelIso04_all": (
        0.6,
        [0.0, 0.04, 0.1, 0.4, 1.2],
        [0.15, JUST_ABOVE[0.15], 0.2, JUST_BELOW[0.25], 0.25],
    ),
}
ELECTRONS = {
    "pt": (0.7, [12.0, 40.0], [9.0, 10, JUST_ABOVE[10]]),
    "eta": (0.5, [0.3, -1.0, 2.0], [1.479, -1.479, 1.48, -1.47]),
    "deltaEtaSC": (0.5, [0.0], [0.01, -0.01, 0.002]),
    "dxy": (0.5, [0.0, 0.01], [JUST_BELOW[0.05], 0.05, -0.07, 0.1, -0.12]),
    "dz": (0.5, [0.0, -0.05], [0.1, -0.15, 0.2, 0.3]),
    "pfRelIso03_all": (0.7, [0.05, 0.2], [0.29, 0.3, 0.5]),
}
#: What the selection reads of each collection.
COLUMNS = {
    "Muon": (*MUONS, "phi", "charge", "mediumId", "isPFcand"),
    "Electron": (*ELECTRONS, "cutBased"),
}


def _draw(table, n, rng):
    columns = {}
    for name, (share, ordinary, exotic) in table.items():
        is_ordinary = rng.random(n) < share
        values = np.where(is_ordinary, rng.choice(ordinary, n), rng.choice(exotic, n))
        columns[name] = values.astype(np.float32)
    columns["phi"] = rng.uniform(-np.pi, np.pi, n).astype(np.float32)
    columns["mass"] = np.zeros(n, np.float32)
    columns["charge"] = rng.choice([-1, 1], n).astype(np.int32)
    return columns


def exotic_branches(n, seed):
    """Draw events with up to three muons and two electrons."""
    rng = np.random.default_rng(seed)
    n_muons = rng.choice(4, n, p=[0.05, 0.55, 0.3, 0.1])
    n_electrons = rng.choice(3, n, p=[0.75, 0.2, 0.05])
    muons = _draw(MUONS, n_muons.sum(), rng)
    muons["mediumId"] = rng.random(n_muons.sum()) < 0.85
    muons["isPFcand"] = rng.random(n_muons.sum()) < 0.85
    electrons = _draw(ELECTRONS, n_electrons.sum(), rng)
    electrons["cutBased"] = rng.choice([0, 1, 2, 4], n_electrons.sum()).astype(np.int32)
    branches = {}
    for collection, counts, columns in (
        ("Muon", n_muons, muons),
        ("Electron", n_electrons, electrons),
    ):
        for name, values in columns.items():
            branches[f"{collection}_{name}"] = ak.unflatten(values, counts)
    branches |= {name: rng.random(n) < 0.6 for name in TRIGGERS}
    branches |= {name: rng.random(n) < 0.98 for name in FLAGS}
    # Half of the events at low transverse mass.
    met = rng.choice([6.0, 40.0], n) * rng.standard_exponential(n)
    branches["MET_pt"] = met.astype(np.float32)
    branches["MET_phi"] = rng.uniform(-np.pi, np.pi, n).astype(np.float32)
    return branches


def write_exotic(path, n=4000, seed=17, without=(), **more):
    """Write such events, some branches left out or replaced."""
    branches = exotic_branches(n, seed) | more
    for name in without:
        del branches[name]
    return write_nano(path, branches)


def objects(branches, collection):
    """Objects of each event as namespaces of NumPy scalars, with what cuts read."""
    prefix = f"{collection}_"
    names = COLUMNS[collection]
    flat = [ak.to_numpy(ak.flatten(branches[prefix + name])) for name in names]
    particles = (
        SimpleNamespace(**dict(zip(names, values, strict=True)))
        for values in zip(*flat, strict=True)
    )
    for count in ak.num(branches[prefix + names[0]]):
        yield [next(particles) for _ in range(count)]


def is_fiducial(muon):
    return (
        abs(muon.eta) < F(2.4)
        and muon.pt > F(10)
        and abs(muon.dxy) < F(0.05)
        and abs(muon.dz) < F(0.2)
    )


def is_loose(muon):
    return is_fiducial(muon) and muon.isPFcand and muon.pfRelIso04_all < F(0.25)


def is_medium(muon):
    return is_fiducial(muon) and muon.mediumId and muon.pt > F(20)


def is_veto(electron):
    in_barrel = abs(electron.eta + electron.deltaEtaSC) <= F(1.479)
    return (
        electron.pt > F(10)
        and electron.cutBased >= 1
        and electron.pfRelIso03_all < F(0.30)
        and abs(electron.dxy) < F(0.05 if in_barrel else 0.10)
        and abs(electron.dz) < F(0.1 if in_barrel else 0.2)
    )


def event_type(muons):
    """Vtype 0 (W-like), 1 (fake-like) or None, and the muon in question."""
    if sum(is_loose(muon) for muon in muons) >= 2:
        return None, None
    medium = [muon for muon in muons if is_medium(muon)]
    isolated = [muon for muon in medium if muon.pfRelIso04_all <= F(0.15)]
    anti_isolated = [muon for muon in medium if muon.pfRelIso04_all > F(0.15)]
    if len(isolated) == 1:
        return 0, isolated[0]
    if not isolated and len(anti_isolated) == 1:
        return 1, anti_isolated[0]
    return None, None


def transverse_mass(pt, phi, met, met_phi):
    return math.sqrt(2 * pt * met * max(0.0, 1 - math.cos(phi - met_phi)))


def slow_events(branches):
    """Kind, muon and missing momentum of the events that pass all but kinematics."""
    columns = {
        name: np.asarray(branches[name]).tolist()
        for name in (*TRIGGERS, *FLAGS, "MET_pt", "MET_phi")
    }
    kept = []
    for i, (muons, electrons) in enumerate(
        zip(objects(branches, "Muon"), objects(branches, "Electron"), strict=True)
    ):
        kind, muon = event_type(muons)
        if (
            kind is not None
            and any(columns[name][i] for name in TRIGGERS)
            and all(columns[name][i] for name in FLAGS)
            and not any(is_veto(electron) for electron in electrons)
        ):
            kept.append((i, kind, muon, columns["MET_pt"][i], columns["MET_phi"][i]))
    return kept


def slow_region(kind, muon, met, met_phi, scale=1.0, *, propagate=False):
    """Name of an event's region, or None, for a scale of the muon's pT."""
    pt, phi = float(muon.pt), float(muon.phi)
    # The missing momentum may lose what the muon gains.
    change = (scale - 1) * pt if propagate else 0.0
    x = met * math.cos(met_phi) - change * math.cos(phi)
    y = met * math.sin(met_phi) - change * math.sin(phi)
    mt = transverse_mass(scale * pt, phi, math.hypot(x, y), math.atan2(y, x))
    if not (25 <= scale * pt < 55 and -2.4 <= muon.eta < 2.4):
        return None
    if mt >= 40:
        return "signal" if kind == 0 else "signal_antiiso"
    if mt < 30:
        return "sideband" if kind == 0 else "sideband_antiiso"
    return None


def slow_regions(branches, scale=1.0):
    """Name of the region of each event, or None, for a scale of the muon's pT."""
    names = [None] * len(branches["MET_pt"])
    for i, *event in slow_events(branches):
        names[i] = slow_region(*event, scale, propagate=True)
    return names
