"""L1 prefiring: the probability that no jet, photon or electron fired too early.

Level-1 triggers of ECAL objects in 2 ≤ abs(η) ≤ 3 were assigned to the previous bunch
crossing in 2016 and 2017, which vetoes the event. NanoAOD has the weights as branches
(`find_branches`, `branch_weights`); where it lacks them, `prefire_weights` computes
them from maps of the probability (``corrections/build_prefire.py``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from correctionlib.highlevel import Correction
from numpy.typing import ArrayLike, NDArray

from wprops.corrections.sets import finite_columns, get_correction, require
from wprops.errors import InputError

FloatArray = NDArray[np.float64]
Flavour = Literal["v9", "v6"]
IntArray = NDArray[np.int64]

VARIATIONS = ("nominal", "up", "down")
#: Names of the branches by NanoAOD flavour, in the order of `VARIATIONS`: of central
#: production, and of the post-processing of v6 with nanoAOD-tools. Up is a larger
#: probability of prefiring, hence a smaller weight.
BRANCHES = {
    "v9": ("L1PreFiringWeight_Nom", "L1PreFiringWeight_Up", "L1PreFiringWeight_Dn"),
    "v6": ("PrefireWeight", "PrefireWeight_Up", "PrefireWeight_Down"),
}
#: Names of the two maps in a file, and their inputs.
JET, PHOTON = "jet", "photon"
INPUTS = ("eta", "pt", "value")
#: What a map holds: the probability and its statistical error.
PROBABILITY, ERROR = "probability", "error"

#: Objects that can prefire: lowest pT [GeV] and range of abs(η).
MIN_PT = 20.0
ABS_ETA = (2.0, 3.0)
#: Objects above have the probability at this pT [GeV].
MAX_PT = 500.0
#: Systematic uncertainty, relative to the probability.
SYSTEMATIC = 0.2


@dataclass(frozen=True, kw_only=True, slots=True)
class Jets:
    """All jets of the events, flattened: photons and electrons refer to them by index.

    Attributes
    ----------
    pt, eta : array_like, shape (n_jets,)
        Transverse momentum [GeV] and pseudorapidity. For a map in the electromagnetic
        energy, pt is the electromagnetic part of it.
    event : array_like of int, shape (n_jets,)
        Index of the event, not decreasing.
    """

    pt: ArrayLike
    eta: ArrayLike
    event: ArrayLike


@dataclass(frozen=True, kw_only=True, slots=True)
class EMObjects:
    """Photons or electrons, flattened.

    Attributes
    ----------
    pt, eta : array_like, shape (n,)
        Transverse momentum [GeV] and pseudorapidity.
    event : array_like of int, shape (n,)
        Index of the event, not decreasing.
    jet_index : array_like of int, shape (n,)
        The jet that the object is part of, counted within the event as in NanoAOD
        (``Photon_jetIdx``); negative without one.
    photon_index : array_like of int, shape (n,), optional
        For electrons, the photon made of the same ECAL deposit
        (``Electron_photonIdx``), counted likewise. The pair counts once, with the
        larger probability of the two.
    """

    pt: ArrayLike
    eta: ArrayLike
    event: ArrayLike
    jet_index: ArrayLike
    photon_index: ArrayLike | None = None


@dataclass(frozen=True, slots=True)
class PrefireMaps:
    """Maps of the probability to prefire, of jets and of photons and electrons."""

    jet: Correction
    photon: Correction


def open_maps(path: Path) -> PrefireMaps:
    """Open the maps of a file.

    Raises
    ------
    ConfigError
        If the file or a map is missing, or a map has other inputs.
    """
    return PrefireMaps(*(get_correction(path, name, INPUTS) for name in (JET, PHOTON)))


def find_branches(
    available: Collection[str], flavour: Flavour | None = None
) -> tuple[str, str, str] | None:
    """Return the names of the branches: nominal, up and down; None without them.

    Parameters
    ----------
    available : collection of str
        Branches of the file.
    flavour : {"v9", "v6"}, optional
        Which to take from a file that has both.

    Raises
    ------
    InputError
        If only some of the branches exist, or both flavours do.

    Examples
    --------
    >>> find_branches(["PrefireWeight", "PrefireWeight_Up", "PrefireWeight_Down"])[0]
    'PrefireWeight'
    >>> find_branches(["Muon_pt"]) is None
    True
    """
    wanted = BRANCHES if flavour is None else {flavour: BRANCHES[flavour]}
    found = {key: names for key, names in wanted.items() if set(names) & set(available)}
    if len(found) > 1:
        both = " and ".join(names[0] for names in found.values())
        msg = f"found {both}; choose one with flavour={' or '.join(map(repr, found))}"
        raise InputError(msg)
    for names in found.values():
        missing = [name for name in names if name not in available]
        if missing:
            msg = (
                f"found {', '.join(n for n in names if n not in missing)} without "
                f"{', '.join(missing)}; read all three, or compute them from maps"
            )
            raise InputError(msg)
        return names
    return None


def branch_weights(columns: Mapping[str, ArrayLike]) -> dict[str, FloatArray] | None:
    """Weights by variation from the branches of a file; None without them.

    Parameters
    ----------
    columns : mapping of str to array_like, shape (n_events,)
        At least the branches; others are ignored.

    Raises
    ------
    InputError
        As `find_branches`, or if a weight is not a probability.
    """
    names = find_branches(list(columns))
    if names is None:
        return None
    weights = finite_columns(**{name: columns[name] for name in names})
    for name, weight in zip(names, weights, strict=True):
        possible = (weight >= 0) & (weight <= 1)
        remedy = "compute the weights from maps instead"
        require(name, weight, possible, "a probability", remedy)
    return dict(zip(VARIATIONS, weights, strict=True))


def prefire_weights(
    maps: PrefireMaps,
    n_events: int,
    jets: Jets,
    photons: EMObjects,
    electrons: EMObjects | None = None,
) -> dict[str, FloatArray]:
    """Probability that nothing in an event prefired, by variation.

    A jet counts with the smaller of its own probability not to prefire and the
    product of those of the photons and electrons in it. Jets, and photons and
    electrons without a jet, are independent of each other.

    Parameters
    ----------
    maps : PrefireMaps
        From `open_maps`.
    n_events : int
    jets : Jets
    photons, electrons : EMObjects
        Any pT and eta: objects that cannot prefire have no effect.

    Returns
    -------
    dict of str to ndarray, shape (n_events,)
        ``nominal``, ``up`` and ``down``, where ``up`` is the larger probability to
        prefire, hence the smaller weight.

    Raises
    ------
    InputError
        If columns differ in length or are not finite, events are out of order or
        range, or an index points to no object.
    """
    jet_pt, jet_eta = finite_columns(jet_pt=jets.pt, jet_eta=jets.eta)
    jet_event = _event_index("jet", jets.event, len(jet_pt), n_events)
    survive = {JET: _survival(maps.jet, jet_pt, jet_eta)}
    event, jet = {}, {}
    given = {PHOTON: photons} | ({} if electrons is None else {"electron": electrons})
    for name, some in given.items():
        columns = {f"{name}_pt": some.pt, f"{name}_eta": some.eta}
        pt, eta = finite_columns(**columns)
        event[name] = _event_index(name, some.event, len(pt), n_events)
        jet[name] = _global_index(
            f"{name}_jet_index", some.jet_index, event[name], jet_event, n_events
        )
        survive[name] = _survival(maps.photon, pt, eta)
    if electrons is not None and electrons.photon_index is not None:
        same = _global_index(
            "electron_photon_index",
            electrons.photon_index,
            event["electron"],
            event[PHOTON],
            n_events,
        )
        shared = same >= 0
        for k in range(len(VARIATIONS)):
            np.minimum.at(
                survive[PHOTON][k], same[shared], survive["electron"][k, shared]
            )
        survive["electron"][:, shared] = 1.0
    weights = {}
    for k, variation in enumerate(VARIATIONS):
        inside = np.ones(len(jet_pt))
        weight = np.ones(n_events)
        for name in given:
            in_jet = jet[name] >= 0
            np.multiply.at(inside, jet[name][in_jet], survive[name][k, in_jet])
            np.multiply.at(weight, event[name][~in_jet], survive[name][k, ~in_jet])
        np.multiply.at(weight, jet_event, np.minimum(survive[JET][k], inside))
        weights[variation] = weight
    return weights


def _survival(probability: Correction, pt: FloatArray, eta: FloatArray) -> FloatArray:
    """Probability of each object not to prefire, shape (3, n): `VARIATIONS`."""
    survive = np.ones((len(VARIATIONS), len(pt)))
    abs_eta = np.abs(eta)
    can = (pt >= MIN_PT) & (abs_eta >= ABS_ETA[0]) & (abs_eta <= ABS_ETA[1])
    place = eta[can], np.minimum(pt[can], np.nextafter(MAX_PT, 0.0))
    nominal = probability.evaluate(*place, PROBABILITY)
    error = np.hypot(probability.evaluate(*place, ERROR), SYSTEMATIC * nominal)
    survive[:, can] = 1.0 - np.clip(
        [nominal, nominal + error, nominal - error], 0.0, 1.0
    )
    return survive


def _event_index(name: str, event: ArrayLike, n: int, n_events: int) -> IntArray:
    """Check the event index of flattened objects."""
    index = _indices(f"{name}_event", event, n)
    if n and (index.min() < 0 or index.max() >= n_events):
        msg = (
            f"{name}_event goes from {index.min()} to {index.max()}, expected 0 to "
            f"{n_events - 1}; count the events from the first of the chunk"
        )
        raise InputError(msg)
    if np.any(np.diff(index) < 0):
        msg = f"{name}_event decreases; flatten the objects in the order of the events"
        raise InputError(msg)
    return index


def _global_index(
    name: str, local: ArrayLike, event: IntArray, target_event: IntArray, n_events: int
) -> IntArray:
    """Turn an index within the event into one of the flattened targets, or −1."""
    index = _indices(name, local, len(event))
    counts = np.bincount(target_event, minlength=n_events)
    beyond = np.flatnonzero(index >= counts[event])
    if len(beyond):
        at = beyond[0]
        msg = (
            f"{name}[{at}] is {index[at]}, but event {event[at]} has "
            f"{counts[event[at]]} of them; pass all objects, before any selection"
        )
        raise InputError(msg)
    first = np.cumsum(counts) - counts
    return np.where(index < 0, -1, first[event] + index)


def _indices(name: str, values: ArrayLike, n: int) -> IntArray:
    """Check a column of integers."""
    array = np.asarray(values)
    if array.shape != (n,) or (n and not np.issubdtype(array.dtype, np.integer)):
        msg = (
            f"{name} has shape {array.shape} and type {array.dtype}, expected {n} "
            "integers; give the index of each object"
        )
        raise InputError(msg)
    return array.astype(np.int64)
