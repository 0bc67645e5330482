"""The generator's particle list of a toy event, as NanoAOD's GenPart keeps it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wprops.events.toy.events import (
    BoolArray,
    FloatArray,
    Generated,
    Particle,
    ToyEvents,
)

# Bits of statusFlags, as the documentation string of the branch lists them.
IS_PROMPT = 1 << 0
IS_DECAYED_LEPTON_HADRON = 1 << 1
IS_TAU_PRODUCT = (1 << 2) | (1 << 3) | (1 << 4) | (1 << 5)
IS_HARD = (1 << 7) | (1 << 8)
FROM_HARD = 1 << 8
IS_HARD_TAU_PRODUCT = (1 << 9) | (1 << 10)
FIRST_COPY, LAST_COPY, BEFORE_FSR = 1 << 12, 1 << 13, 1 << 14
ONLY_COPY = FIRST_COPY | LAST_COPY | BEFORE_FSR


class GenParticle(NamedTuple):
    """One place in the list; a scalar stands for all events."""

    pdg_id: NDArray[np.int64] | int
    momentum: Particle
    mass: FloatArray | float
    status: int
    flags: int
    mother: int
    present: BoolArray | bool = True


class GenParts(NamedTuple):
    """The list of all events: arrays of shape (n, k); absent where not ``present``.

    ``muon_index`` is the place of each bare muon of `Generated.muons`.
    """

    pt: FloatArray
    eta: FloatArray
    phi: FloatArray
    mass: FloatArray
    pdg_id: NDArray[np.int64]
    status: NDArray[np.int64]
    flags: NDArray[np.int64]
    mother: NDArray[np.int64]
    present: BoolArray
    muon_index: tuple[int, ...]


def particle_list(events: ToyEvents) -> GenParts:
    """Build the list: boson, leptons before radiation, bare muons, photons."""
    generated = events.generated
    build = {"munu": _munu, "tau": _tau, "mumu": _mumu}.get(events.sample.decay)
    if build is None:
        return _stack(_direct(events), (0,))
    particles, muon_index = build(generated)
    return _stack(particles, muon_index)


def _boson(generated: Generated) -> GenParticle:
    qt, y, mass, phi = generated.qt, generated.y, generated.mass, generated.phi
    assert qt is not None
    assert y is not None
    assert mass is not None
    assert phi is not None
    # Pseudorapidity diverges for a boson along the beam; 1 keV keeps it finite.
    eta = np.arcsinh(np.sinh(y) * np.hypot(mass, qt) / np.maximum(qt, 1e-6))
    is_z = generated.neutrino is None
    return GenParticle(
        pdg_id=23 if is_z else 24 * generated.charge,
        momentum=Particle(qt, eta, phi),
        mass=mass,
        status=62,
        flags=IS_PROMPT | IS_HARD | FIRST_COPY | LAST_COPY,
        mother=-1,
    )


def _charged(generated: Generated, which: int, pdg: int, mother: int) -> GenParticle:
    """Charged lepton of the hard process, before radiation or decay."""
    sign = -1 if which == 0 else 1
    return GenParticle(
        pdg_id=sign * pdg * generated.charge,
        momentum=generated.leptons[which],
        mass=1.77686 if pdg == 15 else 0.0,
        status=2 if pdg == 15 else 23,
        flags=IS_PROMPT | IS_HARD | FIRST_COPY | BEFORE_FSR,
        mother=mother,
    )


def _bare(generated: Generated, which: int, mother: int) -> GenParticle:
    """Muon after radiation."""
    sign = -1 if which == 0 else 1
    return GenParticle(
        pdg_id=sign * 13 * generated.charge,
        momentum=generated.muons[which],
        mass=0.0,
        status=1,
        flags=IS_PROMPT | FROM_HARD | LAST_COPY,
        mother=mother,
    )


def _photon(generated: Generated, which: int, mother: int) -> GenParticle:
    lepton, muon = generated.leptons[which], generated.muons[which]
    pt = lepton.pt - muon.pt
    return GenParticle(
        pdg_id=22,
        momentum=lepton._replace(pt=pt),
        mass=0.0,
        status=1,
        flags=IS_PROMPT | ONLY_COPY,
        mother=mother,
        present=pt > 0.0,
    )


def _neutrino(generated: Generated, pdg: int, mother: int) -> GenParticle:
    assert generated.neutrino is not None
    return GenParticle(
        pdg_id=pdg * generated.charge,
        momentum=generated.neutrino,
        mass=0.0,
        status=1,
        flags=IS_PROMPT | IS_HARD | ONLY_COPY,
        mother=mother,
    )


def _munu(generated: Generated) -> tuple[list[GenParticle], tuple[int, ...]]:
    particles = [
        _boson(generated),
        _charged(generated, 0, 13, mother=0),
        _neutrino(generated, 14, mother=0),
        _bare(generated, 0, mother=1),
        _photon(generated, 0, mother=1),
    ]
    return particles, (3,)


def _mumu(generated: Generated) -> tuple[list[GenParticle], tuple[int, ...]]:
    particles = [
        _boson(generated),
        _charged(generated, 0, 13, mother=0),
        _charged(generated, 1, 13, mother=0),
        _bare(generated, 0, mother=1),
        _bare(generated, 1, mother=2),
        _photon(generated, 0, mother=1),
        _photon(generated, 1, mother=2),
    ]
    return particles, (3, 4)


def _tau(generated: Generated) -> tuple[list[GenParticle], tuple[int, ...]]:
    tau = _charged(generated, 0, 15, mother=0)
    lepton, muon = generated.leptons[0], generated.muons[0]
    product = IS_TAU_PRODUCT | IS_HARD_TAU_PRODUCT | ONLY_COPY
    # The two neutrinos share the rest, collinear with the tau.
    rest = lepton._replace(pt=0.5 * (lepton.pt - muon.pt))
    particles = [
        _boson(generated),
        tau._replace(flags=tau.flags | LAST_COPY),
        _neutrino(generated, 16, mother=0),
        GenParticle(-13 * generated.charge, muon, 0.0, 1, product, 1),
        GenParticle(-16 * generated.charge, rest, 0.0, 1, product, 1),
        GenParticle(14 * generated.charge, rest, 0.0, 1, product, 1),
    ]
    return particles, (3,)


def _direct(events: ToyEvents) -> list[GenParticle]:
    """Return the muon alone: these processes have no simulated boson."""
    generated = events.generated
    multijet = events.sample.process == "qcd"
    flags = IS_DECAYED_LEPTON_HADRON if multijet else IS_PROMPT | IS_HARD
    muon = generated.muons[0]
    return [
        GenParticle(-13 * generated.charge, muon, 0.0, 1, flags | ONLY_COPY, -1),
    ]


def _stack(particles: list[GenParticle], muon_index: tuple[int, ...]) -> GenParts:
    n = len(particles[0].momentum.pt)

    def columns(values: list[object], dtype: type) -> np.ndarray:
        spread = [np.broadcast_to(np.asarray(value), (n,)) for value in values]
        return np.stack(spread, axis=1).astype(dtype)

    return GenParts(
        pt=columns([p.momentum.pt for p in particles], np.float64),
        eta=columns([p.momentum.eta for p in particles], np.float64),
        phi=columns([p.momentum.phi for p in particles], np.float64),
        mass=columns([p.mass for p in particles], np.float64),
        pdg_id=columns([p.pdg_id for p in particles], np.int64),
        status=columns([p.status for p in particles], np.int64),
        flags=columns([p.flags for p in particles], np.int64),
        mother=columns([p.mother for p in particles], np.int64),
        present=columns([p.present for p in particles], np.bool_),
        muon_index=muon_index,
    )
