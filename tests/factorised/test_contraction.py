from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from scipy.special import ndtr

from tests.factorised.gaussian_operators import (
    LINE_SHAPE,
    RESOLUTION,
    TRUTH,
    muon_response,
    no_cut,
    recoil_width,
    residuals,
    source,
)
from wprops.axes import COARSE, FULL, Binning
from wprops.errors import TemplateError
from wprops.events.toy.sampling import sample_bosons
from wprops.events.toy.truth import coefficients
from wprops.factorised.contraction import bin_templates, cells_of, contract
from wprops.factorised.kernel import DecayNodes, decay_tensor
from wprops.factorised.lattice import Lattice
from wprops.factorised.panels import Panels, gauss_legendre
from wprops.factorised.recoil import acceptance
from wprops.physics.collins_soper import leptons_from_angles
from wprops.physics.kinematics import transverse_mass
from wprops.physics.moments import helicity_weights
from wprops.templates.filling import bin_index, flat_index

PANELS = Panels.of(FULL)
N_CELLS = FULL.n_cells
N_EVENTS = 1_500_000
# Groups of (eta, pT) bins for components, which have fewer events than the sum.
COARSER = (12, 4, 10, 6)


def efficiency(eta, pt):
    """A turn-on and a slope in signed eta."""
    return 0.7 * (1.0 - np.exp(-0.09 * pt)) * (1.0 + 0.05 * eta - 0.02 * eta**2)


def on_grid(panels):
    return efficiency(panels.eta_nodes.reshape(-1, 1), panels.pt_centres)


def cut_on_mt(panels):
    qt = panels.qt_nodes.ravel()
    cells = np.stack([residuals(width) for width in recoil_width(qt)])
    return acceptance(cells, qt, qt, panels.pt_centres)


class Both(NamedTuple):
    """Tensors or templates with the cut on mT and without it."""

    cut: np.ndarray
    free: np.ndarray


@pytest.fixture(scope="module")
def tensors():
    pairs = {"cut": ("muon", "mt"), "free": ("muon", "none")}
    found = decay_tensor(
        PANELS,
        LINE_SHAPE,
        {"muon": muon_response(PANELS)},
        {"mt": cut_on_mt(PANELS), "none": no_cut(PANELS)},
        pairs,
    )
    return Both(**found)


def templates(tensors, weighting="sigma_A"):
    """Templates of positive muons with an efficiency."""
    bosons, cells = source(PANELS, 1, weighting), cells_of(PANELS)
    contracted = (contract(tensor, bosons, PANELS, cells) for tensor in tensors)
    return Both(*(bin_templates(h, on_grid(PANELS), PANELS) for h in contracted))


@pytest.fixture(scope="module")
def nominal(tensors):
    return templates(tensors)


class Muons(NamedTuple):
    """Simulated muons in the bins of a template, with weights by component."""

    bin: np.ndarray
    cell: np.ndarray
    weights: np.ndarray


def simulate(charge, rng):
    """Decays by explicit boosts, measured with smearing, recoil and the cut on mT."""
    bosons = sample_bosons(TRUTH, charge, N_EVENTS, rng)
    pt, eta, phi = leptons_from_angles(
        bosons.qt, bosons.y, bosons.mass, bosons.costheta, bosons.phistar, bosons.phi
    )[0]
    keep = (np.abs(eta) < FULL.eta[-1]) & (pt > 20.0)
    bosons = type(bosons)(*(column[keep] for column in bosons))
    pt, eta, phi = pt[keep], eta[keep], phi[keep]
    pt *= 1.0 + RESOLUTION * rng.standard_normal(len(pt))
    residual = recoil_width(bosons.qt) * rng.standard_normal((2, len(pt)))
    x = bosons.qt * np.cos(bosons.phi) + residual[0] - pt * np.cos(phi)
    y = bosons.qt * np.sin(bosons.phi) + residual[1] - pt * np.sin(phi)
    passes = transverse_mass(pt, phi, np.hypot(x, y), np.arctan2(y, x)) > 40.0
    place = flat_index([bin_index(eta, FULL.eta), bin_index(pt, FULL.pt)], FULL.shape)
    keep = passes & (place >= 0)
    bosons = type(bosons)(*(column[keep] for column in bosons))
    A = coefficients(TRUTH, charge, bosons.qt, bosons.y)
    weights = helicity_weights(bosons.costheta, bosons.phistar, A)[:, :6]
    weights *= efficiency(eta, pt)[keep, None]
    slow = bin_index(np.abs(bosons.y), FULL.absy)
    fast = bin_index(bosons.qt, FULL.qt)
    inside = (slow >= 0) & (fast >= 0)
    cell = np.where(inside, slow * (len(FULL.qt) - 1) + fast, N_CELLS)
    return Muons(place[keep], cell, weights)


def p_value(expected, muons, chosen, weights, shape=COARSER):
    """Probability of a larger χ² in groups of bins that have 100 events or more."""
    place, weights = muons.bin[chosen], weights[chosen]
    count, found, squares = (
        np.bincount(place, w, FULL.shape[0] * FULL.shape[1])
        .reshape(shape)
        .sum(axis=(1, 3))
        for w in (None, weights, weights**2)
    )
    used = count >= 100
    difference = found - expected.reshape(shape).sum(axis=(1, 3))
    chi2 = np.sum(difference[used] ** 2 / squares[used])
    return stats.chi2.sf(chi2, used.sum())


@pytest.mark.parametrize("charge", [1, -1])
def test_templates_agree_with_measured_decays(tensors, charge):
    """The sum, low acceptance, every component, and components of some cells."""
    muons = simulate(charge, np.random.default_rng(20 + charge))
    contracted = contract(tensors.cut, source(PANELS, charge), PANELS, cells_of(PANELS))
    scale = N_EVENTS / TRUTH.boson(charge).sigma
    expected = scale * bin_templates(contracted, on_grid(PANELS), PANELS)
    total, everywhere = muons.weights.sum(axis=1), slice(None)
    low = muons.cell == N_CELLS
    values = [
        p_value(expected.sum(axis=(0, 1)), muons, everywhere, total, (48, 1, 30, 2)),
        p_value(expected[N_CELLS].sum(axis=0), muons, low, total),
    ]
    for cells in (np.arange(N_CELLS), [5, 16], [42, 43], [64, 65]):
        chosen = np.isin(muons.cell, cells)
        values += [
            p_value(expected[cells, k].sum(axis=0), muons, chosen, muons.weights[:, k])
            for k in range(6)
        ]
    # 26 probabilities, which have events in common.
    assert min(values) > 1e-4
    assert np.mean(values) > 0.2


def relative(wrong, right):
    """L1 distance of components over all cells."""
    right = right[:N_CELLS]
    difference = np.abs(wrong - right).sum(axis=(0, 2, 3))
    return difference / np.abs(right).sum(axis=(0, 2, 3))


def test_one_efficiency_of_the_cut_for_all_helicities_is_wrong(tensors, nominal):
    """The sizes are those that another implementation of the toy has."""
    cells = slice(0, N_CELLS)
    right = templates(tensors, "sigma")
    cut, free = (array[cells].sum(axis=1, keepdims=True) for array in nominal)
    # Some cells do not reach all bins.
    map_of_cell = np.divide(cut, free, out=np.zeros_like(cut), where=free > 0.0)
    by_cell = relative(right.free[cells] * map_of_cell, right.cut)
    assert by_cell[0] < 2e-3
    expected = [0.017, 0.053, 0.030, 0.029, 0.008]
    assert_allclose(by_cell[1:], expected, rtol=0.1)
    by_bin = relative(right.free[cells] * cut.sum(axis=0) / free.sum(axis=0), right.cut)
    assert_allclose(by_bin[[0, 2]], [0.039, 0.09], rtol=0.1)


def test_the_cut_at_the_generated_pt_is_wrong():
    """Smearing moves muons over the cut; it is done after the cut here."""
    wide = Binning(eta=FULL.eta, pt=(20.0, 60.0), qt=FULL.qt, absy=FULL.absy)
    panels = replace(Panels.of(wide), qt=np.array([8.0, 10.0, 12.0, 16.0]))
    pt, weights = gauss_legendre(panels.pt, 3)
    nodes = DecayNodes(pt=pt.ravel(), pt_weights=weights.ravel())
    generated = decay_tensor(
        panels,
        LINE_SHAPE,
        {"sharp": muon_response(panels, nodes, resolution=0.0)},
        {"mt": cut_on_mt(panels), "none": no_cut(panels)},
        {"cut": ("sharp", "mt"), "free": ("sharp", "none")},
        nodes=nodes,
    )
    narrow = replace(PANELS, qt=panels.qt)
    measured = decay_tensor(
        narrow,
        LINE_SHAPE,
        {"muon": muon_response(narrow)},
        {"mt": cut_on_mt(narrow), "none": no_cut(narrow)},
        {"cut": ("muon", "mt"), "free": ("muon", "none")},
    )
    below = ndtr((narrow.pt / panels.pt_centres[:, None] - 1.0) / RESOLUTION)
    smear = np.diff(below, axis=1)
    cells = np.zeros((3, 50), dtype=np.int64)
    cells[:, 24:] = -1
    size = {}
    for name in ("free", "cut"):
        late = contract(generated[name], source(panels, 1), panels, cells)
        # From the mean of a bin to the value at its centre, where the muons are put.
        late[..., 1:-1] -= np.diff(late, n=2, axis=-1) / 24.0
        late, right = (
            bin_templates(h, on_grid(narrow), narrow)
            for h in (
                late @ smear,
                contract(measured[name], source(narrow, 1), narrow, cells),
            )
        )
        size[name] = np.abs(late - right).sum(axis=(2, 3)) / np.abs(right).sum(
            axis=(2, 3)
        )
    # Without the cut the order does not matter.
    assert size["free"].max() < 2e-5
    assert (size["cut"] > 1e-4).all()
    assert size["cut"].max() < 2e-3


def test_odd_components_follow_the_sign_of_y(tensors):
    """Mirroring the detector mirrors the templates of all components."""
    bosons = source(PANELS, 1)
    contracted = contract(tensors.cut, bosons, PANELS, cells_of(PANELS))
    grid = on_grid(PANELS)
    there = bin_templates(contracted, grid, PANELS)
    back = bin_templates(contracted, grid[::-1], PANELS)
    assert_allclose(there, back[:, :, ::-1], rtol=1e-12, atol=1e-15)
    assert np.abs(there - back).max() > 0.01 * np.abs(there).max()


def test_half_of_the_detector_is_half_of_the_templates(nominal, tensors):
    """With eta on one side, in wider bins."""
    half = replace(FULL, eta=FULL.eta[24::2], pt=FULL.pt[::4])
    panels = Panels.of(half)
    contracted = contract(tensors.cut, source(panels, 1), panels, cells_of(panels))
    found = bin_templates(contracted, on_grid(panels), panels)
    merged = nominal.cut[:, :, 24:].reshape(N_CELLS + 1, 6, 12, 2, 15, 4)
    assert_allclose(found, merged.sum(axis=(3, 5)), rtol=1e-10, atol=1e-12)


def test_cells_of_another_binning_are_sums(tensors, nominal):
    panels = Panels.of(replace(FULL, absy=COARSE.absy, qt=COARSE.qt))
    assert_allclose(panels.qt, PANELS.qt)
    contracted = contract(tensors.cut, source(panels, 1), panels, cells_of(panels))
    found = bin_templates(contracted, on_grid(panels), panels)
    by_cell = nominal.cut[:N_CELLS].reshape(6, 11, 6, *FULL.shape)
    # 0-8, 8-20 and 20-60 GeV.
    in_qt = np.add.reduceat(by_cell, [0, 4, 8], axis=1)
    merged = in_qt.reshape(3, 2, 3, 6, *FULL.shape).sum(axis=1)
    assert_allclose(found[:9], merged.reshape(9, 6, *FULL.shape), atol=1e-10)
    assert_allclose(found[9], nominal.cut[N_CELLS], atol=1e-10)


def test_classes_of_eta_are_mixed_linearly_through_their_centres():
    """So is a response that is linear in the number of the class."""
    panels = replace(PANELS, qt=np.array([4.0, 6.0]))
    shape = (4, 6, Lattice.of(panels).u.size, 120)
    tensor = np.ones((6, *shape)) * np.arange(6.0)[:, None, None, None, None]
    flat = np.ones((1, *shape))
    cells = np.where(np.arange(50) < 40, 0, -1)[None]
    bosons = np.ones((1, 4, 150))
    place = contract(tensor, bosons, panels, cells)
    norm = contract(np.repeat(flat, 6, axis=0), bosons, panels, cells)
    nodes = panels.eta_nodes[24:].ravel()
    expected = (nodes - 0.2) / 0.4
    assert_allclose((place / norm)[0, 0, :, 0], expected, rtol=1e-10, atol=1e-12)


def test_threads_do_not_change_the_result(tensors):
    bosons, cells = source(PANELS, 1), cells_of(PANELS)
    one, two = (contract(tensors.cut, bosons, PANELS, cells, workers=n) for n in (1, 2))
    assert np.array_equal(one, two)


def test_panels_in_no_cell_do_not_count(tensors):
    cells = cells_of(PANELS)
    every = contract(tensors.cut, source(PANELS, 1), PANELS, cells)
    some = contract(tensors.cut, source(PANELS, 1), PANELS, np.where(cells == 7, 0, -1))
    assert_allclose(some[0], every[7], rtol=1e-12, atol=1e-15)


def test_parts_of_other_panels_are_named(tensors):
    bosons, cells, grid = source(PANELS, 1), cells_of(PANELS), on_grid(PANELS)
    for arguments, message in (
        ((tensors.cut[:, 1:], bosons, PANELS, cells), "the decay tensor has shape"),
        ((tensors.cut, bosons[:2], PANELS, cells), r"the source has shape \(2, 64"),
        ((tensors.cut, bosons, PANELS, cells.T), r"cells has shape \(50, 16\)"),
    ):
        with pytest.raises(TemplateError, match=message):
            contract(*arguments)
    with pytest.raises(TemplateError, match=r"the efficiency has shape \(144, 119\)"):
        bin_templates(np.ones((1, 6, 72, 120)), grid[:, 1:], PANELS)
    with pytest.raises(TemplateError, match="the contracted tensor has shape"):
        bin_templates(np.ones((1, 6, 71, 120)), grid, PANELS)
