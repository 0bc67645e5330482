"""Simulate events of one sample as plain columns, without files.

`generate` is what ensembles and tests use; the writer of files calls it too.
"""

from __future__ import annotations

import numpy as np

from wprops.events.toy.detector import (
    MeasuredMuons,
    measure_muons,
    prompt_isolation,
    recoil,
    record,
)
from wprops.events.toy.direct import draw_muons, measure_direct
from wprops.events.toy.events import (
    BoolArray,
    FloatArray,
    Generated,
    Particle,
    Reconstructed,
    Sample,
    ToyEvents,
)
from wprops.events.toy.parameters import BackgroundTruth
from wprops.events.toy.sampling import sample_bosons
from wprops.events.toy.truth import ToyTruth
from wprops.physics.collins_soper import leptons_from_angles


def generate(
    sample: Sample,
    n: int,
    rng: np.random.Generator,
    truth: ToyTruth,
    *,
    fsr: bool = False,
) -> ToyEvents:
    """Simulate ``n`` unweighted events.

    Parameters
    ----------
    sample : Sample
        One of `wprops.events.toy.events.SAMPLES`.
    n : int
        Number of events over the full phase space.
    rng : numpy.random.Generator
        Source of randomness.
    truth : ToyTruth
        The truth, with any deviations.
    fsr : bool
        Whether muons of W → μν and Z → μμ radiate collinear photons.

    Returns
    -------
    ToyEvents
        Generator-level and reconstructed columns.
    """
    if sample.decay == "direct":
        generated = draw_muons(sample.process, n, rng, truth)
        return ToyEvents(
            sample=sample,
            generated=generated,
            reconstructed=measure_direct(sample.process, generated, rng, truth),
        )
    generated = _decay(sample, n, rng, truth, fsr=fsr)
    return ToyEvents(
        sample=sample,
        generated=generated,
        reconstructed=_measure(generated, rng, truth),
    )


def _decay(
    sample: Sample, n: int, rng: np.random.Generator, truth: ToyTruth, *, fsr: bool
) -> Generated:
    """Sample bosons and let them decay to bare muons."""
    boson = sample_bosons(truth, sample.charge, n, rng)
    first, second = leptons_from_angles(
        boson.qt, boson.y, boson.mass, boson.costheta, boson.phistar, boson.phi
    )
    leptons: tuple[Particle, ...] = (Particle(*first),)
    if sample.decay == "mumu":
        leptons += (Particle(*second),)
    if sample.decay == "tau":
        muons = tuple(_scaled(lepton, _tau_fraction(n, rng)) for lepton in leptons)
    elif fsr:
        muons = tuple(
            _scaled(lepton, 1.0 - _photon_fraction(truth.background, n, rng))
            for lepton in leptons
        )
    else:
        muons = leptons
    charge = -1 if sample.decay == "mumu" else sample.charge
    return Generated(
        charge=np.full(n, charge, np.int64),
        leptons=leptons,
        neutrino=None if sample.decay == "mumu" else Particle(*second),
        muons=muons,
        qt=boson.qt,
        y=boson.y,
        mass=boson.mass,
        phi=boson.phi,
        costheta=boson.costheta,
        phistar=boson.phistar,
    )


def _scaled(particle: Particle, fraction: FloatArray) -> Particle:
    return particle._replace(pt=particle.pt * fraction)


def _tau_fraction(n: int, rng: np.random.Generator) -> FloatArray:
    """Momentum fraction of the muon, density 4/3 (1 − x³) on [0, 1].

    Accept-reject against the constant 4/3 accepts 3 of 4 proposals; each pass
    redraws only the rejected ones.
    """
    x = np.empty(n)
    missing = np.arange(n)
    while len(missing):
        proposal = rng.random(len(missing))
        accepted = rng.random(len(missing)) < 1.0 - proposal**3
        x[missing[accepted]] = proposal[accepted]
        missing = missing[~accepted]
    return x


def _photon_fraction(
    background: BackgroundTruth, n: int, rng: np.random.Generator
) -> FloatArray:
    """Momentum fraction of a collinear photon, zero without one; density ∝ 1/x."""
    ratio = background.fsr_high / background.fsr_low
    fraction = background.fsr_low * ratio ** rng.random(n)
    radiates: BoolArray = rng.random(n) < background.fsr_probability
    return fraction * radiates


def _measure(
    generated: Generated, rng: np.random.Generator, truth: ToyTruth
) -> Reconstructed:
    """Reconstruct muons and recoil of a boson."""
    assert generated.qt is not None
    assert generated.phi is not None
    charges = (generated.charge, -generated.charge)[: len(generated.muons)]
    muons: MeasuredMuons = measure_muons(truth.detector, generated.muons, charges, rng)
    isolation = prompt_isolation(truth.detector, muons.pt, rng)
    hadron = recoil(truth.detector, generated.qt, generated.phi, rng)
    return record(truth.detector, muons, isolation, hadron, rng)
