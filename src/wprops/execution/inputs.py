"""What is known of the files of a run before it starts, and what has to come out.

Every file is opened once: for the number of its events, what it says of its sample, and
whether it is there twice. The same facts are held against what was processed.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from coffea.processor.executor import FileMeta, WorkItem
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
from wprops.execution.worker import Chunk, Failure

logger = logging.getLogger(__name__)

PB_IN_FB = 1000.0
#: How well the sum of the generator weights of all events has to agree with that of the
#: Runs tree: events hold single precision.
TOLERANCE = 1e-6


class Files(NamedTuple):
    """Facts on the files of each dataset, and the files that are no good."""

    facts: dict[str, tuple[FileFacts, ...]]
    failures: list[Failure]


def read_files(catalog: Catalog) -> Files:
    """Open every file of a catalogue.

    Raises
    ------
    ConfigError
        If events are there twice, see `_refuse_copies` and `_refuse_shared_events`.
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
        content = {"numentries": file.entries, "uuid": file.uuid}
        yield from FileMeta(name, file.path, "Events", content).chunks(chunksize, False)


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


def check_book(plan: Plan, book: Sequence[Chunk]) -> list[Failure]:
    """Hold what was processed against what the files announced.

    Returns
    -------
    list of Failure
        Files whose generator weights do not add up to what their ``Runs`` say, though
        they hold all generated events.

    Raises
    ------
    InputError
        If a chunk is missing or came twice.
    """
    came: dict[tuple[str, int], list[Chunk]] = {}
    for chunk in book:
        came.setdefault((chunk.dataset, chunk.number), []).append(chunk)
    wrong = []
    for item in plan.chunks:
        found = came.get((item.dataset, item.usermeta["chunk"]), [])
        if len(found) != 1 or found[0].events != len(item):
            events = sum(chunk.events for chunk in found)
            wrong.append(
                f"{item.filename}, entries {item.entrystart} to {item.entrystop} of "
                f"dataset {item.dataset!r}: came {len(found)} times, {events} events"
            )
    if wrong:
        lines = "\n".join(wrong)
        msg = (
            f"{len(wrong)} of {len(plan.chunks)} chunks did not come exactly once:\n"
            f"{lines}\nRun again; what is finished is in the ledger"
        )
        raise InputError(msg)
    return _check_weights(plan, came)


def _check_weights(
    plan: Plan, came: Mapping[tuple[str, int], Sequence[Chunk]]
) -> list[Failure]:
    sums: dict[tuple[str, str], list[float | None]] = {}
    for item in plan.chunks:
        (chunk,) = came[item.dataset, item.usermeta["chunk"]]
        sums.setdefault((item.dataset, item.filename), []).append(chunk.sumw)
    failures = []
    for name, files in plan.facts.items():
        for file in files:
            found, generated = sums[name, file.path], file.generated
            if generated is None or file.entries != generated.n_events or None in found:
                continue
            sumw = math.fsum(value for value in found if value is not None)
            if abs(sumw - generated.sumw) > TOLERANCE * abs(generated.sumw):
                msg = (
                    f"{file.path}: the generator weights of its {file.entries} events "
                    f"sum to {sumw:.9g}, but its Runs tree says {generated.sumw:.9g} "
                    "(genEventSumw) for as many; produce it again, or set "
                    "`sum_of_weights: events` for the dataset"
                )
                failures.append(Failure(name, file.path, InputError(msg)))
    return failures


def sample_table(
    plan: Plan, book: Sequence[Chunk], lost: Mapping[str, dict[str, Any]]
) -> list[dict[str, Any]]:
    """Tabulate what was processed of each dataset beside what its files say.

    Returns
    -------
    list of dict
        By dataset: number of files, events in them, events processed and the sum of
        their generator weights; number and sum of weights of the generated events by
        the ``Runs`` trees (None for data); what `loss` says of files left out.
    """
    rows = []
    for name, files in plan.facts.items():
        chunks = [chunk for chunk in book if chunk.dataset == name]
        weights = [chunk.sumw for chunk in chunks if chunk.sumw is not None]
        generated = [f.generated for f in files if f.generated is not None]
        rows.append(
            {
                "dataset": name,
                "files": len(files),
                "events": sum(file.entries for file in files),
                "processed": sum(chunk.events for chunk in chunks),
                "sumw_processed": math.fsum(weights) if weights else None,
                "generated": sum(g.n_events for g in generated) if generated else None,
                "sumw": math.fsum(g.sumw for g in generated) if generated else None,
            }
            | lost.get(name, {"files_left_out": 0, "lost": 0.0, "lost_of": "events"})
        )
    return rows


def loss(
    catalog: Catalog,
    facts: Mapping[str, Sequence[FileFacts]],
    failures: Sequence[Failure],
) -> dict[str, dict[str, Any]]:
    """State which part of each dataset was left out.

    The part is one of events where all files could at least be opened, else one of
    bytes, or of files where a size is not known either. For data the part of the events
    is that of the luminosity: triggers count what was delivered.
    """
    lost = {}
    for dataset in catalog.datasets:
        bad = {f.path for f in failures if f.dataset == dataset.name}
        if not bad:
            continue
        known = {file.path: file for file in facts[dataset.name]}
        sizes = {path: _size(path, known.get(path)) for path in dataset.files}
        if all(path in known for path in dataset.files):
            unit = "events"
            weight = {path: float(known[path].entries) for path in dataset.files}
        elif None not in sizes.values():
            unit, weight = "bytes", {p: float(size or 0) for p, size in sizes.items()}
        else:
            unit, weight = "files", dict.fromkeys(dataset.files, 1.0)
        part = sum(weight[path] for path in bad) / sum(weight.values())
        lost[dataset.name] = {
            "files_left_out": len(bad),
            "lost": part,
            "lost_of": unit,
        }
    return lost


def _size(path: str, facts: FileFacts | None) -> int | None:
    if facts is not None:
        return facts.size
    return Path(path).stat().st_size if Path(path).is_file() else None


def describe_loss(catalog: Catalog, lost: Mapping[str, dict[str, Any]]) -> list[str]:
    """Say in words what was left out, and what it means for each dataset."""
    lines = []
    for name, row in lost.items():
        dataset = catalog.dataset(name)
        n, part = row["files_left_out"], f"{row['lost']:.2%} of its {row['lost_of']}"
        head = f"dataset {name!r}: {n} of {len(dataset.files)} files left out, {part}"
        if dataset.kind == "data":
            lines.append(
                f"{head}: ABOUT {row['lost']:.2%} OF ITS LUMINOSITY IS LOST, which "
                f"`luminosity: {catalog.luminosity:g}` of the catalogue does not know; "
                "correct it, or mend the files"
            )
        else:
            lines.append(f"{head}; the others are normalised to its cross section")
    return lines


def raise_failures(failures: Sequence[Failure]) -> None:
    """Raise the errors of all files at once, if there are any."""
    if failures:
        kinds = {type(failure.error) for failure in failures}
        kind = kinds.pop() if len(kinds) == 1 else WpropsError
        raise kind("\n".join(sorted({str(failure.error) for failure in failures})))
