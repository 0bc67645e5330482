"""Closure of the multijet estimate on the toy: predicted and true muons per charge.

Events are drawn in chunks and go through the cuts of the analysis without files. At
``--scale 1`` the data are those of 35.9 fb⁻¹, some 130 and 105 million selected muons
of which 7 million each are multijet, and the simulation has 4.7 fb⁻¹; smaller scales
take that part of both. The whole takes 40 minutes of one core and half a gigabyte. Data
are drawn twice: with a fake rate that does not depend on mT, and with one that grows by
5 % per 40 GeV, which the estimate does not know of.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wprops.axes import BINNINGS, Binning
from wprops.backgrounds.classes import mt_classes, regions_of
from wprops.backgrounds.mt_dependence import Shift, measure_mt_dependence
from wprops.backgrounds.multijet import estimate_multijet
from wprops.channels import Sideband, Sidebands
from wprops.events.toy.deviations import deviate
from wprops.events.toy.events import SAMPLES, Reconstructed, Sample
from wprops.events.toy.generate import generate
from wprops.events.toy.truth import ToyTruth
from wprops.events.toy.yields import REFERENCE_LUMINOSITY
from wprops.physics.kinematics import transverse_mass
from wprops.selection.candidates import Candidates
from wprops.selection.regions import ANY, MT_SLICES, isolation_and_mt
from wprops.systematics.catalog import MULTIJET
from wprops.templates.filling import bin_index, flat_index
from wprops.templates.sidebands import CLASSES

Array = NDArray[np.float64]

#: Luminosity of the simulation [fb⁻¹], that of W → μν in 2021.
SIMULATED = 4.7
#: Events that are drawn together.
CHUNK = 500_000
#: fb⁻¹ in pb⁻¹.
INVERSE_PB = 1000.0


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """Muons of all classes, as in `wprops.channels.Sidebands`.

    Attributes
    ----------
    muons : ndarray, shape (2, n_mt, 2, n_eta, n_pt)
        Their numbers by isolation, slice of mT, charge, eta and pT.
    mt_sum : ndarray, shape (2, n_mt, 2)
        Sums of their mT [GeV].
    """

    muons: Array
    mt_sum: Array

    def __add__(self, other: Counts) -> Counts:
        """Count the muons of both."""
        return Counts(self.muons + other.muons, self.mt_sum + other.mt_sum)


@dataclass(frozen=True, slots=True, eq=False)
class Closure:
    """Predicted and true multijet muons of the signal region, positive first.

    Attributes
    ----------
    predicted, error, true : ndarray, shape (2,)
        The estimate, its statistical uncertainty, and the muons that are there.
    slope, shift : Shift
        Relative change of the fake rate with mT [1/GeV], and what its extrapolation
        does to the yield.
    """

    predicted: Array
    error: Array
    true: Array
    slope: Shift
    shift: Shift

    @property
    def pulls(self) -> Array:
        """Predicted minus true over the errors of both, shape (2,)."""
        return (self.predicted - self.true) / np.hypot(self.error, np.sqrt(self.true))


def candidates_of(events: Reconstructed) -> Candidates:
    """Identify the muons of toy events as `wprops.selection.candidates.select` does."""
    fiducial = events.found & (np.abs(events.eta) < 2.4) & (events.pt > 10.0)
    medium = fiducial & events.medium_id & (events.pt > 20.0)
    isolated = medium & (events.isolation <= 0.15)
    n_isolated = isolated.sum(axis=1)
    anti = (n_isolated == 0) & (medium.sum(axis=1) == 1)
    chosen = np.where(n_isolated[:, None] == 1, isolated, medium).argmax(axis=1)
    found = (n_isolated == 1) | anti
    rows = np.arange(len(chosen))

    def column(values: NDArray[np.floating]) -> Array:
        return np.where(found, values[rows, chosen], np.nan)

    pt, phi = column(events.pt), column(events.phi)
    met, met_phi = events.missing_momentum()
    return Candidates(
        certified=np.ones(len(rows), bool),
        triggered=events.triggered & ~events.prefired,
        passes_flags=events.passes_flags,
        n_veto_electrons=(events.has_electron & events.electron_id).astype(int),
        n_loose=(fiducial & (events.isolation < 0.25)).sum(axis=1),
        isolated=n_isolated == 1,
        anti_isolated=anti,
        pt=pt,
        pt_up=pt,
        pt_down=pt,
        eta=column(events.eta),
        phi=phi,
        isolation=column(events.isolation),
        charge=np.where(found, events.charge[rows, chosen], 0),
        met=met,
        met_phi=met_phi,
        mt=transverse_mass(pt, phi, met, met_phi),
    )


def count(events: Reconstructed, binning: Binning) -> Counts:
    """Count the selected muons."""
    candidates = candidates_of(events)
    chosen = candidates.take(np.flatnonzero(ANY.passes(candidates)))
    shape = (*CLASSES, 2, *binning.shape)
    index = flat_index(
        [
            isolation_and_mt(chosen),
            (chosen.charge < 0).astype(np.int64),
            bin_index(chosen.eta, binning.eta),
            bin_index(chosen.pt, binning.pt),
        ],
        (CLASSES[0] * CLASSES[1], *shape[2:]),
    )
    inside = index >= 0
    index, mt = index[inside], chosen.mt[inside]
    muons = np.bincount(index, minlength=math.prod(shape))
    classes = index // math.prod(binning.shape)
    mt_sum = np.bincount(classes, mt, minlength=math.prod(shape[:3]))
    return Counts(muons.reshape(shape).astype(float), mt_sum.reshape(shape[:3]))


def draw(
    sample: Sample,
    luminosity: float,
    truth: ToyTruth,
    rng: np.random.Generator,
    binning: Binning,
) -> Counts:
    """Draw a sample at a luminosity [fb⁻¹] in chunks and count its muons."""
    total = _nothing(binning)
    left = rng.poisson(sample.cross_section(truth) * luminosity * INVERSE_PB)
    while left > 0:
        n = min(left, CHUNK)
        total += count(generate(sample, n, rng, truth).reconstructed, binning)
        left -= n
    return total


def _nothing(binning: Binning) -> Counts:
    return Counts(np.zeros((*CLASSES, 2, *binning.shape)), np.zeros((*CLASSES, 2)))


def close(
    scale: float,
    slopes: tuple[float, ...],
    binning: Binning,
    seed: int,
    *,
    simulated: float = SIMULATED,
) -> Iterator[tuple[float, Closure]]:
    """Draw simulation and data and estimate multijet from them.

    Parameters
    ----------
    scale : float
        Luminosity relative to 35.9 fb⁻¹ of data.
    slopes : tuple of float
        Relative changes of the fake rate per 40 GeV of mT in the data.
    binning : Binning
        Bins in eta and pT.
    seed : int
        Of everything.
    simulated : float
        Luminosity of the simulation [fb⁻¹] for 35.9 of data.

    Yields
    ------
    float, Closure
        A slope and its result. The prompt muons are the same for all slopes.
    """
    rng, nominal = np.random.default_rng(seed), ToyTruth()
    data, processes = _nothing(binning), {}
    for name, sample in SAMPLES.items():
        if sample.process == MULTIJET:
            continue
        data += draw(sample, scale * REFERENCE_LUMINOSITY, nominal, rng, binning)
        drawn = draw(sample, scale * simulated, nominal, rng, binning)
        weight = REFERENCE_LUMINOSITY / simulated
        processes[name] = Sideband(
            weight * drawn.muons, weight**2 * drawn.muons, weight * drawn.mt_sum
        )
    for slope in slopes:
        truth = deviate(nominal, {"fake_mt_slope": slope}) if slope else nominal
        luminosity = scale * REFERENCE_LUMINOSITY
        multijet = draw(SAMPLES[MULTIJET], luminosity, truth, rng, binning)
        yield slope, estimate(data + multijet, processes, multijet.muons, binning)


def estimate(
    data: Counts, processes: Mapping[str, Sideband], multijet: Array, binning: Binning
) -> Closure:
    """Estimate multijet from counts of all classes and compare it with what is there.

    Parameters
    ----------
    data : Counts
        All muons.
    multijet : ndarray, shape (2, n_mt, 2, n_eta, n_pt)
        The multijet among them.
    processes : mapping of str to Sideband
        The simulation.
    binning : Binning
        The bins.
    """
    sidebands = Sidebands(np.array(MT_SLICES), data.muons, data.mt_sum, processes)
    regions = regions_of(sidebands, np.array(binning.eta), np.array(binning.pt))
    found = estimate_multijet(regions)
    slices, sideband, signal = mt_classes(sidebands)
    dependence = measure_mt_dependence(slices, found, sideband, signal)
    return Closure(
        predicted=found.template.nominal.sum(axis=(1, 2)),
        error=np.sqrt(found.template.covariance().sum(axis=(1, 2, 3))),
        true=multijet[0, -1].sum(axis=(1, 2)),
        slope=dependence.common_slope(),
        shift=dependence.total(),
    )


def main() -> None:
    """Print one line per dependence on mT and charge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=0.02)
    parser.add_argument("--binning", choices=sorted(BINNINGS), default="coarse")
    parser.add_argument("--simulated", type=float, default=SIMULATED)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    start = time.perf_counter()
    print(
        f"{options.scale * REFERENCE_LUMINOSITY:.3f} fb⁻¹ of data, "
        f"{options.scale * options.simulated:.3f} fb⁻¹ of simulation, "
        f"{options.binning} binning"
    )
    for slope, result in close(
        options.scale,
        (0.0, 0.05),
        BINNINGS[options.binning],
        options.seed,
        simulated=options.simulated,
    ):
        print(
            f"fake rate + {100 * slope:.0f} % per 40 GeV: found "
            f"{4000 * result.slope.value:+.2f} ± {4000 * result.slope.error:.2f} %; "
            f"extrapolation {100 * result.shift.value:+.2f} ± "
            f"{100 * result.shift.error:.2f} %"
        )
        for index, charge in enumerate("+-"):
            predicted, true = result.predicted[index], result.true[index]
            print(
                f"  charge {charge}: predicted {predicted:,.0f} ± "
                f"{result.error[index]:,.0f}, true {true:,.0f}, predicted/true "
                f"{predicted / true:.4f}, pull {result.pulls[index]:+.2f}"
            )
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
