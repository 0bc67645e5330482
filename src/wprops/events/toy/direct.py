"""Top, diboson and multijet events: the muon is drawn directly, without a boson."""

from __future__ import annotations

import numpy as np

from wprops.events.toy.detector import (
    MeasuredMuons,
    prompt_isolation,
    recoil_activity,
    record,
    respond,
)
from wprops.events.toy.events import (
    FloatArray,
    Generated,
    IntArray,
    Particle,
    Reconstructed,
)
from wprops.events.toy.parameters import BackgroundTruth
from wprops.events.toy.truth import ToyTruth


def draw_muons(
    process: str, n: int, rng: np.random.Generator, truth: ToyTruth
) -> Generated:
    """Draw charge and momentum of the muon.

    Parameters
    ----------
    process : {"top", "diboson", "qcd"}
        The process.
    n : int
        Number of events.
    rng : numpy.random.Generator
        Source of randomness.
    truth : ToyTruth
        The truth.
    """
    model = truth.background
    plus, low, slope, curvature = {
        "top": (model.top_plus, model.direct_pt, model.top_slope, -model.eta_curvature),
        "diboson": (
            model.diboson_plus,
            model.direct_pt,
            model.diboson_slope,
            -model.eta_curvature,
        ),
        "qcd": (
            model.qcd_plus,
            model.qcd_pt,
            model.qcd_slope,
            model.qcd_eta_curvature,
        ),
    }[process]
    muon = Particle(
        pt=low + slope * rng.standard_exponential(n),
        eta=2.4 * _parabola(curvature, n, rng),
        phi=rng.uniform(-np.pi, np.pi, n),
    )
    charge = np.where(rng.random(n) < plus, 1, -1)
    return Generated(charge=charge, leptons=(muon,), neutrino=None, muons=(muon,))


def _parabola(curvature: float, n: int, rng: np.random.Generator) -> FloatArray:
    """Variable on [−1, 1] with density ∝ 1 + curvature u².

    The distribution function is inverted by a table of 4001 points, whose linear
    interpolation is good to 1e-7.
    """
    u = np.linspace(-1.0, 1.0, 4001)
    cumulative = (u + 1.0) + curvature * (u**3 + 1.0) / 3.0
    return np.interp(rng.random(n) * cumulative[-1], cumulative, u)


def measure_direct(
    process: str, generated: Generated, rng: np.random.Generator, truth: ToyTruth
) -> Reconstructed:
    """Reconstruct the muon and draw missing momentum and isolation around it."""
    detector, muon, charge = truth.detector, generated.muons[0], generated.charge
    # Multijet spectra are those of reconstructed muons: no resolution, so that
    # the fake rate is known at the measured pT; the momentum scale still acts.
    if process == "qcd":
        exact = detector._replace(muon_resolution=0.0, muon_resolution_slope=0.0)
        pt = respond(exact, muon, charge, rng)
        met_x, met_y = _multijet_met(truth.background, pt, muon.phi, rng)
        mt = np.sqrt(
            np.maximum(
                2.0 * pt * (np.hypot(met_x, met_y) - _along(met_x, met_y, muon)), 0
            )
        )
        isolation = _fake_isolation(truth.background, pt, muon.eta, mt, rng)
    else:
        pt = respond(detector, muon, charge, rng)
        met_x, met_y = _flat_mt_met(truth.background, pt, muon.phi, rng)
        isolation = prompt_isolation(detector, pt, rng)
    hadron = (met_x + pt * np.cos(muon.phi), met_y + pt * np.sin(muon.phi))
    if process != "qcd":
        isolation = isolation * recoil_activity(detector, hadron, muon.phi)
    muons = _single(pt, muon, charge, np.abs(muon.eta) < detector.muon_eta)
    padded = np.stack([isolation, np.zeros_like(isolation)], axis=1)
    return record(detector, muons, padded, hadron, rng)


def _along(x: FloatArray, y: FloatArray, muon: Particle) -> FloatArray:
    """Component along the muon's azimuth."""
    return x * np.cos(muon.phi) + y * np.sin(muon.phi)


def _single(
    pt: FloatArray, muon: Particle, charge: IntArray, found: np.ndarray
) -> MeasuredMuons:
    """Put one muon per event into the first of two slots."""

    def pad(values: np.ndarray) -> np.ndarray:
        return np.stack([values, np.zeros_like(values)], axis=1)

    source = np.zeros((len(pt), 2), np.int64)
    return MeasuredMuons(
        pad(pt), pad(muon.eta), pad(muon.phi), pad(charge), pad(found), source
    )


def _multijet_met(
    model: BackgroundTruth, pt: FloatArray, phi: FloatArray, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Soft neutrino near the muon plus Gaussian noise, x and y [GeV]."""
    n = len(pt)
    size = model.qcd_met_mean * rng.standard_exponential(n)
    angle = phi + model.qcd_angle * rng.standard_normal(n)
    noise = model.qcd_met_noise * rng.standard_normal((2, n))
    return size * np.cos(angle) + noise[0], size * np.sin(angle) + noise[1]


def _flat_mt_met(
    model: BackgroundTruth, pt: FloatArray, phi: FloatArray, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Missing momentum with mT flat and a magnitude that falls exponentially.

    Given mT the magnitude is at least mT²/(4 pT); an exponential above a bound is
    the bound plus an exponential, so no draw is rejected.
    """
    n = len(pt)
    mt2 = (model.mt_max * rng.random(n)) ** 2
    size = mt2 / (4.0 * pt) + model.met_mean * rng.standard_exponential(n)
    # With an exponential of exactly 0 and mT = 0 the direction is free.
    opening = 1.0 - mt2 / np.maximum(2.0 * pt * size, 1e-12)
    delta = np.arccos(np.clip(opening, -1.0, 1.0))
    angle = phi + np.where(rng.random(n) < 0.5, delta, -delta)
    return size * np.cos(angle), size * np.sin(angle)


def fake_rate(
    model: BackgroundTruth, pt: FloatArray, eta: FloatArray, mt: FloatArray
) -> FloatArray:
    """Probability that a multijet muon is isolated (≤ 0.15), within [0, 1]."""
    rate = model.fake_base + model.fake_eta * np.abs(eta) + model.fake_pt * (pt - 25.0)
    rate = rate * (1.0 + model.fake_mt_slope * (mt - 20.0) / 40.0)
    return np.clip(rate, 0.0, 1.0)


def _fake_isolation(
    model: BackgroundTruth,
    pt: FloatArray,
    eta: FloatArray,
    mt: FloatArray,
    rng: np.random.Generator,
) -> FloatArray:
    """Relative isolation of multijet muons: flat below 0.15 or exponential above."""
    n = len(pt)
    isolated = rng.random(n) < fake_rate(model, pt, eta, mt)
    low = 0.15 * rng.random(n)
    return np.where(
        isolated, low, 0.15 + model.fake_isolation * rng.standard_exponential(n)
    )
