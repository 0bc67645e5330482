"""Write the template files of which the documentation shows expected errors.

``python -m benchmarks.sensitivity_inputs toy FOLDER BACKGROUNDS OUTPUT``: factorised
templates of an output of ``benchmarks.response_ensemble``, with the backgrounds of any
template file in the full binning, such as that of ``wprops toy`` and ``wprops run``,
scaled to the luminosity. They stand in the expected counts and have no uncertainties,
since their templates are noisy.

``python -m benchmarks.sensitivity_inputs synthetic OUTPUT``: the synthetic measurement
of `benchmarks.full_size_problem`, both charges, without noise, with all uncertainties.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.full_size_problem import BOTH, build_problem
from wprops.channels import Channel
from wprops.factorised.response_file import Response
from wprops.factorised.template_set import factorised_set
from wprops.store import TemplateSet
from wprops.systematics.catalog import LOW_ACCEPTANCE


def with_backgrounds(signal: TemplateSet, other: TemplateSet) -> TemplateSet:
    """Add the nominal backgrounds of another set, scaled to the luminosity."""
    scale = signal.luminosity / other.luminosity
    return replace(
        signal,
        channels={
            name: _added(channel, other.channel(name), scale)
            for name, channel in signal.channels.items()
        },
    )


def _added(channel: Channel, other: Channel, scale: float) -> Channel:
    backgrounds = {
        name: replace(
            process,
            nominal=scale * process.nominal,
            variance=np.zeros_like(process.variance),
            variations={},
            entries=None,
        )
        for name, process in other.processes.items()
        if process.role == "background" and name != LOW_ACCEPTANCE
    }
    return replace(channel, processes={**channel.processes, **backgrounds})


def main() -> None:
    """Write one file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    toy = commands.add_parser("toy")
    toy.add_argument("folder", type=Path, help="of benchmarks.response_ensemble")
    toy.add_argument("backgrounds", type=Path, help="a template file with them")
    toy.add_argument("output", type=Path)
    synthetic = commands.add_parser("synthetic")
    synthetic.add_argument("output", type=Path)
    options = parser.parse_args()
    if options.command == "toy":
        response = Response.read(options.folder / "response.h5")
        signal = factorised_set(response, n_replicas=0)
        made = with_backgrounds(signal, TemplateSet.read(options.backgrounds))
    else:
        made = build_problem(BOTH, simulated=np.inf)
    made.write(options.output)


if __name__ == "__main__":
    main()
