"""Commands from simulation to template files.

Each imports what it needs, so that fitting works where the event stack is not
installed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wprops.commands.arguments import (
    EXISTING,
    FILE,
    FOLDER,
    INTERRUPTED,
    POSITIVE,
    deviations,
)

if TYPE_CHECKING:
    from wprops.physics.moments import Weighting


@click.command()
@click.argument("outdir", type=FOLDER)
@click.option("--events", default=1_000_000, help="Simulated W → μν events.")
@click.option("--seed", default=1, help="Seed of all samples.")
@click.option("--samples", multiple=True, help="Only these samples; repeatable.")
@click.option("--nano", type=click.Choice(["v6", "v9", "v15"]), default="v9")
@click.option(
    "--deviation",
    "deviations",
    multiple=True,
    callback=deviations,
    metavar="NAME=VALUE",
    help="Deviation of the data from the simulation, such as mw_shift=0.05.",
)
@click.option(
    "--everywhere",
    multiple=True,
    callback=deviations,
    metavar="NAME=VALUE",
    help="Deviation of simulation and data alike, such as mu_resolution_eta=0.5.",
)
@click.option(
    "--data-fraction",
    default=0.25,
    help="Luminosity of the pseudo-data relative to the simulation.",
)
@click.option("--fsr", is_flag=True, help="Let muons radiate photons.")
@click.option("--negative-fraction", default=0.0, help="Share of negative weights.")
@click.option("--compression", type=click.Choice(["zstd", "lz4"]), default="zstd")
@click.option("--workers", type=POSITIVE, default=2, help="Processes that write.")
def toy(outdir: Path, **options: Any) -> None:
    """Write toy NanoAOD files with known truth, and their catalogue, to OUTDIR."""
    from wprops.events.toy.samples import write_toy

    options["samples"] = options["samples"] or None
    catalogue = write_toy(outdir, **options)
    click.echo(f"wrote {catalogue}")


@click.command()
@click.argument("catalogue", type=EXISTING)
@click.option(
    "--processor",
    default="templates",
    help="Name in processors/, or FILE.py[:Class].",
)
@click.option("--output", "-o", type=FILE, required=True, help="File to write.")
@click.option(
    "--executor",
    type=click.Choice(["iterative", "futures", "dask"]),
    default="iterative",
)
@click.option(
    "--workers", type=POSITIVE, default=2, help="Processes for futures and local dask."
)
@click.option("--address", help="Scheduler of a running dask cluster.")
@click.option(
    "--cluster",
    type=EXISTING,
    help="YAML file of the dask cluster to start, such as jobs of HTCondor or SLURM.",
)
@click.option("--chunksize", type=POSITIVE, default=250_000, help="Events per chunk.")
@click.option("--binning", type=click.Choice(["coarse", "full"]), default="full")
@click.option("--dataset", "datasets", multiple=True, help="Only these; repeatable.")
@click.option(
    "--ledger",
    type=FOLDER,
    help="Folder of finished chunks, to go on after an interruption.  "
    "[default: OUTPUT.ledger]",
)
@click.option("--no-ledger", is_flag=True, help="Keep no finished chunks.")
@click.option(
    "--skip-bad-files",
    is_flag=True,
    help="Go on without files that are no good, and say what is lost.",
)
def run(
    catalogue: Path,
    processor: str,
    output: Path,
    binning: str,
    datasets: tuple[str, ...],
    ledger: Path | None,
    no_ledger: bool,
    cluster: Path | None,
    **options: Any,
) -> None:
    """Run a processor over CATALOGUE and write what it returns."""
    from wprops.axes import BINNINGS
    from wprops.catalog import Catalog
    from wprops.execution.cluster import Cluster
    from wprops.execution.processors import load_processor
    from wprops.execution.run import run as run_processor

    catalog = Catalog.read(catalogue)
    if datasets:
        catalog = catalog.only(datasets)
    configured = load_processor(processor).from_catalog(catalog, BINNINGS[binning])
    kept = None if no_ledger else ledger or output.with_name(f"{output.name}.ledger")
    if cluster is not None:
        options["cluster"] = Cluster.read(cluster)
    try:
        result = run_processor(catalog, configured, ledger=kept, **options)
    except KeyboardInterrupt:
        if kept is None:
            remedy = "nothing is kept without a ledger"
        else:
            remedy = (
                f"finished chunks are in {kept}; the same command goes on from there"
            )
        click.echo(f"wprops: interrupted: {remedy}", err=True)
        sys.exit(INTERRUPTED)
    configured.save(result, output)
    performance = result.performance
    for line in performance["warnings"]:
        click.echo(f"wprops: warning: {line}", err=True)
    click.echo(
        f"processed {performance['events']:,} events in "
        f"{performance['wall_s']:.1f} s ({performance['events_per_s']:,.0f}/s), "
        f"{performance['bytes_read'] / 1e6:,.0f} MB read, wrote {output}"
    )
    stages = performance["stages_s"]
    busy = sum(stages.values())
    if busy:
        shares = sorted(stages.items(), key=lambda item: -item[1])
        click.echo(
            "time of the workers: "
            + ", ".join(f"{name} {seconds / busy:.0%}" for name, seconds in shares)
        )


@click.command()
@click.argument("response", type=EXISTING)
@click.option("--output", "-o", type=FILE, required=True, help="Templates to write.")
@click.option(
    "--plain",
    type=EXISTING,
    help="Event-weighted templates of the same catalogue: the source of all that is "
    "not signal, and the test of closure.",
)
@click.option(
    "--weighting",
    type=click.Choice(["sigma_A", "sigma"]),
    default="sigma_A",
    help="Whether components carry the A_i of the simulation.",
)
@click.option(
    "--replicas",
    type=click.IntRange(0, 20),
    default=10,
    help="Replicas of the jackknife for the statistics of the simulation; 0 for none.",
)
@click.option(
    "--accept-bad-fits",
    is_flag=True,
    help="Go on with operators that do not describe the simulation.",
)
@click.option(
    "--remedy",
    "remedies",
    multiple=True,
    metavar="NAME",
    help="For an assumption that fails: recoil_efficiency, and one of fsr, absy and "
    "pileup; repeatable.",
)
def templates(
    response: Path,
    output: Path,
    plain: Path | None,
    weighting: Weighting,
    replicas: int,
    accept_bad_fits: bool,
    remedies: tuple[str, ...],
) -> None:
    """Make factorised templates of the sums in RESPONSE.

    RESPONSE comes from ``wprops run CATALOGUE --processor response``.
    """
    from wprops.factorised.response_file import Response
    from wprops.factorised.summary import summary, warnings
    from wprops.factorised.template_set import factorised_set
    from wprops.store import TemplateSet

    made = factorised_set(
        Response.read(response),
        plain=None if plain is None else TemplateSet.read(plain),
        weighting=weighting,
        n_replicas=replicas,
        accept=accept_bad_fits,
        remedies=remedies,
    )
    made.write(output)
    click.echo(summary(made))
    for line in warnings(made):
        click.echo(f"wprops: warning: {line}", err=True)
    click.echo(f"wrote {output}")


@click.command()
@click.argument("histograms", type=EXISTING)
@click.option("--output", "-o", type=FILE, required=True, help="Templates to write.")
@click.option("--tables", type=FOLDER, help="Folder for all tables as CSV.")
@click.option(
    "--fake-curve",
    type=click.Choice(["constant", "linear", "quadratic", "cubic"]),
    default="linear",
    help="Shape of the fake rate in pT.",
)
@click.option(
    "--prompt-curve",
    type=click.Choice(["erf", "logistic", "linear", "quadratic", "cubic"]),
    default="erf",
    help="Shape of the prompt rate in pT; erf and logistic need many events.",
)
def backgrounds(
    histograms: Path,
    output: Path,
    tables: Path | None,
    fake_curve: str,
    prompt_curve: str,
) -> None:
    """Estimate multijet from the data in HISTOGRAMS and write templates with it."""
    from wprops.backgrounds.curves import CURVES
    from wprops.backgrounds.estimate import add_multijet
    from wprops.backgrounds.summary import summary
    from wprops.backgrounds.tables import write_tables
    from wprops.store import TemplateSet

    templates = add_multijet(
        TemplateSet.read(histograms),
        fake_curve=CURVES[fake_curve],
        prompt_curve=CURVES[prompt_curve],
    )
    templates.write(output)
    click.echo(summary(templates))
    click.echo(f"wrote {output}")
    for path in write_tables(templates, tables) if tables is not None else ():
        click.echo(f"wrote {path}")


@click.command()
@click.option("--output", "-o", type=FOLDER, default=Path("demo"))
@click.option("--events", default=2_000_000, help="Simulated W → μν events.")
@click.option("--seed", default=1)
@click.option("--workers", type=POSITIVE, default=2)
@click.option(
    "--executor",
    type=click.Choice(["iterative", "futures", "dask"]),
    default="futures",
)
def demo(output: Path, **options: Any) -> None:
    """Measure the truth of a toy: simulate, fill templates, fit, report."""
    from wprops.demo import run_demo

    page = run_demo(output, echo=click.echo, **options)
    click.echo(f"open {page}")
