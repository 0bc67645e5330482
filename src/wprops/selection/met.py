"""Missing transverse momentum and its variations, whatever the file calls them.

NanoAOD names them differently by version and post-processing; each convention is one
record of `CONVENTIONS`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from wprops.datasets import Dataset
from wprops.errors import InputError
from wprops.events.schema import file_name, get_branch, has_branch

FloatArray = NDArray[np.float64]
#: Magnitude [GeV] and azimuth [rad], shape (n,) each.
Met = tuple[FloatArray, FloatArray]

_REMEDY = "produce the file again with this branch"
#: The change of the nominal vector for the unclustered energy up, in v6 to v12.
_DELTA = ("MET_MetUnclustEnUpDeltaX", "MET_MetUnclustEnUpDeltaY")


@dataclass(frozen=True, kw_only=True, slots=True)
class Convention:
    """How one kind of file names the missing momentum.

    Attributes
    ----------
    collection : str
        Name by which the catalogue's ``met:`` chooses it.
    nominal : str
        Branch with ``{}`` for ``pt`` and ``phi``.
    jes, unclustered : str, optional
        Varied branches, with ``{}`` for ``pt`` or ``phi`` and then for ``Up`` or
        ``Down``; None where the file has none.
    delta : tuple of str, optional
        Branches with the x and y change for the unclustered energy up, which is
        turned around for down.
    """

    collection: str
    nominal: str
    jes: str | None = None
    unclustered: str | None = None
    delta: tuple[str, str] | None = None


#: The best one first: post-processed v6, type-1 corrected by post-processing, stock
#: v15, stock v6 to v12. Puppi is taken only where the catalogue asks for it.
CONVENTIONS = (
    Convention(
        collection="MET_nom",
        nominal="MET_{}_nom",
        jes="MET_{}_jesTotal{}",
        unclustered="MET_{}_unclustEn{}",
    ),
    Convention(
        collection="MET_T1",
        nominal="MET_T1_{}",
        jes="MET_T1_{}_jesTotal{}",
        delta=_DELTA,
    ),
    Convention(
        collection="PFMET", nominal="PFMET_{}", unclustered="PFMET_{}Unclustered{}"
    ),
    Convention(collection="MET", nominal="MET_{}", delta=_DELTA),
)
PUPPI = Convention(
    collection="PuppiMET",
    nominal="PuppiMET_{}",
    jes="PuppiMET_{}JES{}",
    unclustered="PuppiMET_{}Unclustered{}",
)


def find_convention(events: ak.Array, dataset: Dataset) -> Convention:
    """Return the convention of a file, or the one that the catalogue names.

    Raises
    ------
    InputError
        If the file has no missing momentum by that name, or the name is unknown.
    """
    options = _options(dataset)
    found = _first(options, lambda branch: has_branch(events, branch))
    if found is not None:
        return found
    looked_for = ", ".join(option.nominal.format("pt") for option in options)
    msg = (
        f"{file_name(events)} has no missing momentum: looked for {looked_for}; choose "
        f"one of {_known()} with `met:` for dataset {dataset.name!r}"
    )
    raise InputError(msg)


def require_one_convention(
    dataset: Dataset, branches: Mapping[str, Collection[str]]
) -> None:
    """Check that all files of a dataset name the missing momentum in one way.

    Chunks choose by their own file, so that a mixed dataset would have two kinds of
    missing momentum. Files without any are left to whoever needs it.

    Parameters
    ----------
    dataset : Dataset
        The dataset.
    branches : mapping of str to collection of str
        Names of the branches of ``Events``, by file.

    Raises
    ------
    InputError
        If two files have different conventions, or the name in the catalogue is
        unknown.
    """
    options = _options(dataset)
    files: dict[str, str] = {}
    for path, names in branches.items():
        found = _first(options, names.__contains__)
        if found is not None:
            files.setdefault(found.collection, path)
    if len(files) > 1:
        examples = ", ".join(f"{name} in {path}" for name, path in files.items())
        msg = (
            f"dataset {dataset.name!r}: its files name the missing momentum in "
            f"different ways: {examples}. Set `met:` to one that all of them have, or "
            "split the dataset"
        )
        raise InputError(msg)


def _known() -> str:
    return ", ".join(option.collection for option in (*CONVENTIONS, PUPPI))


def _options(dataset: Dataset) -> tuple[Convention, ...]:
    """Return the conventions that a dataset may have, the best one first."""
    if dataset.met is None:
        return CONVENTIONS
    named = [o for o in (*CONVENTIONS, PUPPI) if o.collection == dataset.met]
    if not named:
        msg = (
            f"dataset {dataset.name!r}: unknown `met: {dataset.met}`; known are "
            f"{_known()}"
        )
        raise InputError(msg)
    return tuple(named)


def _first(
    options: Iterable[Convention], has: Callable[[str], bool]
) -> Convention | None:
    for option in options:
        if all(has(option.nominal.format(quantity)) for quantity in ("pt", "phi")):
            return option
    return None


def missing_momentum(events: ak.Array, convention: Convention) -> Met:
    """Nominal magnitude [GeV] and azimuth [rad]."""
    return _pair(events, convention.nominal)


def varied_momentum(
    events: ak.Array, convention: Convention, source: str, side: str
) -> Met:
    """Missing momentum with the jet energy or the unclustered energy varied.

    Parameters
    ----------
    events : awkward.Array
        A chunk of NanoEvents.
    convention : Convention
        Of the file, see `find_convention`.
    source : {"jes", "unclustered"}
        What is varied.
    side : {"up", "down"}
        By one standard deviation.

    Raises
    ------
    InputError
        If the file has no such variation.
    """
    patterns = {"jes": convention.jes, "unclustered": convention.unclustered}
    if source not in patterns:
        msg = (
            f"the missing momentum has no variation {source!r}; it has "
            f"{', '.join(patterns)}. A kinematic systematic needs its candidates in "
            "wprops.selection.shifts"
        )
        raise InputError(msg)
    pattern = patterns[source]
    if pattern is not None:
        return _pair(events, pattern, side.capitalize())
    if source == "unclustered" and convention.delta is not None:
        sign = 1.0 if side == "up" else -1.0
        pt, phi = missing_momentum(events, convention)
        dx, dy = (_column(events, name) for name in convention.delta)
        x, y = pt * np.cos(phi) + sign * dx, pt * np.sin(phi) + sign * dy
        return np.hypot(x, y), np.arctan2(y, x)
    msg = (
        f"{file_name(events)} has no variation {source!r} of the missing momentum "
        f"{convention.collection}; choose another with `met:`, or leave the systematic "
        "out with `without:` in the catalogue"
    )
    raise InputError(msg)


def _pair(events: ak.Array, pattern: str, *side: str) -> Met:
    return (
        _column(events, pattern.format("pt", *side)),
        _column(events, pattern.format("phi", *side)),
    )


def _column(events: ak.Array, name: str) -> FloatArray:
    return ak.to_numpy(get_branch(events, name, remedy=_REMEDY)).astype(float)
