from dataclasses import replace

import numpy as np
import pytest
from numpy.polynomial.legendre import leggauss, legvander
from numpy.testing import assert_allclose

from tests.fit.cells import (
    ABSY,
    QT,
    cells_set,
    parameters_of,
    strengths,
    toy_maps,
)
from wprops.errors import ConfigError
from wprops.events.toy.truth import ToyTruth, density
from wprops.fit.ansatz import (
    DEFAULT_DEGREES,
    Ansatz,
    Degrees,
    averages,
    default_ansatz,
    lowest_degrees,
    n_functions,
)
from wprops.fit.span import build_span

GENERATED = toy_maps()
EDGES = GENERATED.absy_edges, GENERATED.qt_edges


def products(name, degrees, absy, qt):
    """The polynomials themselves, up to qT = 60 GeV and |Y| = 2.4."""
    n, vanish = n_functions(name, degrees), lowest_degrees(name)
    in_qt = legvander(qt / 30 - 1, n.qt - 1) * (qt[..., None] / 60) ** vanish.qt
    in_y = (
        legvander(absy / 1.2 - 1, n.absy - 1) * (absy[..., None] / 2.4) ** vanish.absy
    )
    return in_y, in_qt


def nodes(edges):
    x, w = leggauss(24)
    edges = np.array(edges)
    half = np.diff(edges)[:, None] / 2
    return (edges[1:] + edges[:-1])[:, None] / 2 + half * x, half * w


def test_parameters_are_those_of_the_measurement():
    templates = cells_set(GENERATED)
    parameters = parameters_of(templates)
    span = build_span(templates, parameters, Ansatz(), parameters.start)
    counts = {n: sum(label.startswith(f"Wplus/{n}:") for label in span.labels)
              for n in DEFAULT_DEGREES}  # fmt: skip
    assert counts == {"A0": 9, "A1": 6, "A2": 9, "A3": 9, "A4": 12}
    assert span.basis.shape == (330, 45)
    assert default_ansatz(templates) == Ansatz()


@pytest.mark.parametrize("name", DEFAULT_DEGREES)
def test_averages_over_bins_are_those_of_the_cross_section(name):
    (absy, y_weight), (qt, qt_weight) = nodes(ABSY), nodes(QT)
    weight = density(ToyTruth(), 1, qt[None, None], absy[:, :, None, None])
    weight *= y_weight[:, :, None, None] * qt_weight
    in_y, in_qt = products(name, DEFAULT_DEGREES[name], absy, qt)
    exact = np.einsum("yaqb,yam,qbn->yqmn", weight, in_y, in_qt)
    exact = (exact / weight.sum(axis=(1, 3))[:, :, None, None]).reshape(66, -1)
    A = GENERATED.coefficients[int(name[1])].ravel()
    factors = np.linalg.lstsq(exact, A, rcond=None)[0]
    found = averages(name, DEFAULT_DEGREES[name], EDGES, GENERATED.sigma)
    # the shape in a bin is known from sums over bins only
    assert_allclose(found @ factors, exact @ factors, atol=2e-3)
    middle = [(edges[1:] + edges[:-1]) / 2 for edges in EDGES]
    centres = np.kron(*products(name, DEFAULT_DEGREES[name], *middle))
    assert abs((centres - exact) @ factors).max() > 3e-3


@pytest.mark.parametrize("name", DEFAULT_DEGREES)
def test_functions_vanish_where_physics_says_so(name):
    zero, far = np.array([0.0]), np.array([40.0])
    in_y, in_qt = products(name, DEFAULT_DEGREES[name], zero, zero)
    assert (abs(in_qt).max() == 0) == (name in ("A0", "A1", "A2", "A3"))
    assert (abs(in_y).max() == 0) == (name in ("A1", "A4"))
    # bins that shrink to the origin
    tiny = np.array([0.0, 1e-9, 2.4]), np.array([0.0, 1e-9, 60.0])
    small = Degrees(1, 1)
    first = averages(name, small, tiny, np.ones((2, 2)))[0]
    expected = np.kron(*products(name, small, zero, zero))[0]
    assert_allclose(first, expected, atol=1e-8)
    assert products(name, small, far, far)[1].any()


def test_departures_are_zero_on_the_span_and_keep_distances():
    templates = cells_set(GENERATED)
    parameters = parameters_of(templates)
    ansatz = Ansatz().changed("sigma", Degrees(4, 3))
    span = build_span(templates, parameters, ansatz, parameters.start)
    n_x = span.basis.shape[0]
    assert n_x == 396
    assert len(span.complement) == 396 - 45 - 20
    assert_allclose(span.complement @ span.basis, 0, atol=1e-13)
    numbers = np.random.default_rng(2).standard_normal(n_x)
    nearest = span.basis @ span.factors(numbers)
    left = span.complement @ numbers
    assert left @ left == pytest.approx(((numbers - nearest) ** 2).sum(), rel=1e-10)


@pytest.mark.parametrize("weighting", ["sigma", "sigma_A"])
def test_quantities_are_coefficients_and_relative_cross_sections(weighting):
    templates = cells_set(GENERATED, weighting=weighting)
    parameters = parameters_of(templates)
    span = build_span(
        templates,
        parameters,
        Ansatz().changed("sigma", Degrees(3, 3)),
        parameters.start,
    )
    rng = np.random.default_rng(4)
    factor = rng.uniform(0.8, 1.2, (6, 11))
    A = GENERATED.coefficients + 0.1 * rng.standard_normal((8, 6, 11))
    values = strengths(templates, GENERATED.sigma * factor, A)
    expected = np.concatenate([A[:5].ravel(), factor.ravel()])
    assert_allclose(span.numbers(values), expected, rtol=1e-12, atol=1e-12)
    J = span.jacobian(values)
    for k in rng.choice(len(values), 20, replace=False):
        move = np.zeros(len(values))
        move[k] = 1e-6
        slope = (span.numbers(values + move) - span.numbers(values - move)) / 2e-6
        assert_allclose(J[:, k], slope, atol=1e-6)


def test_strengths_follow_from_quantities():
    templates = cells_set(GENERATED, weighting="sigma_A")
    parameters = parameters_of(templates)
    ansatz = Ansatz().changed("sigma", Degrees(3, 3))
    span = build_span(templates, parameters, ansatz, parameters.start)
    rng = np.random.default_rng(5)
    values = parameters.start * rng.uniform(0.8, 1.2, len(parameters)) + 0.1
    wanted = rng.uniform(0.1, 2.0, len(span.scale))
    moved = span.moved_to(values, wanted)
    assert_allclose(span.numbers(moved), wanted, rtol=1e-12)
    assert moved[-1] == values[-1]
    # the tangent is the inverse of the derivatives, with all else in its place
    forward = np.eye(len(values))
    forward[span.strengths] = span.jacobian(values)
    assert_allclose(span.tangent(values) @ forward, np.eye(len(values)), atol=1e-9)


def test_lam_tung_shares_factors():
    templates = cells_set(GENERATED)
    parameters = parameters_of(templates)
    ansatz = Ansatz(lam_tung=True)
    span = build_span(templates, parameters, ansatz, parameters.start)
    assert len(span.labels) == 36
    assert list(span.quantities)[:2] == ["Wplus/A0", "Wplus/A2"]
    assert_allclose(span.basis[:66], span.basis[66:132])
    raised = ansatz.changed("A2", Degrees(4, 2)).degrees
    assert raised["A0"] == raised["A2"] == Degrees(4, 2)


def test_degrees_fit_the_bins():
    coarse = toy_maps(absy=(0.0, 1.2, 2.4), qt=(0.0, 8.0, 20.0, 60.0))
    templates = cells_set(coarse)
    found = default_ansatz(templates).degrees
    assert found["A4"] == Degrees(2, 2)
    assert found["A0"] == Degrees(3, 1)
    parameters = parameters_of(templates)
    with pytest.raises(ConfigError, match=r"A0 has 3 polynomials in \|Y\|.* 2 bins"):
        build_span(templates, parameters, Ansatz(), parameters.start)
    one = cells_set(toy_maps(absy=(0.0, 2.4), qt=(0.0, 60.0)))
    with pytest.raises(ConfigError, match="a parameter for every bin"):
        build_span(one, parameters_of(one), default_ansatz(one), np.ones(7))


@pytest.mark.parametrize(
    ("degrees", "message"),
    [
        ({"A5": Degrees(1, 1)}, "'A5': expected one of sigma, A0"),
        ({"A0": Degrees(0, 2)}, "A0 with degrees 0 in qT and 2"),
        ({"A4": Degrees(3, 0)}, "A4 with degrees 3 in qT and 0"),
    ],
)
def test_impossible_degrees_are_named(degrees, message):
    with pytest.raises(ConfigError, match=message):
        Ansatz(degrees=degrees)


def test_lam_tung_needs_one_ansatz():
    different = {"A0": Degrees(2, 2), "A2": Degrees(3, 2)}
    with pytest.raises(ConfigError, match="same degrees"):
        Ansatz(degrees=different, lam_tung=True)


def test_what_is_not_measured_is_named():
    templates = cells_set(GENERATED)
    channel = replace(templates.channels["Wplus"], generated=None)
    bare = replace(templates, channels={"Wplus": channel}, weighting="sigma_A")
    parameters = parameters_of(bare)
    with pytest.raises(ConfigError, match="measures none of A0, A1"):
        build_span(bare, parameters, Ansatz(), parameters.start)
