from dataclasses import replace

import numpy as np
import pytest
from numpy.polynomial.chebyshev import chebvander
from numpy.testing import assert_allclose

from tests.factorised.gaussian_operators import (
    LINE_SHAPE,
    RESOLUTION,
    TRUTH,
    muon_response,
    no_cut,
    source,
)
from wprops.axes import FULL
from wprops.errors import TemplateError
from wprops.events.toy.truth import coefficients, density
from wprops.factorised.contraction import bin_templates, contract
from wprops.factorised.kernel import DecayNodes, decay_tensor, pt_nodes
from wprops.factorised.lattice import Lattice
from wprops.factorised.line_shape import LineShape
from wprops.factorised.panels import Panels, gauss_legendre
from wprops.physics.collins_soper import boson_and_angles
from wprops.physics.harmonics import NORM, harmonics, unpolarised
from wprops.physics.lepton_spectrum import lepton_template

# A few panels in qT are enough for most tests. Those in between belong to no cell.
QT = np.array([0.0, 2.0, 8.0, 10.0, 26.0, 36.0])
PANELS = replace(Panels.of(FULL), qt=QT)
#: Panels in qT and ranges of panels in |Y| of the cells that are compared.
CELLS = [(0, slice(0, 4)), (2, slice(8, 12)), (4, slice(20, 24))]
NONE = -1
N_PHI = 400
WIDTHS = (("narrow", 0.015), ("wide", 0.03))


def cell_numbers(panels=PANELS, cells=CELLS):
    numbers = np.full((panels.qt.size - 1, panels.absy.size - 1), NONE)
    for i, (qt, absy) in enumerate(cells):
        numbers[qt, absy] = i
    return numbers


def templates(tensor, charge, weighting="sigma_A", panels=PANELS, cells=CELLS):
    """Templates of the toy's bosons with an efficiency of 1."""
    bosons = source(panels, charge, weighting)
    contracted = contract(tensor, bosons, panels, cell_numbers(panels, cells))
    ones = np.ones((panels.eta_nodes.size, panels.pt.size - 1))
    return bin_templates(contracted, ones, panels)


def reference(charge, qt, absy, **options):
    """The same by an independent quadrature without tensors."""

    def spectrum(qt, absy):
        point = TRUTH, charge, qt, absy
        return density(*point), coefficients(*point)

    return lepton_template(
        spectrum,
        qt,
        absy,
        FULL.eta,
        FULL.pt,
        pole=LINE_SHAPE.pole,
        width=LINE_SHAPE.width,
        **options,
    )


def ranges(panels, cell):
    qt, absy = cell
    return (
        tuple(panels.qt[qt : qt + 2]),
        (panels.absy[absy.start], panels.absy[absy.stop]),
    )


def distance(found, expected):
    """L1 distance per component relative to the expected sum of absolute contents."""
    difference = np.abs(found - expected).sum(axis=(-2, -1))
    return difference / np.abs(expected).sum(axis=(-2, -1))


@pytest.fixture(scope="module")
def smeared():
    response = {"gaussian": muon_response(PANELS)}
    pairs = {"all": ("gaussian", "none")}
    acceptance = {"none": no_cut(PANELS)}
    return decay_tensor(PANELS, LINE_SHAPE, response, acceptance, pairs)["all"]


@pytest.mark.parametrize("weighting", ["sigma_A", "sigma"])
@pytest.mark.parametrize("charge", [1, -1])
def test_smeared_templates_agree_with_an_independent_quadrature(
    smeared, charge, weighting
):
    found = templates(smeared, charge, weighting)
    for template, cell in zip(found, CELLS, strict=True):
        options = {"resolution": RESOLUTION, "weighting": weighting}
        expected = reference(charge, *ranges(PANELS, cell), **options)
        assert_close(template, expected)


@pytest.mark.parametrize("charge", [1, -1])
def test_sharp_templates_agree_with_an_independent_quadrature(charge):
    # Nothing averages over the lattice in u, so it has to be finer.
    fine = Panels.of(FULL, n_y_nodes=6)
    panels = replace(fine, qt=np.array([8.0, 10.0]), absy=fine.absy[:13])
    nodes = sharp_nodes(panels)
    response = {"sharp": muon_response(panels, nodes, resolution=0.0)}
    tensor = decay_tensor(
        panels,
        LINE_SHAPE,
        response,
        {"none": no_cut(panels)},
        {"all": ("sharp", "none")},
        nodes=nodes,
    )["all"]
    cells = [(0, slice(8, 12))]
    for weighting in ("sigma_A", "sigma"):
        found = templates(tensor, charge, weighting, panels, cells)[0]
        expected = reference(charge, *ranges(panels, cells[0]), weighting=weighting)
        assert_close(found, expected)


def sharp_nodes(panels, phi=20.0):
    """Gauss-Legendre nodes in every fine bin."""
    pt, weights = gauss_legendre(panels.pt, 3)
    return DecayNodes(pt=pt.ravel(), pt_weights=weights.ravel(), phi=phi)


def assert_close(found, expected):
    """Assert L1 ≤ 3e-4 for UL and 1e-3 for others, where they matter beside UL."""
    size = np.abs(expected).sum(axis=(1, 2))
    error = distance(found, expected) * size
    assert error[0] < 3e-4 * size[0]
    assert (error[1:] < 1e-3 * size[1:] + 1e-4 * size[0]).all()


def test_decays_are_those_of_leptons_in_the_laboratory():
    """At one qT and u, with an acceptance that depends on angle and pT."""
    panels = replace(Panels.of(FULL), qt=np.array([20.0, 26.0]))
    nodes = sharp_nodes(panels, phi=N_PHI)
    shape = LineShape(
        pole=80.4, width=2.1, window=(60.0, 110.0), coefficients=(1.0, 0.4, -0.7)
    )
    table = np.zeros((4, 3, panels.pt.size - 1))
    table[:, 0], table[:, 1], table[:, 2] = 0.6, 0.3, np.linspace(-0.2, 0.2, 120)
    tensor = decay_tensor(
        panels,
        shape,
        {"sharp": muon_response(panels, nodes, resolution=0.0)},
        {"some": table},
        {"all": ("sharp", "some")},
        nodes=nodes,
    )["all"]
    lattice_u = Lattice.of(panels).u
    for i, place in [(0, 3), (2, 40), (3, 60)]:
        qt, u = panels.qt_nodes[0, i], lattice_u[place]
        expected = decays_in_the_laboratory(qt, u, nodes, shape, table[i])
        scale = np.abs(expected).max()
        for by_class in tensor[:, i, :, place]:
            assert_allclose(by_class, expected, rtol=1e-6, atol=1e-9 * scale)


def decays_in_the_laboratory(qt, u, nodes, shape, table):
    """Density in eta of weights 1 + c² and P_k, shape (6, n_pt)."""
    phi = np.pi * (np.arange(N_PHI) + 0.5) / N_PHI
    pt, cos = nodes.pt[:, None], np.cos(phi)

    def both(pt):
        x, y, z = qt - pt * cos, -pt * np.sin(phi), -pt * np.sinh(u)
        muon = [np.broadcast_to(a, x.shape).ravel() for a in (pt, u, phi)]
        neutrino = [
            np.hypot(x, y).ravel(),
            np.arcsinh(z / np.hypot(x, y)).ravel(),
            np.arctan2(y, x).ravel(),
        ]
        return boson_and_angles(muon, neutrino)

    decay, step = both(pt), 1e-4
    mass = decay.mass
    # The boson's rapidity is zero, up to rounding, and so may be its sign.
    sign = np.where(decay.y < 0.0, -1.0, 1.0)
    angles = sign * decay.costheta, sign * decay.phistar
    weights = [unpolarised(angles[0]), *harmonics(*angles)[:5]]
    slope = (both(pt + step).mass - both(pt - step).mass) / (2.0 * step)
    density = shape.density(mass) * slope * 4.0 * np.repeat(nodes.pt, N_PHI) ** 2
    density *= NORM / mass**2 * 2.0 * np.pi / N_PHI
    density = (np.array(weights) * density).reshape(6, -1, 3, N_PHI)
    by_azimuth = np.einsum("kbnf,bn->kbf", density, nodes.pt_weights.reshape(-1, 3))
    return np.einsum("kbf,lf,lb->kb", by_azimuth, chebvander(cos, 2).T, table)


def test_one_pass_serves_all_pairs():
    panels = replace(Panels.of(FULL), qt=np.array([4.0, 6.0]))
    responses = {name: muon_response(panels, resolution=r) for name, r in WIDTHS}
    rng = np.random.default_rng(3)
    acceptances = {name: rng.random((4, n, 120)) for name, n in (("a", 5), ("b", 2))}
    pairs = {"1": ("narrow", "a"), "2": ("narrow", "b"), "3": ("wide", "a")}
    together = decay_tensor(panels, LINE_SHAPE, responses, acceptances, pairs)
    assert together.keys() == pairs.keys()
    for name, pair in pairs.items():
        alone = decay_tensor(
            panels, LINE_SHAPE, responses, acceptances, {name: pair}, workers=1
        )[name]
        assert_allclose(together[name], alone, rtol=1e-11, atol=1e-15)
    assert np.abs(together["1"] - together["3"]).max() > 1e-3


def test_finer_nodes_in_pt_and_azimuth_change_nothing(smeared):
    nodes = DecayNodes.of(PANELS, finer=1.6)
    finer = decay_tensor(
        PANELS,
        LINE_SHAPE,
        {"gaussian": muon_response(PANELS, nodes)},
        {"none": no_cut(PANELS)},
        {"all": ("gaussian", "none")},
        nodes=nodes,
    )["all"]
    change = distance(templates(finer, 1), templates(smeared, 1))
    assert change[:, 0].max() < 1e-5
    assert change.max() < 1e-4


def test_a_cut_that_nothing_passes_leaves_nothing():
    panels = replace(Panels.of(FULL), qt=np.array([4.0, 6.0]))
    tensor = decay_tensor(
        panels,
        LINE_SHAPE,
        {"gaussian": muon_response(panels)},
        {"zero": np.zeros((4, 3, 120))},
        {"all": ("gaussian", "zero")},
    )["all"]
    assert not tensor.any()


def test_nodes_cover_the_measured_muons_and_harder_ones():
    pt, weights = pt_nodes(PANELS)
    assert (np.diff(pt) > 0.0).all()
    assert_allclose(weights.sum(), 120.0 - 25.0 / 1.4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pairs": {"x": ("other", "none")}}, "pair 'x' needs the response 'other'"),
        ({"pairs": {"x": ("muon", "other")}}, "pair 'x' needs the acceptance 'other'"),
        ({"responses": {"muon": np.ones((6, 3, 120))}}, r"\(6, 3, 120\), expected"),
        ({"acceptances": {"none": np.ones((3, 120))}}, r"\(3, 120\), expected \(20,"),
        (
            {"line_shape": LineShape(pole=80.4, width=2.1, window=(40.0, 120.0))},
            "window 40 to 120 GeV",
        ),
    ],
)
def test_parts_that_do_not_fit_are_named(change, message):
    arguments = {
        "line_shape": LINE_SHAPE,
        "responses": {"muon": muon_response(PANELS)},
        "acceptances": {"none": no_cut(PANELS)},
        "pairs": {"x": ("muon", "none")},
    }
    with pytest.raises(TemplateError, match=message):
        decay_tensor(PANELS, **(arguments | change))


@pytest.mark.parametrize("n_nodes", [3, 4])
def test_the_lattice_holds_all_differences_of_nodes_within_reach(n_nodes):
    panels = Panels.of(FULL, n_y_nodes=n_nodes)
    lattice = Lattice.of(panels)
    eta, absy = panels.eta_nodes, panels.absy_nodes
    # Rows are distances of panels; the first panel of eta begins at -2.4.
    rows = len(lattice.place) // 2 + np.subtract.outer(
        np.arange(48) - 24, np.arange(50)
    )
    place = lattice.place[rows].swapaxes(1, 2)
    found = (lattice.sign[rows].swapaxes(1, 2) * lattice.u[place])[place >= 0]
    expected = np.subtract.outer(eta, absy)
    assert_allclose(found, expected[place >= 0], atol=1e-9)
    assert np.abs(expected[place < 0]).min() > lattice.u[-1]
    # A boson of 120 GeV at rest, and the softest muons that may be measured.
    assert np.abs(lattice.u[-1] - np.arcsinh(120.0 * 1.4 / (2 * 25.0))) < 0.1
