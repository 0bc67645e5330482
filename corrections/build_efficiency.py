"""Turn muon efficiencies or scale factors into a correctionlib file.

From tables of tag-and-probe counts, or from the histograms of SMP-18-012:

    python -m corrections.build_efficiency tables trigger.csv -o efficiency.json.gz
    python -m corrections.build_efficiency smp18012 ScaleFactors.root -o smp.json.gz

The turn-on of the trigger is fitted in each eta bin for each charge, in data and in
simulation (`corrections.efficiency_fit`); the selection is a ratio, bin by bin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import uproot
from correctionlib import schemav2 as schema
from scipy.stats import chi2 as chi2_distribution

from corrections.common import (
    FloatArray,
    Histogram,
    binned,
    category,
    correction,
    read_histogram,
    write_set,
)
from corrections.efficiency_counts import Counts, read_counts
from corrections.efficiency_fit import ErfFit, fit_erf, ratio_variations
from wprops.corrections.efficiency import NOMINAL, OWN_INPUTS, STAT, SYSTEMATIC
from wprops.errors import ConfigError, FitError

CHARGES = {-1: "Minus", +1: "Plus"}
#: Names of the two steps in a file.
SELECTION, TRIGGER = "selection", "trigger"
#: Relative systematic uncertainty of SMP-18-012 for abs(eta) < 1, 1 to 1.5 and above,
#: in signed bins; it is stored with the trigger step and covers both.
SYSTEMATIC_ETA = (-2.4, -1.5, -1.0, 1.0, 1.5, 2.4)
SYSTEMATIC_SIZE = (0.014, 0.004, 0.002, 0.004, 0.014)
#: SMP-18-012 lets the trigger variations cover the selection, of similar precision.
INFLATION = float(np.sqrt(2.0))


@dataclass(frozen=True, kw_only=True, slots=True)
class StepFactors:
    """Scale factors of one step, charge −1 first.

    Attributes
    ----------
    nominal : ndarray, shape (2, n_eta, n_pt)
    edges : tuple of ndarray
        In eta and pT [GeV].
    stat : ndarray, shape (2, 3, n_stat_eta, n_stat_pt), optional
        Relative variations.
    stat_edges : tuple of ndarray, optional
    """

    nominal: FloatArray
    edges: tuple[FloatArray, ...]
    stat: FloatArray | None = None
    stat_edges: tuple[FloatArray, ...] = ()


def trigger_factors(
    data: Counts, mc: Counts, pt_step: float = 0.2
) -> tuple[StepFactors, str]:
    """Fit all bins and return the scale factors, and a line on the quality.

    Raises
    ------
    FitError
        Naming the bin where a fit fails.
    """
    n_pt = max(len(STAT), round((data.pt[-1] - data.pt[0]) / pt_step))
    edges = np.linspace(data.pt[0], data.pt[-1], n_pt + 1).round(9)
    pt = (edges[1:] + edges[:-1]) / 2
    n_eta = len(data.eta) - 1
    nominal = np.empty((2, n_eta, n_pt))
    stat = np.empty((2, 3, n_eta, n_pt))
    fits, dropped = [], []
    for c, charge in enumerate(CHARGES):
        for i in range(n_eta):
            pair = [_fit_bin(counts, c, charge, i) for counts in (data, mc)]
            nominal[c, i], stat[c, :, i], left_out = ratio_variations(pt, *pair)
            fits += pair
            dropped.append(left_out)
    chi2, ndf = sum(fit.chi2 for fit in fits), sum(fit.ndf for fit in fits)
    worst = min(chi2_distribution.sf(fit.chi2, fit.ndf) for fit in fits)
    quality = (
        f"{len(fits)} fits, chi2/ndf {chi2:.1f}/{ndf}, smallest p-value {worst:.1e}; "
        f"variations beyond the third were up to {max(dropped):.1e} of the variance"
    )
    axes = (data.eta, edges)
    factors = StepFactors(nominal=nominal, edges=axes, stat=stat, stat_edges=axes)
    return factors, quality


def _fit_bin(counts: Counts, c: int, charge: int, i: int) -> ErfFit:
    """Fit one eta bin of one charge; an error names it."""
    try:
        return fit_erf(counts.passing[c, i], counts.total[c, i], counts.pt)
    except FitError as error:
        low, high = counts.eta[i : i + 2]
        msg = f"{counts.source}, charge {charge:+d}, eta {low:g} to {high:g}: {error}"
        raise FitError(msg) from error


def selection_factors(data: Counts, mc: Counts) -> StepFactors:
    """Ratio of efficiencies, bin by bin, without a model and without variations.

    Raises
    ------
    ConfigError
        If an efficiency is 0 or has no probes.
    """
    for counts in (data, mc):
        empty = np.argwhere(~(counts.passing > 0))
        if len(empty):
            c, i, j = empty[0]
            msg = (
                f"{counts.source}: no probe passes for charge {list(CHARGES)[c]:+d}, "
                f"eta from {counts.eta[i]:g}, pT from {counts.pt[j]:g} GeV; use wider "
                "bins"
            )
            raise ConfigError(msg)
    ratio = (data.passing / data.total) / (mc.passing / mc.total)
    return StepFactors(nominal=ratio, edges=(data.eta, data.pt))


def smp18012_factors(path: Path) -> dict[str, StepFactors]:
    """Read the histograms of SMP-18-012: both steps, with the trigger's variations.

    The variations come from the ratio histograms. The histograms
    ``Trigger*Syst*{Up,Down}`` of the file are not used: they combine the two by bin
    number, although the ratios have other bins (0.1 lower eta, half the pT).

    Raises
    ------
    ConfigError
        If a histogram is missing, or its bins do not fit.
    """
    selection = read_histogram(f"{path}:Reco")
    trigger = [read_histogram(f"{path}:Trigger{name}") for name in CHARGES.values()]
    with uproot.open(path) as file:
        in_folder = "ratios" in file
    ratio = "ratios/Trigger{}Syst{}Ratio" if in_folder else "Trigger{}Syst{}"
    stat = [
        [read_histogram(f"{path}:{ratio.format(name, i)}") for i in range(len(STAT))]
        for name in CHARGES.values()
    ]
    eta = trigger[0].edges[0]
    cropped = [[_crop(histogram, eta) for histogram in row] for row in stat]
    return {
        SELECTION: StepFactors(
            nominal=np.stack([selection.values] * 2), edges=selection.edges
        ),
        TRIGGER: StepFactors(
            nominal=np.stack([histogram.values for histogram in trigger]),
            edges=trigger[0].edges,
            stat=np.array(cropped),
            stat_edges=(eta, stat[0][0].edges[1]),
        ),
    }


def _crop(histogram: Histogram, eta: FloatArray) -> FloatArray:
    """Contents in the given eta bins."""
    first = int(np.argmin(np.abs(histogram.edges[0] - eta[0])))
    found = histogram.edges[0][first : first + len(eta)]
    if len(found) != len(eta) or not np.allclose(found, eta, atol=1e-6):
        msg = (
            f"{histogram.source} has eta bins from {histogram.edges[0][0]:g} to "
            f"{histogram.edges[0][-1]:g} that do not contain those of the nominal "
            "factor; name a ScaleFactors file of SMP-18-012"
        )
        raise ConfigError(msg)
    return histogram.values[first : first + len(eta) - 1]


def build_step(
    name: str, factors: StepFactors, inflation: float = 1.0
) -> schema.Correction:
    """Build the correction of one step; the one with variations has the systematic.

    Parameters
    ----------
    name : str
    factors : StepFactors
    inflation : float
        Factor on the statistical variations.
    """

    def by_charge(
        values: FloatArray, edges: tuple[FloatArray, ...]
    ) -> schema.Category | schema.MultiBinning:
        axes = dict(zip(("eta", "pt"), edges, strict=True))
        contents = {q: binned(axes, v) for q, v in zip(CHARGES, values, strict=True)}
        return category("charge", contents)

    contents: dict[str, schema.Content] = {
        NOMINAL: by_charge(factors.nominal, factors.edges)
    }
    if factors.stat is not None:
        for i, label in enumerate(STAT):
            values = inflation * factors.stat[:, i]
            contents[label] = by_charge(values, factors.stat_edges)
        contents[SYSTEMATIC] = binned({"eta": SYSTEMATIC_ETA}, SYSTEMATIC_SIZE)
    inputs = {
        "charge": ("int", "Charge of the muon, -1 or 1"),
        "eta": ("real", "Pseudorapidity"),
        "pt": ("real", "Transverse momentum [GeV]"),
        "variation": ("string", f"{', '.join(contents)}; others relative to nominal"),
    }
    text = f"Scale factor of the {name}, data over simulation; looked up in bins, the "
    return correction(
        name,
        f"{text}nearest one outside",
        {key: inputs[key] for key in OWN_INPUTS},
        category("variation", contents),
    )


@click.group()
def main() -> None:
    """Build muon scale factors: selection and trigger, by charge."""


_output = click.option("--output", "-o", type=click.Path(path_type=Path), required=True)
_inflate = click.option(
    "--inflate/--no-inflate",
    default=False,
    show_default=True,
    help="Scale the statistical variations by sqrt(2), to cover the selection as well.",
)


@main.command()
@click.argument("trigger", type=click.Path(path_type=Path))
@click.option("--selection", type=click.Path(path_type=Path), help="Selection table.")
@click.option(
    "--pt-step",
    type=click.FloatRange(min=0, min_open=True),
    default=0.2,
    show_default=True,
    help="Width of the pT bins [GeV].",
)
@_inflate
@_output
def tables(
    trigger: Path, selection: Path | None, pt_step: float, inflate: bool, output: Path
) -> None:
    """Fit the table of counts TRIGGER, and divide those of the selection."""
    try:
        factors, quality = trigger_factors(*read_counts(trigger), pt_step)
        steps = {TRIGGER: factors}
        if selection is not None:
            steps[SELECTION] = selection_factors(*read_counts(selection))
        _write(steps, inflate, output, quality, [trigger, selection or trigger])
    except (ConfigError, FitError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{quality}\nwrote {output}")


@main.command()
@click.argument("source", type=click.Path(path_type=Path))
@_inflate
@_output
def smp18012(source: Path, inflate: bool, output: Path) -> None:
    """Convert the histograms of the ROOT file SOURCE."""
    try:
        _write(smp18012_factors(source), inflate, output, "SMP-18-012", [source])
    except ConfigError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"wrote {output}")


def _write(
    steps: Mapping[str, StepFactors],
    inflate: bool,
    output: Path,
    remark: str,
    sources: list[Path],
) -> None:
    inflation = INFLATION if inflate else 1.0
    corrections = [build_step(name, f, inflation) for name, f in sorted(steps.items())]
    scaled = "multiplied by sqrt(2)" if inflate else "not inflated"
    text = f"Muon efficiency scale factors ({remark}); statistical variations {scaled}"
    write_set(output, corrections, text, sources)


if __name__ == "__main__":
    main()
