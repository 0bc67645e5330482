"""Measure the muon of a W decay in closed form, as columns, without an event.

The frame has its x axis along the boson's transverse momentum. What decides of the
selection of an event with one muon is a probability here; `generate` draws all of it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from wprops.events.toy.detector import (
    photon_in_recoil,
    recoil_activity,
    respond,
    selection_efficiency,
)
from wprops.events.toy.events import FloatArray, Particle
from wprops.events.toy.generate import radiate
from wprops.events.toy.sampling import Bosons
from wprops.events.toy.truth import ToyTruth
from wprops.physics.collins_soper import leptons_from_angles
from wprops.physics.kinematics import transverse_mass


class MeasuredMuon(NamedTuple):
    """Reconstructed muons with the recoil of their bosons, shape (n,) each.

    ``pt`` [GeV], ``eta``, and ``phi`` from qT [rad]; ``residual``, shape (2, n), is the
    measured minus the true boson momentum along and across qT [GeV], with what the
    recoil contains of a photon; ``efficiency`` is the probability to be selected, apart
    from the cut on mT.
    """

    pt: FloatArray
    eta: FloatArray
    phi: FloatArray
    residual: FloatArray
    efficiency: FloatArray


def charged_lepton(
    bosons: Bosons, costheta: FloatArray, phistar: FloatArray
) -> Particle:
    """Momenta of the charged leptons of decays, with azimuths from qT."""
    along_x = np.zeros(len(bosons.qt))
    lepton, _ = leptons_from_angles(
        bosons.qt, bosons.y, bosons.mass, costheta, phistar, along_x
    )
    return Particle(*lepton)


def measure_muon(
    truth: ToyTruth,
    charge: int,
    qt: FloatArray,
    azimuth: FloatArray,
    lepton: Particle,
    residual: FloatArray,
    rng: np.random.Generator,
    *,
    fsr: bool = False,
) -> MeasuredMuon:
    """Measure the muons of decays.

    Parameters
    ----------
    truth : ToyTruth
        The truth.
    charge : {1, -1}
        Charge of the bosons.
    qt, azimuth : ndarray, shape (n,)
        Transverse momentum of the bosons [GeV], and its direction in the lab [rad].
    lepton : Particle
        Muons before radiation, with azimuths from qT.
    residual : ndarray, shape (2, n)
        Measured minus true boson momentum along and across qT, without photons [GeV].
    rng : numpy.random.Generator
        Source of randomness.
    fsr : bool
        Whether muons radiate photons.
    """
    detector = truth.detector
    muon = radiate(lepton, truth.background, rng) if fsr else lepton
    charges = np.full(len(lepton.pt), charge)
    # A misalignment knows the direction in the laboratory.
    lab = muon._replace(phi=muon.phi + azimuth)
    pt = respond(detector, lab, charges, rng)
    if fsr and detector.recoil_photon:
        photon = photon_in_recoil(detector, lepton, muon)
        residual = residual - photon * np.stack([np.cos(muon.phi), np.sin(muon.phi)])
    hadron = qt + residual[0], residual[1]
    activity = recoil_activity(detector, hadron, muon.phi)
    efficiency = selection_efficiency(detector, pt, muon.eta, charges, activity)
    return MeasuredMuon(pt, muon.eta, muon.phi, residual, efficiency)


def recoil_mt(
    qt: FloatArray, residual: FloatArray, pt: FloatArray, phi: FloatArray
) -> FloatArray:
    """Transverse mass of muons and their missing momentum [GeV].

    Parameters
    ----------
    qt, residual
        Of the boson, as in `MeasuredMuon`.
    pt, phi : ndarray, shape (n,)
        Reconstructed muon [GeV], its azimuth from qT [rad].
    """
    x = qt + residual[0] - pt * np.cos(phi)
    y = residual[1] - pt * np.sin(phi)
    return transverse_mass(pt, phi, np.hypot(x, y), np.arctan2(y, x))
