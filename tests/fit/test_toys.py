import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.fit.conftest import build_set, single_set
from wprops.channels import Process
from wprops.fit.model import build_model
from wprops.fit.toys import run_ensemble, throw, throw_auxiliary

N_TOYS = 200


@pytest.fixture(scope="module")
def ensemble():
    model = build_model(build_set(n_cells=1), channels=["Wplus"])
    truth = model.parameters.start.copy()
    truth[:3] = 1.1, 0.7, 1.2
    return run_ensemble(model, truth, np.random.default_rng(12), N_TOYS)


def test_pulls_are_standard_normal(ensemble):
    assert not ensemble.failures
    pulls = ensemble.pulls
    # 9 parameters: 4 standard errors of a mean and of a width
    assert (abs(pulls.mean(axis=0)) < 4 / np.sqrt(N_TOYS)).all()
    assert (abs(pulls.std(axis=0) - 1) < 4 / np.sqrt(2 * N_TOYS)).all()


def test_counts_are_poisson_and_auxiliary_measurements_normal(model):
    rng = np.random.default_rng(1)
    start = model.parameters.start
    counts = throw(model, start, rng, 400)
    expected = model.expected(start)
    chi2 = ((counts - expected) ** 2 / expected).sum() / counts.size
    assert chi2 == pytest.approx(1.0, abs=5 * np.sqrt(2 / counts.size))
    centres = throw_auxiliary(model, start, rng, 400)
    free = model.parameters.precision == 0
    assert (centres[:, free] == start[free]).all()
    assert_allclose(centres[:, ~free].std(axis=0), 1, atol=5 / np.sqrt(800))


def test_equal_seeds_give_equal_toys(model):
    start = model.parameters.start
    toys = [throw(model, start, np.random.default_rng(4), 2) for _ in range(2)]
    assert (toys[0] == toys[1]).all()


def test_a_toy_without_a_minimum_is_counted_with_its_reason():
    shape = np.array([[50.0, -30.0]])
    bulk = np.array([[50.0, 31.0]])
    zero = np.zeros((1, 2))
    templates = single_set(
        {
            "W": Process("W", "signal", shape, zero, component="A4", cell=(0, 0)),
            "top": Process("top", "background", bulk, zero),
        }
    )
    model = build_model(templates)
    got = run_ensemble(model, model.parameters.start, np.random.default_rng(0), 20)
    assert got.failures
    assert len(got.values) + len(got.failures) == 20
    assert all("no minimum" in failure for failure in got.failures)


def test_toys_do_not_depend_on_the_number_of_workers():
    model = build_model(build_set(n_cells=1), channels=["Wplus"])
    start = model.parameters.start
    one, two = (
        run_ensemble(model, start, np.random.default_rng(1), 6, n_workers=n)
        for n in (1, 2)
    )
    assert (one.values == two.values).all()
    assert (one.errors == two.errors).all()
