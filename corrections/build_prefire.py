r"""Turn maps of the L1 prefiring probability into a correctionlib file.

    python -m corrections.build_prefire \
        maps.root:L1prefiring_jetptvseta_2016BtoH \
        maps.root:L1prefiring_photonptvseta_2016BtoH -o prefire.json

A map has signed eta on its first and pT [GeV] on its second axis. Its errors are the
statistical ones; `wprops.corrections.prefire` adds the systematic one.
"""

from __future__ import annotations

from pathlib import Path

import click
from correctionlib import schemav2 as schema

from corrections.common import (
    Histogram,
    binned,
    category,
    correction,
    read_histogram,
    split_source,
    write_set,
)
from wprops.corrections.prefire import (
    ABS_ETA,
    ERROR,
    INPUTS,
    JET,
    MAX_PT,
    MIN_PT,
    PHOTON,
    PROBABILITY,
)
from wprops.errors import ConfigError


def build_map(name: str, histogram: Histogram) -> schema.Correction:
    """Build the correction of one map.

    Raises
    ------
    ConfigError
        If it is no map of probabilities, or leaves out objects that can prefire.
    """
    values, errors, where = histogram.values, histogram.errors, histogram.source
    if values.ndim != 2:
        msg = f"{where} has {values.ndim} dimension(s), expected eta and pT; name a map"
        raise ConfigError(msg)
    if values.min() < 0 or values.max() > 1 or errors.min() < 0:
        msg = (
            f"{where} goes from {values.min():g} to {values.max():g}, with errors from "
            f"{errors.min():g}; expected probabilities. Name a map of the probability"
        )
        raise ConfigError(msg)
    eta, pt = histogram.edges
    if eta[0] > -ABS_ETA[1] or eta[-1] < ABS_ETA[1]:
        msg = (
            f"{where} covers eta from {eta[0]:g} to {eta[-1]:g}, expected "
            f"-{ABS_ETA[1]:g} to {ABS_ETA[1]:g}; is signed eta the first axis?"
        )
        raise ConfigError(msg)
    if pt[0] > MIN_PT or pt[-1] < MAX_PT:
        msg = (
            f"{where} covers pT from {pt[0]:g} to {pt[-1]:g} GeV, expected {MIN_PT:g} "
            f"to {MAX_PT:g}; is pT the second axis, in GeV?"
        )
        raise ConfigError(msg)
    edges = dict(zip(INPUTS, (eta, pt), strict=False))
    return correction(
        name,
        "Probability that a Level-1 object was assigned to the previous crossing, and "
        "its statistical error",
        {
            "eta": ("real", "Pseudorapidity"),
            "pt": ("real", "Transverse momentum [GeV]"),
            "value": ("string", f"{PROBABILITY} or {ERROR}"),
        },
        category(
            INPUTS[-1],
            {PROBABILITY: binned(edges, values), ERROR: binned(edges, errors)},
        ),
    )


@click.command()
@click.argument("jet")
@click.argument("photon")
@click.option("--output", "-o", type=click.Path(path_type=Path), required=True)
def main(jet: str, photon: str, output: Path) -> None:
    """Store the maps JET and PHOTON, each given as FILE.root:KEY."""
    try:
        named = {JET: jet, PHOTON: photon}
        maps = [build_map(name, read_histogram(where)) for name, where in named.items()]
        sources = [split_source(where)[0] for where in named.values()]
        text = f"L1 prefiring of {jet.rpartition(':')[2]}, {photon.rpartition(':')[2]}"
        write_set(output, maps, text, sources)
    except ConfigError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"wrote {output}")


if __name__ == "__main__":
    main()
