"""Write a complete toy: files of every sample, pseudo-data, catalogue and truth."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rich.console import Console
from rich.progress import Progress

from wprops.events.toy.deviations import deviate
from wprops.events.toy.events import SAMPLES
from wprops.events.toy.jobs import STREAMS, FileJob, write_file
from wprops.events.toy.nano import NanoVersion
from wprops.events.toy.nano_gen import WEIGHT_PRECISION
from wprops.events.toy.plan import ToyPlan, file_jobs
from wprops.events.toy.pseudodata import ALL_OVER_CERTIFIED, golden_json
from wprops.events.toy.theory import N_REPLICAS, pdf_hessian
from wprops.events.toy.truth import ToyTruth
from wprops.events.toy.yields import CROSS_SECTION_SCALES

CATALOGUE, TRUTH = "catalogue.yaml", "truth.json"
HESSIAN, GOLDEN = "pdf_hessian.csv", "golden.json"


def write_toy(
    outdir: Path,
    *,
    events: int,
    seed: int,
    samples: Iterable[str] | None = None,
    nano: NanoVersion = "v9",
    deviations: Mapping[str, float] | None = None,
    everywhere: Mapping[str, float] | None = None,
    data_fraction: float = 0.25,
    events_per_file: int = 500_000,
    workers: int | None = None,
    fsr: bool = False,
    negative_fraction: float = 0.0,
    compression: str = "zstd",
    progress: bool = True,
) -> Path:
    """Write simulated samples and pseudo-data with known truth.

    Parameters
    ----------
    outdir : Path
        Folder for the files; created when absent.
    events : int
        Number of simulated W → μν events, both charges together; the other samples
        have the same luminosity.
    seed : int
        Seed of everything; the content does not depend on ``workers``.
    samples : iterable of str, optional
        Only these samples (``data`` is one of them); all when omitted.
    nano : {"v6", "v9", "v15"}
        Version of NanoAOD.
    deviations : mapping of str to float, optional
        Deviations of the pseudo-data, by name; see `deviations.DEVIATIONS`.
    everywhere : mapping of str to float, optional
        Deviations of simulation and pseudo-data alike from the default truth; those
        of the pseudo-data go before them.
    data_fraction : float
        Luminosity of the pseudo-data relative to the simulation.
    events_per_file : int
        Largest number of events in a file of simulation.
    workers : int, optional
        Processes that write files at the same time; 2 when omitted.
    fsr : bool
        Whether muons radiate photons.
    negative_fraction : float
        Share of events with generator weight −1.
    compression : {"zstd", "lz4"}
        Compression of the files.
    progress : bool
        Whether to show a progress bar; only ever on a terminal.

    Returns
    -------
    Path
        The catalogue, beside the files.

    Raises
    ------
    ConfigError
        For an unknown sample, deviation, version or a value out of range.
    """
    outdir = Path(outdir)
    alike, different = everywhere or {}, deviations or {}
    simulation = deviate(ToyTruth(), alike)
    plan = ToyPlan(
        events=events,
        seed=seed,
        samples=STREAMS if samples is None else tuple(samples),
        nano=nano,
        data_fraction=data_fraction,
        events_per_file=events_per_file,
        fsr=fsr,
        negative_fraction=negative_fraction,
        compression=compression,
        simulation=simulation,
        data=deviate(ToyTruth(), {**alike, **different}),
    )
    outdir.mkdir(parents=True, exist_ok=True)
    # Written again at the end: an interrupted toy has no catalogue, and so no mixture
    # of its files with those of an earlier one can be run over.
    (outdir / CATALOGUE).unlink(missing_ok=True)
    jobs = [job for name in plan.samples for job in file_jobs(plan, name, outdir)]
    _run(jobs, 2 if workers is None else workers, progress=progress)
    _write_sidecars(plan, outdir)
    catalogue = outdir / CATALOGUE
    catalogue.write_text(yaml.safe_dump(_catalogue(plan, jobs), sort_keys=False))
    return catalogue


def _run(jobs: list[FileJob], workers: int, *, progress: bool) -> None:
    """Write the files, the largest first, so that no worker ends alone."""
    console = Console(stderr=True)
    with Progress(
        console=console, disable=not (progress and console.is_terminal)
    ) as bar:
        task = bar.add_task("toy", total=len(jobs))
        if workers <= 1 or len(jobs) == 1:
            for job in jobs:
                write_file(job)
                bar.advance(task)
            return
        ordered = sorted(jobs, key=lambda job: job.start - job.stop)
        # Threads of the parent (BLAS, dask) make forking unsafe.
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            futures = [pool.submit(write_file, job) for job in ordered]
            for future in as_completed(futures):
                future.result()
                bar.advance(task)


def _write_sidecars(plan: ToyPlan, outdir: Path) -> None:
    """Write the truth, the PDF matrix and the certified sections."""
    truth = {
        "simulation": plan.simulation.to_dict(),
        "data": plan.data.to_dict(),
        "seed": plan.seed,
        "events": plan.events,
        "luminosity_simulation": plan.luminosity / 1e3,
        "luminosity_data": plan.data_luminosity / 1e3,
        "uncertified_fraction": ALL_OVER_CERTIFIED - 1.0,
        "cross_section_scales": CROSS_SECTION_SCALES,
        "weight_mantissa_bits": WEIGHT_PRECISION,
        "fsr": plan.fsr,
        "negative_fraction": plan.negative_fraction,
    }
    (outdir / TRUTH).write_text(json.dumps(truth, indent=1) + "\n")
    (outdir / GOLDEN).write_text(json.dumps(golden_json(plan.n_runs)) + "\n")
    np.savetxt(outdir / HESSIAN, pdf_hessian(plan.simulation), delimiter=",")


def _catalogue(plan: ToyPlan, jobs: list[FileJob]) -> dict[str, Any]:
    """Return the catalogue in the format of `wprops.datasets`."""
    datasets = []
    for name in plan.samples:
        is_data = name == "data"
        entry: dict[str, Any] = {
            "name": name,
            "process": "data" if is_data else SAMPLES[name].process,
            "kind": "data" if is_data else "mc",
            "era": "2016",
            "nano": plan.nano,
            "generator": "wprops toy",
        }
        if not is_data:
            entry["xsec"] = SAMPLES[name].cross_section(plan.simulation)
        entry["files"] = [job.path.name for job in jobs if job.sample == name]
        if not is_data and SAMPLES[name].decay != "direct":
            pdf = {
                "branch": "LHEPdfWeight",
                "replicas": N_REPLICAS,
                "alphas": True,
                "hessian": HESSIAN,
            }
            entry["weights"] = {"pdf": pdf, "scale": "LHEScaleWeight"}
            boson = plan.simulation.boson(SAMPLES[name].charge)
            entry["boson"] = {"mass": boson.mass, "width": boson.width}
        datasets.append(entry | {"truth": TRUTH})
    return {
        "name": "toy",
        "luminosity": plan.data_luminosity / 1e3,
        "datasets": datasets,
        "golden_json": GOLDEN,
        # v15 has no variations of the jet energy in its missing momentum.
        "without": ["jes"] if plan.nano == "v15" else [],
    }
