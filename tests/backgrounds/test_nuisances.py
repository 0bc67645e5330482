import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.backgrounds.region_counts import truth
from wprops.backgrounds.multijet import estimate_multijet
from wprops.backgrounds.nuisances import (
    fake_systematics,
    multijet_processes,
    principal_variations,
)
from wprops.backgrounds.rates import measure_rates
from wprops.backgrounds.template import qcd_yield
from wprops.channels import Channel, Process
from wprops.fit.model import build_model
from wprops.store import TemplateSet


@pytest.fixture(scope="module")
def expected():
    return truth(n_eta=2, n_pt=10, qcd=4e4, prompt=1e5)


@pytest.fixture(scope="module")
def template(expected):
    return estimate_multijet(expected.regions()).template


def rebuilt(variations):
    """Covariance of the pT bins that the nuisances and the variance stand for."""
    d = variations.deviations
    matrix = np.einsum("n...i,n...j->...ij", d, d)
    diagonal = np.arange(d.shape[-1])
    matrix[..., diagonal, diagonal] += variations.variance
    return matrix


def test_all_variations_are_the_covariance(template):
    variations = principal_variations(template, 1.0)
    assert len(variations.deviations) <= 5
    assert_allclose(rebuilt(variations), template.covariance(), rtol=1e-9, atol=1e-9)


def test_kept_variations_reproduce_the_spread_of_pseudo_experiments(expected, template):
    variations = principal_variations(template)
    counts = expected.regions(np.random.default_rng(1), 3000)
    yields = qcd_yield(counts, measure_rates(counts))
    n = len(yields)
    centred = yields - yields.mean(axis=0)
    sample = np.einsum("n...i,n...j->...ij", centred, centred) / (n - 1)
    covariance = rebuilt(variations)
    size = np.sqrt(np.diagonal(covariance, axis1=-2, axis2=-1))
    norm = size[..., :, None] * size[..., None, :]
    error = np.sqrt((1 + (covariance / norm) ** 2) / n)
    assert (np.abs(sample - covariance) / norm < 4.5 * error).all()
    # Without them it would not be the same.
    assert (np.abs(sample / norm)[..., 0, 1] > 5 * error[..., 0, 1]).all()


def test_what_is_left_out_stays_in_the_variance(template):
    variances = np.diagonal(template.covariance(), axis1=-2, axis2=-1)
    for fraction in (0.5, 0.9, 0.999):
        variations = principal_variations(template, fraction)
        kept = np.sum(variations.deviations**2, axis=(0, -1))
        held = kept / np.sum(template.factor**2, axis=(-1, -2))
        assert (held >= fraction).all()
        both = np.sum(variations.deviations**2, axis=0) + variations.variance
        assert_allclose(both, variances)
    fewer = principal_variations(template, 0.5).deviations
    assert len(fewer) < len(principal_variations(template, 0.9999).deviations)


def test_largest_change_is_up_and_variations_are_ordered(template):
    d = principal_variations(template, 1.0).deviations
    assert (d.max(axis=-1) >= -d.min(axis=-1)).all()
    sizes = np.sum(d**2, axis=-1)
    assert (np.diff(sizes, axis=0) <= 0).all()


def test_an_impossible_fraction_is_refused(template):
    with pytest.raises(ValueError, match=r"is 1\.5, expected 0 to 1"):
        principal_variations(template, 1.5)


def test_the_fit_gets_one_parameter_per_variation_charge_and_eta(expected, template):
    variations = principal_variations(template)
    n = len(variations.deviations)
    processes = multijet_processes(template, variations, {})
    flat = np.full(template.nominal.shape[1:], 1e5)
    signal = Process("W_UL_y0_qt0", "signal", flat, flat, {}, "UL", (0, 0))
    names = {1: "Wplus", -1: "Wminus"}
    channels = {
        names[charge]: Channel(
            name=names[charge],
            charge=charge,
            eta_edges=expected.eta_edges,
            pt_edges=expected.pt_edges,
            processes={signal.name: signal, process.name: process},
        )
        for charge, process in processes.items()
    }
    templates = TemplateSet(
        channels=channels,
        systematics=fake_systematics(n),
        luminosity=35.9,
        boson_mass=80.379,
    )
    model = build_model(templates)
    parameters = model.parameters
    assert len(parameters.names) - parameters.n_poi == n * 2 * 2
    values = parameters.start.copy()
    index = parameters.n_poi
    values[index] += 1.0
    change = model.split(model.expected(values) - model.expected(parameters.start))
    moved = [
        (name, eta)
        for name, bins in change.items()
        for eta in (0, 1)
        if bins[eta].any()
    ]
    # One standard deviation of it is the variation, in one charge and eta.
    ((name, eta),) = moved
    charge = 0 if name == "Wplus" else 1
    deviations = variations.deviations[:, charge, eta]
    assert any(np.allclose(change[name][eta], d, rtol=1e-6) for d in deviations)


def test_systematic_variations_join_the_process(template):
    variations = principal_variations(template)
    processes = multijet_processes(
        template, variations, {"jes_up": 1.1 * template.nominal}
    )
    minus = processes[-1]
    assert minus.name == "qcd"
    assert_allclose(minus.varied("jes_up"), 1.1 * template.nominal[1])
    assert_allclose(
        minus.varied("fake_stat_0_up") - minus.nominal, variations.deviations[0, 1]
    )
    assert_allclose(minus.variance, variations.variance[1])
