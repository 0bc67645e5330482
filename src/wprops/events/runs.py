"""What a file says of itself and of its sample, before its events are processed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import uproot
from numpy.typing import NDArray

from wprops.errors import InputError

#: Where the sum of generator weights of a sample comes from.
Source = Literal["runs", "events"]
#: What identifies an event.
EVENT_NUMBERS = {"run", "luminosityBlock", "event"}


@dataclass(frozen=True, slots=True)
class GenWeightSums:
    """Sums over all generated events, those lost in a skim included.

    Attributes
    ----------
    sumw : float
        Sum of generator weights.
    n_events : int
        Number of events.
    """

    sumw: float
    n_events: int


@dataclass(frozen=True, slots=True, eq=False)
class FileFacts:
    """What a file says of itself before its events are read.

    Attributes
    ----------
    path : str
        The file.
    uuid : bytes
        Its identifier, which copies have in common.
    entries : int
        Number of events in it.
    size : int
        Bytes.
    generated : GenWeightSums or None
        Sums over all generated events; None for data.
    sections : ndarray of uint64, shape (n,), or None
        Luminosity sections of data, ascending: run in the upper 32 bits, section in
        the lower. None for simulation, whose sections mean nothing.
    branches : frozenset of str
        Names of the branches of ``Events``.
    clusters : tuple of int
        Entries at which baskets of all branches begin, and the number of entries.
    """

    path: str
    uuid: bytes
    entries: int
    size: int
    generated: GenWeightSums | None
    sections: NDArray[np.uint64] | None
    branches: frozenset[str]
    clusters: tuple[int, ...] = ()


@lru_cache(maxsize=64)
def _shared(branches: frozenset[str]) -> frozenset[str]:
    """Return one object for equal sets: thousands of files have the same names."""
    return branches


@contextmanager
def _open(path: str) -> Iterator[Any]:
    """Open a ROOT file; raise InputError that names it if it cannot be read."""
    try:
        with uproot.open(path) as file:
            yield file
    except InputError:
        raise
    # Within here all is uproot's reading, which ends in errors of any kind where bytes
    # are not what they should be: those of struct, zlib, numpy, or a TypeError.
    except Exception as error:
        msg = (
            f"{path} cannot be read as a ROOT file: {type(error).__name__}: "
            f"{' '.join(str(error).split())}. Copy it again, or take it out of the "
            "catalogue"
        )
        raise InputError(msg) from error


def read_facts(path: str, source: Source | None) -> FileFacts:
    """Read what a file says of itself.

    Parameters
    ----------
    path : str
        A NanoAOD file.
    source : {"runs", "events"} or None
        Where its sum of generator weights comes from, see `genweight_sums`; None for
        data.

    Raises
    ------
    InputError
        If it cannot be read, has no tree ``Events`` with event numbers or no sums, or
        has more events than were generated.
    """
    with _open(path) as file:
        _require_whole(path, file)
        _require_events_tree(path, file)
        generated = sections = None
        if source is None:
            # Every NanoAOD of CMS has the small tree; files made by hand may not.
            found = "LuminosityBlocks" in file.keys(cycle=False)
            tree = file["LuminosityBlocks" if found else "Events"]
            sections = np.unique(_sections(tree))
        else:
            generated = _file_sums(path, file, source)
        facts = FileFacts(
            path=path,
            uuid=file.file.fUUID,
            entries=int(file["Events"].num_entries),
            size=int(file.file.fEND),
            generated=generated,
            sections=sections,
            branches=_shared(frozenset(file["Events"].keys())),
            clusters=tuple(file["Events"].common_entry_offsets()),
        )
    if generated is not None and facts.entries > generated.n_events:
        msg = (
            f"{path} has {facts.entries} events, but its Runs tree counts "
            f"{generated.n_events} generated (genEventCount); merge or produce the "
            "file again with the Runs trees of all its parts"
        )
        raise InputError(msg)
    return facts


def _require_whole(path: str, file: Any) -> None:
    """Raise InputError for a file that ends before its header says so."""
    # Some servers do not know how long a file is.
    size, announced = file.file.source.num_bytes, int(file.file.fEND)
    if size is not None and size < announced:
        msg = (
            f"{path} is cut off: it has {size} of {announced} bytes. Copy it again, or "
            "take it out of the catalogue"
        )
        raise InputError(msg)


def _require_events_tree(path: str, file: Any) -> None:
    """Raise InputError unless the file has a tree ``Events`` with event numbers."""
    keys = file.keys(cycle=False)
    if "Events" not in keys:
        msg = (
            f"{path} has no Events tree, so it is not NanoAOD; it has "
            f"{', '.join(keys) or 'nothing'}. Take it out of the catalogue"
        )
        raise InputError(msg)
    missing = sorted(EVENT_NUMBERS - set(file["Events"].keys()))
    if missing:
        msg = (
            f"{path} has no branches {', '.join(missing)} in Events, which every "
            "NanoAOD has; produce the file again with them"
        )
        raise InputError(msg)


def read_events_of(path: str, sections: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Read the numbers of the events of some luminosity sections.

    Returns
    -------
    ndarray of uint64, shape (n, 2)
        Section, as in `FileFacts`, and event number.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    with _open(path) as file:
        tree = file["Events"]
        found = _sections(tree)
        pick = np.isin(found, sections)
        events = tree["event"].array(library="np").astype(np.uint64)
    return np.stack([found[pick], events[pick]], axis=1)


def _sections(tree: Any) -> NDArray[np.uint64]:
    run, section = (
        tree[name].array(library="np").astype(np.uint64)
        for name in ("run", "luminosityBlock")
    )
    return (run << np.uint64(32)) | section


def genweight_sums(paths: Iterable[str], *, source: Source = "runs") -> GenWeightSums:
    """Sum the generator weights of a sample.

    Parameters
    ----------
    paths : iterable of str
        All files of the sample.
    source : {"runs", "events"}
        The ``Runs`` trees, which count events lost in a skim, or the weights of the
        events in the files, for files without such a tree.

    Raises
    ------
    InputError
        If a file has no sums, or the weights of the sample do not add up to a
        positive number.
    """
    paths = list(paths)
    parts = []
    for path in paths:
        with _open(path) as file:
            parts.append(_file_sums(path, file, source))
    return add_sums(paths, parts)


def add_sums(paths: Sequence[str], parts: Iterable[GenWeightSums]) -> GenWeightSums:
    """Add the sums of the files of a sample; raises as `genweight_sums`."""
    parts = list(parts)
    total = GenWeightSums(
        sum(part.sumw for part in parts), sum(part.n_events for part in parts)
    )
    if not total.sumw > 0:
        msg = (
            f"the generator weights of {', '.join(paths)} sum to {total.sumw}; a "
            "positive number is needed to normalise the sample"
        )
        raise InputError(msg)
    return total


def _file_sums(path: str, file: Any, source: Source) -> GenWeightSums:
    if source == "events":
        if "genWeight" not in file["Events"]:
            msg = (
                f"{path} has no branch 'genWeight' in Events; use a file with "
                "generator weights, or set `kind: data`"
            )
            raise InputError(msg)
        weights = file["Events/genWeight"].array(library="np").astype(float)
        return GenWeightSums(sum_weights(path, weights), len(weights))
    runs = file.get("Runs")
    names = set(() if runs is None else runs.keys())
    # Central files of v5 and v6 spell these columns with an underscore.
    for tail in ("", "_"):
        if f"genEventSumw{tail}" in names:
            sumw, count = (
                file[f"Runs/genEvent{what}{tail}"].array(library="np")
                for what in ("Sumw", "Count")
            )
            return GenWeightSums(float(sumw.sum()), int(count.sum()))
    found = f"a Runs tree with {', '.join(sorted(names))}" if names else "no Runs tree"
    msg = (
        f"{path} has {found}, expected genEventSumw there. If the files hold all "
        "generated events, set `sum_of_weights: events` for the dataset"
    )
    raise InputError(msg)


def sum_weights(path: str, weights: NDArray[np.floating]) -> float:
    """Sum generator weights of a file; raise InputError for NaN and infinities."""
    bad = int(np.count_nonzero(~np.isfinite(weights)))
    if bad:
        msg = (
            f"{path} has {bad} of {len(weights)} generator weights (genWeight) that "
            "are NaN or infinite; produce it again, or take it out of the catalogue"
        )
        raise InputError(msg)
    return float(np.sum(weights, dtype=float))
