"""Run a processor over a catalogue: locally, on several cores or on dask.

Every chunk is numbered within its dataset, so that a processor can return an
`OrderedSum` and all executors give the same bits.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from coffea.processor import (
    DaskExecutor,
    FuturesExecutor,
    IterativeExecutor,
    ProcessorABC,
    Runner,
)
from coffea.processor.executor import ExecutorBase, WorkItem
from coffea.util import coffea_console
from distributed import Client, LocalCluster
from uproot.deserialization import DeserializationError

from wprops.catalog import Catalog
from wprops.datasets import Dataset
from wprops.errors import ConfigError, InputError, WpropsError
from wprops.events.runs import genweight_sums, require_events_tree
from wprops.events.schema import NanoSchema
from wprops.execution.ledger import HITS, Ledger
from wprops.provenance import collect

logger = logging.getLogger(__name__)

ExecutorName = Literal["iterative", "futures", "dask"]
PB_IN_FB = 1000.0
#: Key of the messages of failed chunks in what workers return.
_FAILURES = "failures"
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
        Wall time, events, chunks, bytes read and rates.
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
    chunksize: int = 250_000,
    progress: bool = True,
    ledger: Path | None = None,
) -> RunResult:
    """Run ``processor`` over all files of ``catalog``.

    Parameters
    ----------
    catalog : Catalog
        Datasets with files.
    processor : ProcessorABC
        Returns ``{dataset name: OrderedSum(result, metadata["chunk"])}``.
    executor : {"iterative", "futures", "dask"}
        Where chunks are processed.
    workers : int
        Number of processes for ``futures`` and for a local dask cluster.
    address : str, optional
        Scheduler of a running dask cluster; a local cluster when omitted.
    chunksize : int
        Events per chunk.
    progress : bool
        Whether to show progress bars.
    ledger : Path, optional
        Folder of finished chunks, see `wprops.execution.ledger`: a run that was cut
        off goes on where it stopped. All workers have to see it.

    Returns
    -------
    RunResult

    Raises
    ------
    ConfigError
        If a file of the catalogue does not exist, or a scheduler is given to another
        executor than dask.
    InputError
        If a file cannot be read or lacks something, or a chunk is missing.
    WpropsError
        If the processor raises it, once all other chunks are done.
    """
    start = time.perf_counter()
    if address is not None and executor != "dask":
        msg = f"a scheduler was given, but the executor is {executor!r}; choose dask"
        raise ConfigError(msg)
    catalog.require_files()
    digest = catalog.digest
    metadata = {
        dataset.name: _dataset_metadata(dataset, catalog.luminosity)
        for dataset in catalog.datasets
    }
    with (
        _quiet(not progress),
        _executor(executor, workers, address, progress) as coffea_executor,
    ):
        runner = Runner(
            executor=coffea_executor,
            pre_executor=IterativeExecutor(status=False),
            schema=NanoSchema,
            chunksize=chunksize,
            savemetrics=True,
            metadata_cache={},
        )
        chunks = _number_chunks(_preprocess(runner, catalog), catalog, metadata)
        worker = processor
        if ledger is not None:
            worker = Ledger(processor, ledger.absolute(), catalog.dataset_digests())
        result = runner.run(
            chunks, _Reporting(worker), uproot_options={"array_cache": ARRAY_CACHE}
        )
    _raise_failures(result["out"].get(_FAILURES, set()))
    outputs = _totals(result["out"], chunks)
    wall = time.perf_counter() - start
    return RunResult(
        outputs=outputs,
        catalog=catalog,
        performance=_performance(result["metrics"], chunks, wall, executor, workers)
        | {"chunks_from_ledger": result["out"].get(HITS, 0)},
        provenance=collect(
            catalog=catalog.name,
            catalog_digest=digest,
            inputs=[_chunk_record(item) for item in chunks],
            processor=type(processor).__name__,
        ),
    )


class _Reporting(ProcessorABC):
    """Turns the project's errors into data.

    coffea wraps an exception of a chunk into its own, and executors drop the cause;
    as data the message arrives whole, whatever the executor.
    """

    def __init__(self, processor: ProcessorABC) -> None:
        self.processor = processor

    def process(self, events: Any) -> Any:
        try:
            return self.processor.process(events)
        except WpropsError as error:
            return {_FAILURES: {(type(error), str(error))}}
        except (OSError, DeserializationError) as error:
            path = events.metadata["filename"]
            msg = (
                f"{path} cannot be read to its end: {error}. Copy it again, or take it "
                "out of the catalogue"
            )
            return {_FAILURES: {(InputError, msg)}}

    def postprocess(self, accumulator: Any) -> Any:
        return accumulator


def _raise_failures(failures: set[tuple[type[WpropsError], str]]) -> None:
    if failures:
        kinds = {kind for kind, _ in failures}
        kind = kinds.pop() if len(kinds) == 1 else WpropsError
        raise kind("\n".join(sorted(message for _, message in failures)))


def _dataset_metadata(dataset: Dataset, luminosity: float) -> dict[str, Any]:
    """Return what a processor needs to know of a dataset besides its events."""
    for path in dataset.files:
        require_events_tree(path)
    if dataset.kind == "data":
        return {"record": dataset, "normalisation": 1.0}
    sums = genweight_sums(dataset.files, source=dataset.sum_of_weights)
    assert dataset.xsec is not None  # the catalogue requires it of simulation
    return {
        "record": dataset,
        "normalisation": dataset.xsec * PB_IN_FB * luminosity / sums.sumw,
    }


def _preprocess(runner: Runner, catalog: Catalog) -> list[WorkItem]:
    fileset = {
        dataset.name: {"files": list(dataset.files), "treename": "Events"}
        for dataset in catalog.datasets
    }
    return list(runner.preprocess(fileset))


def _number_chunks(
    items: list[WorkItem], catalog: Catalog, metadata: Mapping[str, dict[str, Any]]
) -> list[WorkItem]:
    """Give the chunks of every dataset numbers in the order of its files."""
    position = {
        (dataset.name, path): number
        for dataset in catalog.datasets
        for number, path in enumerate(dataset.files)
    }
    items = sorted(
        items, key=lambda item: (position[item.dataset, item.filename], item.entrystart)
    )
    numbered = []
    counts: dict[str, int] = {}
    for item in items:
        chunk = counts.get(item.dataset, 0)
        counts[item.dataset] = chunk + 1
        numbered.append(
            replace(item, usermeta=metadata[item.dataset] | {"chunk": chunk})
        )
    return numbered


def _totals(out: Mapping[str, Any], chunks: list[WorkItem]) -> dict[str, Any]:
    """Sum the chunks of each dataset; raise InputError if one is missing."""
    totals = {}
    for name in dict.fromkeys(item.dataset for item in chunks):
        expected = sum(item.dataset == name for item in chunks)
        found = out[name].n_chunks if name in out else 0
        if found != expected:
            msg = f"dataset {name!r}: {found} of {expected} chunks were processed"
            raise InputError(msg)
        totals[name] = out[name].total()
    return totals


def _performance(
    metrics: Mapping[str, Any],
    chunks: list[WorkItem],
    wall: float,
    executor: str,
    workers: int,
) -> dict[str, Any]:
    events = sum(len(item) for item in chunks)
    return {
        "executor": executor,
        "workers": workers,
        "events": events,
        "chunks": len(chunks),
        "bytes_read": int(metrics["bytesread"]),
        "wall_s": wall,
        "process_s": float(metrics["processtime"]),
        "events_per_s": events / wall,
    }


def _chunk_record(item: WorkItem) -> dict[str, Any]:
    return {
        "dataset": item.dataset,
        "uuid": item.fileuuid.hex(),
        "entries": [item.entrystart, item.entrystop],
    }


@contextmanager
def _quiet(quiet: bool) -> Iterator[None]:
    """Silence coffea's bars, which ``status=False`` of its executors leaves on."""
    before = coffea_console.quiet
    coffea_console.quiet = before or quiet
    try:
        yield
    finally:
        coffea_console.quiet = before


@contextmanager
def _executor(
    name: ExecutorName, workers: int, address: str | None, progress: bool
) -> Iterator[ExecutorBase]:
    if name == "iterative":
        yield IterativeExecutor(status=progress, retries=0)
    elif name == "futures":
        yield FuturesExecutor(workers=workers, status=progress, retries=0)
    elif address is not None:
        with Client(address) as client:
            yield DaskExecutor(client=client, status=progress, retries=0)
    else:
        with (
            LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                dashboard_address="127.0.0.1:0",  # any free port
            ) as cluster,
            Client(cluster) as client,
        ):
            yield DaskExecutor(client=client, status=progress, retries=0)
