"""Mass and width of the W."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import quad
from scipy.stats import chi2

from tests.weights.examples import SIGMAS, TRUTH
from wprops.errors import ConfigError
from wprops.events.toy.sampling import sample_bosons
from wprops.physics.breit_wigner import mass_weight
from wprops.systematics.catalog import WIDTH_STEP
from wprops.weights import WEIGHTS, WeightInputs

#: Masses within about half of a width of the peak [GeV].
NEAR = (79.4, 81.4)


def breit_wigner(mass, pole, width):
    return mass / ((mass**2 - pole**2) ** 2 + (pole * width) ** 2)


def moments(pole, width):
    """Norm, mean and share near the peak of a line shape, by quadrature."""

    def integral(function, low=50, high=120):
        return quad(function, low, high, points=[pole], limit=300)[0]

    norm = integral(lambda m: breit_wigner(m, pole, width))
    mean = integral(lambda m: m * breit_wigner(m, pole, width)) / norm
    near = integral(lambda m: breit_wigner(m, pole, width), *NEAR) / norm
    return norm, mean, near


def generated_masses(inputs):
    particles = inputs.events.GenPart
    return particles[abs(particles.pdgId) == 24].mass[:, 0].to_numpy().astype(float)


@pytest.mark.parametrize(
    ("group", "name", "mass_step", "width_step"),
    [("mass", "mw", 0.05, 0.0), ("width", "width", 0.0, 0.042)],
)
@pytest.mark.parametrize(("side", "sign"), [("up", 1), ("down", -1)])
def test_weights_are_ratios_of_normalised_line_shapes(
    toy, group, name, mass_step, width_step, side, sign
):
    inputs, _ = toy
    pole = inputs.dataset.boson
    before = pole.mass, pole.width
    after = pole.mass + sign * mass_step, pole.width + sign * width_step
    made = WEIGHTS[group](inputs)[f"{name}_{side}"]
    masses = generated_masses(inputs)
    (norm, mean, near), (new_norm, new_mean, new_near) = (
        moments(*shape) for shape in (before, after)
    )
    expected = breit_wigner(masses, *after) / new_norm
    expected /= breit_wigner(masses, *before) / norm
    # The mass of the pair from single-precision momenta is good to some keV, and the
    # weight changes by 5 % per GeV.
    assert_allclose(made, expected, rtol=1e-4)
    n = len(made)
    assert abs(made.mean() - 1) < SIGMAS * made.std() / np.sqrt(n)
    inside = (masses > NEAR[0]) & (masses < NEAR[1])
    for values, change in ((masses, new_mean - mean), (inside, new_near - near)):
        moved = (made - 1) * (values - values.mean())
        assert abs(moved.mean() - change) < SIGMAS * moved.std() / np.sqrt(n)


@pytest.mark.parametrize("charge", [1, -1])
def test_a_reweighted_width_is_one_that_was_generated(charge):
    """Line shapes of a reweighted toy and of one that has the other width."""
    rng = np.random.default_rng(31)
    pole = TRUTH.boson(charge)
    wide = pole._replace(width=pole.width + WIDTH_STEP)
    wider = dataclasses.replace(TRUTH, wplus=wide, wminus=wide)
    edges = np.concatenate([[50.0], np.linspace(74.0, 87.0, 27), [120.0]])
    n = 1_000_000
    masses = sample_bosons(TRUTH, charge, n, rng).mass
    weight = mass_weight(
        masses,
        pole=pole.mass,
        width=pole.width,
        new_pole=pole.mass,
        new_width=wide.width,
    )
    generated = np.histogram(sample_bosons(wider, charge, n, rng).mass, edges)[0]

    def p_value(weight):
        sums = np.histogram(masses, edges, weights=weight)[0]
        variance = np.histogram(masses, edges, weights=weight**2)[0]
        statistic = ((sums - generated) ** 2 / (variance + generated)).sum()
        return chi2.sf(statistic, len(sums))

    assert p_value(weight) > 1e-3
    # The difference would be seen: it is larger than the statistical errors.
    assert p_value(np.ones(n)) < 1e-10


@pytest.mark.parametrize(("group", "name"), [("mass", "mw"), ("width", "width")])
def test_both_need_the_pole_of_the_sample(toy, group, name):
    inputs, _ = toy
    record = inputs.dataset.model_copy(update={"boson": None})
    lacking = WeightInputs(
        events=inputs.events, pick=inputs.pick, dataset=record, boson=inputs.boson
    )
    with pytest.raises(
        ConfigError, match=rf"the variation '{name}' needs.*`boson: \{{mass: "
    ):
        WEIGHTS[group](lacking)
