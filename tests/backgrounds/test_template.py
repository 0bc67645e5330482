from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.backgrounds.region_counts import truth
from wprops.backgrounds.multijet import estimate_multijet
from wprops.backgrounds.rates import measure_rates
from wprops.backgrounds.template import (
    build_template,
    event_weights,
    qcd_yield,
)
from wprops.errors import TemplateError


@pytest.fixture(scope="module")
def expected():
    return truth()


@pytest.fixture(scope="module")
def ensemble():
    """A small truth, and the estimates of many pseudo-experiments with it."""
    expected = truth(n_eta=2, n_pt=10, qcd=4e4, prompt=1e5)
    counts = expected.regions(np.random.default_rng(4), 3000)
    return expected, build_template(counts, measure_rates(counts))


def test_expected_counts_give_the_true_yield(expected):
    template = estimate_multijet(expected.regions()).template
    # Bin by bin, to the tolerance of the fits.
    assert_allclose(template.nominal, expected.qcd[0], rtol=1e-5)


def test_uncertainty_is_the_spread_of_pseudo_experiments(ensemble):
    expected, template = ensemble
    n = len(template.nominal)
    mean = build_template(expected.regions(), measure_rates(expected.regions()))
    covariance = mean.covariance()
    centred = template.nominal - template.nominal.mean(axis=0)
    sample = np.einsum("n...i,n...j->...ij", centred, centred) / (n - 1)
    size = np.sqrt(np.diagonal(covariance, axis1=-2, axis2=-1))
    norm = size[..., :, None] * size[..., None, :]
    # The error of an element of a covariance, in units of its variances.
    error = np.sqrt((1 + (covariance / norm) ** 2) / n)
    assert (np.abs(sample - covariance) / norm < 4.5 * error).all()
    # Off the diagonal it is the fits that count: they are seen.
    assert np.abs(covariance / norm)[..., 0, 1].min() > 5 * error.max()


def test_rows_of_charge_and_eta_are_independent(ensemble):
    _, template = ensemble
    rows = template.nominal.sum(axis=-1).reshape(len(template.nominal), -1)
    correlation = np.corrcoef(rows.T) - np.eye(rows.shape[1])
    assert np.abs(correlation).max() < 4.5 / np.sqrt(len(rows))


def test_pulls_of_the_yield_are_standard_normal(ensemble):
    expected, template = ensemble
    errors = np.sqrt(template.covariance().sum(axis=(-1, -2)))
    pulls = (template.nominal - expected.qcd[0]).sum(axis=-1) / errors
    assert abs(pulls.mean()) < 4 / np.sqrt(pulls.size)
    assert abs(pulls.std() - 1) < 4 / np.sqrt(2 * pulls.size)


def test_derivatives_are_those_of_the_yield(expected):
    counts = expected.regions()
    rates = measure_rates(counts)
    template = build_template(counts, rates)
    root = np.linalg.cholesky(rates.fake.covariance)
    for k in range(2):
        # The k-th column: parameters moved along one independent direction.
        moved = [
            qcd_yield(counts, _moved(rates, sign * 1e-2 * root[..., k]))
            for sign in (1, -1)
        ]
        assert_allclose(
            template.factor[..., k], (moved[0] - moved[1]) / 2e-2, rtol=1e-4, atol=1e-6
        )


def _moved(rates, step):
    fake = replace(rates.fake, parameters=rates.fake.parameters + step)
    return replace(rates, fake=fake)


@pytest.fixture(scope="module")
def muons(expected):
    """Isolated and anti-isolated muons at high mT, spread within the bins."""
    rng = np.random.default_rng(5)
    counts = rng.poisson(expected.qcd + expected.prompt)
    columns = []
    for region, isolated in ((0, True), (1, False)):
        for index, charge in enumerate((1, -1)):
            # A percent of the events is enough to compare sums.
            for eta, pt in np.ndindex(*counts.shape[2:]):
                n = counts[region, index, eta, pt] // 100
                low, high = expected.pt_edges[pt : pt + 2]
                # Falls within the bin as multijet does.
                u = rng.random(n)
                inside = low - 6.0 * np.log(1 - u * (1 - np.exp(-(high - low) / 6.0)))
                centre = (expected.eta_edges[eta] + expected.eta_edges[eta + 1]) / 2
                columns.append(
                    np.stack(
                        [np.full(n, v) for v in (charge, centre, isolated)] + [inside]
                    )
                )
    charge, eta, isolated, pt = np.concatenate(columns, axis=1)
    return charge, eta, pt, isolated.astype(bool)


def histogram(expected, muons, weights):
    charge, eta, pt, _ = muons
    edges = [[-2, 0, 2], expected.eta_edges, expected.pt_edges]
    return np.histogramdd((charge, eta, pt), edges, weights=weights)[0][::-1]


def test_event_weights_at_bin_centres_are_the_binned_estimate(expected, muons):
    charge, eta, pt, isolated = muons
    rates = measure_rates(expected.regions())
    counted = [histogram(expected, muons, isolated == flag) for flag in (True, False)]
    counts = expected.regions()
    counts.data[0], counts.data[1] = counted
    weights = event_weights(
        rates, expected.eta_edges, charge, eta, pt, isolated, pt_edges=expected.pt_edges
    )
    binned = qcd_yield(counts, rates)
    assert_allclose(
        histogram(expected, muons, weights), binned, rtol=1e-9, atol=1e-9 * binned.max()
    )


def test_event_weights_at_the_pt_of_the_event_differ_little(expected, muons):
    charge, eta, pt, isolated = muons
    rates = measure_rates(expected.regions())
    arguments = (rates, expected.eta_edges, charge, eta, pt, isolated)
    centre = event_weights(*arguments, pt_edges=expected.pt_edges)
    own = event_weights(*arguments)
    assert not np.allclose(centre, own, rtol=1e-3)
    # Isolated muons weigh 1 − p, which falls by 9 % per GeV, and cancel twice the
    # result; with 1 GeV bins their mean pT is 0.014 GeV below the centre.
    assert_allclose(own.sum() / centre.sum(), 1.0, atol=4e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"charge": [0.0]}, "a muon has charge 0"),
        ({"eta": [2.5]}, r"1 muons have eta outside of \[-2.4, 2.4\), the first 2.5"),
        ({"pt": [np.nan]}, r"1 muons have pt outside of \[25, 55\)"),
    ],
)
def test_muons_that_have_no_rate_are_refused(expected, change, message):
    muon = {"charge": [1], "eta": [0.1], "pt": [30.0], "isolated": [True]} | change
    rates = measure_rates(expected.regions())
    with pytest.raises(TemplateError, match=message):
        event_weights(rates, expected.eta_edges, **muon, pt_edges=expected.pt_edges)


def test_a_muon_beyond_the_crossing_of_the_rates_is_refused(expected):
    rates = measure_rates(expected.regions())
    message = "charge -1, eta 0.1, pT 900 GeV the prompt rate 0.997 does not exceed"
    with pytest.raises(TemplateError, match=message):
        event_weights(rates, expected.eta_edges, [-1], [0.1], [900.0], [False])
