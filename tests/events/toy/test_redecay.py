"""Fresh decays of simulated bosons against quadrature and events."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from wprops.axes import EVEN_COMPONENTS
from wprops.errors import ConfigError
from wprops.events.toy.calibration import in_signal_region
from wprops.events.toy.detector import draw_interactions, recoil_residual
from wprops.events.toy.deviations import deviate
from wprops.events.toy.events import SAMPLES
from wprops.events.toy.generate import generate
from wprops.events.toy.redecay import component_weights, redecay
from wprops.events.toy.sampling import Bosons, sample_bosons
from wprops.events.toy.truth import ToyTruth, bin_truth, coefficients, density
from wprops.physics.harmonics import NORM, decay_density, harmonics
from wprops.physics.lepton_spectrum import lepton_template
from wprops.physics.moments import helicity_weights

TRUTH = ToyTruth()
# Fine enough for the noise of decays to be more than that of their bosons, which is
# common to the bins.
ETA, PT = np.linspace(-2.4, 2.4, 25), np.linspace(25.0, 55.0, 16)
CELL = ((8.0, 20.0), (0.8, 1.6))
N_COMPONENTS = len(EVEN_COMPONENTS)


def bosons_with_recoil(truth, charge, n, rng):
    bosons = sample_bosons(truth, charge, n, rng)
    interactions = draw_interactions(truth.detector, n, rng)
    first, second = recoil_residual(
        truth.detector, bosons.qt, bosons.y, interactions, rng
    )
    return bosons, np.stack([first, second])


def in_cell(bosons):
    (q_low, q_high), (y_low, y_high) = CELL
    absy = np.abs(bosons.y)
    inside = (bosons.qt >= q_low) & (bosons.qt < q_high)
    return np.flatnonzero(inside & (absy >= y_low) & (absy < y_high))


def templates(eta, pt, weight):
    """Sums of weights in (eta, pT), one row per component."""
    return np.stack(
        [
            np.histogram2d(eta, pt, bins=(ETA, PT), weights=column)[0].ravel()
            for column in weight.T
        ]
    )


def ensemble(truth, charge, n, n_decays, seed, *, mt=None, blocks=40, fsr=False):
    """Templates [pb] of one cell with the error of their mean over blocks of bosons."""
    rng = np.random.default_rng(seed)
    parts = []
    for _ in range(blocks):
        bosons, residual = bosons_with_recoil(truth, charge, n // blocks, rng)
        chosen = in_cell(bosons)
        bosons = Bosons(*(column[chosen] for column in bosons))
        found = redecay(
            truth, charge, bosons, residual[:, chosen], n_decays, rng, fsr=fsr
        )
        weight = found.weight.copy()
        A = coefficients(truth, charge, bosons.qt, bosons.y)[: N_COMPONENTS - 1]
        weight[:, 1:] *= A.T[found.boson]
        if mt is not None:
            weight *= (found.mt >= mt)[:, None]
        # Per boson of the cell: how many there are is noise of all bins together.
        parts.append(templates(found.eta, found.pt, weight) / len(chosen))
    sigma = bin_truth(truth, charge, *CELL)[0].item()
    mean = np.mean(parts, axis=0) * sigma
    return mean, np.std(parts, axis=0, ddof=1) * sigma / np.sqrt(blocks)


def perfect():
    """Return a truth with a detector that loses no muon above 24 GeV."""
    detector = TRUTH.detector._replace(
        efficiency_plus=1.0,
        efficiency_minus=1.0,
        id_efficiency=1.0,
        isolation_mean=1e-6,
        electron_fraction=0.0,
        flag_failure=0.0,
    )
    return ToyTruth(detector=detector)


@pytest.mark.parametrize("A", [[0.0] * 8, [0.2, 0.1, 0.15, -0.2, -0.7, 0, 0, 0]])
def test_weights_are_the_density_over_that_of_uniform_decays(A):
    rng = np.random.default_rng(1)
    c, phi = rng.uniform(-1, 1, 500), rng.uniform(-np.pi, np.pi, 500)
    weight = component_weights(c, phi)
    expected = decay_density(c, phi, A) * 4 * np.pi
    assert_allclose(weight[:, 0] + weight[:, 1:] @ A[:5], expected, rtol=1e-12)
    assert_allclose(weight[:, 1:].T, NORM * 4 * np.pi * harmonics(c, phi)[:5])


@pytest.mark.parametrize("charge", [1, -1])
def test_mean_of_fresh_decays_is_the_quadrature(charge):
    boson = TRUTH.boson(charge)

    def spectrum(qt, absy):
        return (
            density(TRUTH, charge, qt, absy),
            coefficients(TRUTH, charge, *np.broadcast_arrays(qt, absy)),
        )

    expected = lepton_template(
        spectrum,
        *CELL,
        ETA,
        PT,
        pole=boson.mass,
        width=boson.width,
        resolution=TRUTH.detector.muon_resolution,
    ).reshape(N_COMPONENTS, -1)
    mean, error = ensemble(perfect(), charge, 200_000, 8, seed=charge + 3)
    # Bins of some 50 decays at least, whose weights are Gaussian.
    filled = error[0] < 0.15 * mean[0]
    assert filled.mean() > 0.6
    pull = (mean - expected)[:, filled] / error[:, filled]
    # Of 40 blocks: a t variable with 39 degrees of freedom, of variance 39/37.
    chi2 = np.mean(pull**2) / (39 / 37)
    assert abs(chi2 - 1) < 4 * np.sqrt(2 / pull.size) + 0.03
    total, error = mean[0].sum(), np.sqrt((error[0] ** 2).sum())
    assert abs(total - expected[0].sum()) < 5 * error < 0.02 * total


@pytest.mark.parametrize("fsr", [False, True])
def test_fresh_decays_agree_with_events_in_the_signal_region(fsr):
    sizes = {"iso_recoil": 0.4, "recoil_photon": 0.8, "recoil_absy": 0.1}
    truth = deviate(TRUTH, sizes | {"recoil_pileup": 0.4})
    mean, error = ensemble(truth, 1, 200_000, 8, seed=2, mt=40.0, fsr=fsr)
    n = 1_500_000
    events = generate(SAMPLES["Wplus_mu"], n, np.random.default_rng(9), truth, fsr=fsr)
    g, r = events.generated, events.reconstructed
    bosons = Bosons(g.qt, g.y, g.mass, g.phi, g.costheta, g.phistar)
    chosen = in_cell(bosons)
    chosen = chosen[in_signal_region(r)[chosen]]
    A = coefficients(truth, 1, g.qt[chosen], g.y[chosen])
    share = helicity_weights(g.costheta[chosen], g.phistar[chosen], A)
    share = share[:, :N_COMPONENTS] * truth.wplus.sigma / n
    place = r.eta[chosen, 0], r.pt[chosen, 0]
    plain, variance = templates(*place, share), templates(*place, share**2)
    entries = templates(*place, np.ones((len(chosen), 1)))[0]
    filled = entries >= 50
    pull = (mean - plain)[:, filled] / np.sqrt(error**2 + variance)[:, filled]
    chi2 = (pull**2).mean(axis=1)
    assert np.abs(chi2 - 1).max() < 4 * np.sqrt(2 / filled.sum()) + 0.1
    # All together: the sum of UL and all A_i, where weights do not cancel.
    noise = np.sqrt((share.sum(axis=1) ** 2).sum())
    assert abs(mean.sum() - plain.sum()) < 4 * noise


def test_noise_falls_like_the_number_of_decays():
    one, many = (
        ensemble(TRUTH, 1, 40_000, k, seed=8, mt=40.0, blocks=40)[1] ** 2
        for k in (1, 16)
    )
    ratio = one.sum(axis=1) / many.sum(axis=1)
    # What is left of 16 is the boson's own noise.
    assert ((ratio > 12) & (ratio < 18)).all(), ratio


def test_wrong_inputs_are_refused():
    rng = np.random.default_rng(1)
    bosons, residual = bosons_with_recoil(TRUTH, 1, 10, rng)
    with pytest.raises(ConfigError, match="0 decays"):
        redecay(TRUTH, 1, bosons, residual, 0, rng)
    with pytest.raises(ConfigError, match=r"shape \(2, 10\)"):
        redecay(TRUTH, 1, bosons, residual.T, 3, rng)
