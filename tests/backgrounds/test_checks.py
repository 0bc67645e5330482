from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.backgrounds.region_counts import truth
from wprops.backgrounds.checks import (
    ALTERNATIVES,
    compare_curves,
    sideband_closure,
)
from wprops.backgrounds.curves import polynomial
from wprops.backgrounds.multijet import Multijet, estimate_multijet
from wprops.backgrounds.rates import measure_rates
from wprops.backgrounds.template import build_template


@pytest.fixture(scope="module")
def expected():
    return truth(n_eta=2, n_pt=15, qcd=1e5, prompt=4e5)


def ensemble(expected, n):
    counts = expected.regions(np.random.default_rng(1), n)
    rates = measure_rates(counts)
    return counts, Multijet(rates, build_template(counts, rates), ())


def test_the_sideband_closes_within_its_errors(expected):
    counts, multijet = ensemble(expected, 500)
    closure = sideband_closure(counts, multijet)
    pulls = closure.difference / closure.error
    assert abs(pulls.mean()) < 4 / np.sqrt(pulls.size)
    # The fitted prompt rate and the simulation are taken as independent.
    assert abs(pulls.std() - 1) < 4 / np.sqrt(2 * pulls.size) + 0.05


def test_the_closure_compares_what_the_sideband_holds(expected):
    counts = expected.regions()
    closure = sideband_closure(counts, estimate_multijet(counts))
    assert_allclose(closure.observed, expected.qcd[2])
    assert_allclose(closure.estimate, expected.qcd[2], rtol=1e-5)


def test_a_wrong_shape_of_the_fake_rate_breaks_the_closure():
    """A constant, where the fake rate rises by 1 % per GeV."""
    counts = truth().regions()
    multijet = estimate_multijet(counts, fake_curve=polynomial(0))
    closure = sideband_closure(counts, multijet)
    assert (closure.difference > 4 * closure.error).all()


def test_other_curves_change_nothing_where_the_first_are_right(expected):
    counts = expected.regions()
    rows = compare_curves(counts, estimate_multijet(counts))
    assert len(rows) == 2 * (1 + len(ALTERNATIVES))
    by_name = {row["curves"]: row for row in rows}
    assert by_name["nominal"]["change"] == 0
    # Contains the linear rate: the same up to the tolerance of the fit.
    quadratic = by_name["quadratic fake rate"]
    assert abs(quadratic["moved"]) < 1e-5
    # Other functions, close to the error function between 25 and 55 GeV.
    for name in ("logistic prompt rate", "cubic prompt rate"):
        assert 1e-5 < by_name[name]["moved"] < 0.02
        assert abs(by_name[name]["change"]) < 1e-3


def test_a_bend_of_the_fake_rate_shows_as_a_change(expected):
    counts = expected.regions()
    pt = counts.pt
    data = counts.data.copy()
    bend = 1 + 1.5e-3 * (pt - 35.0) ** 2
    data[2] = expected.qcd[2] * bend + expected.prompt[2]
    bent = replace(counts, data=data)
    rows = compare_curves(bent, estimate_multijet(bent))
    nominal = next(row for row in rows if row["curves"] == "nominal")
    row = next(row for row in rows if row["curves"] == "quadratic fake rate")
    assert row["moved"] > 0.005
    assert row["fake_chi2"] < nominal["fake_chi2"] - 25
    assert row["fake_ndf"] == nominal["fake_ndf"] - 2
    assert abs(row["largest"]) >= abs(row["change"])
