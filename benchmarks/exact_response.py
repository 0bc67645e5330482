"""Sums over infinitely many toy events, and templates that share nothing with them.

`expected_sums` gives the accumulators their expectation values: what the smooth
operators make of them has the biases of the method and no noise. `true_templates`
integrates the truth itself, with the true response at every eta, the analytic
acceptance of a Gaussian recoil and finer nodes.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.polynomial.legendre import leggauss
from numpy.typing import NDArray
from scipy.special import ndtr

from wprops.axes import EVEN_COMPONENTS, FULL, Binning
from wprops.events.toy.detector import muon_resolution, selection_efficiency
from wprops.events.toy.sampling import sample_bosons
from wprops.events.toy.truth import ToyTruth, bin_truth, coefficients, density
from wprops.factorised.contraction import cells_of
from wprops.factorised.gaussian_recoil import gaussian_acceptance
from wprops.factorised.kernel import DecayNodes, decay_tensor
from wprops.factorised.lattice import Lattice
from wprops.factorised.line_shape import LineShape
from wprops.factorised.panels import (
    MASS,
    RATIO,
    RATIO_ABSETA,
    RATIO_PT,
    RESIDUAL_PAR,
    RESIDUAL_PERP,
    Panels,
)
from wprops.factorised.sums import ResponseSums, array_shapes
from wprops.factorised.toy_decays import ToyEnsemble
from wprops.physics.breit_wigner import line_shape
from wprops.physics.collins_soper import leptons_from_angles
from wprops.systematics.declaration import NOMINAL
from wprops.templates.assemble import CHARGES

FloatArray = NDArray[np.float64]

#: Leptons that weigh the response inside of its classes.
_LEPTONS = 4_000_000
#: Nodes in the logarithm of the photon's momentum fraction.
_PHOTON_NODES = 160
#: Components that change sign with u.
_ODD = np.isin(EVEN_COMPONENTS, ("A1", "A4"))
_WINDOW = float(MASS[0]), float(MASS[-1])


def response_below(
    truth: ToyTruth, pt: FloatArray, eta: FloatArray, limits: FloatArray, *, fsr: bool
) -> FloatArray:
    """Probability that pT_reco is below some limits [GeV], broadcast on the left."""
    detector, model = truth.detector, truth.background

    def below(bare: FloatArray) -> FloatArray:
        width = muon_resolution(detector, bare, eta)
        return ndtr((limits / (1 + detector.mu_scale) / bare - 1) / width)

    total = below(pt)
    if not fsr:
        return total
    total = total * (1 - model.fsr_probability)
    x, w = leggauss(_PHOTON_NODES)
    # The density ∝ 1/x of the fraction is flat in its logarithm.
    fraction = model.fsr_low * (model.fsr_high / model.fsr_low) ** ((x + 1) / 2)
    for part, share in zip(1 - fraction, w / 2, strict=True):
        total = total + model.fsr_probability * share * below(pt * part)
    return total


def efficiency(
    truth: ToyTruth, charge: int, pt: FloatArray, eta: FloatArray
) -> FloatArray:
    """Probability that a reconstructed muon is selected, mT aside."""
    pt, eta = np.broadcast_arrays(pt, eta)
    return selection_efficiency(truth.detector, pt, eta, np.full(pt.shape, charge))


def recoil_width(truth: ToyTruth, qt: FloatArray) -> FloatArray:
    """Width of the residual of the recoil [GeV]."""
    detector = truth.detector
    return np.hypot(detector.recoil_constant, detector.recoil_slope * qt)


def expected_sums(ensemble: ToyEnsemble, panels: Panels) -> ResponseSums:
    """Give the sums their expectation values, all of them in the first fold.

    Squares of weights are those of the ensemble's number of events, which the
    goodness of the fits refers to.
    """
    truth = ensemble.truth
    labels = {
        "boson_varied": (NOMINAL,),
        "polarisation": (NOMINAL,),
        "ratio_varied": (),
        "efficiency_varied": (),
        "recoil_varied": (),
    }
    shapes = array_shapes(panels, labels)
    arrays = {name: np.zeros(shape) for name, shape in shapes.items()}
    for k, charge in enumerate((1, -1)):
        luminosity = 1e3 * ensemble.luminosity
        weight = ensemble.weight(charge)
        sigma, _ = bin_truth(truth, charge, panels.qt, panels.absy)
        counts = luminosity * sigma.T
        nodes = panels.n_qt_nodes * panels.n_y_nodes
        arrays["boson"][0, k] += counts[:, None, :, None] / nodes
        arrays["boson_squares"][k] = weight * counts
        boson = truth.boson(charge)
        x, w = leggauss(8)
        half = np.diff(MASS)[:, None] / 2
        mass = (MASS[1:] + MASS[:-1])[:, None] / 2 + half * x
        shape = line_shape(mass, pole=boson.mass, width=boson.width, window=_WINDOW)
        arrays["mass"][0, k] = luminosity * boson.sigma * (shape * half * w).sum(axis=1)
        arrays["mass_squares"][k] = weight * arrays["mass"][0, k]
        _expect_muons(arrays, ensemble, panels, k, charge)
        _expect_recoil(arrays, ensemble, panels, charge)
    return ResponseSums(panels=panels, labels=labels, arrays=arrays)


def _expect_muons(
    arrays: dict[str, FloatArray],
    ensemble: ToyEnsemble,
    panels: Panels,
    k: int,
    charge: int,
) -> None:
    """Response and efficiency; the spectrum of the leptons comes from a sample."""
    truth = ensemble.truth
    rng = np.random.default_rng(99)
    boson = sample_bosons(truth, charge, _LEPTONS, rng)
    lepton, _ = leptons_from_angles(
        boson.qt, boson.y, boson.mass, boson.costheta, boson.phistar, boson.phi
    )
    produced = 1e3 * ensemble.luminosity * truth.boson(charge).sigma / _LEPTONS
    absetas = np.linspace(0.0, RATIO_ABSETA[-1], 49)
    pts = np.concatenate([np.arange(15.0, 60.0, 0.25), np.arange(60.0, 150.5, 1.0)])
    spectrum, _, _ = np.histogram2d(np.abs(lepton[1]), lepton[0], [absetas, pts])
    spectrum *= produced
    eta, pt = (absetas[1:] + absetas[:-1]) / 2, (pts[1:] + pts[:-1]) / 2
    e_class = np.searchsorted(RATIO_ABSETA, eta) - 1
    p_class = np.searchsorted(RATIO_PT, pt) - 1
    for i, j in np.ndindex(len(eta), len(pt)):
        limits = RATIO * pt[j]
        cumulated = response_below(truth, pt[j], eta[i], limits, fsr=ensemble.fsr)
        place = k, e_class[i], p_class[j]
        arrays["ratio"][(0, *place)] += spectrum[i, j] * np.diff(cumulated)
        arrays["generated"][(0, *place)] += spectrum[i, j]
        # The mean pT is that of matched muons, nearly all of them.
        arrays["ratio_pt"][place] += spectrum[i, j] * np.ptp(cumulated) * pt[j]
    edges = panels.efficiency_pt
    x, w = leggauss(4)
    half = np.diff(edges)[:, None] / 2
    reco = (edges[1:] + edges[:-1])[:, None] / 2 + half * x
    bins = np.array(panels.binning.eta)
    middle = (bins[1:] + bins[:-1]) / 2
    inside = np.diff(bins) * np.interp(np.abs(middle), eta, spectrum.sum(axis=1))
    every = np.repeat(inside[:, None], len(edges) - 1, axis=1) / len(edges)
    wide = (bins[1:] - bins[:-1])[:, None, None, None] / 2
    in_bin = middle[:, None, None, None] + wide * x[:, None, None]
    found = efficiency(truth, charge, reco, in_bin)
    mean = np.einsum("eapn,a,n->ep", found, w / 2, w / 2)
    weight = ensemble.weight(charge)
    arrays["efficiency"][0, 0, k] = every
    arrays["efficiency"][0, 1, k] = every * mean
    arrays["efficiency_squares"][0, k] = weight * every
    arrays["efficiency_squares"][1:, k] = weight * every * mean


def _expect_recoil(
    arrays: dict[str, FloatArray], ensemble: ToyEnsemble, panels: Panels, charge: int
) -> None:
    """Gaussian residuals whose width varies inside of the classes."""
    truth, absy = ensemble.truth, np.linspace(0.05, 2.35, 24)
    x, w = leggauss(12)
    edges = panels.qt
    for c, (low, high) in enumerate(pairwise(edges)):
        qt = (low + high) / 2 + (high - low) / 2 * x
        events = density(truth, charge, qt[:, None], absy).sum(axis=1)
        events = events * w * (high - low) / 2
        for q, n, width in zip(qt, events, recoil_width(truth, qt), strict=True):
            along = np.diff(ndtr(RESIDUAL_PAR / width))
            across = 2 * np.diff(ndtr(RESIDUAL_PERP / width))
            # What lies outside is counted in the edge cells.
            along[[0, -1]] += ndtr(RESIDUAL_PAR[0] / width)
            across[-1] += 2 * ndtr(-RESIDUAL_PERP[-1] / width)
            arrays["recoil"][0, c] += n * np.outer(along, across)
            arrays["recoil_qt"][c] += n * q


def true_templates(
    ensemble: ToyEnsemble, charge: int, binning: Binning, *, mass_shift: float = 0.0
) -> FloatArray:
    """Integrate the truth with finer nodes, shape (n_cells + 1, 6, n_eta, n_pt)."""
    truth = ensemble.truth
    panels = Panels.of(binning, n_qt_nodes=6, n_y_nodes=4)
    nodes = DecayNodes.of(panels, finer=1.5)
    boson = truth.boson(charge)
    shape = LineShape(pole=boson.mass + mass_shift, width=boson.width, window=_WINDOW)
    qt, absy = panels.qt_nodes.ravel(), panels.absy_nodes.ravel()
    E = gaussian_series(truth, qt, panels.pt_centres)
    A = coefficients(truth, charge, qt[:, None], absy)[: len(EVEN_COMPONENTS) - 1]
    source = 1e3 * ensemble.luminosity * density(truth, charge, qt[:, None], absy)
    source = source * panels.qt_weights.reshape(-1, 1) * panels.absy_weights.ravel() / 2
    source = source * np.concatenate([np.ones((1, *A.shape[1:])), A])
    cells = np.repeat(cells_of(panels), panels.n_qt_nodes, axis=0)
    lattice = Lattice.of(panels)
    out = np.zeros((binning.n_cells + 1, 6, *binning.shape))
    # Decays are even in eta; six nodes of |eta| fill the classes of the kernel.
    half = (len(panels.eta) - 1) // 2
    etas = panels.eta_nodes[half:].ravel()
    for group in _groups(truth, len(etas)):
        responses = {
            f"{i}": np.stack(
                [_response(ensemble, nodes.pt, e, panels.pt) for e in etas[six]]
            )
            for i, six in enumerate(group)
        }
        pairs = {name: (name, "e") for name in responses}
        tensors = decay_tensor(panels, shape, responses, {"e": E}, pairs, nodes=nodes)
        tensor = np.concatenate([tensors.pop(name) for name in responses])
        same = tensor.shape[0] < len(etas) and len(group) == 1
        for i, index in enumerate(range(len(etas)) if same else np.ravel(group)):
            panel, node = divmod(int(index), panels.n_y_nodes)
            place = half + panel, node
            own = tensor[0 if same else i]
            H = _sum_bosons(own, source, cells, lattice, panels, *place)
            for eta in (etas[index], -etas[index]):
                muons = H * efficiency(truth, charge, panels.pt_centres, eta)
                fine = muons.reshape(*H.shape[:2], binning.shape[1], -1).sum(axis=-1)
                row = np.searchsorted(binning.eta, eta) - 1
                out[:, :, row] += panels.eta_weights[place] * fine
    return out


def _groups(truth: ToyTruth, n: int) -> list[NDArray[np.int64]]:
    """Nodes of |eta| that share a pass of the kernel, in rows of six.

    One row stands for all nodes where the response does not depend on eta.
    """
    n_class = len(RATIO_ABSETA) - 1
    rows = np.arange(n).reshape(-1, n_class)
    if not truth.detector.muon_resolution_eta:
        return [rows[:1]]
    return np.array_split(rows, len(rows) // 2)


def _response(
    ensemble: ToyEnsemble, pt: FloatArray, eta: float, edges: FloatArray
) -> FloatArray:
    """Probabilities of the fine bins at one eta, shape (n_nodes, n_pt)."""
    places = pt[:, None], np.full(1, eta), edges
    return np.diff(response_below(ensemble.truth, *places, fsr=ensemble.fsr), axis=1)


def _sum_bosons(
    tensor: FloatArray,
    source: FloatArray,
    cells: NDArray[np.int64],
    lattice: Lattice,
    panels: Panels,
    panel: int,
    node: int,
) -> FloatArray:
    """Sum over bosons at one eta, shape (n_cells + 1, 6, n_pt)."""
    n_cells = panels.binning.n_cells + 1
    out = np.zeros((n_cells, 6, tensor.shape[-1]))
    middle = (len(lattice.place) - 1) // 2
    zero = round(-panels.eta[0] / 0.1)
    odd = np.where(_ODD, -1.0, 1.0)
    last = panels.n_y_nodes - 1
    for j in range(len(panels.absy) - 1):
        for b in range(panels.n_y_nodes):
            # η − |Y|, and −η − |Y|, where the panels and nodes of −η run backwards.
            for distance, a in (
                (panel - zero - j, node),
                (zero - 1 - panel - j, last - node),
            ):
                place = lattice.place[middle + distance, a, b]
                if place < 0:
                    continue
                sign = lattice.sign[middle + distance, a, b]
                parity = np.where(sign < 0, odd, 1.0)
                part = tensor[:, :, place] * parity[:, None]
                y = j * panels.n_y_nodes + b
                part = part * source[:, :, y].T[:, :, None]
                np.add.at(out, cells[:, j], part)
    return out


def gaussian_series(truth: ToyTruth, qt: FloatArray, pt: FloatArray) -> FloatArray:
    """Chebyshev coefficients of the acceptance for the true recoil."""
    order = 64
    azimuth = np.pi * (np.arange(order) + 0.5) / order
    variance = recoil_width(truth, qt)[:, None, None] ** 2
    values = gaussian_acceptance(
        qt[:, None, None],
        np.cos(azimuth)[:, None],
        pt,
        (0.0, 0.0),
        (variance, variance),
    )[0]
    basis = np.cos(np.outer(np.arange(order), azimuth))
    series = 2 / order * np.einsum("la,qap->qlp", basis, values)
    series[:, 0] /= 2
    return series


def exact_set(ensemble: ToyEnsemble, path: Path | None) -> dict[str, FloatArray]:
    """Integrate the truth of both channels, or read what a file keeps of it."""
    if path is not None and path.exists():
        with np.load(path) as file:
            return dict(file)
    found = {n: true_templates(ensemble, charge, FULL) for n, charge in CHARGES.items()}
    # Low acceptance as in the template files: the sum of its components.
    for values in found.values():
        values[-1, 0] = values[-1].sum(axis=0)
        values[-1, 1:] = 0.0
    if path is not None:
        np.savez(path, allow_pickle=False, **found)
    return found
