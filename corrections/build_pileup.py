r"""Turn pile-up profiles of data and simulation into a correctionlib file.

    python -m corrections.build_pileup data.root:pileup mc.root:pu_mc \
        --up data.root:pileup_plus --down data.root:pileup_minus -o pileup.json

The weight of a bin is the fraction of data over the fraction of simulation.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click
import numpy as np
from correctionlib import schemav2 as schema

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
from wprops.corrections.pileup import INPUTS, NAME
from wprops.errors import ConfigError

#: Data in bins without simulation that is tolerated, as a fraction.
MAX_LOST = 1e-3


def pileup_ratio(data: Histogram, mc: Histogram) -> tuple[FloatArray, float]:
    """Weights of simulated events per bin of ``mc``, and the data lost.

    A bin without simulation has weight 0: an event there, from outside of the profile,
    would stand for data that are not there either. The weights are normalised so that
    their mean over the simulated profile is 1.

    Parameters
    ----------
    data, mc : Histogram
        Profiles with equal bins, of which one may end earlier; of any normalisation.

    Returns
    -------
    weights : ndarray, shape (n_mc,)
    lost : float
        Fraction of data in bins without simulation, which no weight can represent.

    Raises
    ------
    ConfigError
        If bins differ, a profile is empty or negative, or more than 0.1 % of the data
        is lost.
    """
    for profile in (data, mc):
        counts = profile.values
        if counts.ndim != 1 or counts.min() < 0 or not counts.any():
            msg = (
                f"{profile.source}: found shape {counts.shape} and values from "
                f"{counts.min():g} to {counts.max():g}, expected a one-dimensional "
                "histogram of counts, neither negative nor empty; name a profile"
            )
            raise ConfigError(msg)
    n = min(len(data.values), len(mc.values))
    if not np.allclose(data.edges[0][: n + 1], mc.edges[0][: n + 1], atol=1e-6):
        found = " and ".join(
            f"{h.source}: {h.edges[0][0]:g}, {h.edges[0][1]:g}, ... {h.edges[0][-1]:g}"
            for h in (data, mc)
        )
        msg = f"profiles have different bins ({found}); make them with the same ones"
        raise ConfigError(msg)
    wanted = np.zeros(len(mc.values))
    wanted[:n] = data.values[:n] / data.values.sum()
    simulated = mc.values / mc.values.sum()
    occupied = simulated > 0
    beyond = data.values[n:].sum() / data.values.sum()
    lost = float(wanted[~occupied].sum() + beyond)
    if lost > MAX_LOST:
        msg = (
            f"{lost:.2%} of {data.source} is in bins where {mc.source} is empty; at "
            f"most {MAX_LOST:.1%} can be neglected. Use profiles of one campaign"
        )
        raise ConfigError(msg)
    weights = np.zeros(len(wanted))
    weights[occupied] = wanted[occupied] / simulated[occupied]
    return weights / (weights @ simulated), lost


def build_pileup(data: Mapping[str, Histogram], mc: Histogram) -> schema.Correction:
    """Build the correction from data profiles by variation, ``nominal`` at least."""
    weights = {key: pileup_ratio(profile, mc) for key, profile in data.items()}
    lost = max(fraction for _, fraction in weights.values())
    edges = {INPUTS[0]: mc.edges[0]}
    return correction(
        NAME,
        "Weight of simulated events: data over simulation, mean 1; 0 in bins without "
        f"simulation, which have up to {lost:.1e} of the data; beyond the last bin "
        "its weight",
        {
            INPUTS[0]: ("real", "Mean number of interactions, Pileup_nTrueInt"),
            INPUTS[1]: ("string", ", ".join(data)),
        },
        category(INPUTS[1], {key: binned(edges, w) for key, (w, _) in weights.items()}),
    )


@click.command()
@click.argument("data")
@click.argument("mc")
@click.option("--up", help="Data profile of a larger inelastic cross section.")
@click.option("--down", help="Data profile of a smaller inelastic cross section.")
@click.option("--output", "-o", type=click.Path(path_type=Path), required=True)
def main(data: str, mc: str, up: str | None, down: str | None, output: Path) -> None:
    """Weight the profile MC to the profile DATA, each given as FILE.root:KEY."""
    given = {"nominal": data, "up": up, "down": down}
    named = {key: where for key, where in given.items() if where}
    if len(named) == 2:
        msg = f"found {' and '.join(named)}; give both --up and --down, or neither"
        raise click.UsageError(msg)
    try:
        profiles = {key: read_histogram(where) for key, where in named.items()}
        corrections = [build_pileup(profiles, read_histogram(mc))]
        sources = [split_source(where)[0] for where in (*named.values(), mc)]
        keys = [split_source(where)[1] for where in (*named.values(), mc)]
        text = f"Pile-up weights of {', '.join(keys)}"
        write_set(output, corrections, text, sources)
    except ConfigError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"wrote {output}")


if __name__ == "__main__":
    main()
