"""Time and precision of the factorised templates' quadrature, in the full binning.

Times are those of the acceptance of the cut on mT, of the decay tensor, of one
contraction and of the sum into bins, for one charge: on the clock and of the
processors, which another load on the machine does not change. Precision is the change
of the templates when the nodes of one variable are refined. One BLAS thread.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # BLAS reads it when it is loaded

import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from wprops.axes import EVEN_COMPONENTS, FULL
from wprops.events.toy.truth import ToyTruth, coefficients, density
from wprops.factorised.contraction import bin_templates, cells_of, contract
from wprops.factorised.kernel import DecayNodes, decay_tensor
from wprops.factorised.line_shape import LineShape
from wprops.factorised.panels import RATIO_ABSETA, RESIDUAL_PAR, RESIDUAL_PERP, Panels
from wprops.factorised.recoil import acceptance

Array = NDArray[np.float64]

TRUTH = ToyTruth()
W = TRUTH.boson(1)
LINE_SHAPE = LineShape(pole=W.mass, width=W.width, window=(W.mass_low, W.mass_high))
#: Middles of the wide panels in qT [GeV].
HALVES = np.array([31.0, 48.0, 70.0, 95.0, 130.0, 175.0])


def main() -> None:
    """Print the times, and with --refine the table of refined nodes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--refine", action="store_true", help="table of refined nodes")
    arguments = parser.parse_args()
    panels = Panels.of(FULL)
    # The first calls load the compiled kernels.
    small = replace(panels, qt=np.array([0.0, 2.0]))
    templates(small, DecayNodes.of(small), 1, lambda _: measured())
    print(f"{arguments.workers} threads; seconds on the clock and of the processors")
    nominal = templates(panels, DecayNodes.of(panels), arguments.workers, measured)
    variations(panels, arguments.workers)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"peak memory {peak:.2f} GB")
    if arguments.refine:
        refine(panels, nominal, arguments.workers)


@contextmanager
def measured(name: str = "") -> Iterator[None]:
    """Print the times that a block takes, if it has a name."""
    clock, processors = time.perf_counter(), time.process_time()
    yield
    if name:
        clock = time.perf_counter() - clock
        print(f"{name:32s} {clock:6.2f} {time.process_time() - processors:6.2f}")


def templates(
    panels: Panels,
    nodes: DecayNodes,
    workers: int,
    report: Callable[[str], object],
) -> Array:
    """Templates with the toy's resolution, recoil and bosons, shape (67, 6, 48, 60)."""
    response = muon_response(panels, nodes, TRUTH.detector.muon_resolution)
    with report("acceptance of the cut on mT"):
        cut = cut_on_mt(panels, 1.0, workers)
    with report("decay tensor"):
        tensor = decay_tensor(
            panels,
            LINE_SHAPE,
            {"muon": response},
            {"mt": cut},
            {"all": ("muon", "mt")},
            nodes=nodes,
            workers=workers,
        )["all"]
    bosons, cells = source(panels), cells_of(panels)
    with report("contraction"):
        contracted = contract(tensor, bosons, panels, cells, workers=workers)
    efficiency = np.ones((panels.eta_nodes.size, panels.pt.size - 1))
    with report("sum into bins"):
        return bin_templates(contracted, efficiency, panels)


def variations(panels: Panels, workers: int) -> None:
    """Three responses and four further acceptances from one pass over the decays."""
    nodes = DecayNodes.of(panels)
    widths = {"nominal": 0.015, "up": 0.0155, "down": 0.0145}
    responses = {k: muon_response(panels, nodes, w) for k, w in widths.items()}
    recoils = {k: cut_on_mt(panels, 1.0 + 0.01 * k, workers) for k in range(5)}
    pairs = {f"recoil {k}": ("nominal", str(k)) for k in recoils}
    pairs |= {f"muon {k}": (k, "0") for k in ("up", "down")}
    with measured("decay tensors of 7 variations"):
        decay_tensor(
            panels,
            LINE_SHAPE,
            responses,
            {str(k): table for k, table in recoils.items()},
            pairs,
            workers=workers,
        )


def refine(panels: Panels, nominal: Array, workers: int) -> None:
    """Print L1 changes of the components, summed over cells, by refined nodes."""
    usual = DecayNodes.of(panels)
    finer = DecayNodes.of(panels, finer=1.6)
    split = replace(panels, qt=np.union1d(panels.qt, HALVES))
    more_y = Panels.of(FULL, n_y_nodes=4)
    everything = replace(more_y, qt=split.qt)
    table = {
        "pT": (panels, replace(usual, pt=finer.pt, pt_weights=finer.pt_weights)),
        "azimuth": (panels, replace(usual, phi=32.0, phi_per_gev=4.5)),
        "qT: wide panels halved": (split, usual),
        "eta and Y: 4 per panel": (more_y, usual),
        "all of these": (everything, finer),
    }
    names = "".join(f"{name:>7s}" for name in (*EVEN_COMPONENTS, "low"))
    print(f"\nchange of the templates, 1e-4 of their L1 norm\n{'':28s}{names}")
    for name, (grid, nodes) in table.items():
        refined = templates(grid, nodes, workers, lambda _: measured())
        difference, size = np.abs(refined - nominal), np.abs(refined)
        cells = difference[:-1].sum(axis=(0, 2, 3)) / size[:-1].sum(axis=(0, 2, 3))
        low = np.abs((refined - nominal)[-1].sum(axis=0)).sum() / refined[-1].sum()
        print(f"{name:28s}" + "".join(f"{1e4 * x:7.2f}" for x in (*cells, low)))


def muon_response(panels: Panels, nodes: DecayNodes, resolution: float) -> Array:
    """Gaussian response of the muon's pT, the same in all classes."""
    below = ndtr((panels.pt / nodes.pt[:, None] - 1.0) / resolution)
    return np.repeat(np.diff(below, axis=1)[None], len(RATIO_ABSETA) - 1, axis=0)


def cut_on_mt(panels: Panels, scale: float, workers: int) -> Array:
    """Take a Gaussian recoil with a class at every node, for the acceptance."""
    detector, qt = TRUTH.detector, panels.qt_nodes.ravel()
    width = scale * np.hypot(detector.recoil_constant, detector.recoil_slope * qt)
    par = np.diff(ndtr(RESIDUAL_PAR / width[:, None]), axis=1)
    perp = np.diff(ndtr(RESIDUAL_PERP / width[:, None]), axis=1)
    cells = par[:, :, None] * perp[:, None, :]
    return acceptance(cells, qt, qt, panels.pt_centres, workers=workers)


def source(panels: Panels) -> Array:
    """Bosons of the toy at the nodes, multiplied by their coefficients [pb/GeV]."""
    point = panels.qt_nodes.reshape(-1, 1), panels.absy_nodes.ravel()
    bosons = density(TRUTH, 1, *point)[None]
    return np.concatenate([bosons, bosons * coefficients(TRUTH, 1, *point)[:5]])


if __name__ == "__main__":
    main()
