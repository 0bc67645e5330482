"""Commands on template and result files.

Each imports what it needs, so that fitting works where the event stack is not
installed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from wprops.commands.arguments import (
    EXISTING,
    FILE,
    INTERRUPTED,
    POSITIVE,
    degrees,
    frozen,
    scans,
    truth,
    what_is_fitted,
)


@click.command()
@click.argument("templates", type=EXISTING)
@click.option("--output", "-o", type=FILE, default=Path("fit.h5"))
@what_is_fitted
@click.option(
    "--freeze",
    multiple=True,
    callback=frozen,
    metavar="NAME[=VALUE]",
    help="Do not fit what the name or pattern (pdf_*) matches; repeatable.",
)
@click.option("--start", type=EXISTING, help="Begin at the result of an earlier fit.")
@click.option("--impacts", is_flag=True, help="Compute all impacts.")
@click.option(
    "--scan",
    "scans",
    multiple=True,
    callback=scans,
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
    "--strength-prior",
    type=click.FloatRange(min=0, min_open=True),
    metavar="WIDTH",
    help="Declare a prior on all strengths for what the simulation does not determine: "
    "WIDTH of a cross section, relative, and of an A_i. Acts in the fit that is "
    "corrected for the finite simulation only, which is repeated with twice the width.",
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
    from wprops.fit.prior_check import doubling_lines
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
    for line in doubling_lines(result.gate):
        click.echo(line)


@click.command()
@click.argument("templates", type=EXISTING)
@click.option("--number", "-n", type=POSITIVE, default=1000, help="Toys to fit.")
@click.option("--seed", type=click.IntRange(min=0), default=1, help="Of all toys.")
@click.option("--output", "-o", type=FILE, default=Path("toys.h5"))
@click.option("--workers", type=POSITIVE, default=2, help="Toys at the same time.")
@click.option(
    "--truth",
    multiple=True,
    callback=truth,
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
        if ensemble.ndf == result.gof.ndf:
            probability = p_value(ensemble, result.gof.statistic)
            click.echo(f"p = {probability:.3f} of {file} among the toys")
        else:
            click.echo(
                f"the goodness of fit of {file} has other degrees of freedom than the "
                "toys: fit the same channels and parameters to compare them",
                err=True,
            )
    if table is not None:
        write_coverage(ensemble, table)
    if figure is not None:
        from wprops.fit.coverage import coverage
        from wprops.plots.style import SampleLabel
        from wprops.plots.toys import plot_coverage

        label = SampleLabel(status="toys")
        plot_coverage(coverage(ensemble), label=label).savefig(figure)


@click.command()
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


@click.command()
@click.argument("templates", type=EXISTING)
@click.option("--json", "output", type=FILE, help="Write all findings as JSON.")
@what_is_fitted
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
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(to_json(found), encoding="utf-8")
    click.echo(table(found, n_shown=shown))


@click.command()
@click.argument("result", type=EXISTING)
@click.argument("templates", type=EXISTING)
@click.option("--output", "-o", type=FILE, default=Path("regularised.h5"))
@click.option(
    "--strength",
    type=click.FloatRange(min=0, min_open=True),
    default=float("inf"),
    metavar="TAU",
    help="Departures from smooth values scatter by 1/√TAU; none by default.",
)
@click.option(
    "--simultaneous", is_flag=True, help="Fit again with a penalty in the likelihood."
)
@click.option(
    "--degrees",
    multiple=True,
    callback=degrees,
    metavar="NAME=QT,Y",
    help="Highest powers of qT and |Y| of A0 … A4 or sigma; repeatable.",
)
@click.option("--lam-tung", is_flag=True, help="Let A0 = A2.")
@click.option(
    "--find-degrees", "search", is_flag=True, help="Find the degrees by F-tests."
)
def regularise(
    result: Path,
    templates: Path,
    output: Path,
    degrees: dict[str, tuple[int, int]],
    lam_tung: bool,
    **options: Any,
) -> None:
    """Smooth the cross sections and coefficients of the fit RESULT of TEMPLATES."""
    from wprops.fit.ansatz import Ansatz, Degrees, default_ansatz
    from wprops.fit.regularise import regularise as regularise_result
    from wprops.fit.results import FitResult
    from wprops.store import TemplateSet

    template_set = TemplateSet.read(templates)
    wanted = {name: Degrees(*pair) for name, pair in degrees.items()}
    ansatz = Ansatz(
        degrees={**default_ansatz(template_set).degrees, **wanted}, lam_tung=lam_tung
    )
    smooth = regularise_result(
        template_set, FitResult.read(result), ansatz=ansatz, **options
    )
    smooth.write(output)
    click.echo(smooth.summary())


@click.command()
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
