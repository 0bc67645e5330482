from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.backgrounds.region_counts import truth
from wprops.backgrounds.counts import Regions
from wprops.backgrounds.mt_dependence import MtSlices, measure_mt_dependence
from wprops.backgrounds.multijet import estimate_multijet
from wprops.errors import TemplateError
from wprops.events.toy.deviations import deviate
from wprops.events.toy.events import SAMPLES
from wprops.events.toy.generate import generate
from wprops.events.toy.truth import ToyTruth

EDGES = [0.0, 15.0, 30.0, 40.0]
PROMPT = truth(prompt=2e5)


def toy(slope):
    """Multijet of the toy, with prompt muons that are known exactly.

    Returns the counts, those in slices of mT, the mean mT of sideband and signal
    region, and the isolated multijet muons of the signal region.
    """
    model = deviate(ToyTruth(), {"fake_mt_slope": slope}) if slope else ToyTruth()
    sample = generate(SAMPLES["qcd"], 1_200_000, np.random.default_rng(1), model)
    events = sample.reconstructed
    pt, eta = events.pt[:, 0], events.eta[:, 0]
    met, phi = events.missing_momentum()
    mt = np.sqrt(2 * pt * met * (1 - np.cos(events.phi[:, 0] - phi)))
    anti = events.isolation[:, 0] > 0.15
    columns = (mt, anti, -sample.generated.charge, eta, pt)
    inside = (pt >= 25.0) & (pt < 55.0) & (np.abs(eta) < 2.4)

    def count(mt_edges):
        edges = [mt_edges, [0, 0.5, 1], [-2, 0, 2], PROMPT.eta_edges, PROMPT.pt_edges]
        return np.histogramdd([c[inside] for c in columns], edges)[0]

    def mean_mt(low, high):
        chosen = inside & anti & (mt >= low) & (mt < high)
        return mt[chosen].mean()

    high, low = count([40.0, np.inf])[0], count([0.0, 30.0])[0]
    qcd = np.concatenate([high, low])
    counts = Regions(
        eta_edges=PROMPT.eta_edges,
        pt_edges=PROMPT.pt_edges,
        data=qcd + PROMPT.prompt,
        prompt=PROMPT.prompt,
        prompt_variance=0.01 * PROMPT.prompt,
    )
    # A third of the prompt muons of low mT in each slice.
    share = np.array([0.3, 0.7, 0.9])[:, None, None, None, None]
    prompt = share * PROMPT.prompt[2:]
    slices = MtSlices(
        mean_mt=np.array([mean_mt(*pair) for pair in pairwise(EDGES)]),
        data=count(EDGES) + prompt,
        prompt=prompt,
        prompt_variance=0.01 * prompt,
    )
    return counts, slices, mean_mt(0.0, 30.0), mean_mt(40.0, np.inf), high[0]


@pytest.fixture(scope="module")
def flat():
    return toy(0.0)


@pytest.fixture(scope="module")
def tilted():
    return toy(0.05)


def measure(sample):
    counts, slices, sideband, signal, _ = sample
    multijet = estimate_multijet(counts)
    return multijet, measure_mt_dependence(slices, multijet, sideband, signal)


def test_without_dependence_none_is_found(flat):
    multijet, found = measure(flat)
    assert abs(found.common_slope().significance) < 3
    assert abs(found.total().significance) < 3
    assert found.p_value() > 1e-3
    # And the estimate is the number of multijet muons that are there.
    true, estimate = flat[4].sum(), multijet.template.nominal.sum()
    error = np.sqrt(multijet.template.covariance().sum() + true)
    assert abs(estimate - true) < 3 * error


def test_five_percent_are_detected(tilted):
    _, found = measure(tilted)
    slope = found.common_slope()
    # f (1 + 0.05 (mT − 20)/40), relative to f at the mean mT of the sideband.
    expected = 0.05 / 40 / (1 + 0.05 * (tilted[2] - 20) / 40)
    assert abs(slope.value - expected) < 3 * slope.error
    assert slope.significance > 4
    assert found.p_value() < 1e-2
    assert found.total().significance > 4


def test_the_extrapolation_says_what_the_estimate_misses(tilted):
    high = tilted[-1]
    multijet, found = measure(tilted)
    estimate = multijet.template.nominal.sum()
    shift = found.total()
    missed = high.sum() / estimate - 1
    error = np.sqrt(multijet.template.covariance().sum() + high.sum()) / estimate
    assert missed > 3 * error
    assert abs(shift.value - missed) < 3 * np.hypot(shift.error, error)


def test_errors_are_the_spread_of_pseudo_experiments():
    """Slices drawn from expectations with the same fake rate."""
    rng, n = np.random.default_rng(2), 60
    expected = truth(n_eta=8, qcd=1e5, prompt=1e5)
    multijet = estimate_multijet(expected.regions())
    share = np.array([0.4, 0.4, 0.2])[:, None, None, None, None]
    qcd, prompt = share * expected.qcd[2:], share * expected.prompt[2:]
    slope, shift, chi2 = [], [], []
    for _ in range(n):
        data = rng.poisson(qcd + prompt).astype(float)
        slices = MtSlices(np.array([8.0, 22.0, 35.0]), data, prompt, 0.0 * prompt)
        found = measure_mt_dependence(slices, multijet, 15.0, 50.0)
        slope.append(found.slope / found.slope_error)
        shift.append(found.shift / found.shift_error)
        chi2.append(found.chi2)
    assert (found.ndf == 2).all()
    for pulls in (np.ravel(slope), np.ravel(shift)):
        assert abs(pulls.mean()) < 4 / np.sqrt(pulls.size)
        assert abs(pulls.std() - 1) < 4 / np.sqrt(2 * pulls.size)
    assert abs(np.mean(chi2) - 2) < 4 * np.sqrt(4 / np.size(chi2))


def test_slices_that_do_not_fit_are_refused(flat):
    counts, slices, *_ = flat
    with pytest.raises(TemplateError, match="1 slices of mT have counts of shapes"):
        MtSlices(slices.mean_mt[:1], slices.data, slices.prompt, slices.prompt)
    multijet = estimate_multijet(counts)
    other = MtSlices(
        slices.mean_mt,
        *(a[..., :-1] for a in (slices.data, slices.prompt, slices.prompt)),
    )
    with pytest.raises(TemplateError, match=r"have \(2, 4, 29\) \(charge, eta, pT\)"):
        measure_mt_dependence(other, multijet, 15.0, 50.0)


def test_an_empty_slice_is_named(flat):
    counts, slices, *_ = flat
    data, prompt = slices.data.copy(), slices.prompt.copy()
    data[1, :, 1, 2] = prompt[1, :, 1, 2] = 0.0
    empty = replace(slices, data=data, prompt=prompt, prompt_variance=0.1 * prompt)
    message = "slice 1 of mT, charge -1, eta bin 2 \\(1 such"
    with pytest.raises(TemplateError, match=message):
        measure_mt_dependence(empty, estimate_multijet(counts), 15.0, 50.0)


def test_shifts_add_up_to_the_total(tilted):
    _, found = measure(tilted)
    total = np.sum(found.yields * found.shift) / found.yields.sum()
    assert_allclose(found.total().value, total)
