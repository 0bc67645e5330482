"""Weights of the matrix-element generator: which entry of a branch is which.

NanoAOD documents them in the titles of the branches, such as "… for LHA IDs
292201 - 292302" or "… [0] is muR=0.5 muF=0.5 ; …". Files that lost their titles are
read by the number of entries alone; a title that contradicts the number is an error.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from wprops.datasets import Dataset, PdfWeights
from wprops.errors import ConfigError, InputError
from wprops.events.schema import file_name, get_branch

#: Scales (muR, muF) in units of the nominal ones, in the order of the branch.
SCALE_GRID = tuple((r, f) for r in (0.5, 1.0, 2.0) for f in (0.5, 1.0, 2.0))
#: Place of the nominal entry among the nine.
NOMINAL_SCALE = SCALE_GRID.index((1.0, 1.0))

_IDS = re.compile(r"LHA IDs (\d+)\s*-\s*(\d+)")
_NUMBER = r"([0-9.]+(?:[eE][+-]?\d+)?)"
_SCALES = re.compile(rf"\[(\d+)\] is mur={_NUMBER} muf={_NUMBER}", re.IGNORECASE)


class Members(NamedTuple):
    """All entries of one branch of weights in a chunk.

    Attributes
    ----------
    weights : ndarray of float32, shape (n_events, n_weights)
        The entries, not copied from the file's buffers.
    title : str
        What the file says of the branch; empty where it says nothing.
    where : str
        File and branch, to begin messages with.
    """

    weights: NDArray[np.float32]
    title: str
    where: str


def read_members(events: ak.Array, branch: str, dataset: Dataset) -> Members:
    """Return a jagged branch of weights as a matrix.

    Raises
    ------
    InputError
        If the branch is absent or its length differs between events.
    """
    remedy = (
        f"the catalogue says that dataset {dataset.name!r} has it; remove it "
        "from `weights:` of the dataset to run without these variations"
    )
    weights = get_branch(events, branch, remedy=remedy)
    lengths = ak.to_numpy(ak.num(weights))
    where = f"{file_name(events)}: {branch}"
    if len(lengths) and lengths.min() != lengths.max():
        msg = (
            f"{where} has {lengths.min()} to {lengths.max()} entries per event; a "
            "fixed number is needed, split the dataset by file"
        )
        raise InputError(msg)
    width = int(lengths[0]) if len(lengths) else 0
    flat = ak.flatten(weights)
    title = flat.layout.parameter("__doc__") or ""
    return Members(ak.to_numpy(flat).reshape(len(events), width), title, where)


def replica_weights(
    events: ak.Array, dataset: Dataset, pick: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Replicas or Hessian members of the parton densities, relative to nominal.

    Parameters
    ----------
    events : awkward.Array
        A chunk of NanoEvents.
    dataset : Dataset
        Its ``weights: pdf:`` declares branch and numbers.
    pick : ndarray of int64, shape (n,)
        Which of the events.

    Returns
    -------
    ndarray of float32, shape (n, n_replicas)

    Raises
    ------
    InputError
        If the entries of the branch, or its title, contradict the declaration.
    ConfigError
        If the catalogue declares no PDF weights.
    """
    declared = _declared(dataset)
    members = read_members(events, declared.branch, dataset)
    first = _first_replica(members, declared)
    return _relative(members, pick, slice(first, first + declared.replicas), first)


def alphas_weights(
    events: ak.Array, dataset: Dataset, pick: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Members with alphaS down and up, which follow the replicas.

    Parameters and errors are those of `replica_weights`.

    Returns
    -------
    ndarray of float32, shape (n, 2)
        Shape (n, 0) where the dataset declares none.
    """
    declared = _declared(dataset)
    members = read_members(events, declared.branch, dataset)
    first = _first_replica(members, declared)
    return _relative(members, pick, slice(first + declared.replicas, None), first)


def _declared(dataset: Dataset) -> PdfWeights:
    declared = dataset.weights.pdf
    if declared is None:
        msg = (
            f"dataset {dataset.name!r} declares no PDF weights in the "
            "catalogue, but its process has PDF systematics: add `weights: {pdf: ...}`"
        )
        raise ConfigError(msg)
    return declared


def _relative(
    members: Members, pick: NDArray[np.int64], columns: slice, first: int
) -> NDArray[np.float32]:
    chosen = members.weights[pick, columns]
    if first:  # some files have a nominal member other than 1
        chosen /= members.weights[pick, :1]
    return chosen


def _first_replica(members: Members, declared: PdfWeights) -> int:
    """Return 0 or 1: whether a nominal member comes before the replicas.

    The number of entries tells, and the IDs in the title have to agree: members of a
    set are numbered from its nominal one, and most sets start at a round hundred.
    """
    found = members.weights.shape[1]
    n_alphas = 2 if declared.alphas else 0
    expected = declared.replicas + n_alphas
    says = (
        f"{declared.replicas} replicas and {n_alphas} alphaS members make {expected}, "
        "or one more with the nominal first. Correct `weights: pdf:` of the dataset"
    )
    if found - expected not in (0, 1):
        msg = f"{members.where} has {found} entries; {says}"
        raise InputError(msg)
    ids = _IDS.search(members.title)
    if ids is None:
        return found - expected
    low, high = (int(number) for number in ids.groups())
    if high - low + 1 != found:
        msg = (
            f"{members.where} has {found} entries, but its title names "
            f"{high - low + 1}: {members.title!r}. Produce the file again, or remove "
            "`pdf:` from `weights:` of the dataset to run without these variations"
        )
        raise InputError(msg)
    documented = {0: 1, 1: 0}.get(low % 100)
    if documented not in (None, found - expected):
        place = "comes first" if documented else "is not among them"
        msg = (
            f"{members.where} has {found} entries, and by its title, "
            f"{members.title!r}, the nominal member {place}; {says}"
        )
        raise InputError(msg)
    return found - expected


def scale_weights(
    events: ak.Array, dataset: Dataset, pick: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Weights of `SCALE_GRID` relative to the nominal one, shape (n, 9).

    Parameters are those of `replica_weights`.

    Raises
    ------
    InputError
        If there are other than nine entries, or the title names another order.
    ConfigError
        If the catalogue declares no scale weights.
    """
    branch = dataset.weights.scale
    if branch is None:
        msg = (
            f"dataset {dataset.name!r} declares no scale weights, but others "
            "do; add `scale: LHEScaleWeight` to its `weights:`, or set "
            "`without: [scale_z, scale_w]`"
        )
        raise ConfigError(msg)
    members = read_members(events, branch, dataset)
    remedy = "Set `without: [scale_z, scale_w]` to run without"
    if members.weights.shape[1] != len(SCALE_GRID):
        msg = (
            f"{members.where} has {members.weights.shape[1]} entries; "
            "nine are needed, (muR, muF) from (0.5, 0.5) to (2, 2) with the nominal in "
            f"the middle. {remedy}"
        )
        raise InputError(msg)
    documented = tuple(
        (float(r), float(f)) for _, r, f in _SCALES.findall(members.title)
    )
    if documented not in ((), SCALE_GRID):
        msg = (
            f"{members.where}: by its title the entries are (muR, muF) = "
            f"{documented}; expected is the order {SCALE_GRID}. {remedy}"
        )
        raise InputError(msg)
    chosen = members.weights[pick].astype(float)
    # Some samples have a nominal entry other than 1.
    return chosen / chosen[:, [NOMINAL_SCALE]]
