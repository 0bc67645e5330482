"""The command line: thin commands over the functions of the package.

Each command imports what it needs, so that fitting works where the event stack
is not installed.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any

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


def _frozen(
    _ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]
) -> dict[str, float | None]:
    """Parse NAME[=VALUE]."""
    parsed: dict[str, float | None] = {}
    for value in values:
        name, separator, _ = value.partition("=")
        parsed |= _deviations(_ctx, _param, (value,)) if separator else {name: None}
    return parsed


def _scans(
    _ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Parse NAME=LOW:HIGH:N, or two of them with a comma in between."""
    import numpy as np

    scans = []
    for value in values:
        grids = {}
        for part in value.split(","):
            name, _, text = part.partition("=")
            try:
                low, high, number = text.split(":")
                grids[name] = np.linspace(float(low), float(high), int(number))
                if not grids[name].size:
                    raise ValueError(number)
            except ValueError as error:
                msg = (
                    f"{part!r} is not NAME=LOW:HIGH:N with two numbers and a number "
                    "of points"
                )
                raise click.BadParameter(msg) from error
        if len(grids) > 2:
            msg = f"{value!r} has {len(grids)} parameters; scan one or two"
            raise click.BadParameter(msg)
        scans.append(grids)
    return scans


@main.command()
@click.argument("templates", type=EXISTING)
@click.option("--output", "-o", type=FILE, default=Path("fit.h5"))
@click.option(
    "--data",
    type=click.Choice(["observed", "asimov", "toy"]),
    default="observed",
    help="The data of the set, its prediction, or pseudo-data from it.",
)
@click.option("--seed", type=click.IntRange(min=0), default=1, help="Of pseudo-data.")
@click.option(
    "--barlow-beeston/--no-barlow-beeston",
    default=True,
    help="Whether to count the statistical error of the templates.",
)
@click.option(
    "--channels", multiple=True, help="Only these together; repeatable.  [default: all]"
)
@click.option(
    "--freeze",
    multiple=True,
    callback=_frozen,
    metavar="NAME[=VALUE]",
    help="Do not fit what the name or pattern (pdf_*) matches; repeatable.",
)
@click.option("--start", type=EXISTING, help="Begin at the result of an earlier fit.")
@click.option("--impacts", is_flag=True, help="Compute all impacts.")
@click.option(
    "--scan",
    "scans",
    multiple=True,
    callback=_scans,
    metavar="NAME=LOW:HIGH:N[,…]",
    help="Scan the profile likelihood of one parameter or two, or of m_W; repeatable.",
)
@click.option(
    "--interval",
    "intervals",
    multiple=True,
    metavar="NAME",
    help="Find profile-likelihood intervals of a parameter, or of m_W; repeatable.",
)
@click.option(
    "--blind",
    type=FILE,
    metavar="KEY",
    help="Hide what the data say until `wprops reveal`. A missing key is made, for "
    "somebody else to keep.",
)
@click.option(
    "--blind-only",
    "patterns",
    multiple=True,
    metavar="NAME",
    help="Parameters, or patterns, that a new key hides; repeatable.  "
    "[default: all strengths and the mass]",
)
def fit(
    templates: Path,
    output: Path,
    channels: tuple[str, ...],
    start: Path | None,
    blind: Path | None,
    patterns: tuple[str, ...],
    **options: Any,
) -> None:
    """Fit TEMPLATES and write the result."""
    from wprops.fit.blinding import blind_fit
    from wprops.fit.results import FitResult
    from wprops.fit.run import run_fit
    from wprops.store import TemplateSet

    options["channels"] = channels or None
    options["start"] = None if start is None else FitResult.read(start)
    if blind is not None:
        result = blind_fit(
            TemplateSet.read(templates), blind, patterns=patterns or None, **options
        )
    elif patterns:
        msg = "--blind-only chooses what a key hides; give --blind KEY too"
        raise click.UsageError(msg)
    else:
        result = run_fit(TemplateSet.read(templates), **options)
    result.write(output)
    click.echo(result.summary())


def _truth(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> tuple[Path | None, dict[str, float]]:
    """Tell one result file from NAME=VALUE pairs."""
    files = [value for value in values if "=" not in value]
    if len(files) > 1:
        msg = f"{' and '.join(files)} are no NAME=VALUE pairs; give one result file"
        raise click.BadParameter(msg)
    pairs = tuple(value for value in values if "=" in value)
    return (Path(files[0]) if files else None), _deviations(ctx, param, pairs)


@main.command()
@click.argument("templates", type=EXISTING)
@click.option("--number", "-n", type=POSITIVE, default=1000, help="Toys to fit.")
@click.option("--seed", type=click.IntRange(min=0), default=1, help="Of all toys.")
@click.option("--output", "-o", type=FILE, default=Path("toys.h5"))
@click.option("--workers", type=POSITIVE, default=2, help="Toys at the same time.")
@click.option(
    "--truth",
    multiple=True,
    callback=_truth,
    metavar="RESULT|NAME=VALUE",
    help="True parameters: those of a result file, and others; repeatable.  "
    "[default: as generated]",
)
@click.option(
    "--channels", multiple=True, help="Only these together; repeatable.  [default: all]"
)
@click.option(
    "--barlow-beeston/--no-barlow-beeston",
    default=True,
    help="Whether the statistical error of the templates counts, in toys and fits.",
)
@click.option("--table", type=FILE, help="CSV file for pulls and coverage.")
@click.option("--figure", type=FILE, help="PDF, PNG or SVG file for the same.")
def toys(
    templates: Path,
    number: int,
    seed: int,
    output: Path,
    workers: int,
    truth: tuple[Path | None, dict[str, float]],
    channels: tuple[str, ...],
    barlow_beeston: bool,
    table: Path | None,
    figure: Path | None,
) -> None:
    """Fit toys of TEMPLATES and print pulls and coverage; goes on where it stopped."""
    from wprops.fit.blinding import require_revealed
    from wprops.fit.coverage import coverage_lines, p_value, write_coverage
    from wprops.fit.results import FitResult
    from wprops.fit.toy_store import run_toys
    from wprops.fit.toys import plan_toys
    from wprops.store import TemplateSet

    file, deviations = truth
    values: dict[str, float] = {}
    if file is not None:
        result = FitResult.read(file)
        require_revealed(result, "toys")
        values = dict(zip(result.names, result.values.tolist(), strict=True))
    experiment = plan_toys(
        TemplateSet.read(templates),
        seed=seed,
        truth=values | deviations,
        channels=channels or None,
        barlow_beeston=barlow_beeston,
    )
    try:
        ensemble = run_toys(experiment, number, output, n_workers=workers)
    except KeyboardInterrupt:
        click.echo(
            f"wprops: interrupted: finished toys are in {output}.parts; the same "
            "command goes on from there",
            err=True,
        )
        sys.exit(INTERRUPTED)
    for line in coverage_lines(ensemble):
        click.echo(line)
    if file is not None:
        probability = p_value(ensemble, result.gof.statistic)
        click.echo(f"p = {probability:.3f} of {file} among the toys")
    if table is not None:
        write_coverage(ensemble, table)
    if figure is not None:
        from wprops.fit.coverage import coverage
        from wprops.plots.style import SampleLabel
        from wprops.plots.toys import plot_coverage

        label = SampleLabel(status="toys")
        plot_coverage(coverage(ensemble), label=label).savefig(figure)


@main.command()
@click.argument("result", type=EXISTING)
@click.argument("templates", type=EXISTING)
@click.option("--key", type=EXISTING, required=True, help="Key of the blind fit.")
@click.option("--output", "-o", type=FILE, required=True, help="Result to write.")
def reveal(result: Path, templates: Path, key: Path, output: Path) -> None:
    """Write the true result of the blind RESULT of TEMPLATES."""
    from wprops.fit.blinding import reveal as reveal_result
    from wprops.fit.blinding_key import Key
    from wprops.fit.results import FitResult
    from wprops.store import TemplateSet

    revealed = reveal_result(
        FitResult.read(result), TemplateSet.read(templates), Key.read(key)
    )
    revealed.write(output)
    click.echo(revealed.summary())


@main.command()
@click.argument("templates", type=EXISTING)
@click.option("--json", "output", type=FILE, help="Write all findings as JSON.")
@click.option(
    "--data",
    type=click.Choice(["observed", "asimov", "toy"]),
    default="observed",
    help="The data of the set, its prediction, or pseudo-data from it.",
)
@click.option("--seed", type=click.IntRange(min=0), default=1, help="Of pseudo-data.")
@click.option(
    "--barlow-beeston/--no-barlow-beeston",
    default=True,
    help="Whether to count the statistical error of the templates.",
)
@click.option(
    "--channels", multiple=True, help="Only these together; repeatable.  [default: all]"
)
@click.option(
    "--parabola/--no-parabola",
    default=True,
    help="Whether to compare the likelihood with its parabola, along all parameters.",
)
@click.option("--shown", type=POSITIVE, default=5, help="Findings of a kind to print.")
def diagnose(
    templates: Path,
    output: Path | None,
    channels: tuple[str, ...],
    shown: int,
    **options: Any,
) -> None:
    """Fit TEMPLATES and say what is wrong or doubtful, and what to do."""
    from wprops.fit.findings import table, to_json
    from wprops.fit.inspection import inspect
    from wprops.store import TemplateSet

    found = inspect(TemplateSet.read(templates), channels=channels or None, **options)
    if output is not None:
        output.write_text(to_json(found), encoding="utf-8")
    click.echo(table(found, n_shown=shown))


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
@click.argument("templates", type=EXISTING)
@click.argument("output", type=FILE)
@click.option("--format", "form", type=click.Choice(["rabbit", "pyhf"]), required=True)
@click.option("--channel", "channels", multiple=True, help="Only these; repeatable.")
@click.option(
    "--systematic-type",
    type=click.Choice(["log_normal", "normal"]),
    default="log_normal",
    help="Kind of all effects in a file of rabbit.",
)
@click.option(
    "--approximate", is_flag=True, help="Convert what a file of rabbit cannot express."
)
@click.option(
    "--barlow-beeston/--no-barlow-beeston",
    default=True,
    help="Whether a workspace of pyhf has the statistical error of the templates.",
)
def export(
    templates: Path,
    output: Path,
    form: str,
    channels: tuple[str, ...],
    barlow_beeston: bool,
    **options: Any,
) -> None:
    """Write TEMPLATES as an input of another framework, and say what differs."""
    from wprops.interchange.pyhf_export import export_pyhf
    from wprops.interchange.rabbit_export import export_rabbit
    from wprops.store import TemplateSet

    content, only = TemplateSet.read(templates), channels or None
    if form == "pyhf":
        statement = export_pyhf(
            content, output, channels=only, barlow_beeston=barlow_beeston
        )
    else:
        statement = export_rabbit(content, output, channels=only, **options)
    click.echo(statement)
    click.echo(f"wrote {output}")


@main.command("import")
@click.argument("file", type=EXISTING)
@click.option("--output", "-o", type=FILE, required=True, help="Templates to write.")
@click.option(
    "--approximate", is_flag=True, help="Convert what templates cannot express."
)
def import_(file: Path, output: Path, approximate: bool) -> None:
    """Read an input FILE of rabbit, write templates, and say what differs."""
    from wprops.interchange.rabbit_templates import import_rabbit

    templates, statement = import_rabbit(file, approximate=approximate)
    templates.write(output)
    click.echo(statement)
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
