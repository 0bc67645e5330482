"""The command line: thin commands over the functions of the package.

Each command imports what it needs, so that fitting works where the event stack
is not installed.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any, Literal

import click

from wprops import __version__
from wprops.errors import WpropsError

# Matrices of a fit and of PDF weights are small: threads of BLAS would only wait for
# each other, and take ten times as long where cores are shared. Before numpy loads.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

FILE = click.Path(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False)
POSITIVE = click.IntRange(min=1)
#: Exit code of what the keyboard ends: 128 and the number of SIGINT.
INTERRUPTED = 130
EXISTING = click.Path(exists=True, path_type=Path)


class _Group(click.Group):
    """A group that turns the project's errors into messages and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except WpropsError as error:
            if ctx.params.get("debug"):
                raise
            click.echo(f"wprops: error: {error}", err=True)
            sys.exit(1)


@click.group(cls=_Group, context_settings={"show_default": True})
@click.version_option(__version__)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(debug: bool) -> None:
    """W boson cross sections, angular coefficients and mass from NanoAOD."""
    # On the handler, since dask sets the level of its own loggers; and debugging is
    # of the project alone, since compilers log thousands of lines.
    handler = logging.StreamHandler()
    handler.setLevel(logging.DEBUG if debug else logging.WARNING)
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.getLogger("wprops").setLevel(logging.DEBUG if debug else logging.INFO)


def _deviations(
    _ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]
) -> dict[str, float]:
    """Parse NAME=VALUE pairs."""
    parsed = {}
    for value in values:
        name, separator, number = value.partition("=")
        try:
            parsed[name] = float(number)
        except ValueError as error:
            msg = f"{value!r} is not NAME=VALUE with a number as value"
            raise click.BadParameter(msg) from error
        if not separator:
            msg = f"{value!r} is not NAME=VALUE"
            raise click.BadParameter(msg)
    return parsed


@main.command()
@click.argument("outdir", type=FOLDER)
@click.option("--events", default=1_000_000, help="Simulated W → μν events.")
@click.option("--seed", default=1, help="Seed of all samples.")
@click.option("--samples", multiple=True, help="Only these samples; repeatable.")
@click.option("--nano", type=click.Choice(["v6", "v9", "v15"]), default="v9")
@click.option(
    "--deviation",
    "deviations",
    multiple=True,
    callback=_deviations,
    metavar="NAME=VALUE",
    help="Deviation of the data from the simulation, such as mw_shift=0.05.",
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


@main.command()
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
        f"{performance['wall_s']:.1f} s, wrote {output}"
    )


@main.command()
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


@main.command()
@click.argument("templates", type=EXISTING)
@click.option("--output", "-o", type=FILE, default=Path("fit.h5"))
@click.option("--data", type=click.Choice(["observed", "asimov"]), default="observed")
@click.option(
    "--barlow-beeston/--no-barlow-beeston",
    default=True,
    help="Whether to count the statistical error of the templates.",
)
def fit(
    templates: Path,
    output: Path,
    data: Literal["observed", "asimov"],
    barlow_beeston: bool,
) -> None:
    """Fit TEMPLATES and write the result."""
    from wprops.fit.run import run_fit
    from wprops.store import TemplateSet

    result = run_fit(
        TemplateSet.read(templates), data=data, barlow_beeston=barlow_beeston
    )
    result.write(output)
    click.echo(result.summary())


@main.command()
@click.argument("result", type=EXISTING)
@click.argument("templates", type=EXISTING)
@click.option("--output", "-o", type=FILE, default=Path("report.html"))
def report(result: Path, templates: Path, output: Path) -> None:
    """Write one HTML page on the fit RESULT of TEMPLATES."""
    from wprops.fit.results import FitResult
    from wprops.report import write_report
    from wprops.store import TemplateSet

    write_report(FitResult.read(result), TemplateSet.read(templates), output)
    click.echo(f"wrote {output}")


@main.command()
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


if __name__ == "__main__":
    main()
