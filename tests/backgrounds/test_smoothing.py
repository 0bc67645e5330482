import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.backgrounds.region_counts import truth
from wprops.backgrounds.rates import measure_rates
from wprops.backgrounds.smoothing import smooth_in_eta
from wprops.errors import TemplateError


@pytest.fixture(scope="module")
def expected():
    return truth(n_eta=12, qcd=2e4)


def test_a_smooth_rate_is_left_where_it_is_and_closer_to_the_truth():
    # A polynomial of eighth degree follows the kink of |eta| well enough.
    expected = truth(n_eta=12, qcd=2e4)
    rng, n = np.random.default_rng(1), 40
    before, after, chi2 = [], [], []
    for counts in (expected.regions(rng) for _ in range(n)):
        rates = measure_rates(counts)
        smoothed = smooth_in_eta(rates, expected.eta_edges, 8)
        before.append(rates.fake.rates() - expected.fake)
        after.append(smoothed.rates.fake.rates() - expected.fake)
        chi2.append(smoothed.chi2)
    before, after = np.array(before), np.array(after)
    assert after.std() < 0.9 * before.std()
    # Sums over eta stay, and with them what the covariance says about them.
    spread = [d.mean(axis=2).std(axis=0).mean() for d in (before, after)]
    assert_allclose(spread[1] / spread[0], 1.0, atol=0.1)
    ndf = 2 * (12 - 9)
    assert abs(np.mean(chi2) - ndf) < 4 * np.sqrt(2 * ndf / np.size(chi2)) + 0.5


def test_smoothing_that_is_too_stiff_shows_in_chi2(expected):
    rates = measure_rates(expected.regions())
    # The fake rate has a kink at eta = 0, which a straight line has not.
    line = smooth_in_eta(rates, expected.eta_edges, 1)
    assert line.ndf == 2 * 10
    assert (line.chi2 > 5 * line.ndf).all()


def test_a_polynomial_with_all_freedom_changes_nothing(expected):
    rates = measure_rates(expected.regions(np.random.default_rng(2)))
    smoothed = smooth_in_eta(rates, expected.eta_edges, 11)
    assert_allclose(smoothed.rates.fake.parameters, rates.fake.parameters, rtol=1e-6)
    assert_allclose(smoothed.chi2, 0.0, atol=1e-9)
    assert smoothed.rates.prompt is rates.prompt
    assert smoothed.rates.fake.covariance is rates.fake.covariance


def test_more_coefficients_than_bins_are_refused(expected):
    rates = measure_rates(expected.regions())
    with pytest.raises(TemplateError, match="degree 12 cannot be fitted to 12"):
        smooth_in_eta(rates, expected.eta_edges, 12)
