"""Run a processor over a catalogue: locally, on several cores or on dask.

The result of a chunk is plain: whatever coffea can add, and results are added in the
order of chunks, so that all executors give the same bits. Beside them a book is kept
of the chunks that came, so that none is lost and none counts twice.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coffea.processor import IterativeExecutor, ProcessorABC, Runner
from coffea.processor.executor import ExecutorBase, WorkItem
from distributed import KilledWorker
from loky.process_executor import TerminatedWorkerError

from wprops.catalog import Catalog
from wprops.errors import WpropsError
from wprops.events.schema import NanoSchema
from wprops.execution.account import check_book, describe_loss, loss, sample_table
from wprops.execution.cluster import Cluster
from wprops.execution.executors import ExecutorName, open_executor
from wprops.execution.inputs import Plan, plan, raise_failures, read_files, without
from wprops.execution.ledger import Ledger
from wprops.execution.worker import Chunk, Failure, Worker
from wprops.provenance import collect

logger = logging.getLogger(__name__)

#: Memory for decompressed branches: a jagged branch is two buffers, offsets and
#: content, and is decompressed twice if the first one has been forgotten.
ARRAY_CACHE = "1 GB"


@dataclass(frozen=True, kw_only=True, slots=True)
class RunResult:
    """What a processor returned over a catalogue.

    Attributes
    ----------
    outputs : mapping of str to Any
        Result per dataset, all chunks summed.
    catalog : Catalog
        The catalogue that was run over.
    performance : dict
        Wall time, events, chunks, bytes read and rates; ``samples``, a table of what
        was processed of each dataset beside what its files say (see
        `wprops.execution.account.sample_table`); ``left_out``, the files that were no
        good, with the reason, and ``warnings``, what that means.
    provenance : dict
        Versions, inputs and configuration.
    """

    outputs: Mapping[str, Any]
    catalog: Catalog
    performance: dict[str, Any]
    provenance: dict[str, Any]


def run(
    catalog: Catalog,
    processor: ProcessorABC,
    *,
    executor: ExecutorName = "iterative",
    workers: int = 1,
    address: str | None = None,
    cluster: Cluster | None = None,
    chunksize: int = 250_000,
    progress: bool = True,
    ledger: Path | None = None,
    skip_bad_files: bool = False,
) -> RunResult:
    """Run ``processor`` over all files of ``catalog``.

    Parameters
    ----------
    catalog : Catalog
        Datasets with files.
    processor : ProcessorABC
        Returns ``{dataset name: result}``, where the result is anything that coffea
        can add. `events.metadata` has the record of the dataset and its
        normalisation.
    executor : {"iterative", "futures", "dask"}
        Where chunks are processed.
    workers : int
        Number of processes for ``futures`` and for a local dask cluster.
    address : str, optional
        Scheduler of a running dask cluster; a local cluster when omitted.
    cluster : Cluster, optional
        Dask cluster to start for the run, such as jobs of a batch system.
    chunksize : int
        Events per chunk.
    progress : bool
        Whether to show progress bars.
    ledger : Path, optional
        Folder of finished chunks, see `wprops.execution.ledger`: a run that was cut
        off goes on where it stopped. All workers have to see it.
    skip_bad_files : bool
        Whether to leave out files that are no good. Nothing of them is in the result,
        and the rest of a sample is normalised to its cross section; of data,
        luminosity is lost. What was left out is logged and in the result.

    Returns
    -------
    RunResult

    Raises
    ------
    ConfigError
        If a file of the catalogue does not exist, events are there twice, or a
        scheduler or cluster does not fit the executor; at once, also while running.
    ProcessorError
        If the processor has a bug: it names file and entries; at once.
    InputError
        If files cannot be read or lack something, once all others are done; or if a
        chunk is missing or its events are not as many as announced.
    WpropsError
        If the processor raises it, once all other chunks are done.
    """
    start = time.perf_counter()
    catalog.require_files()
    files = read_files(catalog)
    failures = list(files.failures)
    if not skip_bad_files:
        raise_failures(failures)
    kept = None
    if ledger is not None:
        kept = Ledger(processor, ledger.absolute(), catalog.dataset_digests())
    with open_executor(
        executor, workers=workers, address=address, cluster=cluster, progress=progress
    ) as opened:
        while True:
            sound = without(catalog, failures)
            planned = plan(sound, files.facts, chunksize)
            outcome = _process(planned, Worker(processor, kept), opened)
            if not outcome.failures:
                break
            if not skip_bad_files:
                raise_failures(outcome.failures)
            # Chunks of a bad file are in the sums, and it is in the normalisation.
            failures += outcome.failures
    lost = loss(catalog, files.facts, failures)
    warnings = describe_loss(catalog, lost)
    for line in warnings:
        logger.warning(line)
    wall = time.perf_counter() - start
    events = sum(len(item) for item in planned.chunks)
    return RunResult(
        outputs=outcome.results,
        catalog=sound,
        performance={
            "executor": executor,
            "workers": workers if cluster is None else cluster.n_workers,
            "events": events,
            "chunks": len(planned.chunks),
            "chunks_from_ledger": outcome.hits,
            "bytes_read": int(outcome.metrics["bytesread"]),
            "wall_s": wall,
            "process_s": float(outcome.metrics["processtime"]),
            "stages_s": dict(sorted(outcome.seconds.items())),
            "events_per_s": events / wall,
            "samples": sample_table(planned, outcome.book, lost),
            "left_out": [_failure_record(failure) for failure in failures],
            "warnings": warnings,
        },
        provenance=collect(
            catalog=catalog.name,
            catalog_digest=catalog.digest,
            inputs=[_chunk_record(item) for item in planned.chunks],
            processor=type(processor).__name__,
        ),
    )


@dataclass(frozen=True, slots=True)
class _Outcome:
    results: Mapping[str, Any]
    book: Sequence[Chunk]
    failures: Sequence[Failure]
    hits: int
    seconds: Mapping[str, float]
    metrics: Mapping[str, Any]


def _process(planned: Plan, worker: Worker, executor: ExecutorBase) -> _Outcome:
    """Process all chunks once, and look whether all came."""
    runner = Runner(
        executor=executor,
        pre_executor=IterativeExecutor(status=False),
        schema=NanoSchema,
        savemetrics=True,
        metadata_cache={},
    )
    try:
        found = runner.run(
            planned.chunks, worker, uproot_options={"array_cache": ARRAY_CACHE}
        )
    except (KilledWorker, TerminatedWorkerError) as error:
        msg = (
            f"a worker died, perhaps for want of memory ({error}); give workers more, "
            "or choose a smaller `--chunksize`. What is finished is in the ledger"
        )
        raise WpropsError(msg) from error
    out = found["out"]
    failures = out["failures"]
    if not failures:
        failures = check_book(planned, out["book"])
    return _Outcome(
        results=out["results"],
        book=out["book"],
        failures=_by_file(failures),
        hits=out["hits"],
        seconds=out["seconds"],
        metrics=found.get("metrics", {}),  # none if no file could be opened
    )


def _by_file(failures: Sequence[Failure]) -> list[Failure]:
    """Keep one failure of each file, that of its first chunk by the message."""
    found: dict[str, Failure] = {}
    for failure in sorted(failures, key=lambda f: (f.dataset, f.path, str(f.error))):
        found.setdefault(failure.path, failure)
    return list(found.values())


def _failure_record(failure: Failure) -> dict[str, str]:
    return {
        "dataset": failure.dataset,
        "file": failure.path,
        "reason": str(failure.error),
    }


def _chunk_record(item: WorkItem) -> dict[str, Any]:
    return {
        "dataset": item.dataset,
        "uuid": item.fileuuid.hex(),
        "entries": [item.entrystart, item.entrystop],
    }
