"""The records of simulated events, as plain columns, and the table of samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wprops.errors import ConfigError
from wprops.events.toy.truth import ToyTruth
from wprops.events.toy.yields import CROSS_SECTION_SCALES

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One simulated sample.

    Attributes
    ----------
    name, process : str
        Name in the catalogue and the process it models.
    decay : {"munu", "tau", "mumu", "direct"}
        How the muons arise; ``direct`` draws the muon without a boson.
    charge : int
        Charge of the boson; 0 for the Z and for direct muons.
    """

    name: str
    process: str
    decay: Literal["munu", "tau", "mumu", "direct"]
    charge: int = 0

    def cross_section(self, truth: ToyTruth) -> float:
        """Effective cross section [pb], scaled to the reference yields."""
        scale = CROSS_SECTION_SCALES[self.name]
        if self.decay == "direct":
            return scale
        sigma = truth.boson(self.charge).sigma * scale
        return sigma * truth.background.tau_branching if self.decay == "tau" else sigma


SAMPLES = {
    sample.name: sample
    for sample in (
        Sample(name="Wplus_mu", process="W_mu", decay="munu", charge=1),
        Sample(name="Wminus_mu", process="W_mu", decay="munu", charge=-1),
        Sample(name="Wplus_tau", process="W_tau", decay="tau", charge=1),
        Sample(name="Wminus_tau", process="W_tau", decay="tau", charge=-1),
        Sample(name="Z_mumu", process="Z", decay="mumu"),
        Sample(name="top", process="top", decay="direct"),
        Sample(name="diboson", process="diboson", decay="direct"),
        Sample(name="qcd", process="qcd", decay="direct"),
    )
}


def sample_named(name: str) -> Sample:
    """Return a simulated sample; raises ConfigError listing the known ones."""
    if name not in SAMPLES:
        msg = f"the toy has no sample {name!r}; it simulates {', '.join(SAMPLES)}"
        raise ConfigError(msg)
    return SAMPLES[name]


class Particle(NamedTuple):
    """Momenta of one particle per event: pT [GeV], eta, phi [rad], shape (n,)."""

    pt: FloatArray
    eta: FloatArray
    phi: FloatArray


@dataclass(frozen=True, kw_only=True, slots=True)
class Generated:
    """Generator-level columns, shape (n,) each.

    Attributes
    ----------
    charge : ndarray of int
        Charge of the muon (of the first one for the Z, which is the μ−).
    leptons : tuple of Particle
        Charged leptons before radiation: the muon (tau), or μ− and μ+.
    neutrino : Particle or None
        The boson's neutrino.
    muons : tuple of Particle
        Bare muons after radiation or tau decay, in the order of ``leptons``.
    qt, y, mass, phi, costheta, phistar : ndarray or None
        Boson and Collins-Soper angles of the charged lepton (μ−); None for
        directly drawn muons.
    """

    charge: IntArray
    leptons: tuple[Particle, ...]
    neutrino: Particle | None
    muons: tuple[Particle, ...]
    qt: FloatArray | None = None
    y: FloatArray | None = None
    mass: FloatArray | None = None
    phi: FloatArray | None = None
    costheta: FloatArray | None = None
    phistar: FloatArray | None = None


class Reconstructed(NamedTuple):
    """Detector-level columns; muon columns have shape (n, 2), others (n,).

    A muon slot holds a muon where ``found`` is true; slots are ordered by
    falling pT. ``source`` is the index of the bare muon in `Generated.muons`.
    ``hadron_x``, ``hadron_y`` is missing momentum plus muons [GeV]: the recoil
    with its sign turned, which the variations of missing momentum scale.
    """

    found: BoolArray
    pt: FloatArray
    eta: FloatArray
    phi: FloatArray
    charge: IntArray
    isolation: FloatArray
    medium_id: BoolArray
    source: IntArray
    hadron_x: FloatArray
    hadron_y: FloatArray
    triggered: BoolArray
    passes_flags: BoolArray
    has_electron: BoolArray
    electron_pt: FloatArray
    electron_eta: FloatArray
    electron_id: BoolArray
    interactions: FloatArray
    vertices: IntArray
    prefire: FloatArray
    prefired: BoolArray

    def take(self, index: NDArray[np.int64] | BoolArray) -> Reconstructed:
        """Return the chosen events."""
        return Reconstructed._make(column[index] for column in self)

    def missing_momentum(self, scale: float = 1.0) -> tuple[FloatArray, FloatArray]:
        """Magnitude [GeV] and azimuth [rad], with the recoil times ``scale``."""
        found = self.found
        x = scale * self.hadron_x - np.sum(self.pt * np.cos(self.phi) * found, axis=1)
        y = scale * self.hadron_y - np.sum(self.pt * np.sin(self.phi) * found, axis=1)
        return np.hypot(x, y), np.arctan2(y, x)


def concatenate(parts: list[Reconstructed]) -> Reconstructed:
    """Join samples, in order."""
    columns = zip(*parts, strict=True)
    return Reconstructed._make(np.concatenate(column) for column in columns)


@dataclass(frozen=True, kw_only=True, slots=True)
class ToyEvents:
    """Events of one simulated sample: generator and detector level."""

    sample: Sample
    generated: Generated
    reconstructed: Reconstructed

    def __len__(self) -> int:
        return len(self.reconstructed.triggered)
