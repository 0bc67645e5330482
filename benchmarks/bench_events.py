"""Rates of the event chain on a toy, per CPU-second: toy, read, process, fill.

CPU time is that of the whole process, threads of uproot and BLAS included. The time
the kernel takes to clear memory is noisy, so tasks alternate, the table has medians
and the kernel's share, and the ratios are what counts.
"""

from __future__ import annotations

import argparse
import cProfile
import itertools
import pstats
import resource
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import hist
import numpy as np
import uproot
from coffea.nanoevents import NanoEventsFactory
from numpy.typing import NDArray

from wprops.axes import BINNINGS, Binning
from wprops.catalog import Catalog
from wprops.datasets import Dataset
from wprops.events.schema import NanoSchema
from wprops.events.toy.samples import write_toy
from wprops.events.toy.sampling import sample_bosons
from wprops.events.toy.truth import ToyTruth
from wprops.execution.processors import load_processor
from wprops.execution.run import run
from wprops.templates import parts
from wprops.templates.filling import fill

TRUTH, SEED = ToyTruth(), 1
COMPRESSIONS = ("zstd", "lz4")
Array = NDArray[Any]
#: The read limit: in the chunks of the processor, and without splitting baskets.
READS = ("read same chunks", "read whole baskets")


class Task(NamedTuple):
    """What to measure: a call, the number of items it handles, and their unit."""

    call: Callable[[], Any]
    items: int
    unit: str = "events"


def main() -> None:
    """Write the toy, measure, print the table and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=400_000, help="W+ events")
    parser.add_argument("--repeat", type=int, default=5, help="rounds for the medians")
    parser.add_argument("--profile", action="store_true", help="profile the processor")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tasks = build_tasks(Path(folder), arguments.events)
        print_table(tasks, measure(tasks, arguments.repeat))
        if arguments.profile:
            show_profile(tasks["process full zstd"].call)


def build_tasks(folder: Path, n_events: int) -> dict[str, Task]:
    """Write one file per compression and return everything to measure."""
    draw = partial(sample_bosons, TRUTH, 1, n_events, np.random.default_rng(SEED))
    tasks = {"toy: bosons and angles": Task(draw, n_events, "bosons")}
    toy = partial(write_toy, samples=["Wplus_mu"], seed=SEED, workers=1, progress=False)
    # The number of events that write_toy wants counts both charges.
    n_both = round(n_events * (1.0 + TRUTH.wminus.sigma / TRUTH.wplus.sigma))
    for compression in COMPRESSIONS:
        kind = {"compression": compression, "events_per_file": n_both}
        write = partial(toy, folder / "again", events=n_both // 4, **kind)
        tasks[f"toy: to disk {compression}"] = Task(write, n_events // 4)
        catalog = Catalog.read(toy(folder / compression, events=n_both, **kind))
        tasks |= reading(catalog, compression)
    for name, binning in BINNINGS.items():
        tasks |= filling(catalog, name, binning)
    return tasks


def reading(catalog: Catalog, compression: str) -> dict[str, Task]:
    """Return the public processor, and reading alone of the columns it reads."""
    dataset, tasks = catalog.datasets[0], {}
    tree = uproot.open(dataset.files[0])["Events"]
    n = tree.num_entries
    for name, binning in BINNINGS.items():
        processor = load_processor("templates").from_catalog(catalog, binning)
        call = partial(run, catalog, processor, progress=False)
        tasks[f"process {name} {compression}"] = Task(call, n)
    log: list[Any] = []
    processor.process(open_chunk(dataset, log))
    limit = partial(read, dataset.files[0], sorted({item.branch for item in log}))
    chunks = [record["entries"] for record in call().provenance["inputs"]]
    baskets = list(itertools.pairwise(tree.common_entry_offsets()))
    for how, ranges in zip(READS, (chunks, baskets), strict=True):
        tasks[f"{how} {compression}"] = Task(partial(limit, ranges), n)
    return tasks


def read(path: str, columns: list[str], chunks: list[tuple[int, int]]) -> None:
    """Read and decompress columns; the file is opened per chunk, as coffea does."""
    for start, stop in chunks:
        with uproot.open(path) as file:
            file["Events"].arrays(columns, entry_start=start, entry_stop=stop, how=dict)


def open_chunk(dataset: Dataset, log: list[Any] | None = None) -> Any:
    """Open the first events of a dataset as a processor gets them."""
    return NanoEventsFactory.from_root(
        {dataset.files[0]: "Events"},
        schemaclass=NanoSchema,
        mode="virtual",
        entry_stop=200_000,
        access_log=log,
        metadata={"record": dataset, "normalisation": 1.0, "chunk": 0},
    ).events()


def filling(catalog: Catalog, name: str, binning: Binning) -> dict[str, Task]:
    """Return filling the signal of one chunk: the engine, and a hist per template."""
    processor = load_processor("templates").from_catalog(catalog, binning)
    with mock.patch.object(parts, "fill", wraps=fill) as recorder:
        processor.process(open_chunk(catalog.datasets[0]))
    # Of all calls, the one with the most weights: all components and variations.
    call = max(
        recorder.call_args_list,
        key=lambda call: call.args[1][1].shape[1] * call.args[2][1].size,
    )
    cells, (components, component), (labels, ratio) = call.args
    cell = cells.nominal
    n, unit = int((cell >= 0).sum()), f"selected x {len(components)} x {len(labels)}"
    design = partial(hist_per_template, cell, component, ratio, binning)
    engine = Task(partial(fill, *call.args, **call.kwargs), n, unit)
    return {f"fill {name}": engine, f"hist per template {name}": Task(design, n, unit)}


def hist_per_template(
    cell: Array, component: Array, ratio: Array, binning: Binning
) -> None:
    """Fill once per boson cell, component and variation, as the 2020 design did.

    All templates share one histogram, which favours that design: no memory to fetch.
    """
    n_eta, n_pt = binning.shape
    template = hist.Hist(*binning.muon_axes(), storage=hist.storage.Weight())
    eta, pt = (axis.centers for axis in template.axes)
    boson, muon = np.divmod(cell, n_eta * n_pt)
    for number in np.unique(boson[cell >= 0]):
        chosen = np.flatnonzero(boson == number)
        where = eta[muon[chosen] // n_pt], pt[muon[chosen] % n_pt]
        for weight in component[chosen].T:
            for factor in ratio[chosen].T:
                template.fill(*where, weight=weight * factor)


def measure(tasks: dict[str, Task], repeat: int) -> dict[str, Array]:
    """CPU seconds per round, user and kernel, after a round that warms up."""
    seconds: dict[str, list[Any]] = {name: [] for name in tasks}
    for _ in range(repeat + 1):
        for name, task in tasks.items():
            start = resource.getrusage(resource.RUSAGE_SELF)[:2]
            task.call()
            stop = resource.getrusage(resource.RUSAGE_SELF)[:2]
            seconds[name].append(np.subtract(stop, start))
    return {name: np.array(found[1:]) for name, found in seconds.items()}


def print_table(tasks: dict[str, Task], seconds: dict[str, Array]) -> None:
    """Print all rates, and the ratios that the design sets goals for."""
    rates = {}
    print(f"{'':26s}{'per CPU-second':>15s} {'kernel':>7s}")
    for name, task in tasks.items():
        total = seconds[name].sum(axis=1)
        rates[name] = task.items / np.median(total)
        kernel = np.median(seconds[name][:, 1] / total)
        print(f"{name:26s}{rates[name]:15,.0f} {kernel:7.0%} {task.unit}")
    pairs = [(f"fill {name}", f"hist per template {name}") for name in BINNINGS]
    for how, name, kind in itertools.product(READS, BINNINGS, COMPRESSIONS):
        pairs.append((f"process {name} {kind}", f"{how} {kind}"))
    for one, other in pairs:
        print(f"{f'{one} / {other}':48s}{rates[one] / rates[other]:7.2f}")


def show_profile(call: Callable[[], Any]) -> None:
    """Print what takes most time of the project, the processor itself, and reading."""
    profile = cProfile.Profile()
    profile.runcall(call)
    wanted = "wprops|dynamic-code|extract_column|from_root"
    pstats.Stats(profile).sort_stats("cumulative").print_stats(wanted, 12)


if __name__ == "__main__":
    main()
