"""Toy decays as the columns that the response is summed of, without files.

Ensembles of 1e7 to 1e8 generated events take the way of events of a sample from there
on. The detector is simulated only for muons inside of the acceptance.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wprops.errors import ConfigError
from wprops.events.toy.detector import draw_interactions, recoil_residual
from wprops.events.toy.events import Particle
from wprops.events.toy.sampling import sample_bosons
from wprops.events.toy.single_muon import charged_lepton, measure_muon
from wprops.events.toy.truth import ToyTruth
from wprops.events.toy.yields import REFERENCE_LUMINOSITY
from wprops.factorised.decays import Decays
from wprops.factorised.panels import RATIO_ABSETA, RATIO_PT
from wprops.systematics.declaration import NOMINAL
from wprops.templates.filling import N_FOLDS

FloatArray = NDArray[np.float64]

#: Events per chunk: enough to make light of the arrays that each chunk fills anew.
CHUNK = 500_000


class SimulatedDecays(NamedTuple):
    """Decays, and the azimuth of the reconstructed muons from qT [rad], shape (m,)."""

    decays: Decays
    muon_phi: FloatArray


class Chunk(NamedTuple):
    """Part of an ensemble: charge, number among those of the charge, and size."""

    charge: int
    number: int
    n: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ToyEnsemble:
    """A sample of generated W → μν decays of both charges.

    Attributes
    ----------
    n_events : int
        Generated events, divided between the charges like their cross sections.
    seed : int
        Seed; the decays do not depend on the number of threads.
    truth : ToyTruth
        The truth, with any deviations.
    fsr : bool
        Whether muons radiate photons.
    luminosity : float
        Integrated luminosity that the weights amount to [fb^-1].
    chunk : int
        Events per chunk.

    Raises
    ------
    ConfigError
        If there is not an event of each charge, or no luminosity.
    """

    n_events: int
    seed: int
    truth: ToyTruth = field(default_factory=ToyTruth)
    fsr: bool = False
    luminosity: float = REFERENCE_LUMINOSITY
    chunk: int = CHUNK

    def __post_init__(self) -> None:
        if min(self.events_of(1), self.events_of(-1), self.chunk) < 1:
            msg = (
                f"an ensemble of {self.n_events} events in chunks of {self.chunk} is "
                "empty for one of the charges; ask for at least 10 events"
            )
            raise ConfigError(msg)
        if not self.luminosity > 0:
            msg = f"luminosity is {self.luminosity} fb^-1, expected a positive number"
            raise ConfigError(msg)

    def events_of(self, charge: int) -> int:
        """Return the number of generated events of a charge."""
        plus, minus = self.truth.wplus.sigma, self.truth.wminus.sigma
        share = (plus if charge > 0 else minus) / (plus + minus)
        return round(self.n_events * share)

    def weight(self, charge: int) -> float:
        """Return the weight of each generated event of a charge."""
        produced = 1e3 * self.luminosity * self.truth.boson(charge).sigma
        return produced / self.events_of(charge)

    def chunks(self) -> Iterator[Chunk]:
        """Yield the parts to simulate, positive charge first."""
        for charge in (1, -1):
            n = self.events_of(charge)
            for index, start in enumerate(range(0, n, self.chunk)):
                yield Chunk(charge, index, min(self.chunk, n - start))

    def simulate(self, chunk: Chunk) -> SimulatedDecays:
        """Simulate a chunk; its events depend on nothing but the ensemble and it."""
        key = (int(chunk.charge < 0), chunk.number)
        rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=key))
        weight = self.weight(chunk.charge)
        return simulate(
            *(self.truth, chunk.charge, chunk.n, rng), weight=weight, fsr=self.fsr
        )


def simulate(
    truth: ToyTruth,
    charge: int,
    n: int,
    rng: np.random.Generator,
    *,
    weight: float = 1.0,
    fsr: bool = False,
) -> SimulatedDecays:
    """Simulate decays of one charge as the columns that the response is summed of.

    The physics is that of `wprops.events.toy.generate.generate`; whether an event is
    selected, mT aside, is drawn as one number.

    Parameters
    ----------
    truth : ToyTruth
        The truth.
    charge : {1, -1}
        Charge.
    n : int
        Number of events over the full phase space.
    rng : numpy.random.Generator
        Source of randomness.
    weight : float
        Weight of each event.
    fsr : bool
        Whether muons radiate photons.
    """
    boson = sample_bosons(truth, charge, n, rng)
    lepton = charged_lepton(boson, boson.costheta, boson.phistar)
    inside = np.flatnonzero(
        (np.abs(lepton.eta) < RATIO_ABSETA[-1]) & (lepton.pt >= RATIO_PT[0])
    )
    qt, y, azimuth = (column[inside] for column in (boson.qt, boson.y, boson.phi))
    pileup = draw_interactions(truth.detector, len(inside), rng)
    residual = np.stack(recoil_residual(truth.detector, qt, y, pileup, rng))
    lepton_in = Particle(*(column[inside] for column in lepton))
    muon = measure_muon(truth, charge, qt, azimuth, lepton_in, residual, rng, fsr=fsr)
    passes = rng.random(len(inside)) < muon.efficiency
    found = muon.pt > truth.detector.muon_pt
    decays = Decays(
        charge=np.full(n, charge),
        qt=boson.qt,
        y=boson.y,
        mass=boson.mass,
        costheta=boson.costheta,
        phistar=boson.phistar,
        eta=lepton.eta,
        pt=lepton.pt,
        weight=np.full(n, weight),
        ratios=((NOMINAL,), np.ones((n, 1))),
        fold=np.arange(n) % N_FOLDS,
        reco=inside[found],
        reco_pt={NOMINAL: muon.pt[found]},
        reco_eta=muon.eta[found],
        residual={NOMINAL: np.ascontiguousarray(muon.residual[:, found])},
        passes=passes[found],
        selected_weight={NOMINAL: np.full(found.sum(), weight)},
        pileup=pileup[found],
    )
    return SimulatedDecays(decays, muon.phi[found])
