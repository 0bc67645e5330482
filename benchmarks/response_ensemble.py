"""Simulate N toy W decays: a response file and plain templates of the same events.

Without files of events in between. Writes response.h5 and plain.h5 and prints the rate
of the steps per CPU-second. Weights amount to 35.9 fb^-1.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from wprops.axes import BINNINGS
from wprops.commands.arguments import FOLDER, POSITIVE, deviations
from wprops.events.toy.deviations import VARYING_RESOLUTION, deviate
from wprops.events.toy.truth import ToyTruth
from wprops.factorised.panels import Panels
from wprops.factorised.toy_decays import CHUNK, ToyEnsemble
from wprops.factorised.toy_ensemble import fill_ensemble, plain_set, toy_response
from wprops.provenance import collect


@click.command(help=__doc__)
@click.argument("events", type=float)
@click.option("--output", type=FOLDER, required=True, help="Folder to write to.")
@click.option("--seed", default=1)
@click.option("--fsr", is_flag=True, help="Let muons radiate photons.")
@click.option(
    "--varying-resolution",
    is_flag=True,
    help="A resolution of muons that depends on pT and eta.",
)
@click.option(
    "--deviation",
    "wanted",
    multiple=True,
    callback=deviations,
    metavar="NAME=VALUE",
    help="Deviation from the default truth, such as iso_recoil=0.1; repeatable.",
)
@click.option("--binning", type=click.Choice(sorted(BINNINGS)), default="full")
@click.option("--workers", type=POSITIVE, default=1, help="Threads.")
@click.option("--chunk", type=POSITIVE, default=CHUNK, help="Events per chunk.")
def main(
    events: float,
    output: Path,
    binning: str,
    workers: int,
    wanted: dict[str, float],
    *,
    varying_resolution: bool,
    **options: Any,
) -> None:
    """Fill an ensemble and write what it filled, each with its time."""
    if varying_resolution:
        wanted = VARYING_RESOLUTION | wanted
    truth = deviate(ToyTruth(), wanted)
    n, panels = int(events), Panels.of(BINNINGS[binning])
    ensemble = ToyEnsemble(n_events=n, truth=truth, **options)
    # Compiling is not part of the rate.
    small = replace(ensemble, n_events=1000)
    timed("compile", 1000, lambda: fill_ensemble(small, panels))
    sums, blocks = timed(
        "fill", n, lambda: fill_ensemble(ensemble, panels, workers=workers)
    )
    origin = collect(
        events=n, seed=ensemble.seed, fsr=ensemble.fsr, truth=truth.to_dict()
    )
    output.mkdir(parents=True, exist_ok=True)
    response = replace(toy_response(ensemble, sums), provenance=origin)
    timed("response.h5", n, lambda: response.write(output / "response.h5"))
    plain = replace(plain_set(ensemble, blocks, panels.binning), provenance=origin)
    timed("plain.h5", n, lambda: plain.write(output / "plain.h5"))


def timed(name: str, n: int, call: Callable[[], Any]) -> Any:
    """Call, and print CPU time, wall time and events per CPU-second."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = call()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{name:12s} {cpu:8.2f} s CPU {wall:8.2f} s wall {n / cpu:12,.0f} / CPU-s")
    return result


if __name__ == "__main__":
    main()
