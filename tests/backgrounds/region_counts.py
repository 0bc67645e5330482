"""Expected counts of the four regions, in closed form, and pseudo-data from them."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import erf

from wprops.backgrounds.counts import Regions
from wprops.events.toy.direct import fake_rate
from wprops.events.toy.parameters import BACKGROUND

# A prompt rate of the measurement's shape, near 1 − exp(−0.15 pT / 1.6).
PROMPT = (0.997, 0.0294, 0.460)
# Fractions of multijet and prompt muons at mT ≥ 40 and mT < 30 GeV.
HIGH, LOW = (0.18, 0.93), (0.73, 0.04)


@dataclass(frozen=True)
class Truth:
    """Expectations; QCD and prompt muons have shape (4, 2, n_eta, n_pt)."""

    eta_edges: np.ndarray
    pt_edges: np.ndarray
    qcd: np.ndarray
    prompt: np.ndarray
    fake: np.ndarray
    rate: np.ndarray

    def regions(self, rng=None, n=None, weight=0.3):
        """Counts as expected, or ``n`` pseudo-data sets with their own simulation."""
        lead = () if n is None else (n,)
        shape = lead + self.qcd.shape
        prompt, variance = self.prompt, weight * self.prompt
        data = np.broadcast_to(self.qcd + self.prompt, shape)
        if rng is not None:
            data = rng.poisson(data).astype(float)
            prompt = weight * rng.poisson(np.broadcast_to(prompt / weight, shape))
            variance = weight * prompt
        return Regions(
            eta_edges=self.eta_edges,
            pt_edges=self.pt_edges,
            data=np.array(data),
            prompt=prompt,
            prompt_variance=variance,
        )


def truth(n_eta=4, n_pt=30, qcd=2e5, prompt=1e6, prompt_parameters=PROMPT):
    """Multijet and prompt muons per (charge, eta), all mT and isolations together."""
    eta_edges = np.linspace(-2.4, 2.4, n_eta + 1)
    pt_edges = np.linspace(25.0, 55.0, n_pt + 1)
    eta = ((eta_edges[1:] + eta_edges[:-1]) / 2)[:, None]
    pt = (pt_edges[1:] + pt_edges[:-1]) / 2
    f = fake_rate(BACKGROUND, pt, eta, np.full_like(pt, 20.0))
    a, b, c = prompt_parameters
    p = np.broadcast_to(a * erf(b * pt + c), f.shape)
    falling, peak = np.exp(-pt / 6.0), np.exp(-(((pt - 39.0) / 8.0) ** 2)) + 0.1
    charge = np.array([1.0, 0.8])[:, None, None]
    counts = []
    for size, shape, rate, high, low in (
        (qcd, falling, f, HIGH[0], LOW[0]),
        (prompt, peak, p, HIGH[1], LOW[1]),
    ):
        total = charge * size * shape / shape.sum()
        parts = (high * rate, high * (1 - rate), low * rate, low * (1 - rate))
        counts.append(np.stack([total * part for part in parts]))
    return Truth(eta_edges, pt_edges, *counts, fake=f, rate=p)


def fluctuated_data(expected, regions, rng, n):
    """Pseudo-data sets that share the simulation of ``regions``."""
    data = rng.poisson(expected.qcd + expected.prompt, (n, *expected.qcd.shape))
    return replace(regions, data=data.astype(float))
