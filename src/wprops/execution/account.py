"""What came of a run against what its files announced, and what was left out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wprops.catalog import Catalog
from wprops.errors import InputError
from wprops.events.runs import FileFacts
from wprops.execution.inputs import Plan
from wprops.execution.worker import Chunk, Failure

#: How well the sum of the generator weights of all events has to agree with that of the
#: Runs tree: events hold single precision.
TOLERANCE = 1e-6


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
