"""Time per event of summing the response: the sums alone, and the whole processor.

CPU time of one thread. The sums of a chunk have fixed arrays, of 30 MB with all
variations, so chunks should not be small.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from coffea.nanoevents import NanoEventsFactory

from wprops.axes import FULL
from wprops.catalog import Catalog
from wprops.events.schema import NanoSchema
from wprops.events.toy.samples import write_toy
from wprops.execution.processors import load_processor
from wprops.factorised.check_sums import fill_checks
from wprops.factorised.decays import Decays
from wprops.factorised.panels import Panels
from wprops.factorised.sums import fill
from wprops.systematics.declaration import NOMINAL


def main() -> None:
    """Write a toy, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=200_000, help="W+ and W- events")
    parser.add_argument("--repeat", type=int, default=5, help="rounds; the best counts")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = write_toy(
            Path(folder),
            events=arguments.events,
            events_per_file=arguments.events,
            samples=["Wplus_mu"],
            fsr=True,
            seed=1,
            workers=1,
            progress=False,
        )
        measure(Catalog.read(path), arguments.repeat)


def measure(catalog: Catalog, repeat: int) -> None:
    """Print the times of one chunk that is a whole file."""
    processor = load_processor("response").from_catalog(catalog, FULL)
    decays = processor.decays(open_chunk(catalog))
    n, panels = len(decays.qt), Panels.of(FULL)
    print(f"{n} decays, {len(decays.reco)} muons, {decays.passes.sum()} pass")
    bare = nominal(decays)
    checks = best(lambda: fill_checks(bare, panels), repeat)
    times = {
        "nominal sums": best(lambda: fill(bare, panels), repeat) - checks,
        "checks of assumptions": checks,
        f"all {len(decays.ratios[0])} + {len(decays.residual)} labels, checks": best(
            lambda: fill(decays, panels), repeat
        ),
        "processor, reading included": best(
            lambda: processor.process(open_chunk(catalog)), repeat
        ),
    }
    for what, seconds in times.items():
        print(f"{what:40s} {1e6 * seconds / n:8.3f} us/event")


def nominal(decays: Decays) -> Decays:
    """Return the decays without any variation."""
    labels, ratios = decays.ratios
    only = {
        name: {NOMINAL: getattr(decays, name)[NOMINAL]}
        for name in ("reco_pt", "residual", "selected_weight")
    }
    return replace(
        decays, ratios=(labels[:1], np.ascontiguousarray(ratios[:, :1])), **only
    )


def open_chunk(catalog: Catalog) -> Any:
    """Open the file of the first dataset as one chunk."""
    record = catalog.datasets[0]
    return NanoEventsFactory.from_root(
        {record.files[0]: "Events"},
        schemaclass=NanoSchema,
        mode="virtual",
        metadata={
            "filename": record.files[0],
            "dataset": record.name,
            "record": record,
            "normalisation": 1.0,
            "chunk": 0,
        },
    ).events()


def best(call: Callable[[], Any], repeat: int) -> float:
    """Return the shortest CPU time of some calls, after one that compiles."""
    call()
    found = []
    for _ in range(repeat):
        start = time.process_time()
        call()
        found.append(time.process_time() - start)
    return min(found)


if __name__ == "__main__":
    main()
