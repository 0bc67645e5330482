"""Expected errors are those of fits to expected data, under each assumption."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.study.sets import exact_set, noisy_set
from wprops.errors import ConfigError, TemplateError
from wprops.fit.ansatz import default_ansatz
from wprops.fit.arrays import template_set
from wprops.fit.external import Constraint
from wprops.fit.functionals import functionals
from wprops.fit.growth import growth
from wprops.fit.model import build_model
from wprops.fit.regularisation import estimate
from wprops.fit.run import fit_model, likelihood_at, run_fit
from wprops.fit.span import build_span
from wprops.fit.template_noise import mass_derivatives
from wprops.study.cells import merge_cells
from wprops.study.information import expected_information
from wprops.study.scenarios import Scenario, errors, is_possible, scenarios
from wprops.systematics.declaration import Systematic

FREE, FIXED = Scenario("free"), Scenario("coefficients fixed")
#: The mass in units of 50 MeV.
STEP = 0.05


@pytest.fixture(scope="module")
def templates():
    return exact_set()


@pytest.fixture(scope="module")
def expected(templates):
    return expected_information(templates)


@pytest.fixture(scope="module")
def fit(templates):
    return run_fit(templates, data="asimov", barlow_beeston=False)


def mass_error(expected, scenario, which="exact", **options):
    covariance = getattr(errors(expected, scenario, **options), which)
    return float(np.sqrt(covariance[expected.mass, expected.mass]))


def test_free_errors_are_those_of_a_fit(expected, fit):
    covariance = errors(expected, FREE).exact
    assert_allclose(
        STEP * mass_error(expected, FREE), fit.derived["m_W"].errors[0], rtol=1e-5
    )
    for name in ("A0", "A4"):
        where = expected.components[name]
        wanted = fit.derived[f"Wplus/{name}"].covariance
        assert_allclose(
            covariance[np.ix_(where, where)],
            wanted,
            rtol=1e-4,
            atol=1e-6 * abs(wanted).max(),
        )
    sigma = fit.derived["Wplus/sigma"]
    assert_allclose(
        np.sqrt(np.diag(covariance)[expected.sigma]),
        sigma.errors / sigma.values,
        rtol=1e-5,
    )


def test_errors_with_all_fixed_are_those_of_a_frozen_fit(templates, expected):
    frozen = run_fit(
        templates, data="asimov", barlow_beeston=False, freeze={"Wplus/*": None}
    )
    error = STEP * mass_error(expected, Scenario("all fixed"))
    assert_allclose(error, frozen.derived["m_W"].errors[0], rtol=1e-6)


def test_fixed_coefficients_are_cells_with_one_template_each(templates, expected):
    """The components of a cell then move together."""
    (channel,) = templates.channels.values()
    processes = {}
    for process in channel.processes.values():
        if process.component == "UL":
            together = [p for p in channel.processes.values() if p.cell == process.cell]
            processes[process.name] = replace(
                process,
                nominal=sum(p.nominal for p in together),
                variations={
                    label: sum(p.varied(label) for p in together)
                    for label in process.variations
                },
            )
    sums = replace(channel, processes=processes)
    result = run_fit(
        replace(templates, channels={"Wplus": sums}),
        data="asimov",
        barlow_beeston=False,
    )
    found = errors(expected, FIXED).exact
    wanted = np.r_[result.errors[:15], result.errors[-1]]
    places = np.r_[expected.sigma, expected.mass]
    assert_allclose(np.sqrt(np.diag(found)[places]), wanted, rtol=1e-6)
    assert not found[expected.coefficients].any()


def test_priors_are_measurements_of_the_coefficients(templates, expected):
    """The same as constraints in the likelihood of the fit."""
    size = 0.02
    channel = templates.channels["Wplus"]
    combinations = []
    for process in channel.processes.values():
        if process.component != "UL":
            y, qt = process.cell
            A = channel.generated.coefficients[int(process.component[1]), y, qt]
            # A_i is A μ_i/μ_UL; to first order about 1
            combinations.append(
                {f"Wplus/{process.name}": A, f"Wplus/W_UL_y{y}_qt{qt}": -A}
            )
    n = len(combinations)
    known = Constraint(combinations, np.zeros(n), size**2 * np.eye(n))
    model = build_model(templates, constraints=[known])
    start = model.parameters.start
    minimum = fit_model(model, model.expected(start), barlow_beeston=False)
    wanted = minimum.covariance(model.parameters.names)[-1, -1]
    found = mass_error(expected, Scenario("prior", size))
    assert_allclose(found, np.sqrt(wanted), rtol=1e-6)


def test_priors_go_from_fixed_to_free(expected):
    sizes = (1e-6, 1e-3, 1e-2, 1e-1, 1e4)
    found = [mass_error(expected, Scenario("prior", size)) for size in sizes]
    assert found == sorted(found)
    assert_allclose(found[0], mass_error(expected, FIXED), rtol=1e-6)
    assert_allclose(found[-1], mass_error(expected, FREE), rtol=1e-6)
    assert found[-1] > 1.05 * found[0]


@pytest.mark.parametrize("size", [0.0, 0.02])
def test_smooth_errors_are_those_of_a_regularised_fit(templates, expected, fit, size):
    span = build_span(
        templates, fit.parameters, default_ansatz(templates), fit.parameters.start
    )
    # its derivatives are those at the smooth values, which are close to the generated
    strength = size**-2 if size else np.inf
    smooth = estimate(span, fit.values, fit.covariance, strength=strength)
    wanted = np.sqrt(smooth.covariance[-1, -1])
    found = mass_error(expected, Scenario("smooth", size))
    assert found < mass_error(expected, FREE)
    assert_allclose(found, wanted, rtol=0.02)


def test_wide_departures_are_free_coefficients(expected):
    wide = mass_error(expected, Scenario("smooth", 1e3))
    narrow = mass_error(expected, Scenario("smooth", 1e-6))
    assert_allclose(wide, mass_error(expected, FREE), rtol=1e-5)
    assert_allclose(narrow, mass_error(expected, Scenario("smooth")), rtol=1e-5)


def test_merged_cells_have_the_errors_of_their_fit(templates):
    merged = merge_cells(templates, 2, 2)
    found = expected_information(merged)
    result = run_fit(merged, data="asimov", barlow_beeston=False)
    wanted = result.derived["m_W"].errors[0]
    assert_allclose(STEP * mass_error(found, FREE), wanted, rtol=1e-5)
    A4 = np.sqrt(np.diag(errors(found, FREE).exact)[found.components["A4"]])
    assert_allclose(A4, result.derived["Wplus/A4"].errors, rtol=1e-5)


def test_errors_with_noise_are_those_of_growth():
    """An independent calculation with strengths instead of coefficients."""
    noisy = noisy_set(derivative="mw")
    expected = expected_information(noisy, simulation=0.5)
    found = errors(expected, FREE)
    model = build_model(noisy)
    start = model.parameters.start
    point = likelihood_at(model, model.expected(start), start, barlow_beeston=False).at(
        start
    )
    grown = growth(
        model,
        point,
        functionals(noisy, model.parameters),
        derivatives=mass_derivatives(noisy, model),
        factors=[0.5],
        exact=True,
    )
    for name, unit, place in (
        ("m_W", STEP, expected.mass),
        ("Wplus/A4/y1_qt2", 1.0, expected.components["A4"][7]),
    ):
        i = grown.names.index(name)
        sizes = [unit * np.sqrt(c[place, place]) for c in found[:4]]
        table = grown.naive, grown.barlow_beeston, grown.corrected
        assert_allclose(sizes[0], grown.corrected[-1, i], rtol=1e-6)
        assert_allclose(sizes[1:], [t[0, i] for t in table], rtol=1e-6)
        # noise looks like information
        assert sizes[1] < 0.9 * sizes[0] < 0.9 * sizes[3]


def test_apparent_errors_are_those_of_templates_that_fluctuate():
    """The mean information of templates thrown with the stored covariance."""
    noisy = noisy_set(weight=40.0)
    expected = expected_information(noisy, simulation=1.0)
    model = build_model(noisy)
    (block,) = model.blocks
    start = model.parameters.start
    J = model.at(start).jacobian()
    weight = 1 / model.expected(start)
    rng = np.random.default_rng(5)
    total = np.zeros_like(expected.fisher)
    n = 200
    for _ in range(n):
        noise = np.zeros_like(J)
        for members, products in block.noise.shared:
            factor = np.linalg.cholesky(
                np.moveaxis(products, -1, 0) + 1e-9 * np.eye(len(members))
            )
            unit = rng.standard_normal((block.n_bins, len(members), 1))
            noise[members] = (factor @ unit)[..., 0].T
        # both signs, so that what is linear in the noise cancels
        for thrown in (J + noise, J - noise):
            total += (thrown * weight) @ thrown.T / (2 * n)
    exact = (J * weight) @ J.T
    added = np.diag(total - exact)[:-1]
    floor = np.diag(expected_strength_floor(noisy))[:-1]
    assert_allclose(added, floor, rtol=0.15)
    assert_allclose(added.sum(), floor.sum(), rtol=0.03)


def expected_strength_floor(templates):
    """M in the strengths, which are the coordinates where nothing is a ratio."""
    (channel,) = templates.channels.values()
    flat = replace(channel, generated=None)
    plain = replace(templates, channels={"Wplus": flat})
    return expected_information(plain, simulation=1.0).floor


def test_a_larger_simulation_has_less_noise():
    noisy = noisy_set()
    found = [
        errors(expected_information(noisy, simulation=size), FREE)
        for size in (0.1, 1.0, 1e9)
    ]
    eigenvalues = [each.eigenvalue for each in found]
    assert eigenvalues == sorted(eigenvalues)
    assert eigenvalues[0] > 1
    for covariance in found[-1][1:4]:
        assert_allclose(np.diag(covariance), np.diag(found[-1].exact), rtol=1e-5)


def test_no_simulation_is_no_noise(expected):
    found = errors(expected, FREE)
    assert found.naive is found.exact
    assert np.isinf(found.eigenvalue)


def test_nuisance_parameters_add_to_the_error():
    pt = np.linspace(-1, 1, 30)
    peak = 1e4 * (1.5 - pt**2)
    shifted = {"signal": (peak * (1 + 0.02 * pt), peak * (1 - 0.02 * pt))}
    scale = {"signal": (peak * (1 + 0.01 * pt**3), peak * (1 - 0.01 * pt**3))}
    templates = template_set(
        signal={"signal": peak},
        background={},
        shapes={"mw": shifted, "scale": scale},
        interpolation="linear",
    )
    mass, other = templates.systematics
    free = replace(mass, constrained=False)
    templates = replace(templates, systematics=(free, other))
    expected = expected_information(templates)
    result = run_fit(templates, data="asimov", barlow_beeston=False)
    total = mass_error(expected, FREE)
    assert_allclose(total, result.errors[result.names.index("mw")], rtol=1e-6)
    assert mass_error(expected, FREE, nuisances=False) < 0.95 * total
    frozen = expected_information(templates, frozen={"scale"})
    assert_allclose(
        mass_error(frozen, FREE), mass_error(expected, FREE, nuisances=False)
    )
    # without coefficients there is nothing to assume of them
    possible = [s.label for s in scenarios() if is_possible(expected, s)]
    assert possible == ["all free", "all fixed"]


def test_few_cells_have_no_smooth_functions(templates):
    merged = expected_information(merge_cells(templates, 1, 1))
    assert not is_possible(merged, Scenario("smooth"))
    with pytest.raises(ConfigError, match="too few cells"):
        errors(merged, Scenario("smooth"))


def test_a_set_without_the_mass_is_refused(templates):
    other = Systematic(
        name="lumi", kind="norm", processes=frozenset({"W"}), group="lumi", size=1.02
    )
    (channel,) = templates.channels.values()
    processes = {n: replace(p, variations={}) for n, p in channel.processes.items()}
    bare = replace(
        templates,
        channels={"Wplus": replace(channel, processes=processes)},
        systematics=(other,),
    )
    with pytest.raises(TemplateError, match="'mw'"):
        expected_information(bare)


def test_templates_of_a_coefficient_that_is_zero_are_refused(templates):
    channel = templates.channels["Wplus"]
    A = channel.generated.coefficients.copy()
    A[4, 0, 1] = 0.0
    generated = replace(channel.generated, coefficients=A)
    zero = replace(channel, generated=generated)
    with pytest.raises(TemplateError, match=r"Wplus/A4 is zero in y0_qt1"):
        expected_information(replace(templates, channels={"Wplus": zero}))


@pytest.mark.parametrize(("kind", "size"), [("prior", 0.0), ("smooth", -1.0)])
def test_widths_that_mean_nothing_are_refused(kind, size):
    with pytest.raises(ConfigError, match="width"):
        Scenario(kind, size)
