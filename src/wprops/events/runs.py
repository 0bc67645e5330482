"""What a file says about all events of its sample: the trees beside ``Events``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uproot

from wprops.errors import InputError

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


@contextmanager
def _open(path: str) -> Iterator[Any]:
    """Open a ROOT file; raise InputError that names it if it cannot be read."""
    try:
        with uproot.open(path) as file:
            yield file
    except InputError:
        raise
    # uproot raises ValueError for a wrong header, OSError for a missing or cut file.
    except (OSError, ValueError) as error:
        msg = (
            f"{path} cannot be read as a ROOT file: {error}. Copy it again, or take "
            "it out of the catalogue"
        )
        raise InputError(msg) from error


def require_events_tree(path: str) -> None:
    """Raise InputError unless the file has a tree ``Events`` with event numbers."""
    with _open(path) as file:
        keys = file.keys(cycle=False)
        branches = set(file["Events"].keys()) if "Events" in keys else EVENT_NUMBERS
    missing = sorted(EVENT_NUMBERS - branches)
    if missing:
        msg = (
            f"{path} has no branches {', '.join(missing)} in Events, which every "
            "NanoAOD has; produce the file again with them"
        )
        raise InputError(msg)
    if "Events" not in keys:
        msg = (
            f"{path} has no Events tree, so it is not NanoAOD; it has "
            f"{', '.join(keys) or 'nothing'}. Take it out of the catalogue"
        )
        raise InputError(msg)


def genweight_sums(paths: Iterable[str], *, source: str = "runs") -> GenWeightSums:
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
    parts = [_file_sums(path, source) for path in paths]
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


def _file_sums(path: str, source: str) -> GenWeightSums:
    with _open(path) as file:
        if source == "events":
            if "genWeight" not in file["Events"]:
                msg = (
                    f"{path} has no branch 'genWeight' in Events; use a file with "
                    "generator weights, or set `kind: data`"
                )
                raise InputError(msg)
            weights = file["Events/genWeight"].array(library="np").astype(float)
            return GenWeightSums(float(weights.sum()), len(weights))
        runs = file.get("Runs")
        names = set(() if runs is None else runs.keys())
        # Central files of v5 and v6 spell these columns with an underscore.
        for tail in ("", "_"):
            if f"genEventSumw{tail}" in names:
                sumw = runs[f"genEventSumw{tail}"].array(library="np")
                count = runs[f"genEventCount{tail}"].array(library="np")
                return GenWeightSums(float(sumw.sum()), int(count.sum()))
    found = f"a Runs tree with {', '.join(sorted(names))}" if names else "no Runs tree"
    msg = (
        f"{path} has {found}, expected genEventSumw there. If the files hold all "
        "generated events, set `sum_of_weights: events` for the dataset"
    )
    raise InputError(msg)
