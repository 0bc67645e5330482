"""Simulate events of one sample as plain columns, without files.

`generate` is what ensembles and tests use; the writer of files calls it too.
"""

from __future__ import annotations

import numpy as np

from wprops.events.toy.detector import (
    MeasuredMuons,
    draw_interactions,
    measure_muons,
    photon_in_recoil,
    prompt_isolation,
    recoil_activity,
    recoil_residual,
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
from wprops.events.toy.parameters import BackgroundTruth, DetectorTruth
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
        reconstructed=_measure(
            generated, rng, truth, radiates=fsr and sample.decay != "tau"
        ),
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
        muons = tuple(radiate(lepton, truth.background, rng) for lepton in leptons)
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


def radiate(
    lepton: Particle, background: BackgroundTruth, rng: np.random.Generator
) -> Particle:
    """Let some muons radiate a collinear photon, of momentum fraction ∝ 1/x."""
    n = len(lepton.pt)
    ratio = background.fsr_high / background.fsr_low
    fraction = background.fsr_low * ratio ** rng.random(n)
    radiates: BoolArray = rng.random(n) < background.fsr_probability
    return _scaled(lepton, 1.0 - fraction * radiates)


def _measure(
    generated: Generated, rng: np.random.Generator, truth: ToyTruth, *, radiates: bool
) -> Reconstructed:
    """Reconstruct muons and recoil of a boson."""
    detector, n = truth.detector, len(generated.charge)
    charges = (generated.charge, -generated.charge)[: len(generated.muons)]
    muons: MeasuredMuons = measure_muons(detector, generated.muons, charges, rng)
    isolation = prompt_isolation(detector, muons.pt, rng)
    # Drawn here only where the recoil needs them: other streams stay what they are.
    early = draw_interactions(detector, n, rng) if detector.recoil_pileup else None
    hadron = _recoil(detector, generated, early, rng, radiates=radiates)
    isolation = isolation * recoil_activity(detector, hadron, muons.phi)
    return record(detector, muons, isolation, hadron, rng, early)


def _recoil(
    detector: DetectorTruth,
    generated: Generated,
    interactions: FloatArray | None,
    rng: np.random.Generator,
    *,
    radiates: bool,
) -> tuple[FloatArray, FloatArray]:
    """Measured boson momentum, x and y [GeV]."""
    assert generated.qt is not None
    assert generated.y is not None
    assert generated.phi is not None
    residual = recoil_residual(detector, generated.qt, generated.y, interactions, rng)
    x = generated.qt * np.cos(generated.phi) + residual[0]
    y = generated.qt * np.sin(generated.phi) + residual[1]
    if radiates and detector.recoil_photon:
        for lepton, muon in zip(generated.leptons, generated.muons, strict=True):
            photon = photon_in_recoil(detector, lepton, muon)
            # What the recoil contains is missing from the missing momentum.
            x -= photon * np.cos(muon.phi)
            y -= photon * np.sin(muon.phi)
    return x, y
