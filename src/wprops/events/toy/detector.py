"""Turn muons and recoil into what the detector records."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from wprops.events.toy.events import (
    BoolArray,
    FloatArray,
    IntArray,
    Particle,
    Reconstructed,
)
from wprops.events.toy.parameters import DetectorTruth

#: Largest relative isolation of a selected muon.
ISOLATED = 0.15


class MeasuredMuons(NamedTuple):
    """Reconstructed muons in slots, shape (n, 2); empty slots have pT 0."""

    pt: FloatArray
    eta: FloatArray
    phi: FloatArray
    charge: IntArray
    found: BoolArray
    source: IntArray


def measure_muons(
    detector: DetectorTruth,
    muons: tuple[Particle, ...],
    charges: tuple[IntArray, ...],
    rng: np.random.Generator,
) -> MeasuredMuons:
    """Smear one or two muons per event and decide which are reconstructed.

    Of two muons, each is lost out of acceptance and one of them by chance.

    Parameters
    ----------
    detector : DetectorTruth
        Response.
    muons : tuple of Particle
        Bare muons.
    charges : tuple of ndarray of int
        Their charges.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    MeasuredMuons
        Slots in falling pT of the reconstructed muons.
    """
    n = len(muons[0].pt)
    columns = [np.zeros((n, 2)) for _ in range(3)]
    charge, found = np.zeros((n, 2), np.int64), np.zeros((n, 2), bool)
    for slot, (muon, sign) in enumerate(zip(muons, charges, strict=True)):
        pt = respond(detector, muon, sign, rng)
        for column, values in zip(columns, (pt, muon.eta, muon.phi), strict=True):
            column[:, slot] = values
        charge[:, slot] = sign
        inside = np.abs(muon.eta) < detector.muon_eta
        found[:, slot] = inside & (pt > detector.muon_pt)
    if len(muons) == 2:
        found &= ~_lost(detector, columns[0], columns[1], rng)
    source = np.tile(np.arange(2), (n, 1))
    return _ordered(MeasuredMuons._make((*columns, charge, found, source)))


def respond(
    detector: DetectorTruth, muon: Particle, charge: IntArray, rng: np.random.Generator
) -> FloatArray:
    """Measured pT [GeV]: resolution, scale and misalignment; eta and phi are exact."""
    resolution = muon_resolution(detector, muon.pt, muon.eta)
    pt = muon.pt * (1.0 + resolution * rng.standard_normal(len(muon.pt)))
    # A resolution of 1.5 % never reaches zero; the guard is for absurd settings.
    pt = np.maximum(pt, 0.0) * (1.0 + detector.mu_scale)
    if detector.mu_misalignment:
        pt = pt / (1.0 + charge * detector.mu_misalignment * np.sin(muon.phi) * pt)
    return pt


def muon_resolution(
    detector: DetectorTruth, pt: FloatArray, eta: FloatArray
) -> FloatArray | float:
    """Relative width of the muon's response; one number where it does not vary."""
    if not (detector.muon_resolution_slope or detector.muon_resolution_eta):
        return detector.muon_resolution
    width = np.hypot(detector.muon_resolution, detector.muon_resolution_slope * pt)
    return width * (1.0 + detector.muon_resolution_eta * np.abs(eta) / 2.4)


def _lost(
    detector: DetectorTruth, pt: FloatArray, eta: FloatArray, rng: np.random.Generator
) -> BoolArray:
    """Muons of a Z that are lost: beyond acceptance, too soft, or one by chance."""
    outside = (np.abs(eta) > detector.lost_eta) | (pt < detector.lost_pt)
    n = len(pt)
    unlucky = rng.random(n) < detector.lost_fraction
    victim = rng.integers(0, 2, n)
    by_chance = np.zeros((n, 2), bool)
    by_chance[np.arange(n), victim] = unlucky & ~outside.any(axis=1)
    return outside | by_chance


def _ordered(muons: MeasuredMuons) -> MeasuredMuons:
    """Put reconstructed muons first, the harder one in front."""
    effective = np.where(muons.found, muons.pt, -1.0)
    swap = effective[:, 1] > effective[:, 0]
    ordered = [column.copy() for column in muons]
    for column in ordered:
        column[swap] = column[swap, ::-1]
    return MeasuredMuons._make(ordered)


def prompt_isolation(
    detector: DetectorTruth, pt: FloatArray, rng: np.random.Generator
) -> FloatArray:
    """Relative isolation: an exponential sum [GeV] divided by the muon's pT."""
    total = detector.isolation_mean * rng.standard_exponential(pt.shape)
    return total / np.maximum(pt, 1e-3)


def recoil_activity(
    detector: DetectorTruth, hadron: tuple[FloatArray, FloatArray], phi: FloatArray
) -> FloatArray | float:
    """Factor on the isolation sum from the recoil along the muon.

    Parameters
    ----------
    detector : DetectorTruth
        Response.
    hadron : tuple of ndarray, shape (n,)
        Missing momentum plus muons, x and y [GeV]: the recoil with its sign turned.
    phi : ndarray, shape (n,) or (n, 2)
        Azimuth of the muons [rad], of one or both slots.
    """
    if not detector.isolation_recoil:
        return 1.0
    x, y = (values if phi.ndim == 1 else values[:, None] for values in hadron)
    along = -(x * np.cos(phi) + y * np.sin(phi))
    return np.exp(detector.isolation_recoil * along / 20.0)


def trigger_efficiency(
    detector: DetectorTruth, pt: FloatArray, eta: FloatArray, charge: IntArray
) -> FloatArray:
    """Probability that a muon fires the trigger, besides identification."""
    plateau = np.where(charge > 0, detector.efficiency_plus, detector.efficiency_minus)
    turn_on = 1.0 + detector.eff_turn_on * (erf((pt - 25.0) / 10.0) - 1.0)
    by_charge = 1.0 + 0.5 * charge * detector.eff_charge
    by_eta = 1.0 - detector.eff_eta * (eta / 2.4) ** 2
    reach = (pt > detector.trigger_pt) & (np.abs(eta) < 2.4)
    return plateau / detector.id_efficiency * turn_on * by_charge * by_eta * reach


def selection_efficiency(
    detector: DetectorTruth,
    pt: FloatArray,
    eta: FloatArray,
    charge: IntArray,
    activity: FloatArray | float = 1.0,
) -> FloatArray:
    """Probability that a prompt muon and its event are selected, mT cut aside.

    The closed form of what `record` and the selection do to an event with one muon:
    trigger, identification, isolation below 0.15, filters, electron veto, prefiring.

    Parameters
    ----------
    detector : DetectorTruth
        Efficiencies and conditions.
    pt, eta, charge : ndarray, shape (n,)
        Reconstructed muon, pT in GeV.
    activity : ndarray, shape (n,)
        Factor on the isolation sum, see `recoil_activity`.
    """
    isolated = -np.expm1(-ISOLATED * pt / (detector.isolation_mean * activity))
    event = (1.0 - detector.flag_failure) * (
        1.0 - detector.electron_fraction * detector.electron_id
    )
    identified = event * detector.id_efficiency * isolated
    if detector.prefire:
        lost = detector.prefire * prefire_probability(detector, eta)
        identified = identified * (1.0 - lost)
    return identified * trigger_efficiency(detector, pt, eta, charge)


def prefire_probability(detector: DetectorTruth, eta: FloatArray) -> FloatArray:
    """Probability of a prefire that goes with a muon."""
    return detector.prefire_slope * np.maximum(np.abs(eta) - 2.0, 0.0)


def recoil_residual(
    detector: DetectorTruth,
    qt: FloatArray,
    y: FloatArray,
    interactions: FloatArray | None,
    rng: np.random.Generator,
) -> tuple[FloatArray, FloatArray]:
    """Measured minus true boson momentum, along any two perpendicular axes [GeV].

    Parameters
    ----------
    detector : DetectorTruth
        Response.
    qt, y : ndarray, shape (n,)
        Transverse momentum [GeV] and rapidity of the boson.
    interactions : ndarray, shape (n,), optional
        Numbers of interactions, for a width that depends on them.
    rng : numpy.random.Generator
        Source of randomness.
    """
    width = np.hypot(detector.recoil_constant, detector.recoil_slope * qt)
    if detector.recoil_absy:
        width *= 1.0 + detector.recoil_absy * (np.abs(y) - 1.0)
    if interactions is not None and detector.recoil_pileup:
        excess = interactions / detector.pileup_mean - 1.0
        width *= 1.0 + detector.recoil_pileup * excess
    first = width * rng.standard_normal(len(qt))
    return first, width * rng.standard_normal(len(qt))


def photon_in_recoil(
    detector: DetectorTruth, lepton: Particle, muon: Particle
) -> FloatArray:
    """Momentum [GeV] along the muon that the recoil contains of its hard photon."""
    photon = lepton.pt - muon.pt
    hard = photon > detector.recoil_photon_fraction * lepton.pt
    return detector.recoil_photon * photon * hard


def record(
    detector: DetectorTruth,
    muons: MeasuredMuons,
    isolation: FloatArray,
    hadron: tuple[FloatArray, FloatArray],
    rng: np.random.Generator,
    interactions: FloatArray | None = None,
) -> Reconstructed:
    """Add trigger, identification, filters, electrons and beam conditions.

    Parameters
    ----------
    detector : DetectorTruth
        Efficiencies and conditions.
    muons : MeasuredMuons
        The muons.
    isolation : ndarray, shape (n, 2)
        Relative isolation.
    hadron : tuple of ndarray, shape (n,)
        Missing momentum plus muons, x and y [GeV].
    rng : numpy.random.Generator
        Source of randomness.
    interactions : ndarray, shape (n,), optional
        Numbers of interactions; drawn when omitted.

    Returns
    -------
    Reconstructed
        All detector-level columns.
    """
    n, found = len(muons.pt), muons.found
    efficiency = trigger_efficiency(detector, muons.pt, muons.eta, muons.charge)
    fired = (rng.random((n, 2)) < efficiency) & found
    medium = (rng.random((n, 2)) < detector.id_efficiency) & found
    prefire = prefire_probability(detector, np.where(found[:, 0], muons.eta[:, 0], 0.0))
    if interactions is None:
        interactions = draw_interactions(detector, n, rng)
    return Reconstructed(
        found=found,
        pt=muons.pt,
        eta=muons.eta,
        phi=muons.phi,
        charge=muons.charge,
        isolation=isolation,
        medium_id=medium,
        source=muons.source,
        hadron_x=hadron[0],
        hadron_y=hadron[1],
        triggered=fired[:, 0] | fired[:, 1],
        passes_flags=rng.random(n) >= detector.flag_failure,
        has_electron=rng.random(n) < detector.electron_fraction,
        electron_pt=10.0 + 10.0 * rng.standard_exponential(n),
        electron_eta=rng.uniform(-2.5, 2.5, n),
        electron_id=rng.random(n) < detector.electron_id,
        interactions=interactions,
        vertices=1 + rng.binomial(interactions.astype(np.int64), 0.7),
        prefire=prefire,
        prefired=rng.random(n) < detector.prefire * prefire,
    )


def draw_interactions(
    detector: DetectorTruth, n: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw interactions: Poisson around a mean that itself varies by 25 %."""
    mean = detector.pileup_mean + detector.pileup_shift
    return rng.poisson(mean * rng.gamma(16.0, 1.0 / 16.0, n)).astype(float)
