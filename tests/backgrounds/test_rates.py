import numpy as np
from numpy.testing import assert_allclose

from tests.backgrounds.region_counts import truth
from wprops.backgrounds.counts import Regions
from wprops.backgrounds.rates import factorised, measure_rates, prompt_split

N = 250


def linear_parameters(expected):
    """Offset and slope of the true fake rate, shape (n_eta, 2)."""
    pt = (expected.pt_edges[1:] + expected.pt_edges[:-1]) / 2
    slope = (expected.fake[:, -1] - expected.fake[:, 0]) / (pt[-1] - pt[0])
    return np.stack([expected.fake[:, 0] - slope * (pt[0] - 25.0), slope], axis=-1)


def test_expected_counts_give_the_true_rates():
    expected = truth()
    rates = measure_rates(expected.regions())
    assert_allclose(rates.fake.rates()[0], expected.fake, rtol=1e-8)
    assert_allclose(rates.prompt.rates()[1], expected.rate, rtol=1e-6)


def test_pulls_of_the_fake_rate_are_standard_normal():
    expected = truth()
    rates = measure_rates(expected.regions(np.random.default_rng(1), N))
    fit = rates.fake
    assert fit.converged.all()
    errors = np.sqrt(np.diagonal(fit.covariance, axis1=-2, axis2=-1))
    pulls = ((fit.parameters - linear_parameters(expected)) / errors).reshape(-1, 2)
    n = len(pulls)
    assert_allclose(pulls.mean(axis=0), 0.0, atol=4 / np.sqrt(n))
    assert_allclose(pulls.std(axis=0), 1.0, atol=4 / np.sqrt(2 * n))
    ndf = fit.ndf.mean()
    assert abs(fit.chi2.mean() - ndf) < 4 * np.sqrt(2 * ndf / n)


def test_pulls_of_the_prompt_rate_are_standard_normal():
    expected = truth()
    fit = measure_rates(expected.regions(np.random.default_rng(2), N)).prompt
    jacobian = fit.jacobian()
    errors = np.sqrt(
        np.einsum("...bk,...kl,...bl->...b", jacobian, fit.covariance, jacobian)
    )
    pulls = ((fit.rates() - expected.rate) / errors).reshape(-1, fit.pt.size)
    n = len(pulls)
    assert_allclose(pulls.mean(axis=0), 0.0, atol=4.5 / np.sqrt(n))
    assert_allclose(pulls.std(axis=0), 1.0, atol=4.5 / np.sqrt(2 * n))
    ndf = fit.ndf.mean()
    assert abs(fit.chi2.mean() - ndf) < 4 * np.sqrt(2 * ndf / n)


def test_two_weights_are_counted_with_their_effective_one():
    """Isolated and anti-isolated muons of different weights, as with scale factors."""
    expected, rng = truth(), np.random.default_rng(3)
    scale = np.array([1.1, 1.0, 1.1, 1.0])[:, None, None, None]
    total, squares = 0.0, 0.0
    for weight, share in ((0.9, 0.3), (0.2, 0.7)):
        mean = share * expected.prompt / weight
        events = rng.poisson(mean, (N, *mean.shape))
        total = total + scale * weight * events
        squares = squares + (scale * weight) ** 2 * events
    counts = Regions(
        eta_edges=expected.eta_edges,
        pt_edges=expected.pt_edges,
        data=expected.qcd,
        prompt=total,
        prompt_variance=squares,
    )
    fit = measure_rates(counts).prompt
    ndf, n = fit.ndf.mean(), fit.chi2.size
    assert abs(fit.chi2.mean() - ndf) < 4 * np.sqrt(2 * ndf / n)
    p = 1.1 * expected.rate / (1.1 * expected.rate + 1 - expected.rate)
    jacobian = fit.jacobian()
    errors = np.sqrt(
        np.einsum("...bk,...kl,...bl->...b", jacobian, fit.covariance, jacobian)
    )
    # The scaled rate is no error function any more: the spread, not the mean.
    spread = ((fit.rates() - fit.rates().mean(axis=0)) / errors).std(axis=0)
    assert_allclose(spread.mean(), 1.0, atol=0.03)
    assert_allclose(fit.rates().mean(axis=0)[0], p, atol=2e-4)


def test_bins_without_antiisolated_simulation_take_the_weight_of_the_others():
    counts = truth().regions()
    counts.prompt[1, 0, 0, 5] = counts.prompt_variance[1, 0, 0, 5] = 0.0
    split = prompt_split(counts)
    assert_allclose(split.passing_scale[0, 0], 0.3)
    assert_allclose(split.failing_scale[0, 0], 0.3)
    assert measure_rates(counts).prompt.converged.all()


def test_few_simulated_muons_of_large_weight_do_not_bias_the_rate():
    """Weights of 8 and some 20 muons per bin, as with a tenth of the luminosity.

    With the variance of each bin's own simulation the rates come out too high by half
    of their error, in all (charge, eta) alike.
    """
    expected = truth(n_eta=8, qcd=4e4, prompt=1.2e5)
    fit = measure_rates(expected.regions(np.random.default_rng(1), 40, weight=8.0)).fake
    assert fit.converged.all()
    by_rate = fit.jacobian()
    errors = np.sqrt(np.einsum("bk,...kl,bl->...b", by_rate, fit.covariance, by_rate))
    pulls = (fit.rates() - expected.fake) / errors
    # One number per fit: bins of a straight line are the same two parameters.
    middle = pulls[..., pulls.shape[-1] // 4]
    assert abs(middle.mean()) < 4 / np.sqrt(middle.size)


def test_smoothing_keeps_sums_over_pt_and_over_the_rest():
    values = np.random.default_rng(1).random((3, 2, 4, 5))
    smooth = factorised(values)
    assert_allclose(smooth.sum(axis=-1), values.sum(axis=-1))
    assert_allclose(smooth.sum(axis=(1, 2)), values.sum(axis=(1, 2)))
    product = values[:1, :1, :1] * values[:1, :, :, :1]
    assert_allclose(factorised(product), product)
    assert not factorised(np.zeros((2, 1, 3))).any()
