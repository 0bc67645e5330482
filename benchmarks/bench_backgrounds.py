"""Time to carry variations of the simulation through the multijet estimate.

In the full binning: 96 fits of both rates per variation. The counts are those of the
2016 data, of which simulation has a weight of 0.3.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
from numpy.typing import NDArray

from wprops.axes import FULL
from wprops.backgrounds.counts import Regions
from wprops.backgrounds.curves import ERF
from wprops.backgrounds.multijet import estimate_multijet, vary_multijet
from wprops.backgrounds.nuisances import principal_variations

#: Muons per (charge, eta), and their fractions at mT of 40 GeV or more and below 30.
MULTIJET, PROMPT = (4.2e5, (0.18, 0.73)), (1.3e6, (0.93, 0.04))
WEIGHT = 0.3


def main() -> None:
    """Print the time of the nominal estimate and of all variations."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variations", type=int, default=300)
    n = parser.parse_args().variations
    rng = np.random.default_rng(1)
    counts = regions(rng)
    start = clock()
    multijet = estimate_multijet(counts)
    principal_variations(multijet.template)
    report("nominal estimate with covariance", start, 1)
    eta = np.linspace(-1.0, 1.0, FULL.shape[0])[:, None]
    pt = (counts.pt - 40.0) / 15.0
    size = 0.02 * rng.standard_normal((3, n, 4, 1, 1, 1))
    varied = counts.prompt * (1 + size[0] + size[1] * eta + size[2] * pt)
    start = clock()
    labels = [f"variation_{k}" for k in range(n)]
    vary_multijet(counts, multijet.rates, labels, varied)
    report("variations", start, n)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"peak memory {peak:.2f} GB")


def regions(rng: np.random.Generator) -> Regions:
    """Pseudo-data and simulation in the full binning."""
    eta, pt = (np.array(edges) for edges in (FULL.eta, FULL.pt))
    x = (pt[1:] + pt[:-1]) / 2
    abs_eta = np.abs(eta[1:] + eta[:-1])[:, None] / 2
    rates = (
        0.22 + 0.04 * abs_eta + 0.002 * (x - 25.0),
        ERF.value(x, np.array([0.997, 0.0294, 0.460])),
    )
    shapes = np.exp(-x / 6.0), np.exp(-(((x - 39.0) / 8.0) ** 2)) + 0.1
    expected: list[NDArray[np.float64]] = []
    for (size, parts), rate, shape in zip(
        (MULTIJET, PROMPT), rates, shapes, strict=True
    ):
        total = np.broadcast_to(size * shape / shape.sum(), (2, *FULL.shape))
        expected.append(
            np.stack([part * r * total for part in parts for r in (rate, 1 - rate)])
        )
    prompt = WEIGHT * rng.poisson(expected[1] / WEIGHT)
    return Regions(
        eta_edges=eta,
        pt_edges=pt,
        data=rng.poisson(expected[0] + expected[1]).astype(float),
        prompt=prompt,
        prompt_variance=WEIGHT * prompt,
    )


def clock() -> tuple[float, float]:
    """Wall and CPU time [s]."""
    return time.perf_counter(), time.process_time()


def report(what: str, start: tuple[float, float], n: int) -> None:
    """Print the times since ``start``."""
    wall, cpu = (stop - begin for stop, begin in zip(clock(), start, strict=True))
    print(f"{n} x {what}: {wall:.2f} s, CPU {cpu:.2f} s")


if __name__ == "__main__":
    main()
