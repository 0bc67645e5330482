"""Pulls of full-size toys: mean and RMS of each parameter and derived quantity.

Goes on where it stopped, like `wprops toys`; one BLAS thread, as the command line has.
"""

from __future__ import annotations

import argparse
import logging
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # BLAS reads it when it is loaded

import resource
import time
from pathlib import Path

import numpy as np
from full_size_problem import FULL, QUARTER, build_problem

from wprops.fit.coverage import coverage, coverage_lines, write_coverage
from wprops.fit.toy_store import run_toys
from wprops.fit.toys import plan_toys
from wprops.plots.style import SampleLabel
from wprops.plots.toys import plot_coverage


def main() -> None:
    """Fit toys and print time, memory, and the table of pulls."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path, help="HDF5 file; CSV and PNG beside it")
    parser.add_argument("-n", type=int, default=200, help="toys")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--quarter", action="store_true", help="the smaller problem")
    parser.add_argument("--barlow-beeston", action="store_true")
    parser.add_argument("--simulated", type=float, default=4.0, help="events per event")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    experiment = plan_toys(
        build_problem(
            QUARTER if arguments.quarter else FULL, simulated=arguments.simulated
        ),
        seed=1,
        barlow_beeston=arguments.barlow_beeston,
    )
    wall, cpu = time.perf_counter(), time.process_time()
    toys = run_toys(
        experiment, arguments.n, arguments.output, n_workers=arguments.workers
    )
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{wall:.0f} s, {cpu:.0f} CPU s, {peak:.2f} GB at most")
    print("\n".join(coverage_lines(toys)))
    table = coverage(toys)
    n = len(experiment.model.parameters)
    print(
        f"{n} parameters: mean of the pulls {table.mean[:n].mean():+.4f}, "
        f"RMS {np.sqrt((table.rms[:n] ** 2).mean()):.4f}, from "
        f"{table.rms[:n].min():.3f} to {table.rms[:n].max():.3f}; means scatter by "
        f"{table.mean[:n].std() * np.sqrt(table.n):.2f} standard errors"
    )
    write_coverage(toys, arguments.output.with_suffix(".csv"))
    figure = plot_coverage(table, label=SampleLabel(status="full-size toys"))
    figure.savefig(arguments.output.with_suffix(".png"), dpi=80)


if __name__ == "__main__":
    main()
