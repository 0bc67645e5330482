"""Turn the truth of a toy into the corrections that undo its deviations.

    python -m corrections.build_toy toy/truth.json --output toy/corrections

They are as good as the binning: a closure test of how corrections are applied, not of
how they are measured. `BLOCK` is what the catalogue needs to apply them; data whose
isolation differs need `ISOLATION_STEP` among the steps of the efficiency as well.
"""

from __future__ import annotations

import json
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
from corrections.build_rochester import build_rochester
from corrections.common import Histogram, binned, category, correction, write_set
from corrections.roccor import Layout, RoccoR
from wprops.corrections.boson import QT
from wprops.corrections.efficiency import NOMINAL, OWN_INPUTS
from wprops.corrections.pileup import NAME as PILEUP
from wprops.events.toy.detector import ISOLATED, trigger_efficiency
from wprops.events.toy.parameters import DetectorTruth
from wprops.events.toy.truth import ToyTruth, bin_truth

FloatArray = NDArray[np.float64]

#: Names of the factors on the isolation, and of its efficiency in the simulation.
ISOLATION, ISOLATION_MC = "isolation", "isolation_mc"
#: What the catalogue needs to apply the files.
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

    The isolation sum of prompt muons is exponential, whatever their recoil.
    """
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


def momentum(data: DetectorTruth) -> RoccoR:
    """Scale and misalignment of the data in the form of Rochester corrections.

    The measured pT is (1 + κ) pT / (1 + qλ sinφ (1 + κ) pT), which the factor
    100 / (100 + M + A q pT) undoes for M = 100 κ and A = −100 (1 + κ) λ sinφ.
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
        kappa = data.mu_scale + error
        found["C"][1, 0] = 100.0 * kappa
        found["C"][1, 1] = -100.0 * (1.0 + kappa) * data.mu_misalignment * mean_sin
        found["F"][:] = 1.0  # the resolution is simulated as it is
        # A Crystal Ball that is Gaussian, of the toy's width: constant, per 1, per 1.
        found["R"][0], found["R"][3] = data.muon_resolution, 1.0
        found["R"][4], found["R"][5] = 100.0, 100.0
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


def build_toy(truth: Path, output: Path) -> None:
    """Write all correction files of a toy."""
    record = json.loads(truth.read_text())
    data, mc = (ToyTruth.from_dict(record[key]) for key in ("data", "simulation"))
    output.mkdir(parents=True, exist_ok=True)
    factors = efficiency_factors(data.detector, mc.detector)
    isolation = isolation_corrections(data.detector, mc.detector)
    profile = interactions(data.detector)
    pileup = build_pileup({"nominal": profile}, interactions(mc.detector))
    for name, corrections in (
        ("muons.json.gz", build_rochester(momentum(data.detector))),
        ("efficiency.json", [build_step(TRIGGER, factors), *isolation]),
        ("pileup.json", [pileup]),
        ("boson.json", [build_boson(QT, boson_spectra(data, mc), "events")]),
    ):
        text = f"Undoes the deviations of a toy: {dict(data.deviations)}"
        write_set(output / name, corrections, text, [truth])


@click.command()
@click.argument("truth", type=click.Path(exists=True, path_type=Path))
@click.option("--output", "-o", type=click.Path(path_type=Path), required=True)
def main(truth: Path, output: Path) -> None:
    """Write the corrections that undo the deviations of a toy to OUTPUT."""
    build_toy(truth, output)
    click.echo(f"wrote {output}")


if __name__ == "__main__":
    main()
