"""What is known of the files of a run before it starts, and the chunks they make.

Every file is opened once: for the number of its events, what it says of its sample, and
whether it is there twice.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from coffea.processor.executor import WorkItem
from numpy.typing import NDArray

from wprops.catalog import Catalog
from wprops.datasets import Dataset
from wprops.errors import ConfigError, InputError, WpropsError
from wprops.events.runs import (
    FileFacts,
    add_sums,
    read_events_of,
    read_facts,
)
from wprops.execution.worker import Failure
from wprops.selection.met import require_one_convention

PB_IN_FB = 1000.0
#: How far the edge of a chunk may move to the beginning of a basket, in chunks.
_NEAR = 0.3


class Files(NamedTuple):
    """Facts on the files of each dataset, and the files that are no good."""

    facts: dict[str, tuple[FileFacts, ...]]
    failures: list[Failure]


def read_files(catalog: Catalog) -> Files:
    """Open every file of a catalogue.

    Raises
    ------
    ConfigError
        If events are there twice, as a copy of a file or in two files of data.
    InputError
        If files of a dataset name the missing momentum in different ways.
    """
    facts: dict[str, tuple[FileFacts, ...]] = {}
    failures = []
    for dataset in catalog.datasets:
        source = None if dataset.kind == "data" else dataset.sum_of_weights
        found = []
        for path in dataset.files:
            try:
                found.append(read_facts(path, source))
            except InputError as error:
                failures.append(Failure(dataset.name, path, error))
        facts[dataset.name] = tuple(found)
        require_one_convention(dataset, {file.path: file.branches for file in found})
    _refuse_copies(facts)
    _refuse_shared_events(facts)
    return Files(facts, failures)


def _refuse_copies(facts: Mapping[str, Sequence[FileFacts]]) -> None:
    """Raise ConfigError for two files with one identifier."""
    known: dict[bytes, str] = {}
    for name, files in facts.items():
        for file in files:
            where = f"{file.path} (dataset {name!r})"
            if file.uuid in known:
                msg = (
                    f"{where} is a copy of {known[file.uuid]}: both have the UUID "
                    f"{file.uuid.hex()}; its events would count double. List one of "
                    "them"
                )
                raise ConfigError(msg)
            known[file.uuid] = where


def _refuse_shared_events(facts: Mapping[str, Sequence[FileFacts]]) -> None:
    """Raise ConfigError for two files of data with the same events.

    A luminosity section may be spread over files. Where one is, the event numbers in it
    tell whether the files are parts of it or repeat it.
    """
    files = [
        (name, file.path, file.sections)
        for name, found in facts.items()
        for file in found
        if file.sections is not None
    ]
    for (first, second), sections in _shared_sections([s for *_, s in files]).items():
        events = [
            {tuple(row) for row in read_events_of(files[k][1], sections).tolist()}
            for k in (first, second)
        ]
        both = events[0] & events[1]
        if both:
            section, _ = min(both)
            one, two = (
                f"{files[k][1]} (dataset {files[k][0]!r})" for k in (first, second)
            )
            msg = (
                f"{one} and {two} have {len(both)} events in common, the first in run "
                f"{section >> 32}, luminosity section {section & 0xFFFFFFFF}; they "
                "would count double. List each section once"
            )
            raise ConfigError(msg)


def _shared_sections(
    sections: Sequence[NDArray[np.uint64]],
) -> dict[tuple[int, int], NDArray[np.uint64]]:
    """Return which sections two files have in common, by the numbers of the files."""
    owner = np.repeat(np.arange(len(sections)), [len(found) for found in sections])
    flat = np.concatenate([np.empty(0, np.uint64), *sections])
    order = np.argsort(flat, kind="stable")
    starts = np.flatnonzero(np.diff(flat[order])) + 1
    shared: dict[tuple[int, int], list[np.uint64]] = {}
    for group in np.split(order, starts):
        for first, second in itertools.combinations(owner[group].tolist(), 2):
            shared.setdefault((first, second), []).append(flat[group[0]])
    return {pair: np.array(found) for pair, found in shared.items()}


def without(catalog: Catalog, failures: Sequence[Failure]) -> Catalog:
    """Return a catalogue without some of its files.

    Raises
    ------
    InputError
        If no file is left of a dataset.
    """
    bad = {failure.path for failure in failures}
    datasets = []
    for dataset in catalog.datasets:
        files = tuple(path for path in dataset.files if path not in bad)
        if not files:
            reasons = "\n".join(
                str(f.error) for f in failures if f.dataset == dataset.name
            )
            msg = f"no good file is left of dataset {dataset.name!r}:\n{reasons}"
            raise InputError(msg)
        datasets.append(dataset.model_copy(update={"files": files}))
    return catalog.model_copy(update={"datasets": tuple(datasets)})


@dataclass(frozen=True, slots=True)
class Plan:
    """The chunks to process, and what is known of their files.

    Attributes
    ----------
    chunks : list of WorkItem
        In the order of datasets and files, numbered from zero in each dataset.
    facts : mapping of str to sequence of FileFacts
        By dataset.
    """

    chunks: list[WorkItem]
    facts: Mapping[str, Sequence[FileFacts]]


def plan(
    catalog: Catalog, facts: Mapping[str, Sequence[FileFacts]], chunksize: int
) -> Plan:
    """Cut files into chunks and give each what a processor needs to know.

    Parameters
    ----------
    catalog : Catalog
        Its files are those that count.
    facts : mapping of str to sequence of FileFacts
        By dataset; may have more files.
    chunksize : int
        Number of events of a chunk, about.

    Raises
    ------
    InputError
        If the generator weights of a sample do not add up to a positive number.
    """
    kept = {
        dataset.name: tuple(f for f in facts[dataset.name] if f.path in dataset.files)
        for dataset in catalog.datasets
    }
    chunks = []
    for dataset in catalog.datasets:
        known = _known(dataset, kept[dataset.name], catalog.luminosity)
        items = _cut(dataset.name, kept[dataset.name], chunksize)
        for number, item in enumerate(items):
            chunks.append(replace(item, usermeta=known | {"chunk": number}))
    return Plan(chunks, kept)


def _cut(name: str, files: Sequence[FileFacts], chunksize: int) -> Iterator[WorkItem]:
    for file in files:
        for start, stop in itertools.pairwise(chunk_edges(file, chunksize)):
            yield WorkItem(name, file.path, "Events", start, stop, file.uuid)


def chunk_edges(file: FileFacts, chunksize: int) -> list[int]:
    """Cut a file into chunks of about one size, where baskets begin if they are near.

    A basket in two chunks is decompressed twice.

    Parameters
    ----------
    file : FileFacts
        The file.
    chunksize : int
        Number of events of a chunk, about.

    Returns
    -------
    list of int
        Entries at which chunks begin, and the number of entries at the end.
    """
    n = max(round(file.entries / chunksize), 1)
    edges = np.linspace(0, file.entries, n + 1).round().astype(np.int64)
    if len(file.clusters):
        clusters = np.array(file.clusters)
        nearest = clusters[np.abs(edges[:, None] - clusters).argmin(axis=1)]
        near = np.abs(nearest - edges) <= _NEAR * chunksize
        edges = np.where(near, nearest, edges)
        edges[0], edges[-1] = 0, file.entries
    # Edges that fell on one cluster make one chunk; a file without events makes one.
    return [*dict.fromkeys(edges.tolist()), *([0] if file.entries == 0 else [])]


def _known(
    dataset: Dataset, files: Sequence[FileFacts], luminosity: float
) -> dict[str, Any]:
    """Return what a processor needs to know of a dataset besides its events."""
    if dataset.kind == "data":
        return {"record": dataset, "normalisation": 1.0}
    sums = add_sums(dataset.files, [f.generated for f in files if f.generated])
    assert dataset.xsec is not None  # the catalogue requires it of simulation
    return {
        "record": dataset,
        "normalisation": dataset.xsec * PB_IN_FB * luminosity / sums.sumw,
    }


def raise_failures(failures: Sequence[Failure]) -> None:
    """Raise the errors of all files at once, if there are any."""
    if failures:
        kinds = {type(failure.error) for failure in failures}
        kind = kinds.pop() if len(kinds) == 1 else WpropsError
        raise kind("\n".join(sorted({str(failure.error) for failure in failures})))
