import functools

import numpy as np
import pytest
import vector
from numpy.testing import assert_allclose
from scipy import stats

from wprops.events.toy.sampling import sample_bosons
from wprops.events.toy.truth import ToyTruth, bin_truth, coefficients, density
from wprops.physics.lepton_spectrum import Nodes, _fill_kernel, lepton_template

TRUTH = ToyTruth()
W = TRUTH.boson(1)
LINE_SHAPE = {"pole": W.mass, "width": W.width}
template_of_w = functools.partial(lepton_template, **LINE_SHAPE)
COMPONENTS = ("UL", "A0", "A1", "A2", "A3", "A4")
ETA = np.linspace(-2.4, 2.4, 49)
PT = np.linspace(25.0, 55.0, 61)
CELLS = [
    ((0.0, 8.0), (0.0, 0.8)),
    ((8.0, 20.0), (0.8, 1.6)),
    ((20.0, 36.0), (1.6, 2.4)),
]
N_EVENTS = 1_000_000
RESOLUTION = 0.015
# Below this p-value a fixed seed would have been unlucky once in a thousand.
P_MIN = 1e-3


def toy(charge):
    """The toy's spectrum of one charge."""
    return lambda qt, absy: (
        density(TRUTH, charge, qt, absy),
        coefficients(TRUTH, charge, qt, absy),
    )


def flat(qt, absy):
    """One pb/GeV with all coefficients 1."""
    shape = np.broadcast_shapes(qt.shape, absy.shape)
    return np.ones(shape), np.ones((8, *shape))


def functions_of_the_angles(c, phi):
    """1 + c² and the harmonics P0 … P4, shape (6, ...)."""
    s = np.sqrt(1 - c**2)
    return np.array(
        [
            1 + c**2,
            (1 - 3 * c**2) / 2,
            2 * s * c * np.cos(phi),
            s**2 * np.cos(2 * phi) / 2,
            s * np.cos(phi),
            c,
        ]
    )


def decay(qt, y, mass, azimuth, costheta, phistar):
    """The lepton in the laboratory, by boosts of beams and lepton.

    The axes are built from the beams in the boson's rest frame: z bisects p1 and −p2
    and points along the boson's pz, x along the boson's qT.
    """
    transverse_mass = np.hypot(mass, qt)
    boson = vector.arr(
        {
            "px": qt * np.cos(azimuth),
            "py": qt * np.sin(azimuth),
            "pz": transverse_mass * np.sinh(y),
            "E": transverse_mass * np.cosh(y),
        }
    )
    zero = np.zeros_like(mass)
    first, second = (
        vector.arr({"px": zero, "py": zero, "pz": zero + pz, "E": zero + 6500.0})
        .boostCM_of_p4(boson)
        .to_Vector3D()
        .unit()
        for pz in (6500.0, -6500.0)
    )
    z = (first - second).unit() * np.sign(y)
    # In the rest frame both beams recoil against the boson's transverse motion.
    x = -(first + second).unit()
    sintheta = np.sqrt(1 - costheta**2)
    direction = (
        x * (sintheta * np.cos(phistar))
        + z.cross(x) * (sintheta * np.sin(phistar))
        + z * costheta
    )
    momentum = direction * (mass / 2)
    lepton = vector.arr(
        {"px": momentum.x, "py": momentum.y, "pz": momentum.z, "E": mass / 2}
    )
    return lepton.boost_p4(boson)


def breit_wigner(mass, low=50.0, high=120.0):
    """Density of m² on the window [1/GeV²]."""
    pg = W.mass * W.width
    span = np.subtract(*np.arctan((np.array([high, low]) ** 2 - W.mass**2) / pg))
    return pg / ((mass**2 - W.mass**2) ** 2 + pg**2) / span


def test_density_at_a_point_is_that_of_the_angles_over_a_boosted_jacobian():
    rng = np.random.default_rng(1)
    n = 50
    qt, y = rng.uniform(1.0, 60.0, n), rng.uniform(0.1, 2.4, n)
    point = np.array(
        [
            rng.uniform(60.0, 110.0, n),
            rng.uniform(-0.95, 0.95, n),
            rng.uniform(0.1, np.pi - 0.1, n),
        ]
    )

    def observe(mass, costheta, phistar):
        lepton = decay(qt, y, mass, np.zeros(n), costheta, phistar)
        return np.array([lepton.pt, lepton.eta, lepton.phi])

    # Central differences with relative errors of 1e-8 or less.
    jacobian = np.empty((n, 3, 3))
    for i, step in enumerate((1e-3, 1e-5, 1e-5)):
        shift = step * np.eye(3)[i][:, None]
        change = observe(*(point + shift)) - observe(*(point - shift))
        jacobian[:, :, i] = change.T / (2 * step)
    mass, costheta, phistar = point
    expected = 3 / (16 * np.pi) * functions_of_the_angles(costheta, phistar)
    expected *= breit_wigner(mass) * 2 * mass / np.abs(np.linalg.det(jacobian))

    pt, eta, phi = observe(*point)
    found = np.empty((6, n))
    for i in range(n):
        out = np.empty((6, 1, 1))
        arguments = np.array([[eta[i] - y[i]], [pt[i]], [np.cos(phi[i])]])
        _fill_kernel(qt[i], *arguments, W.mass, W.width, 50.0, 120.0, out)
        # A single midpoint in azimuth stands for the full circle.
        found[:, i] = out[:, 0, 0] / (2 * np.pi)
    assert_allclose(found, expected, rtol=1e-6, atol=1e-6 * expected[0].min())


def test_components_add_up_to_the_cross_section_of_the_cell():
    cell = (0.0, 4.0), (0.0, 0.8)
    # Below 0.1 GeV are 5e-6 of the leptons; the nodes are made for 20 GeV and more.
    template = template_of_w(toy(1), *cell, [-10.0, 10.0], [0.1, 100.0])
    sigma = bin_truth(TRUTH, 1, *cell)[0].item()
    assert_allclose(template.sum(), sigma, rtol=1e-4)
    # 1 + c² alone is the cross section; the harmonics integrate to zero.
    assert_allclose(template[:, 0, 0], [sigma, 0, 0, 0, 0, 0], atol=1e-4 * sigma)


def test_boson_at_rest_has_the_closed_form_of_the_jacobian_peak():
    # At qT = 0, c = tanh(eta − Y) and pT = m s / 2: a bin in both is a range of c.
    y = 1.0
    eta, pt = np.linspace(-2.4, 2.4, 13), np.linspace(25.0, 55.0, 16)
    found = template_of_w(flat, (0.0, 1e-3), (y, y + 1e-6), eta, pt, weighting="sigma")
    found /= 1e-3 * 1e-6

    def primitive(c):
        return 3 / 8 * np.array([c + c**3 / 3, (c - c**3) / 2, c**2 / 2])

    # Equally probable masses.
    n = 5_000
    pg = W.mass * W.width
    ends = np.arctan((np.array([50.0, 120.0]) ** 2 - W.mass**2) / pg)
    steps = ends[0] + (ends[1] - ends[0]) * (np.arange(n) + 0.5) / n
    mass = np.sqrt(W.mass**2 + pg * np.tan(steps))
    cosine = np.sqrt(np.maximum(1 - (2 * pt[:, None] / mass) ** 2, 0.0))
    expected = np.zeros((3, eta.size - 1, pt.size - 1))
    for sign in (1, -1):
        c_edges = np.tanh(sign * eta - y)
        for b, p in np.ndindex(expected.shape[1:]):
            low, high = sorted(c_edges[b : b + 2])
            forward = cosine[p + 1], cosine[p]
            for start, stop in (forward, (-forward[1], -forward[0])):
                content = primitive(np.clip(stop, low, high))
                content -= primitive(np.clip(start, low, high))
                expected[:, b, p] += 0.5 * content.mean(axis=-1)
    # The window's ends cut panels: 3e-5 of the largest bin.
    scale = expected[0].max()
    assert_allclose(found[[0, 1, 5]], expected, rtol=1e-5, atol=5e-5 * scale)
    # Without a preferred transverse direction the others vanish.
    assert_allclose(found[[2, 3, 4]], 0.0, atol=5e-5 * scale)


def is_inside(cell, qt, y):
    (qt_low, qt_high), (y_low, y_high) = cell
    absy = np.abs(y)
    return (qt > qt_low) & (qt < qt_high) & (absy > y_low) & (absy < y_high)


@pytest.fixture(scope="module", params=[1, -1], ids=["wplus", "wminus"])
def events(request):
    """Charge, boson qT and Y, lepton eta, pT and smeared pT, component weights."""
    charge = request.param
    rng = np.random.default_rng(17)
    boson = np.array(sample_bosons(TRUTH, charge, N_EVENTS, rng))
    qt, y, mass, azimuth, costheta, phistar = boson[
        :, np.any([is_inside(cell, *boson[:2]) for cell in CELLS], axis=0)
    ]
    lepton = decay(qt, y, mass, azimuth, costheta, phistar)
    g = functions_of_the_angles(costheta, phistar)
    g[1:] *= coefficients(TRUTH, charge, qt, y)[:5]
    smeared = lepton.pt * (1 + RESOLUTION * rng.standard_normal(qt.size))
    return charge, qt, y, lepton.eta, lepton.pt, smeared, g / g.sum(axis=0)


@pytest.mark.parametrize("resolution", [0.0, RESOLUTION], ids=["sharp", "smeared"])
@pytest.mark.parametrize("cell", CELLS, ids=["slow", "central", "fast"])
def test_templates_agree_with_decays_by_boosts(events, cell, resolution):
    charge, qt, y, eta, sharp, smeared, weight = events
    pt = smeared if resolution else sharp
    eta_edges = np.linspace(-2.4, 2.4, 13)
    pt_edges = np.array([25, 29, 32, 34, 36, 38, 39, 40, 41, 42, 44, 47, 55.0])
    inside = is_inside(cell, qt, y)

    def fill(w):
        return np.histogram2d(
            eta[inside], pt[inside], (eta_edges, pt_edges), weights=w
        )[0]

    template = template_of_w(
        toy(charge), *cell, eta_edges, pt_edges, resolution=resolution
    )
    template *= N_EVENTS / TRUTH.boson(charge).sigma
    total = template.sum(axis=0)
    # Enough events for a Gaussian distribution of every bin.
    used = total > 50
    assert used.sum() > 50
    pull = (fill(np.ones(inside.sum())) - total)[used] / np.sqrt(total[used])
    assert stats.chi2.sf((pull**2).sum(), used.sum()) > P_MIN
    for k, name in enumerate(COMPONENTS):
        w = weight[k, inside]
        error = np.sqrt(fill(w**2)[used])
        pull = (fill(w)[used] - template[k][used]) / error
        assert stats.chi2.sf((pull**2).sum(), used.sum()) > P_MIN, name
        # The comparison would see a wrong sign.
        wrong = (fill(w)[used] + template[k][used]) / error
        assert stats.chi2.sf((wrong**2).sum(), used.sum()) < 1e-6, name


@pytest.mark.parametrize("resolution", [0.0, RESOLUTION], ids=["sharp", "smeared"])
def test_templates_are_even_in_eta(resolution):
    # The proton beams are alike: both signs of Y are in a cell.
    template = template_of_w(toy(1), *CELLS[0], ETA, PT, resolution=resolution)
    assert_allclose(template, template[:, ::-1], atol=1e-12 * template.max())


def test_decay_is_even_or_odd_about_a_fast_boson():
    # At |Y| = 2.4 the other hemisphere's boson does not reach these leptons, so
    # reversing the lepton in the rest frame's z mirrors eta about 2.4.
    eta = 2.4 + np.linspace(-1.2, 1.2, 13)
    template = template_of_w(
        flat, (8.0, 12.0), (2.4 - 1e-6, 2.4 + 1e-6), eta, PT, weighting="sigma"
    )
    sign = np.array([1, 1, -1, 1, 1, -1])[:, None, None]
    mirrored = sign * template[:, ::-1]
    assert_allclose(template, mirrored, atol=1e-5 * np.abs(template).max())
    # A lepton along the boson's direction is at larger eta, whatever the charge.
    assert template[5, -1].sum() > 0


def test_weighting_multiplies_by_the_coefficient():
    def doubled(qt, absy):
        density, A = flat(qt, absy)
        return density, -2.0 * A

    arguments = (*CELLS[0], ETA[::8], PT[::10])
    weighted = template_of_w(doubled, *arguments)
    plain = template_of_w(doubled, *arguments, weighting="sigma")
    assert_allclose(weighted[0], plain[0])
    assert_allclose(weighted[1:], -2.0 * plain[1:])


def test_cells_add_up():
    bins = ETA[::8], PT[::10]
    whole = template_of_w(toy(1), (0.0, 12.0), (0.0, 1.0), *bins)
    parts = sum(
        template_of_w(toy(1), qt, absy, *bins)
        for qt in ((0.0, 5.0), (5.0, 12.0))
        for absy in ((0.0, 0.3), (0.3, 1.0))
    )
    scale = np.abs(whole).max(axis=(1, 2), keepdims=True)
    assert_allclose(parts / scale, whole / scale, atol=1e-4)


def test_smearing_is_the_average_over_the_response():
    cell, eta = CELLS[0], ETA[::8]
    fine = np.arange(21.0, 62.0, 0.2)
    sharp = template_of_w(toy(1), *cell, eta, fine)
    smeared = template_of_w(toy(1), *cell, eta, PT[::10], resolution=RESOLUTION)
    centre = 0.5 * (fine[1:] + fine[:-1])[:, None]
    below = stats.norm.cdf(PT[::10] / centre - 1, scale=RESOLUTION)
    # Bins of 0.2 GeV under a response of 0.5 GeV.
    assert_allclose(
        sharp @ np.diff(below, axis=1), smeared, atol=1e-3 * np.abs(smeared).max()
    )


@pytest.mark.parametrize("cell", CELLS, ids=["slow", "central", "fast"])
def test_finer_nodes_change_nothing_that_matters(cell):
    finer = Nodes(qt=7, absy=16, u=10, pt=4, phi=20, phi_per_gev=2.5)
    default, refined = (
        template_of_w(toy(1), *cell, ETA, PT, weighting="sigma", nodes=nodes)
        for nodes in (Nodes(), finer)
    )
    change = np.abs(refined - default).sum(axis=(1, 2))
    assert (change < 3e-4 * np.abs(refined).sum(axis=(1, 2))).all()


def test_bins_out_of_reach_are_empty():
    template = template_of_w(flat, (0.0, 8.0), (0.0, 0.4), [4.0, 5.0], [25.0, 55.0])
    assert not template.any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"qt_range": (8.0, 0.0)}, r"qt_range is \(8.0, 0.0\), expected 2 finite"),
        ({"qt_range": (-1.0, 8.0)}, "increasing numbers from 0 up"),
        ({"absy_range": (0.0, 0.4, 0.8)}, "absy_range is .* expected 2 finite"),
        ({"eta_edges": [0.0]}, "eta_edges is .* at least two"),
        ({"pt_edges": [0.0, 55.0]}, "pt_edges is .* above 0"),
        ({"pt_edges": [25.0, np.nan]}, "pt_edges is .* finite"),
        ({"mass_window": (0.0, 120.0)}, "mass_window is .* above 0"),
        ({"pole": -80.0}, "pole is -80.0 GeV"),
        ({"width": 0.0}, "width is 0.0 GeV"),
        ({"resolution": 0.5}, "resolution is 0.5, expected 0 to 0.1"),
        ({"weighting": "A"}, "weighting is 'A', expected 'sigma_A' or 'sigma'"),
    ],
)
def test_wrong_arguments_are_named(changes, message):
    arguments = {
        "qt_range": (0.0, 8.0),
        "absy_range": (0.0, 0.8),
        "eta_edges": [-2.4, 2.4],
        "pt_edges": [25.0, 55.0],
    }
    with pytest.raises(ValueError, match=message):
        template_of_w(flat, **(arguments | LINE_SHAPE | changes))


def test_a_spectrum_of_another_shape_is_named():
    def short(qt, absy):
        density, A = flat(qt, absy)
        return density, A[:5]

    with pytest.raises(ValueError, match=r"spectrum returned .*expected .*\(8, "):
        template_of_w(short, *CELLS[0], ETA, PT)


def test_an_empty_quadrature_is_named():
    with pytest.raises(ValueError, match=r"nodes\.phi is 0, expected a positive"):
        Nodes(phi=0)
