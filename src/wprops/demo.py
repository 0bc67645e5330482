"""The whole chain on a toy whose truth is known: toy → run → fit → report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from wprops.axes import COARSE
from wprops.catalog import Catalog
from wprops.events.toy.samples import write_toy
from wprops.execution.executors import ExecutorName
from wprops.execution.processors import load_processor
from wprops.execution.run import run
from wprops.fit.run import run_fit
from wprops.report import write_report
from wprops.store import TemplateSet

#: Luminosity of the pseudo-data relative to the simulation.
DATA_FRACTION = 0.25


def run_demo(
    output: Path,
    *,
    events: int,
    seed: int,
    workers: int,
    executor: ExecutorName,
    echo: Callable[[str], None],
) -> Path:
    """Simulate, fill templates, fit and report; every step leaves its file.

    Parameters
    ----------
    output : Path
        Folder for the toy's files, ``templates.h5``, ``fit.h5`` and the report.
    events : int
        Number of simulated W → μν events; the pseudo-data are independent of
        them and have `DATA_FRACTION` of their luminosity.
    seed : int
        Seed of all samples.
    workers : int
        Number of processes.
    executor : {"iterative", "futures", "dask"}
        Where events are processed.
    echo : callable
        Called with a line of progress.

    Returns
    -------
    Path
        The report.
    """
    timings: dict[str, float] = {}

    @contextmanager
    def step(name: str, what: str) -> Iterator[None]:
        echo(what)
        start = time.perf_counter()
        yield
        timings[name] = time.perf_counter() - start
        echo(f"  {timings[name]:.1f} s")

    with step("toy", f"1/4 toy: {events:,} W → μν events, backgrounds, pseudo-data"):
        catalogue = write_toy(
            output / "toy",
            events=events,
            seed=seed,
            data_fraction=DATA_FRACTION,
            workers=workers,
        )
    with step("run", f"2/4 run: select events and fill templates ({executor})"):
        catalog = Catalog.read(catalogue)
        processor = load_processor("templates").from_catalog(catalog, COARSE)
        result = run(catalog, processor, executor=executor, workers=workers)
        processor.save(result, output / "templates.h5")
    with step("fit", "3/4 fit: signal strengths, nuisances and m_W"):
        templates = TemplateSet.read(output / "templates.h5")
        fitted = run_fit(templates)
        fitted.write(output / "fit.h5")
    echo(fitted.summary())
    with step("report", "4/4 report"):
        return write_report(fitted, templates, output / "report.html", timings=timings)
