import numpy as np
import pytest
from iminuit import Minuit
from numpy.testing import assert_allclose

from wprops.backgrounds.curves import ERF, LINEAR
from wprops.backgrounds.quasi_likelihood import Split
from wprops.backgrounds.rate_fit import fit_rate

PT = np.linspace(25.5, 54.5, 30)
ONE, ZERO = np.ones(()), np.zeros(())


def counted(passing, failing, extra=(ZERO, ZERO)):
    return Split(passing, failing, ONE, ONE, *extra)


def drawn(rng, n, total, offset=0.24, slope=0.002):
    """Counts of muons with a linear rate, n rows with the same expectation."""
    rate = offset + slope * (PT - 25.0)
    return (rng.poisson(total * r, (n, len(PT))) * 1.0 for r in (rate, 1 - rate))


def test_fit_is_the_maximum_of_the_poisson_likelihood():
    rng = np.random.default_rng(2)
    x, y = (column[0] for column in drawn(rng, 1, 40.0))
    prompt = 5.0 + 0.1 * PT, 2.0 + 0.0 * PT
    n, m = x + rng.poisson(prompt[0]), y + rng.poisson(prompt[1])
    split = counted(n - prompt[0], m - prompt[1], prompt)
    fit = fit_rate(LINEAR, PT, split)

    # Independent of the fit: all parameters and the muons of all bins at once.
    def nll(values):
        rate = values[0] + values[1] * (PT - 25.0)
        total = np.exp(values[2:])
        mu = rate * total + prompt[0], (1 - rate) * total + prompt[1]
        return np.sum(mu[0] - n * np.log(mu[0]) + mu[1] - m * np.log(mu[1]))

    minuit = Minuit(nll, [0.25, 0.0, *np.full(len(PT), np.log(40.0))])
    minuit.errordef, minuit.tol = Minuit.LIKELIHOOD, 1e-4
    minuit.migrad()
    assert minuit.valid
    errors = np.sqrt(np.diag(fit.covariance))
    assert_allclose(
        (fit.parameters - np.array(minuit.values[:2])) / errors, 0.0, atol=1e-3
    )
    assert fit.converged
    assert fit.ndf == 28


def test_counts_of_pure_muons_have_binomial_errors():
    x, y = (column[0] for column in drawn(np.random.default_rng(3), 1, 1e4))
    fit = fit_rate(LINEAR, PT, counted(x, y))
    rate, design = fit.rates(), np.stack([np.ones_like(PT), PT - 25.0], axis=-1)
    information = design.T @ (design * ((x + y) / (rate * (1 - rate)))[:, None])
    assert_allclose(fit.covariance, np.linalg.inv(information), rtol=1e-10)
    chi2 = np.sum((x - rate * (x + y)) ** 2 / ((x + y) * rate * (1 - rate)))
    assert_allclose(fit.chi2, chi2, rtol=1e-10)


def neyman(x, y):
    """Linear fit to observed ratios with the errors of the observed counts."""
    total = np.maximum(x + y, 1.0)
    ratio = x / total
    weight = np.where(x * y > 0, total / np.maximum(ratio * (1 - ratio), 1e-9), 0.0)
    design = np.stack([np.ones_like(PT), PT - 25.0], axis=-1)
    information = np.einsum("nb,bk,bl->nkl", weight, design, design)
    pull = np.einsum("nb,bk->nk", weight * ratio, design)
    return np.linalg.solve(information, pull[..., None])[..., 0]


def test_observed_variances_would_bias_the_rate_of_small_counts():
    n = 2000
    x, y = drawn(np.random.default_rng(4), n, 12.0)
    fit = fit_rate(LINEAR, PT, counted(x, y))
    assert fit.converged.all()
    # Rate in the middle of the range, in units of the error of the mean of all sets.
    middle = np.array([1.0, 15.0])
    error = np.sqrt(np.einsum("k,nkl,l->n", middle, fit.covariance, middle).mean() / n)
    truth = 0.24 + 0.03
    assert abs((fit.parameters @ middle).mean() - truth) < 4 * error
    assert abs((neyman(x, y) @ middle).mean() - truth) > 30 * error


@pytest.mark.parametrize("total", [30.0, 3000.0])
def test_chi2_has_its_mean_and_errors_their_size(total):
    n = 1000
    x, y = drawn(np.random.default_rng(5), n, total)
    fit = fit_rate(LINEAR, PT, counted(x, y))
    assert abs(fit.chi2.mean() - 28) < 4 * np.sqrt(2 * 28 / n)
    assert abs((fit.p_value() < 0.1).mean() - 0.1) < 4 * np.sqrt(0.09 / n)
    pulls = (fit.parameters - [0.24, 0.002]) / np.sqrt(
        np.diagonal(fit.covariance, axis1=1, axis2=2)
    )
    assert_allclose(pulls.mean(axis=0), 0.0, atol=4 / np.sqrt(n))
    assert_allclose(pulls.std(axis=0), 1.0, atol=4 / np.sqrt(2 * n))


def test_error_function_is_found_from_far_away():
    truth = np.array([0.98, 0.05, -0.6])
    rate = ERF.value(PT, truth)
    split = counted(1e5 * rate, 1e5 * (1 - rate))
    for start in (None, np.array([1.0, 0.01, 0.5]), np.array([0.8, 0.1, -2.0])):
        fit = fit_rate(ERF, PT, split, start)
        assert fit.converged
        # Asimov counts: the solution is the truth up to the tolerance of the fit.
        assert_allclose(fit.parameters, truth, rtol=1e-5)


def test_fits_do_not_depend_on_their_company():
    x, y = drawn(np.random.default_rng(6), 5, 200.0)
    together = fit_rate(LINEAR, PT, counted(x, y))
    for k in range(5):
        alone = fit_rate(LINEAR, PT, counted(x[k], y[k]))
        assert_allclose(together.parameters[k], alone.parameters, rtol=1e-12)
        assert_allclose(together.covariance[k], alone.covariance, rtol=1e-9)


def test_failures_are_told_and_leave_other_rows_alone():
    x, y = drawn(np.random.default_rng(7), 4, 500.0)
    x[0], y[0] = 0.0, 0.0
    x[1, 1:], y[1, 1:] = 0.0, 0.0
    fit = fit_rate(LINEAR, PT, counted(x, y))
    # Nothing, and one bin for two parameters.
    assert fit.converged.tolist() == [False, False, True, True]
    assert np.isnan(fit.covariance[:2]).all()
    assert np.isfinite(fit.covariance[2:]).all()


def test_a_flat_rate_does_not_determine_an_error_function():
    x, y = 900.0 * np.ones_like(PT), 100.0 * np.ones_like(PT)
    assert not fit_rate(ERF, PT, counted(x, y)).converged
