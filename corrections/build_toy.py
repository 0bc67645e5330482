"""Turn the truth of a toy into the corrections that undo its deviations.

    python -m corrections.build_toy toy/truth.json --output toy/corrections

They are as good as the binning: a closure test of how corrections are applied, not of
how they are measured. `BLOCK` is what the catalogue needs to apply them; data whose
isolation differs need `ISOLATION_STEP` among the steps of the efficiency as well.
Deviations that nothing undoes, as those of the recoil, are named in the files and by
the command.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click
import numpy as np
from correctionlib import schemav2 as schema
from numpy.typing import NDArray
from scipy.stats import nbinom

from corrections.boson_spectra import Spectra
from corrections.build_boson import build_boson
from corrections.build_efficiency import TRIGGER, StepFactors, build_step
from corrections.build_pileup import build_pileup
from corrections.build_rochester import DATA, SIMULATION, build_rochester
from corrections.common import Histogram, binned, category, correction, write_set
from corrections.roccor import Layout, RoccoR
from wprops.corrections.boson import QT
from wprops.corrections.efficiency import NOMINAL, OWN_INPUTS
from wprops.corrections.pileup import NAME as PILEUP
from wprops.errors import ConfigError
from wprops.events.samples import read_truth
from wprops.events.toy.detector import ISOLATED, trigger_efficiency
from wprops.events.toy.parameters import DetectorTruth
from wprops.events.toy.truth import ToyTruth, bin_truth

FloatArray = NDArray[np.float64]

#: Names of the factors on the isolation, and of its efficiency in the simulation.
ISOLATION, ISOLATION_MC = "isolation", "isolation_mc"
#: Deviations of the data from the simulation that each file undoes.
UNDONE = {
    "muons.json.gz": {"mu_scale", "mu_misalignment"},
    "efficiency.json": {"eff_turn_on", "eff_charge", "eff_eta"},
    "pileup.json": {"pileup"},
    "boson.json": {"qt_tilt"},
}
#: What the catalogue needs to apply the files. The weights in the events describe data
#: with the deviation ``prefire`` of 1; with other data, leave ``prefire`` out.
BLOCK = {
    "muons": "corrections/muons.json.gz",
    "propagate_muons": True,
    "efficiency": [{"file": "corrections/efficiency.json", "name": TRIGGER}],
    "pileup": {"file": "corrections/pileup.json", "name": PILEUP},
    "prefire": "branches",
    "boson": "corrections/boson.json",
}
#: The step of the isolation, with the efficiency that anti-isolated muons need.
ISOLATION_STEP = {
    "file": "corrections/efficiency.json",
    "name": ISOLATION,
    "isolation": {"file": "corrections/efficiency.json", "name": ISOLATION_MC},
}
#: Size of the invented statistical variations of the efficiency.
STAT_SIZE = 1e-3
#: Invented error of the momentum scale, relative.
SCALE_ERROR = 2e-4


def efficiency_factors(data: DetectorTruth, mc: DetectorTruth) -> StepFactors:
    """Ratio of trigger efficiencies at the centres of fine bins."""
    eta, pt = np.linspace(-2.4, 2.4, 97), np.linspace(25.0, 55.0, 121)
    centres = [(edges[1:] + edges[:-1]) / 2 for edges in (eta, pt)]
    at_eta, at_pt = np.meshgrid(*centres, indexing="ij")
    ratio = [
        trigger_efficiency(data, at_pt, at_eta, np.full(at_pt.shape, charge))
        / trigger_efficiency(mc, at_pt, at_eta, np.full(at_pt.shape, charge))
        for charge in (-1, 1)
    ]
    coarse = np.linspace(25.0, 55.0, 13)
    x = ((coarse[1:] + coarse[:-1]) / 2 - 40.0) / 15.0
    shapes = np.array([np.ones_like(x), x, x**2 - np.mean(x**2)])
    stat = np.broadcast_to(STAT_SIZE * shapes[None, :, None], (2, 3, 48, len(x)))
    return StepFactors(
        nominal=np.array(ratio),
        edges=(eta, pt),
        stat=stat,
        stat_edges=(np.linspace(-2.4, 2.4, 49), coarse),
    )


def isolation_corrections(
    data: DetectorTruth, mc: DetectorTruth
) -> list[schema.Correction]:
    """Efficiency of the isolation in simulation, and its ratio in fine bins of pT.

    The isolation sum of prompt muons is exponential, as long as the recoil adds
    nothing to it.

    Raises
    ------
    ConfigError
        If the mean sums differ where the recoil does add to them.
    """
    recoil = {"data": data.isolation_recoil, "simulation": mc.isolation_recoil}
    if data.isolation_mean != mc.isolation_mean and any(recoil.values()):
        sizes = ", ".join(f"{value:g} in {where}" for where, value in recoil.items())
        msg = (
            f"the field isolation_recoil of the truth is {sizes}, and isolation_mean "
            f"{data.isolation_mean:g} and {mc.isolation_mean:g} GeV; a factor in bins "
            "of pT describes other means without recoil only. Set isolation_recoil "
            "to 0, or isolation_mean alike"
        )
        raise ConfigError(msg)
    pt = np.linspace(25.0, 55.0, 121)
    centres = (pt[1:] + pt[:-1]) / 2
    found, simulated = (
        -np.expm1(-ISOLATED * centres / truth.isolation_mean) for truth in (data, mc)
    )
    kinds = {
        "charge": ("int", "Charge of the muon, which does not matter"),
        "eta": ("real", "Pseudorapidity, which does not matter"),
        "pt": ("real", "Transverse momentum [GeV]"),
        "variation": ("string", NOMINAL),
    }
    return [
        correction(
            name,
            text,
            {key: kinds[key] for key in OWN_INPUTS},
            category("variation", {NOMINAL: binned({"pt": pt}, values)}),
        )
        for name, text, values in (
            (ISOLATION, "Factor on the isolation of prompt muons", found / simulated),
            (ISOLATION_MC, "Its efficiency in the simulation", simulated),
        )
    ]


def interactions(detector: DetectorTruth) -> Histogram:
    """Distribution of the interactions: Poisson with a mean from Gamma(16)."""
    mean = detector.pileup_mean + detector.pileup_shift
    numbers = np.arange(100)
    return Histogram.from_arrays(
        nbinom.pmf(numbers, 16, 16 / (16 + mean)), np.arange(101) - 0.5
    )


def momentum(data: DetectorTruth, mc: DetectorTruth) -> RoccoR:
    """Scale and misalignment of both in the form of Rochester corrections.

    The measured pT is (1 + κ) pT / (1 + qλ sinφ (1 + κ) pT), which the factor
    100 / (100 + M + A q pT) undoes for M = 100 κ and A = −100 (1 + κ) λ sinφ,
    whatever the resolution. The resolution of the simulation stays.
    """
    phi = np.linspace(-np.pi, np.pi, 65)
    mean_sin = -np.diff(np.cos(phi)) / np.diff(phi)
    layout = Layout(
        members=(1, 1),
        eta=[-2.4, 2.4],
        phi=phi.tolist(),
        abseta=[0.0, 2.4],
        layers=[5.5, 25.5],
    )

    def tables(error: float) -> dict[str, FloatArray]:
        found = {tag: np.zeros(shape) for tag, shape in layout.shapes.items()}
        for sample, detector, kappa in (
            (SIMULATION, mc, mc.mu_scale),
            (DATA, data, data.mu_scale + error),
        ):
            bending = (1.0 + kappa) * detector.mu_misalignment
            found["C"][sample, 0] = 100.0 * kappa
            found["C"][sample, 1] = -100.0 * bending * mean_sin
        # None of the resolution is missing: no muon is smeared, so that its size (the
        # first rows of R) is not needed. The Crystal Ball has to be one: a Gaussian.
        found["F"][:] = 1.0
        found["R"][3:] = np.reshape([1.0, 100.0, 100.0], (3, 1, 1))
        return found

    return RoccoR(layout, {(0, 0): tables(0.0), (1, 0): tables(SCALE_ERROR)})


def boson_spectra(data: ToyTruth, mc: ToyTruth) -> Spectra:
    """Integrate the qT spectra of the W+, which the W− shares in form."""
    edges = np.r_[np.arange(0.0, 30.0, 0.5), np.arange(30.0, 60.0, 2.0)]
    edges = np.r_[edges, np.arange(60.0, 201.0, 10.0)]

    def spectrum(truth: ToyTruth) -> Histogram:
        sigma, _ = bin_truth(truth, 1, edges, [0.0, 2.5, 5.0])
        return Histogram.from_arrays(sigma.sum(axis=0), edges)

    return Spectra(spectrum(data), spectrum(mc))


def deviations_of(data: ToyTruth, mc: ToyTruth) -> dict[str, float]:
    """Return the deviations of the data that the simulation does not share."""
    names = sorted({*data.deviations, *mc.deviations})
    found = {name: data.deviations.get(name, 0.0) for name in names}
    return {n: v for n, v in found.items() if v != mc.deviations.get(n, 0.0)}


def not_undone(deviations: Mapping[str, float], mc: ToyTruth) -> dict[str, float]:
    """Return those of the deviations that neither a file nor `BLOCK` undoes."""
    undone = set().union(*UNDONE.values())
    if deviations.get("prefire") == 1.0 and not mc.detector.prefire:
        undone.add("prefire")  # by the weights in the simulated events
    return {name: value for name, value in deviations.items() if name not in undone}


def listed(deviations: Mapping[str, float]) -> str:
    """Names and values for a text."""
    return ", ".join(f"{n} = {v:g}" for n, v in deviations.items()) or "nothing"


def build_toy(truth: Path, output: Path) -> dict[str, float]:
    """Write all correction files of a toy.

    Parameters
    ----------
    truth : Path
        The toy's ``truth.json``.
    output : Path
        Folder for the files; it is made.

    Returns
    -------
    dict of str to float
        Deviations of the data that stay with all of `BLOCK`, by name.

    Raises
    ------
    ConfigError
        If the file is not the truth of a toy with data, or the isolation of its data
        needs more than factors in bins.
    """
    data, mc = read_truth(truth, "data"), read_truth(truth)
    deviations = deviations_of(data, mc)
    left = not_undone(deviations, mc)
    output.mkdir(parents=True, exist_ok=True)
    factors = efficiency_factors(data.detector, mc.detector)
    isolation = isolation_corrections(data.detector, mc.detector)
    profile = interactions(data.detector)
    pileup = build_pileup({"nominal": profile}, interactions(mc.detector))
    for name, corrections in (
        ("muons.json.gz", build_rochester(momentum(data.detector, mc.detector))),
        ("efficiency.json", [build_step(TRIGGER, factors), *isolation]),
        ("pileup.json", [pileup]),
        ("boson.json", [build_boson(QT, boson_spectra(data, mc), "events")]),
    ):
        own = {key: v for key, v in deviations.items() if key in UNDONE[name]}
        text = (
            f"Undoes, of what the data of a toy deviate by: {listed(own)}; not undone "
            f"by any of {', '.join(UNDONE)}: {listed(left)}"
        )
        write_set(output / name, corrections, text, [truth])
    return left


@click.command()
@click.argument("truth", type=click.Path(exists=True, path_type=Path))
@click.option("--output", "-o", type=click.Path(path_type=Path), required=True)
def main(truth: Path, output: Path) -> None:
    """Write the corrections that undo the deviations of a toy to OUTPUT."""
    try:
        left = build_toy(truth, output)
    except ConfigError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"wrote {output}; not undone: {listed(left)}")


if __name__ == "__main__":
    main()
