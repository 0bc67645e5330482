"""Time, memory and result of one fit by wprops and by rabbit, in alternating processes.

Both read the same input file of rabbit: the quarter-size problem with one-sided
variations as log-normal effects, templates that change sign among them. rabbit runs in
the interpreter of ``--rabbit``, which needs rabbit-fit and tf_keras. Both run before,
which does not count, to warm the caches of files and of compiled code. Each process
then evaluates the likelihood and its derivatives once before it fits, since TensorFlow
traces and numba loads its kernels at the first call; the cold fit counts that too.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # BLAS reads it when it is loaded

import numpy as np
from rabbit_process import peak_gb

HERE = Path(__file__).parent
#: Quantities that are compared, with the ratio that is aimed at.
GOALS = {"fit_s": 50.0, "process_s": 20.0, "peak_gb": 5.0}
LABELS = {
    "fit_s": "fit [s]",
    "cold_fit_s": "cold fit [s]",
    "process_s": "whole process [s]",
    "peak_gb": "peak [GB]",
}


def main() -> None:
    """Run all rounds and print the table, or one fit in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rabbit", type=Path, help="interpreter with rabbit")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--barlow-beeston", action="store_true")
    parser.add_argument("--prepare", type=Path, help="only write the problem here")
    parser.add_argument("--fit", type=Path, help="only fit this file with wprops")
    arguments = parser.parse_args()
    if arguments.prepare:
        prepare(arguments.prepare)
    elif arguments.fit:
        print(json.dumps(fit(arguments.fit, arguments.barlow_beeston)))
    elif arguments.rabbit:
        compare(arguments.rabbit, arguments.rounds, arguments.barlow_beeston)
    else:
        parser.error("give --rabbit PYTHON, an interpreter with rabbit")


def prepare(path: Path) -> None:
    """Write the problem, symmetric so that both frameworks can express it."""
    from full_size_problem import QUARTER, build_problem

    from wprops.interchange.rabbit_export import export_rabbit

    templates = build_problem(QUARTER)
    systematics = tuple(
        s if s.kind == "norm" else replace(s, variations=("up",))
        for s in templates.systematics
    )
    declared = {label for s in systematics for label in s.labels}
    channels = {
        name: replace(
            channel,
            processes={
                key: replace(
                    process,
                    variations={
                        k: v for k, v in process.variations.items() if k in declared
                    },
                )
                for key, process in channel.processes.items()
            },
        )
        for name, channel in templates.channels.items()
    }
    symmetric = replace(templates, channels=channels, systematics=systematics)
    print(export_rabbit(symmetric, path, approximate=True))


def fit(path: Path, barlow_beeston: bool) -> dict[str, Any]:
    """Read and fit with wprops, with effective counts of the start as in rabbit."""
    begin = time.perf_counter()
    from wprops.fit.likelihood import Likelihood, relative_variance
    from wprops.fit.minimise import minimise
    from wprops.interchange.rabbit_model import read_rabbit

    imported = time.perf_counter()
    model, counts = read_rabbit(path)
    loaded = time.perf_counter()
    start = model.parameters.start
    noise = relative_variance(model, start) if barlow_beeston else 0 * counts
    likelihood = Likelihood(model, counts, noise, start)
    point = likelihood.at(start)
    point.gradient(), point.fisher(), point.hessian()
    begin_fit = time.perf_counter()
    minimum = minimise(likelihood, start)
    covariance = minimum.covariance(model.parameters.names)
    end = time.perf_counter()
    # rabbit goes on until rounding; one more Newton step, so that results compare
    step = -covariance @ minimum.point.gradient()
    last = likelihood.at(minimum.values + step)
    errors = np.sqrt(np.diag(np.linalg.inv(last.hessian())))
    return {
        "import_s": imported - begin,
        "load_s": loaded - imported,
        "fit_s": end - begin_fit,
        "cold_fit_s": end - loaded,
        "nll": minimum.nll,
        "edm": minimum.edm,
        "values": last.values.tolist(),
        "errors": errors.tolist(),
        "names": model.parameters.names,
        "peak_gb": peak_gb(),
    }


def compare(rabbit: Path, rounds: int, barlow_beeston: bool) -> None:
    """Alternate between the two, and compare medians."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "quarter.hdf5"
        own = [sys.executable, str(HERE / "bench_rabbit.py")]
        subprocess.run([*own, "--prepare", file], check=True)
        size = file.stat().st_size / 1e6
        options = ["--barlow-beeston"] if barlow_beeston else []
        commands = {
            "rabbit": [rabbit, HERE / "rabbit_process.py", file, *options],
            "wprops": [*own, "--fit", file, *options],
        }
        results: dict[str, list[dict[str, Any]]] = {name: [] for name in commands}
        # TensorFlow keeps nothing compiled, so that rabbit need not fit to be warm
        run([*commands["rabbit"], "--points", "[]"])
        run(commands["wprops"])
        for number in range(1, rounds + 1):
            for name, command in commands.items():
                result = run(command)
                print(f"round {number}, {name}: {line(result)}", flush=True)
                results[name].append(result)
    print(f"{size:.0f} MB of input, {len(results['wprops'][0]['names'])} parameters")
    print(table(results))


def run(command: list[Any]) -> dict[str, Any]:
    """Run a process to its end; the last line of its output is the result."""
    begin = time.perf_counter()
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begin
    if process.returncode:
        sys.exit(f"{command} failed:\n{process.stderr[-3000:]}")
    return json.loads(process.stdout.splitlines()[-1]) | {"process_s": seconds}


def line(result: dict[str, Any]) -> str:
    """One result in short."""
    return ", ".join(f"{label} {result[key]:.3g}" for key, label in LABELS.items())


def table(results: dict[str, list[dict[str, Any]]]) -> str:
    """Medians of both, their ratio with the goal, and how far results differ."""
    rabbit, wprops = results["rabbit"], results["wprops"]
    lines = [f"{'':<20}{'rabbit':>10}{'wprops':>10}{'ratio':>10}{'goal':>8}"]
    for key, label in LABELS.items():
        one, other = (median(r[key] for r in group) for group in (rabbit, wprops))
        lines.append(
            f"{label:<20}{one:>10.3g}{other:>10.3g}{one / other:>10.1f}"
            f"{GOALS.get(key, ''):>8}"
        )
    first, second = rabbit[0], wprops[0]
    errors = np.array(second["errors"])
    moved = abs(np.array(first["values"]) - second["values"]) / errors
    changed = abs(np.array(first["errors"]) / errors - 1)
    lines += [
        f"{'edm':<20}{first['edm']:>10.1e}{second['edm']:>10.1e}",
        f"largest difference of a value {moved.max():.1e} of its error, of an error "
        f"{changed.max():.1e} of itself, of the NLL {first['nll'] - second['nll']:.1e}",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
