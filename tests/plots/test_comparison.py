"""Comparisons count distances with the full covariance."""

import numpy as np
import pytest
from scipy.stats import chi2

from tests.plots.template_sample import N_QT, N_Y, make_template_set
from wprops.fit.derived import Derived
from wprops.plots.comparison import compare, comparison_table, pulls_of

LABELS = tuple(f"y{y}_qt{q}" for y in range(N_Y) for q in range(N_QT))


def make_derived(centre, covariance, seed):
    values = np.random.default_rng(seed).multivariate_normal(centre, covariance)
    return Derived(LABELS, "pb", (N_Y, N_QT), values, covariance)


@pytest.fixture(scope="module")
def templates():
    return make_template_set()


@pytest.fixture(scope="module")
def covariance():
    root = np.random.default_rng(6).normal(size=(N_Y * N_QT, 40))
    return root @ root.T / 1e4


def test_quantities_meet_their_own_truth(templates, covariance):
    truth = templates.truth.channels["Wplus"]
    derived = {
        "Wplus/A4": make_derived(truth.coefficients[4].ravel(), covariance, 1),
        "Wplus/sigma": make_derived(truth.sigma.ravel(), covariance, 2),
        "m_W": None,
    }
    sigma, a4 = compare(derived, templates, templates.truth)
    assert (sigma.component, a4.component) == ("UL", "A4")
    np.testing.assert_array_equal(sigma.measured.expected, truth.sigma)
    np.testing.assert_array_equal(a4.measured.expected, truth.coefficients[4])
    assert a4.measured.values[1, 2] == derived["Wplus/A4"].values[1 * N_QT + 2]
    assert len(pulls_of([sigma, a4])) == 2 * N_Y * N_QT


def test_without_truth_the_simulation_stands_in(templates, covariance):
    generated = templates.channels["Wplus"].generated
    derived = {"Wplus/sigma": make_derived(generated.sigma.ravel(), covariance, 3)}
    (item,) = compare(derived, templates, None)
    np.testing.assert_array_equal(item.measured.expected, generated.sigma)


def test_chi2_of_correlated_draws_is_distributed_as_such(templates, covariance):
    truth = templates.truth.channels["Wplus"]
    statistics = []
    for seed in range(400):
        derived = {"Wplus/sigma": make_derived(truth.sigma.ravel(), covariance, seed)}
        statistics.append(compare(derived, templates, templates.truth)[0].chi2)
    n = N_Y * N_QT
    # Four standard errors of the mean of 400 draws: var(χ²) = 2n.
    assert abs(np.mean(statistics) - n) < 4 * np.sqrt(2 * n / 400)
    above = np.mean(np.array(statistics) > chi2.ppf(0.9, n))
    assert above == pytest.approx(0.1, abs=4 * np.sqrt(0.09 / 400))


def test_the_table_shows_pulls_and_probability(templates, covariance):
    truth = templates.truth.channels["Wplus"]
    derived = {"Wplus/sigma": make_derived(truth.sigma.ravel(), covariance, 5)}
    compared = compare(derived, templates, templates.truth)
    table = comparison_table("fit", compared, "truth")
    (row,) = (dict(zip(table.columns, row, strict=True)) for row in table.rows)
    found = derived["Wplus/sigma"]
    pulls = (found.values - truth.sigma.ravel()) / np.sqrt(np.diag(covariance))
    assert row["quantity"] == "σ"
    assert row["mean pull"] == pytest.approx(pulls.mean(), rel=1e-12)
    assert row["RMS of pulls"] == pytest.approx(np.sqrt((pulls**2).mean()), rel=1e-12)
    assert row["p"] == pytest.approx(chi2.sf(row["χ² with covariance"], N_Y * N_QT))
