from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.backgrounds.region_counts import truth
from wprops.backgrounds.counts import REGIONS
from wprops.backgrounds.curves import LOGISTIC, QUADRATIC
from wprops.backgrounds.diagnoses import as_table
from wprops.backgrounds.multijet import estimate_multijet, vary_multijet
from wprops.backgrounds.template import transfer_weights
from wprops.errors import TemplateError


@pytest.fixture(scope="module")
def counts():
    """One pseudo-data set."""
    drawn = truth().regions(np.random.default_rng(1), 1)
    arrays = {
        name: getattr(drawn, name)[0] for name in ("data", "prompt", "prompt_variance")
    }
    return replace(drawn, **arrays)


@pytest.fixture(scope="module")
def multijet(counts):
    return estimate_multijet(counts)


def changed(counts, name, region, value, charge=1, eta=2):
    """The counts of one region, charge and eta bin set to a value."""
    values = getattr(counts, name).copy()
    values[REGIONS.index(region), charge, eta] = value
    return replace(counts, **{name: values})


def test_a_fair_sample_has_an_estimate_and_nothing_to_say(counts, multijet):
    assert multijet.template.nominal.shape == (2, *counts.shape)
    assert not [d for d in multijet.diagnoses if "p-value" in d.what or d.fatal]
    fake, prompt = (f.rates() for f in (multijet.rates.fake, multijet.rates.prompt))
    antiiso, iso = transfer_weights(fake, prompt)
    expected = antiiso * counts.data[1] + iso * counts.data[0]
    assert_allclose(multijet.template.nominal, expected)


@pytest.mark.parametrize(
    ("name", "region", "value", "message"),
    [
        ("data", "signal", 0.0, "signal: empty region"),
        ("data", "signal_antiiso", 0.0, "signal_antiiso: empty region"),
        ("data", "sideband", 0.0, "sideband: empty region"),
        ("data", "sideband_antiiso", 0.0, "sideband_antiiso: empty region"),
        ("prompt", "signal_antiiso", 0.0, "signal_antiiso: no simulated prompt muons"),
        ("prompt", "sideband", 1e6, "sideband: no multijet left after subtraction"),
    ],
)
def test_counts_without_an_estimate_are_named(counts, name, region, value, message):
    wrong = changed(counts, name, region, value)
    with pytest.raises(
        TemplateError, match=f"nominal, charge -1, eta 0 to 1.2, {message}"
    ):
        estimate_multijet(wrong)


def test_a_prompt_rate_below_the_fake_rate_is_an_error():
    low = truth(prompt_parameters=(0.2, 0.0294, 0.46)).regions()
    with pytest.raises(TemplateError, match="does not exceed the fake rate \\(30\\)"):
        estimate_multijet(low)


def test_few_simulated_muons_ask_for_another_curve_of_the_prompt_rate():
    """And with that curve there is an estimate."""
    expected, rng = truth(), np.random.default_rng(1)
    weight = 1000.0
    prompt = weight * rng.poisson(expected.prompt / weight)
    data = rng.poisson(expected.qcd + expected.prompt).astype(float)
    few = replace(
        expected.regions(), data=data, prompt=prompt, prompt_variance=weight * prompt
    )
    assert (prompt[1].sum(axis=-1) < 100 * weight).all()
    with pytest.raises(
        TemplateError,
        match=r"prompt rate: fit of erf failed (?s:.)*--prompt-curve quadratic`, or "
        r"`linear`\), or `multijet: simulation`\.$",
    ):
        estimate_multijet(few)
    found = estimate_multijet(few, prompt_curve=QUADRATIC).template.nominal.sum()
    assert abs(found / expected.qcd[0].sum() - 1) < 0.3


def test_a_fake_rate_that_cannot_be_fitted_asks_for_another_curve_of_it(counts):
    """All multijet muons in one bin of pT: two parameters are one too many."""
    data = counts.data.copy()
    data[2:, 0, 1] = counts.prompt[2:, 0, 1]
    data[2:, 0, 1, 3] += 1e5
    with pytest.raises(TemplateError, match=r"fake rate: (?s:.)*--fake-curve constant"):
        estimate_multijet(replace(counts, data=data))


def test_an_error_lists_five_findings_and_counts_the_others(counts):
    data = counts.data.copy()
    data[2] = 0.0
    with pytest.raises(TemplateError, match="and 11 more") as caught:
        estimate_multijet(replace(counts, data=data))
    # Eight (charge, eta) without data, and thus without multijet after subtraction.
    assert str(caught.value).count("empty region") == 5


def test_bad_shapes_and_negative_bins_are_reported_not_refused(counts):
    data = counts.data.copy()
    pt = counts.pt
    # A fake rate with a step, and a bin of pT without muons.
    data[2, 0, 1] *= np.where(pt < 30.0, 1.3, 1.0)
    data[2, 0, 1, 20] = 0.0
    found = as_table(estimate_multijet(replace(counts, data=data)).diagnoses)
    rows = [row for row in found if row["charge"] == 1 and row["eta_low"] == -1.2]
    assert {"p-value of the fit of linear is small"} <= {row["what"] for row in rows}
    (negative,) = (r for r in rows if r["what"].startswith("bins negative after"))
    assert negative["where"] == "sideband"
    assert negative["value"] >= 1
    assert not any(row["fatal"] for row in found)


def test_variations_are_the_estimates_of_varied_simulation(counts, multijet):
    rng = np.random.default_rng(2)
    factors = 1 + 0.03 * rng.standard_normal((20, 4, 1, 1, 1))
    varied = counts.prompt * factors
    labels = [f"source_{k}" for k in range(20)]
    templates = vary_multijet(counts, multijet.rates, labels, varied)
    for prompt, template in zip(varied, templates, strict=True):
        fresh = estimate_multijet(replace(counts, prompt=prompt)).template.nominal
        assert_allclose(template, fresh, rtol=1e-4, atol=1e-4 * fresh.max())
    assert not np.allclose(templates[0], multijet.template.nominal, rtol=1e-3)


def test_the_size_of_the_simulation_at_high_mt_cancels(counts, multijet):
    """Only fractions are taken from there; at low mT the size is subtracted."""
    high, low = counts.prompt.copy(), counts.prompt.copy()
    high[:2] *= 1.025
    low[2:] *= 1.025
    nominal = multijet.template.nominal.sum()
    labels = ["high_up", "low_up"]
    templates = vary_multijet(counts, multijet.rates, labels, np.stack([high, low]))
    assert_allclose(templates[0].sum(), nominal, rtol=1e-5)
    # Prompt muons are isolated: to subtract more of them lowers the fake rate.
    assert -0.05 < templates[1].sum() / nominal - 1 < -0.001


def test_variations_keep_the_curves_of_the_nominal_estimate(counts):
    curves = {"fake_curve": QUADRATIC, "prompt_curve": LOGISTIC}
    multijet = estimate_multijet(counts, **curves)
    (same,) = vary_multijet(counts, multijet.rates, ["same"], counts.prompt[None])
    assert_allclose(same, multijet.template.nominal, rtol=1e-5, atol=1e-3)


def test_a_variation_without_an_estimate_is_named(counts, multijet):
    prompt = np.stack([counts.prompt, counts.prompt])
    prompt[1, 3, 0, 1] = 1e6
    message = "jes_down, charge \\+1, eta -1.2 to 0, sideband_antiiso: no multijet left"
    with pytest.raises(TemplateError, match=message):
        vary_multijet(counts, multijet.rates, ["jes_up", "jes_down"], prompt)


def test_variations_of_another_shape_are_refused(counts, multijet):
    with pytest.raises(TemplateError, match=r"expected \(2, 4, 2, 4, 30\)"):
        vary_multijet(counts, multijet.rates, ["a", "b"], counts.prompt[None])


def test_many_data_sets_are_not_one_estimate():
    many = truth().regions(np.random.default_rng(3), 2)
    with pytest.raises(TemplateError, match="give one data set and the nominal"):
        estimate_multijet(many)
