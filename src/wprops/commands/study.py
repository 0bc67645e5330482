"""Commands that study what a measurement can do, before it is made."""

from __future__ import annotations

from pathlib import Path

import click

from wprops.commands.arguments import EXISTING, FILE

_WIDTH = click.FloatRange(min=0, min_open=True)


@click.group()
def study() -> None:
    """Study what a measurement can do, before it is made."""


def _pairs(
    _ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]
) -> list[tuple[int, int]]:
    """Parse QT,Y."""
    found = []
    for value in values:
        try:
            qt, absy = (int(number) for number in value.split(","))
        except ValueError as error:
            msg = f"{value!r} is not QT,Y with two whole numbers"
            raise click.BadParameter(msg) from error
        found.append((qt, absy))
    return found


@study.command()
@click.argument("templates", type=EXISTING)
@click.option("--output", "-o", type=FILE, default=Path("sensitivity.json"))
@click.option("--table", type=FILE, help="CSV file for the same.")
@click.option("--figure", type=FILE, help="PDF, PNG or SVG file for errors of m_W.")
@click.option(
    "--cells",
    multiple=True,
    callback=_pairs,
    metavar="QT,Y",
    help="Merge the cells to these numbers of bins; repeatable.  [default: those of "
    "the templates, 5,3, 2,2 and 1,1]",
)
@click.option(
    "--prior",
    "priors",
    multiple=True,
    type=_WIDTH,
    help="Width of Gaussian priors on all A_i; repeatable.  [default: 0.1, 0.03, 0.01 "
    "and 0.001]",
)
@click.option(
    "--strength",
    "strengths",
    multiple=True,
    type=_WIDTH,
    metavar="TAU",
    help="Departures of A_i from smooth values scatter by 1/√TAU; repeatable.  "
    "[default: none]",
)
@click.option(
    "--freeze",
    multiple=True,
    metavar="NAME",
    help="Do not fit the nuisance parameters that the name or pattern (*muon_scale) "
    "matches; repeatable.",
)
@click.option(
    "--simulated",
    type=EXISTING,
    metavar="PLAIN",
    help="Event-weighted templates of the same processes, which tell what the noise of "
    "a simulation does.",
)
@click.option(
    "--simulation",
    type=_WIDTH,
    help="Luminosity of that simulation [fb^-1].  [default: that of PLAIN]",
)
@click.option(
    "--response",
    type=EXISTING,
    help="Response file of the templates, to make some without smearing.",
)
@click.option("--reference", type=_WIDTH, help="Error of m_W to draw [MeV].")
def sensitivity(
    templates: Path,
    output: Path,
    table: Path | None,
    figure: Path | None,
    cells: list[tuple[int, int]],
    priors: tuple[float, ...],
    strengths: tuple[float, ...],
    freeze: tuple[str, ...],
    simulated: Path | None,
    simulation: float | None,
    response: Path | None,
    reference: float | None,
) -> None:
    """Print expected errors of m_W, cross sections and A_i with TEMPLATES.

    The signal of TEMPLATES is to have no noise, such as factorised templates.
    """
    from wprops.store import TemplateSet
    from wprops.study.scenarios import scenarios
    from wprops.study.sensitivity import study_sensitivity
    from wprops.study.summary import summary

    perfect = None
    if response is not None:
        from wprops.factorised.response_file import Response
        from wprops.study.perfect import perfect_set

        perfect = perfect_set(Response.read(response))
    found = study_sensitivity(
        TemplateSet.read(templates),
        cells=cells or None,
        scenarios=scenarios(priors, strengths),
        simulated=None if simulated is None else TemplateSet.read(simulated),
        simulation=simulation,
        perfect=perfect,
        freeze=freeze,
    )
    found.write(output)
    if table is not None:
        found.write_table(table)
    for line in summary(found):
        click.echo(line)
    if figure is not None:
        from wprops.plots.sensitivity import plot_sensitivity
        from wprops.plots.style import SampleLabel

        label = SampleLabel(status="expected", luminosity=found.luminosity)
        plot_sensitivity(found, label=label, reference=reference).savefig(figure)
