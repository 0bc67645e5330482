r"""Turn measured and simulated boson spectra into a correctionlib file.

From tables, or from histograms of data and simulation:

    python -m corrections.build_boson tables --qt z_qt.csv --absy z_absy.csv \
        --content density -o boson.json
    python -m corrections.build_boson histograms \
        --qt data.root:unfolded mc.root:qt --content events -o boson.json

The weight of a bin is the fraction of data over the fraction of simulation, where the
fraction of a density is its value times the width of the bin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import click
import numpy as np
from correctionlib import schemav2 as schema

from corrections.boson_spectra import COLUMNS, Spectra, read_spectra
from corrections.common import (
    FloatArray,
    Histogram,
    binned,
    category,
    correction,
    read_histogram,
    split_source,
    write_set,
)
from wprops.corrections.boson import ABSY, INPUTS, QT, VARIATIONS
from wprops.errors import ConfigError

#: What the contents of the bins are: events per unit of the variable, or events.
Content = Literal["density", "events"]
VARIABLES = {
    QT: "Transverse momentum of the boson [GeV]",
    ABSY: "Absolute rapidity of the boson",
}


def spectrum_weights(
    data: Histogram, simulation: Histogram, content: Content
) -> dict[str, FloatArray]:
    """Weights per bin, by variation, whose mean over the simulation is 1.

    Up and down shift the data of all bins by their error, and are normalised again:
    the part of the error that all bins have in common has no effect. Errors that are
    independent from bin to bin are not represented.

    Parameters
    ----------
    data, simulation : Histogram
        Spectra in equal bins, of any normalisation; the error of the simulation is
        neglected.
    content : {"density", "events"}
        What the contents of their bins are.

    Returns
    -------
    dict of str to ndarray, shape (n_bins,)

    Raises
    ------
    ConfigError
        If bins differ, an error is negative, or a bin has no simulation, no data, or
        an error as large as the data.
    """
    for spectrum in (data, simulation):
        if spectrum.values.ndim != 1:
            msg = (
                f"{spectrum.source} has {spectrum.values.ndim} dimensions, expected a "
                "spectrum in one variable; project it"
            )
            raise ConfigError(msg)
    if data.errors.min() < 0:
        msg = (
            f"{data.source} has errors from {data.errors.min():g}, expected 0 or more; "
            "is this the column of the errors?"
        )
        raise ConfigError(msg)
    edges = data.edges[0]
    if len(edges) != len(simulation.edges[0]) or not np.allclose(
        edges, simulation.edges[0], rtol=0, atol=1e-6
    ):
        found = " and ".join(
            f"{h.source}: {len(h.values)} bins from {h.edges[0][0]:g} to "
            f"{h.edges[0][-1]:g}"
            for h in (data, simulation)
        )
        msg = f"spectra have different bins ({found}); make them with the same ones"
        raise ConfigError(msg)
    width = np.diff(edges) if content == "density" else np.ones(len(data.values))
    simulated = _fractions(simulation.values * width, simulation, edges)
    shifts = dict(zip(VARIATIONS, (0.0, 1.0, -1.0), strict=True))
    return {
        name: _fractions((data.values + shift * data.errors) * width, data, edges)
        / simulated
        for name, shift in shifts.items()
    }


def _fractions(events: FloatArray, origin: Histogram, edges: FloatArray) -> FloatArray:
    """Fraction of the events in each bin; all bins need some."""
    empty = np.flatnonzero(~(events > 0))
    if len(empty):
        i = empty[0]
        msg = (
            f"{origin.source}: {events[i]:g} events from {edges[i]:g} to "
            f"{edges[i + 1]:g}, expected more than 0, also for data less their error; "
            "merge bins"
        )
        raise ConfigError(msg)
    return events / events.sum()


def build_boson(name: str, spectra: Spectra, content: Content) -> schema.Correction:
    """Build the weights in one variable.

    Parameters
    ----------
    name : {"boson_qt", "boson_absy"}
    spectra : Spectra
    content : {"density", "events"}

    Raises
    ------
    ConfigError
        As `spectrum_weights`, or if the variable goes below 0.
    """
    weights = spectrum_weights(*spectra, content)
    variable, variation = INPUTS[name]
    edges = spectra.data.edges[0]
    if edges[0] < 0:
        msg = (
            f"{spectra.data.source} starts at {edges[0]:g}, but {variable} is 0 or "
            "more; name a spectrum of this variable"
        )
        raise ConfigError(msg)
    contents = {key: binned({variable: edges}, w) for key, w in weights.items()}
    return correction(
        name,
        f"Weight of simulated events in {variable}: data over simulation, mean 1 over "
        "the simulated spectrum; beyond the bins the weight of the nearest",
        {
            variable: ("real", VARIABLES[name]),
            variation: ("string", "nominal, or data up or down by one error"),
        },
        category(variation, contents),
    )


def _options(command: Callable[..., None]) -> Callable[..., None]:
    """Add what both commands need."""
    content = click.option(
        "--content",
        type=click.Choice(["density", "events"]),
        required=True,
        help="Whether contents are events per unit of the variable, or events.",
    )
    output = click.option(
        "--output", "-o", type=click.Path(path_type=Path), required=True
    )
    return content(output(command))


@click.group()
def main() -> None:
    """Build weights of simulated bosons, in qT, in absolute rapidity or in both."""


@main.command()
@click.option("--qt", type=click.Path(path_type=Path), help="Table in qT [GeV].")
@click.option("--absy", type=click.Path(path_type=Path), help="Table in |Y|.")
@click.option(
    "--columns",
    default=",".join(COLUMNS),
    show_default=True,
    help="Names of the columns for edges, data, their error, and simulation.",
)
@_options
def tables(
    qt: Path | None, absy: Path | None, columns: str, content: Content, output: Path
) -> None:
    """Divide the columns of CSV tables."""
    names = tuple(name.strip() for name in columns.split(","))
    if len(names) != len(COLUMNS):
        msg = f"found {len(names)} columns, expected those for {', '.join(COLUMNS)}"
        raise click.UsageError(msg)
    paths = {name: path for name, path in ((QT, qt), (ABSY, absy)) if path}
    try:
        spectra = {name: read_spectra(path, names) for name, path in paths.items()}
        what = f"{names[2]} over {names[4]}"
        _write(spectra, content, output, what, list(paths.values()))
    except ConfigError as error:
        raise click.ClickException(str(error)) from error


@main.command()
@click.option("--qt", nargs=2, metavar="DATA SIMULATION", help="Spectra in qT [GeV].")
@click.option("--absy", nargs=2, metavar="DATA SIMULATION", help="Spectra in |Y|.")
@_options
def histograms(
    qt: tuple[str, str] | None,
    absy: tuple[str, str] | None,
    content: Content,
    output: Path,
) -> None:
    """Divide histograms, each given as FILE.root:KEY."""
    given = {name: pair for name, pair in ((QT, qt), (ABSY, absy)) if pair}
    try:
        spectra = {
            name: Spectra(*map(read_histogram, pair)) for name, pair in given.items()
        }
        places = [[split_source(where) for where in pair] for pair in given.values()]
        what = ", ".join(" over ".join(key for _, key in pair) for pair in places)
        sources = [path for pair in places for path, _ in pair]
        _write(spectra, content, output, what, sources)
    except ConfigError as error:
        raise click.ClickException(str(error)) from error


def _write(
    spectra: Mapping[str, Spectra],
    content: Content,
    output: Path,
    what: str,
    sources: list[Path],
) -> None:
    """Write the file, and say how far the weights go."""
    if not spectra:
        msg = "found neither --qt nor --absy; give one of them, or both"
        raise click.UsageError(msg)
    corrections = [build_boson(name, pair, content) for name, pair in spectra.items()]
    text = f"Boson weights: {what}, contents of the bins taken as {content}"
    write_set(output, corrections, text, sources)
    for name, pair in spectra.items():
        weights = spectrum_weights(*pair, content)
        nominal = weights["nominal"]
        shift = max(np.abs(weights[v] / nominal - 1).max() for v in ("up", "down"))
        click.echo(
            f"{name}: weights {nominal.min():.4f} to {nominal.max():.4f}, data errors "
            f"change them by up to {shift:.1%}"
        )
    click.echo(f"wrote {output}")


if __name__ == "__main__":
    main()
