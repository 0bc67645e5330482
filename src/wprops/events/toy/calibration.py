"""Measure the toy's yields in the signal region, and the factors they ask for."""

from __future__ import annotations

import numpy as np

from wprops.events.toy.detector import ISOLATED
from wprops.events.toy.events import SAMPLES, BoolArray, Reconstructed
from wprops.events.toy.generate import generate
from wprops.events.toy.truth import ToyTruth
from wprops.events.toy.yields import (
    CROSS_SECTION_SCALES,
    REFERENCE_LUMINOSITY,
    REFERENCE_YIELDS,
)


def in_signal_region(events: Reconstructed) -> BoolArray:
    """Events that pass the signal selection; NumPy only, for calibration and tests."""
    met, met_phi = events.missing_momentum()
    identified = events.medium_id & (events.isolation <= ISOLATED) & (events.pt > 20.0)
    chosen = np.argmax(identified, axis=1)[:, None]
    pt = np.take_along_axis(events.pt, chosen, 1)[:, 0]
    eta = np.take_along_axis(events.eta, chosen, 1)[:, 0]
    phi = np.take_along_axis(events.phi, chosen, 1)[:, 0]
    loose = events.found & (events.isolation < 0.25) & (events.pt > 10.0)
    mt = np.sqrt(2.0 * pt * met * (1.0 - np.cos(phi - met_phi)))
    electron = events.has_electron & events.electron_id
    return (
        (identified.sum(axis=1) == 1)
        & (loose.sum(axis=1) == 1)
        & events.triggered
        & events.passes_flags
        & ~electron
        & ~events.prefired
        & (pt >= 25.0)
        & (pt < 55.0)
        & (np.abs(eta) < 2.4)
        & (mt >= 40.0)
    )


def signal_region_fractions(
    name: str, n: int, *, seed: int, truth: ToyTruth | None = None
) -> tuple[float, float]:
    """Fractions of a sample in the signal region with a positive, negative muon.

    The charge is that of the leading muon, which is the selected one.

    Parameters
    ----------
    name : str
        A sample of `SAMPLES`.
    n, seed : int
        Number of simulated events and seed.
    truth : ToyTruth, optional
        The truth; the default one when omitted.
    """
    rng = np.random.default_rng(seed)
    events = generate(SAMPLES[name], n, rng, truth or ToyTruth()).reconstructed
    selected = in_signal_region(events)
    positive = events.charge[:, 0] > 0
    return (
        float(np.mean(selected & positive)),
        float(np.mean(selected & ~positive)),
    )


def measure_scales(n: int, *, seed: int) -> dict[str, float]:
    """Return the factors that bring each sample to `REFERENCE_YIELDS`.

    Parameters
    ----------
    n, seed : int
        Number of simulated events per sample, and seed.

    Returns
    -------
    dict of str to float
        As `CROSS_SECTION_SCALES`; W → μν stays at 1.
    """
    scales = {}
    for name, sample in SAMPLES.items():
        if sample.decay == "munu":
            scales[name] = 1.0
            continue
        plus, minus = REFERENCE_YIELDS[sample.process]
        wanted = {1: plus, -1: minus, 0: plus + minus}[sample.charge]
        unscaled = sample.cross_section(ToyTruth()) / CROSS_SECTION_SCALES[name]
        fraction = sum(signal_region_fractions(name, n, seed=seed))
        produced = REFERENCE_LUMINOSITY * 1e3 * unscaled * fraction
        scales[name] = float(f"{wanted * 1e6 / produced:.4g}")
    return scales
