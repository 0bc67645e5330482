from functools import cache

import numpy as np
import pytest
from scipy.stats import kstest

from tests.factorised.toy_responses import INTACT, Breakers, toy_decays
from wprops.axes import FULL
from wprops.events.toy.deviations import deviate
from wprops.events.toy.truth import ToyTruth
from wprops.factorised import assumptions
from wprops.factorised.check_sums import fill_checks
from wprops.factorised.panels import Panels
from wprops.factorised.toy_decays import ToyEnsemble

PANELS = Panels.of(FULL)
NAMES = tuple(assumptions.REMEDIES)
SAMPLES = 100


def add(parts):
    total = None
    for part in parts:
        total = part if total is None else {k: v + part[k] for k, v in total.items()}
    return total


@cache
def outcomes(breakers):
    """Outcomes by name of one sample of 600 000 events."""
    sums = add(
        fill_checks(toy_decays(200_000, (5, i), breakers), PANELS) for i in range(3)
    )
    return {a.name: a for a in assumptions.check_assumptions(sums, PANELS)}


def found(by_name):
    return {name for name, a in by_name.items() if a.verdict != "holds"}


def test_nothing_is_found_where_all_holds():
    assert found(outcomes(INTACT)) == set()


@pytest.mark.parametrize(
    ("breakers", "name"),
    [
        (Breakers(isolation=0.05), "efficiency and recoil"),
        (Breakers(fsr_in_recoil=1.0), "residual and hard FSR"),
        (Breakers(absy_width=0.05), "residual and rapidity"),
        (Breakers(resolution_step=0.3), "response and eta"),
        (Breakers(mass_tilt=0.04), "mass and boson"),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)
def test_a_broken_assumption_is_found_by_name_and_no_other(breakers, name):
    by_name = outcomes(breakers)
    assert found(by_name) == {name}
    assert by_name[name].verdict == "fails"
    assert by_name[name].effect > assumptions.EFFECT_TOLERANCE


def test_sizes_are_those_that_were_put_in():
    # u_p/p' of the outer classes is about ±0.8, and g = 1 + 0.05 u_p/p'.
    assert outcomes(Breakers(isolation=0.05))["efficiency and recoil"].size == (
        pytest.approx(0.04, rel=0.2)
    )
    # |Y| is 2.7 on average in the last class, 1.4 in all: 5 % · 1.3 of 14 GeV, twice.
    assert outcomes(Breakers(absy_width=0.05))["residual and rapidity"].size == (
        pytest.approx(np.sqrt(2) * 0.05 * 1.3 * 14, rel=0.2)
    )
    # The spread of |Y|, 1.08, times 40 MeV; clipping keeps most of it.
    assert outcomes(Breakers(mass_tilt=0.04))["mass and boson"].size == (
        pytest.approx(0.04 * 1.08, rel=0.25)
    )
    # 30 % of 0.015 in 1.8 … 2.0 against the average of the class, 15 %.
    assert outcomes(Breakers(resolution_step=0.3))["response and eta"].size == (
        pytest.approx(0.15 * 0.015, rel=0.2)
    )


def test_pileup_matters_only_together_with_the_efficiency():
    name = "residual and pile-up"
    alone = outcomes(Breakers(pileup_width=0.2))
    assert found(alone) == {name}
    assert alone[name].verdict == "small"
    assert alone[name].effect < 1e-4
    both = outcomes(Breakers(pileup_width=0.2, pileup_efficiency=0.2))
    assert both[name].verdict == "fails"
    # Muons of events with a wide residual, on either side, are less often isolated.
    assert found(both) == {name, "efficiency and recoil"}


def test_the_tolerance_decides_what_a_significant_effect_is():
    sums = fill_checks(toy_decays(300_000, 2, Breakers(isolation=0.2)), PANELS)
    strict, *_ = assumptions.check_assumptions(sums, PANELS)
    lax, *_ = assumptions.check_assumptions(sums, PANELS, tolerance=0.5)
    assert (strict.verdict, lax.verdict) == ("fails", "small")
    assert strict.remedy == assumptions.REMEDIES["efficiency and recoil"]


def test_too_few_events_leave_an_assumption_untested():
    sums = fill_checks(toy_decays(300, 2), PANELS)
    found = {a.name: a for a in assumptions.check_assumptions(sums, PANELS)}
    for name in ("efficiency and recoil", "residual and hard FSR", "response and eta"):
        assert (found[name].verdict, found[name].ndf, found[name].p) == (
            "untested",
            0,
            1.0,
        )


def p_values(seed):
    """p of all tests in a small sample, in which bosons are slow.

    With few classes of qT these have enough events, of both signs of weight.
    """
    decays = toy_decays(60_000, (9, seed), weighted=True, qt_scale=0.5)
    sums = fill_checks(decays, PANELS)
    return [a.p for a in assumptions.check_assumptions(sums, PANELS) if a.ndf > 0]


@pytest.fixture(scope="module")
def ensemble():
    """p-values, shape (SAMPLES, n tests)."""
    return np.array([p_values(seed) for seed in range(SAMPLES)])


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name.replace(" ", "-"))
def test_p_values_are_uniform_where_all_holds(ensemble, name):
    values = ensemble[:, NAMES.index(name)]
    assert kstest(values, "uniform").pvalue > 0.01


@pytest.mark.parametrize(
    ("deviation", "name"),
    [
        ({"iso_recoil": 0.3}, "efficiency and recoil"),
        ({"recoil_photon": 1.0}, "residual and hard FSR"),
        ({"recoil_absy": 0.05}, "residual and rapidity"),
        ({"recoil_pileup": 0.3}, "residual and pile-up"),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)
def test_deviations_of_the_toy_are_found(deviation, name):
    ensemble = ToyEnsemble(
        n_events=500_000, seed=4, truth=deviate(ToyTruth(), deviation), fsr=True
    )
    sums = add(
        fill_checks(ensemble.simulate(chunk).decays, PANELS)
        for chunk in ensemble.chunks()
    )
    by_name = {a.name: a for a in assumptions.check_assumptions(sums, PANELS)}
    assert found(by_name) == {name}


def test_a_resolution_that_grows_with_eta_is_described_by_its_classes():
    truth = deviate(ToyTruth(), {"mu_resolution": -0.005, "mu_resolution_eta": 0.5})
    ensemble = ToyEnsemble(n_events=500_000, seed=5, truth=truth, fsr=True)
    sums = add(
        fill_checks(ensemble.simulate(chunk).decays, PANELS)
        for chunk in ensemble.chunks()
    )
    cells = sums["check_response"][:, :, 3:5].sum(axis=(0, 2))
    width = np.sqrt(cells[:, 2] / cells[:, 0])
    assert width[-1] > 1.15 * width[0]
    assert (
        found({a.name: a for a in assumptions.check_assumptions(sums, PANELS)}) == set()
    )
