"""The mass derivative is made of the events of the templates, and has their noise.

Events of a bin come in types of known rates, weights and mass dependence, so that the
truth is exact and a simulation is one Poisson number per bin and type.
"""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.fit.conftest import single_set
from wprops.channels import Process, SharedEvents
from wprops.errors import ConfigError
from wprops.fit.finite_mc import assess, correct
from wprops.fit.model import build_model
from wprops.fit.run import fit_model, likelihood_at
from wprops.fit.template_noise import (
    fold_floor,
    fold_ratios,
    mass_derivatives,
    noise_floor,
)
from wprops.systematics.declaration import Systematic

N_BINS, N_TYPES, N_REPLICAS = 800, 6, 120
X = np.linspace(-1, 1, N_BINS)[:, None]
TYPE = np.arange(N_TYPES)
#: Expected events of each type.
RATE = 8e3 * (1 + 0.2 * X) * (1 + 0.1 * TYPE)
#: Weights of an event in the two components: their sum is 1.
SECOND = 0.5 * np.cos(np.pi * TYPE / 3) + 0.3 * X
WEIGHTS = np.stack([1 - SECOND, SECOND])
#: Relative change with the mass: small in the mean, different from type to type.
CHANGE = 0.1 * (-1.0) ** TYPE + 0.0009 * (3 * X**2 - 1)
CHANGE = CHANGE - (RATE * 0.1 * (-1.0) ** TYPE).sum(1, keepdims=True) / RATE.sum(
    1, keepdims=True
)
MASS = Systematic(
    name="mw",
    kind="weight",
    processes=frozenset({"W_UL", "W_A4"}),
    group="mass",
    constrained=False,
    interpolation="linear",
    unit="50 MeV",
)
NAMES = ("W_UL", "W_A4")


@dataclass
class Simulation:
    """Numbers of events by bin and type."""

    events: np.ndarray

    def sums(self, *factors):
        total = self.events.astype(float)
        for factor in factors:
            total = total * factor
        return total.sum(axis=1)

    def templates(self, folds=None):
        h = WEIGHTS
        nominal = np.stack([self.sums(h[p]) for p in range(2)])
        slope = np.stack([self.sums(h[p], CHANGE) for p in range(2)])
        products = np.stack(
            [[self.sums(h[p], h[q]) for q in range(2)] for p in range(2)]
        )
        derivative = np.stack(
            [self.sums(CHANGE, h[p]) for p in range(2)] + [self.sums(CHANGE**2)]
        )
        processes = {
            name: Process(
                name=name,
                role="signal",
                nominal=nominal[p][None],
                variance=products[p, p][None],
                variations={
                    "mw_up": (nominal + slope)[p][None],
                    "mw_down": (nominal - slope)[p][None],
                },
                component=name[2:],
                cell=(0, 0),
            )
            for p, name in enumerate(NAMES)
        }
        shared = SharedEvents(
            NAMES, products[:, :, None], "mw", derivative[:, None], folds
        )
        return single_set(processes, shared=(shared,), systematics=(MASS,))


def expectation(strengths, mass):
    h = np.tensordot(strengths, WEIGHTS, axes=1)
    return (RATE * h * (1 + mass * CHANGE)).sum(axis=1)


@pytest.fixture(scope="module")
def simulation():
    return Simulation(np.random.default_rng(1).poisson(RATE))


def event_form(simulation, values, weight):
    """Noise floor and score as sums over events of their own products."""
    h = np.tensordot(values[:2], WEIGHTS, axes=1)
    moved = 1 + values[2] * CHANGE
    f = h * moved
    g = np.stack([*(WEIGHTS * moved), h * CHANGE])
    events = simulation.events * weight[:, None]
    return np.einsum("abt,cbt,bt->ac", g, g, events), np.einsum(
        "abt,bt,bt->a", g, f, events
    )


@pytest.mark.parametrize("scale", [1.0, 0.7])
def test_the_noise_floor_is_the_sum_over_events(simulation, scale):
    templates = simulation.templates()
    model = build_model(templates)
    weight = 1 / RATE.sum(axis=1)
    derivatives = mass_derivatives(templates, model)
    values = np.array([scale, scale, 0.0])
    found = noise_floor(model, values, weight, derivatives)
    matrix, score = event_form(simulation, values, weight)
    assert_allclose(found[0], matrix, rtol=1e-10)
    assert_allclose(found[1], score, rtol=1e-10, atol=1e-10)


def test_other_strengths_and_masses_are_close(simulation):
    """Where strengths of a cell move apart, the products are those of a mean event."""
    templates = simulation.templates()
    model = build_model(templates)
    weight = 1 / RATE.sum(axis=1)
    values = np.array([1.2, 0.8, 0.5])
    derivatives = mass_derivatives(templates, model)
    found = noise_floor(model, values, weight, derivatives)
    matrix, score = event_form(simulation, values, weight)
    scale = np.sqrt(np.diag(matrix))
    assert_allclose(
        found[0] / np.outer(scale, scale), matrix / np.outer(scale, scale), atol=0.06
    )
    # with the mass displaced by half a unit
    without = noise_floor(model, values * [1, 1, 0], weight, derivatives)
    assert abs(found[1] - score)[2] < 0.15 * abs(without[1] - score)[2]


def test_a_set_without_products_of_the_derivative_has_noise_in_strengths_only(
    simulation,
):
    templates = simulation.templates()
    channel = templates.channels["Wplus"]
    bare = replace(channel.shared[0], derivative=None, derivative_products=None)
    without = replace(templates, channels={"Wplus": replace(channel, shared=(bare,))})
    model = build_model(without)
    assert mass_derivatives(without, model) == [[]]
    # and a derivative in something the fit does not have
    gone = replace(templates, systematics=(replace(MASS, eta_local=True),))
    assert mass_derivatives(gone, build_model(gone)) == [[]]


def folds_of(simulation, n_folds=20):
    rng = np.random.default_rng(2)
    parts = rng.multinomial(simulation.events, np.full(n_folds, 1 / n_folds))
    found = []
    for fold in np.moveaxis(parts, -1, 0):
        part = Simulation(fold)
        rows = [part.sums(h) for h in WEIGHTS] + [part.sums(CHANGE)]
        found.append(np.stack(rows)[:, None])
    return np.array(found)


def test_folds_have_the_noise_of_the_stored_products(simulation):
    templates = simulation.templates(folds_of(simulation))
    model = build_model(templates)
    weight = 1 / RATE.sum(axis=1)
    derivatives = mass_derivatives(templates, model)
    analytic, _ = noise_floor(model, model.parameters.start, weight, derivatives)
    scale = np.sqrt(np.outer(np.diag(analytic), np.diag(analytic)))
    for n_folds in (10, 20):
        found = fold_floor(templates, model, weight, n_folds)
        # (K − 1) degrees of freedom in 800 bins
        tolerance = 4 * np.sqrt(2 / (800 * (n_folds - 1)))
        assert_allclose(found / scale, analytic / scale, atol=tolerance)
    ratios = fold_ratios(templates, model, weight, derivatives)
    assert ratios[:, 0].tolist() == [10, 20]
    assert_allclose(ratios[:, 1], 1, atol=0.03)
    with pytest.raises(ConfigError, match="20 stored folds cannot be merged to 3"):
        fold_floor(templates, model, weight, 3)


def test_sets_without_folds_have_no_check(simulation):
    templates = simulation.templates()
    model = build_model(templates)
    weight = 1 / RATE.sum(axis=1)
    assert fold_floor(templates, model, weight, 10) is None
    assert fold_ratios(templates, model, weight).shape == (0, 2)


TRUTH = np.array([1.05, 0.9, 1.0])


@pytest.fixture(scope="module")
def replicas():
    """Fits of a truth with other strengths and another mass."""
    rng = np.random.default_rng(5)
    found = []
    for _ in range(N_REPLICAS):
        templates = Simulation(rng.poisson(RATE)).templates()
        model = build_model(templates)
        counts = rng.poisson(expectation(TRUTH[:2], TRUTH[2])).astype(float)
        minimum = fit_model(model, counts)
        derivatives = mass_derivatives(templates, model)
        likelihood = likelihood_at(model, counts, minimum.values)
        solution = correct(likelihood, minimum.values, derivatives=derivatives)
        blind = correct(likelihood, minimum.values)
        finite = assess(
            model, minimum.point, derivatives=derivatives, solution=solution
        )
        found.append((minimum, solution, blind, finite))
    return found


def test_the_mass_is_drawn_to_that_of_the_simulation_and_set_free(replicas):
    lite = np.array([minimum.values[2] for minimum, *_ in replicas])
    finite = [f for *_, f in replicas]
    slope = np.mean([f.slopes[2] for f in finite])
    assert 0.6 < slope < 0.85
    error = lite.std() / np.sqrt(len(lite))
    # strengths move too, but their noise hardly matters
    assert lite.mean() == pytest.approx(slope, abs=4 * error)
    assert lite.mean() < 1 - 4 * error
    values = np.array([s.values for _, s, *_ in replicas])
    errors = np.sqrt([np.diag(s.covariance) for _, s, *_ in replicas])
    pulls = (values - TRUTH) / errors
    assert (abs(pulls.mean(axis=0)) < 4 / np.sqrt(N_REPLICAS)).all()
    assert_allclose(pulls.std(axis=0), 1, atol=4 / np.sqrt(2 * N_REPLICAS))
    assert_allclose((abs(pulls) < 1).mean(axis=0), 0.68, atol=4 * 0.043)
    assert finite[0].counted == ("mw",)


def test_noise_of_the_strengths_alone_does_not_free_the_mass(replicas):
    blind = np.array([b.values[2] for *_, b, _ in replicas])
    error = blind.std() / np.sqrt(len(blind))
    assert blind.mean() < 1 - 4 * error


def test_the_parts_of_the_error_are_those_of_data_and_simulation(replicas):
    solution = replicas[0][1]
    model = solution.likelihood.model
    templates = Simulation(np.random.default_rng(1).poisson(RATE)).templates()
    derivatives = mass_derivatives(templates, model)
    data, simulation, constraints = solution.parts(derivatives)
    assert_allclose(data + simulation + constraints, solution.covariance, rtol=1e-9)
    assert not constraints.any()
    # W = 1/(2ν): of C = I + M the data have I/2
    A = np.linalg.inv(solution.inverse)
    expected = solution.inverse @ A @ solution.inverse / 2
    assert data[2, 2] == pytest.approx(expected[2, 2], rel=0.05)
