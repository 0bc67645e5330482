"""Decays drawn with numpy, whose ingredients may depend on what they should not.

A simulation that is independent of the toy's files, and small: everything but the
boson's spectrum and the decay is Gaussian or exponential.
"""

from typing import NamedTuple

import numpy as np

from wprops.factorised.decays import Decays
from wprops.physics.collins_soper import leptons_from_angles

POLE, WIDTH = 80.379, 2.085


class Breakers(NamedTuple):
    """Sizes of broken assumptions, all relative but for ``mass_tilt`` [GeV]."""

    isolation: float = 0.0  # efficiency × 1 + value · u_p/p'
    fsr_in_recoil: float = 0.0  # part of a hard photon that the recoil holds
    absy_width: float = 0.0  # residual's width × 1 + value (|Y| − 1)
    pileup_width: float = 0.0  # residual's width × 1 + value (n − 25)/10
    pileup_efficiency: float = 0.0  # efficiency × 1 − value (n − 25)/10
    resolution_step: float = 0.0  # resolution × 1 + value beyond |eta| 1.8
    mass_tilt: float = 0.0  # pole + value |Y|


INTACT = Breakers()


def toy_decays(n, seed, breakers=INTACT, *, weighted=False, qt_scale=8.0):
    """W → μν events of both charges with radiation, as columns of `Decays`."""
    rng = np.random.default_rng(seed)
    charge = np.where(rng.random(n) < 0.55, 1, -1)
    y = np.clip(rng.normal(0.0, 1.8, n), -4.9, 4.9)
    qt = qt_scale * np.sqrt((1.0 - 0.985 * rng.random(n)) ** (-1.0 / 0.75) - 1.0)
    low, high = (np.arctan((m**2 - POLE**2) / (POLE * WIDTH)) for m in (50.0, 120.0))
    angle = low + (high - low) * rng.random(n)
    mass = np.sqrt(POLE**2 + POLE * WIDTH * np.tan(angle))
    mass += breakers.mass_tilt * np.abs(y)
    costheta = np.cbrt(2.0 * rng.random(n) - 1.0) * 0.5 + 0.5 * rng.uniform(-1, 1, n)
    phistar = rng.uniform(-np.pi, np.pi, n)
    phi = rng.uniform(-np.pi, np.pi, n)
    muon, _ = leptons_from_angles(qt, y, mass, costheta, phistar, phi)
    weight = np.where(rng.random(n) < 0.1, -0.5, 1.0) if weighted else np.ones(n)

    photon = 0.001 * 500.0 ** rng.random(n) * (rng.random(n) < 0.1)
    sigma = 0.015 * (1 + breakers.resolution_step * (np.abs(muon[1]) > 1.8))
    reco_pt = muon[0] * (1 - photon) * (1 + sigma * rng.standard_normal(n))
    pileup = rng.poisson(25.0 * rng.gamma(16.0, 1.0 / 16.0, n)).astype(float)
    width = np.hypot(14.0, 0.1 * qt) * (1 + breakers.absy_width * (np.abs(y) - 1))
    width *= 1 + breakers.pileup_width * (pileup - 25) / 10
    e = width * rng.standard_normal((2, n))
    turned = muon[2] - phi
    lost = breakers.fsr_in_recoil * photon * (photon > 0.1) * muon[0]
    e -= lost * np.array([np.cos(turned), np.sin(turned)])

    along = -((qt + e[0]) * np.cos(turned) + e[1] * np.sin(turned))
    efficiency = 0.7 * (1 - np.exp(-0.15 * reco_pt / 1.6))
    efficiency *= 1 + breakers.isolation * np.clip(
        along / np.maximum(reco_pt, 1), -1, 1
    )
    efficiency *= 1 - breakers.pileup_efficiency * (pileup - 25) / 10
    matched = np.flatnonzero((np.abs(muon[1]) < 2.4) & (reco_pt > 10.0))
    passes = rng.random(n) < efficiency
    return Decays(
        charge=charge,
        qt=qt,
        y=y,
        mass=mass,
        costheta=costheta,
        phistar=phistar,
        eta=muon[1],
        pt=muon[0],
        weight=weight,
        ratios=(("nominal",), np.ones((n, 1))),
        fold=np.arange(n) % 20,
        reco=matched,
        reco_pt={"nominal": reco_pt[matched]},
        reco_eta=muon[1][matched],
        residual={"nominal": e[:, matched]},
        passes=passes[matched],
        selected_weight={"nominal": weight[matched]},
        pileup=pileup[matched],
    )
