"""Turn a RoccoR text file into a correctionlib file.

    python -m corrections.build_rochester RoccoR2018.txt.gz --era 2018 -o out.json.gz

The result holds everything that RoccoR's kScaleDT, kSpreadMC and kSmearMC need, for
every set and member, and is read by `wprops.corrections.rochester` or by any other
program that knows correctionlib. The parameters are stored as the text file has them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
from correctionlib import schemav2 as schema
from numpy.typing import NDArray

from corrections.common import (
    Edges,
    category,
    correction,
    formula,
    grid,
    variable,
    write_set,
)
from corrections.roccor import RoccoR, Tables, read_roccor
from wprops.errors import ConfigError

#: Index of the sample in a table.
SIMULATION, DATA = 0, 1
KINEMATICS = ("set", "member", "charge", "eta", "phi", "pt")

# 1 / (M + Q A pt) with M - 1 and A in percent; x is the charge, y is pt.
SCALE = "100 / (100 + [0] + x * [1] * y)"
# r / (1 + (r - 1) kData / kMC) with r = gen_pt / pt; x is pt, y is gen_pt.
SPREAD = "y / (x + (y - x) * [0] / [1])"
# sqrt(kData^2 - kMC^2) times the resolution at pt = x times the Crystal Ball's width.
SMEAR_WIDTH = (
    "sqrt(max([0]^2 - [1]^2, 0))"
    " * ([2] + [3] * (x - 45) + [4] / 100 * (x - 45)^2) * [5]"
)

# Formulas take real inputs only, so the charge is one.
VARIABLES = {
    "set": ("int", "RoccoR set: 0 is the default"),
    "member": ("int", "RoccoR member of the set"),
    "charge": ("real", "muon charge, +1 or -1"),
    "eta": ("real", "muon pseudorapidity"),
    "phi": ("real", "muon azimuth [rad], from -pi to pi"),
    "pt": ("real", "muon transverse momentum [GeV]"),
    "gen_pt": ("real", "transverse momentum of the generated muon [GeV]"),
    "nTrackerLayers": ("int", "number of tracker layers with hits"),
}


def build_rochester(
    roccor: RoccoR,
) -> list[schema.Correction | schema.CompoundCorrection]:
    """Build the corrections of one RoccoR file."""
    spread_mc = schema.CompoundCorrection(
        name="kSpreadMC",
        description="Factor on the pt of simulated muons with a generated partner",
        inputs=[variable(name, *VARIABLES[name]) for name in (*KINEMATICS, "gen_pt")],
        output=schema.Variable(name="factor", type="real"),
        inputs_update=["pt"],
        input_op="*",
        output_op="*",
        stack=["kScaleMC", "kSpread"],
    )
    return [*_scales(roccor), _spread(roccor), *_smearing(roccor), spread_mc]


def _scales(roccor: RoccoR) -> list[schema.Correction]:
    """Build kScaleDT and kScaleMC."""
    edges = {"eta": roccor.layout.eta, "phi": roccor.layout.phi}

    def scale(sample: int, name: str, description: str) -> schema.Correction:
        content = _by_member(roccor, lambda table: _bins(edges, table["C"][sample]))
        generic = formula(SCALE, "charge", "pt")
        return _correction(name, description, KINEMATICS, content, generic)

    return [
        scale(DATA, "kScaleDT", "Factor on the pt of muons in data"),
        scale(
            SIMULATION,
            "kScaleMC",
            "Scale part of the factor on the pt of simulated muons",
        ),
    ]


def _spread(roccor: RoccoR) -> schema.Correction:
    """Build the part of kSpreadMC that follows kScaleMC."""
    edges = {"eta": roccor.layout.abseta}
    content = _by_member(
        roccor, lambda table: _bins(edges, table["F"][[DATA, SIMULATION]])
    )
    return _correction(
        "kSpread",
        "Resolution part of the factor on the pt of simulated muons with a generated "
        "partner; pt is the one after kScaleMC",
        ("set", "member", "eta", "pt", "gen_pt"),
        _at_abseta(content),
        formula(SPREAD, "pt", "gen_pt"),
    )


def _smearing(roccor: RoccoR) -> list[schema.Correction]:
    """Build what kSmearMC needs beside kScaleMC, as far as formulas reach."""
    edges = {"eta": roccor.layout.abseta, "nTrackerLayers": roccor.layout.layers}
    inputs = ("set", "member", "eta", "nTrackerLayers")

    def width(table: Tables) -> NDArray[np.float64]:
        first = table["R"][:4]
        factors = [
            np.broadcast_to(table["F"][sample][:, None], first.shape[1:])
            for sample in (DATA, SIMULATION)
        ]
        return np.stack([*factors, *first])

    def content(
        parameters: Callable[[Tables], NDArray[np.float64]],
    ) -> schema.Transform:
        return _at_abseta(
            _by_member(roccor, lambda table: _bins(edges, parameters(table)))
        )

    return [
        _correction(
            "kSmear_width",
            "Width w of the resolution part of the factor on the pt of simulated muons "
            "without a generated partner; pt is the one after kScaleMC. The part is "
            "1 / (1 + w q), or 1 where w q <= -1, with q a quantile of the symmetric "
            "Crystal Ball of unit width with kSmear_alpha and kSmear_power at a "
            "uniform random number",
            (*inputs, "pt"),
            content(width),
            formula(SMEAR_WIDTH, "pt"),
        ),
        _correction(
            "kSmear_alpha",
            "Distance from the centre, in widths, at which the tails of the Crystal "
            "Ball begin",
            inputs,
            content(lambda table: table["R"][4]),
        ),
        _correction(
            "kSmear_power",
            "Power with which the tails of the Crystal Ball fall",
            inputs,
            content(lambda table: table["R"][5]),
        ),
    ]


def _correction(
    name: str,
    description: str,
    inputs: tuple[str, ...],
    data: schema.Category | schema.Transform,
    generic: schema.Formula | None = None,
) -> schema.Correction:
    """One correction of the file, with its formula where it has one."""
    declared = {key: VARIABLES[key] for key in inputs}
    output = "factor" if generic else "parameter"
    return correction(name, description, declared, data, output=output, generic=generic)


def _by_member(
    roccor: RoccoR, content: Callable[[Tables], schema.MultiBinning]
) -> schema.Category:
    """Make one content from the tables of each member."""

    def members(set_: int, n_members: int) -> schema.Category:
        tables = (roccor.tables[set_, member] for member in range(n_members))
        return category("member", dict(enumerate(map(content, tables))))

    sizes = enumerate(roccor.layout.members)
    return category("set", {set_: members(set_, size) for set_, size in sizes})


def _bins(edges: Edges, parameters: NDArray[np.float64]) -> schema.MultiBinning:
    """Bins with a number each, or the parameters (leading axis) of the formula."""
    if parameters.ndim == len(edges):
        return grid(edges, parameters.ravel().tolist())
    content = [
        schema.FormulaRef(nodetype="formularef", index=0, parameters=values)
        for values in parameters.reshape(len(parameters), -1).T.tolist()
    ]
    return grid(edges, content)


def _at_abseta(content: schema.Category) -> schema.Transform:
    """Look the content up at the absolute value of eta."""
    return schema.Transform(
        nodetype="transform",
        input="eta",
        rule=formula("abs(x)", "eta"),
        content=content,
    )


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--era", required=True, help="Era that SOURCE is for, such as 2018.")
@click.option("--output", "-o", type=click.Path(path_type=Path), required=True)
def main(source: Path, era: str, output: Path) -> None:
    """Turn the RoccoR text file SOURCE into a correctionlib file."""
    text = (
        f"Rochester muon momentum corrections, era {era}. The error of a factor is the "
        "root of the sum over sets of the mean over members of (factor(set, member) - "
        "factor(0, 0))^2"
    )
    try:
        write_set(output, build_rochester(read_roccor(source)), text, [source])
    except ConfigError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"wrote {output}")


if __name__ == "__main__":
    main()
