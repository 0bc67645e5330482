"""The acceptance of muons whose photons are in the recoil."""

import numpy as np
import pytest
from numpy.polynomial.chebyshev import chebval
from numpy.polynomial.legendre import leggauss
from numpy.testing import assert_allclose
from scipy.special import ndtr

from tests.factorised.toy_responses import Breakers, toy_decays
from wprops.axes import COARSE
from wprops.errors import TemplateError
from wprops.factorised.kernel import pt_nodes
from wprops.factorised.panels import RESIDUAL_PAR, RESIDUAL_PERP, Panels
from wprops.factorised.photon_recoil import (
    PHOTON_CLASSES,
    fill_photons,
    photon_factors,
    response_shares,
    shifted_acceptance,
)
from wprops.factorised.recoil import acceptance

PANELS = Panels.of(COARSE)
SIGMA = 14.0


def expected_acceptance(qt, cosphi, pt, shift):
    """One-dimensional quadrature across the muon, Gaussian integral along it."""
    x, w = leggauss(80)
    across = 6 * SIGMA * x
    weight = 6 * w * np.exp(-((across / SIGMA) ** 2) / 2) / np.sqrt(2 * np.pi)
    c = 40.0**2 / (2 * pt[:, None])
    v_t = across - qt * np.sqrt(1 - cosphi**2)
    bound = (40.0**2 - c**2 + v_t**2) / (2 * c)
    mean = qt * cosphi + shift[:, None]
    return ndtr((bound - mean) / SIGMA) @ weight


def test_the_shifted_acceptance_is_that_of_a_gaussian_residual():
    cells = np.diff(ndtr(RESIDUAL_PAR / SIGMA))[:, None]
    cells = cells * 2 * np.diff(ndtr(RESIDUAL_PERP / SIGMA))
    qt, pt = np.linspace(0.2, 100.0, 60), PANELS.pt_centres[::6]
    series = acceptance(cells[None], [10.0], qt, pt)
    shift = -0.25 * pt
    moved = shifted_acceptance(series, qt, shift)
    sizes = []
    for i in (0, 5, 20):
        for cosphi in (-0.95, -0.3, 0.4, 0.9):
            expected = expected_acceptance(qt[i], cosphi, pt, shift)
            plain = expected_acceptance(qt[i], cosphi, pt, 0.0 * pt)
            assert_allclose(chebval(cosphi, series[i]), plain, atol=5e-4)
            sizes.append(np.abs(expected - plain).max())
            assert_allclose(chebval(cosphi, moved[i]), expected, atol=3e-3)
    assert max(sizes) > 0.1


def test_without_a_shift_nothing_changes():
    rng = np.random.default_rng(3)
    series = rng.normal(size=(4, 9, 5))
    qt = np.array([1.0, 4.0, 9.0, 30.0])
    assert_allclose(shifted_acceptance(series, qt, np.zeros(5)), series, atol=1e-12)


@pytest.mark.parametrize("part", [0.0, 0.5, 1.0])
def test_factors_are_the_photons_momentum_over_that_of_the_muon(part):
    decays = toy_decays(400_000, 21, Breakers(fsr_in_recoil=part))
    moments = np.zeros((4, 6))
    fill_photons(decays, moments)
    found = photon_factors(moments)
    pt = decays.reco_pt["nominal"]
    used = decays.passes & (pt >= 20) & (pt <= 70)
    pt, generated = pt[used], decays.pt[decays.reco[used]]
    group = np.digitize(pt / generated, PHOTON_CLASSES)
    assert_allclose(moments[:, 0], np.bincount(group), atol=1e-9)
    photon = np.bincount(group, pt * (generated - pt)) / np.bincount(group, pt * pt)
    error = 14.0 / np.sqrt(np.bincount(group, pt * pt))
    assert found[-1] == 0.0
    # Resolution of 1.5 % and the bin's edge leave 1 % of the photons out.
    expected = -part * photon[:-1]
    tolerance = 4 * error[:-1] + 0.03 * np.abs(expected)
    assert (np.abs(found[:-1] - expected) < tolerance).all()


def test_a_bias_along_qt_is_no_photon():
    """A recoil with a response of 0.8: e is -0.2 qT."""
    decays = toy_decays(400_000, 22)
    decays.residual["nominal"][0] -= 0.2 * decays.qt[decays.reco]
    moments = np.zeros((4, 6))
    fill_photons(decays, moments)
    pt = decays.reco_pt["nominal"][decays.passes]
    ratio = pt / decays.pt[decays.reco[decays.passes]]
    error = 14.0 / np.sqrt(np.bincount(np.digitize(ratio, PHOTON_CLASSES), pt * pt))
    assert (np.abs(photon_factors(moments)) < 4 * error).all()


def test_shares_of_the_response_are_parts_of_the_bins():
    shares = response_shares(PANELS)
    nodes, _ = pt_nodes(PANELS)
    assert shares.shape == (4, nodes.size, PANELS.pt.size - 1)
    assert_allclose(shares.sum(axis=0), 1.0)
    ratio = PANELS.pt_centres / nodes[:, None]
    far = np.abs(ratio[..., None] - PHOTON_CLASSES).min(axis=-1) > 0.01
    group = np.digitize(ratio, PHOTON_CLASSES)
    own = np.take_along_axis(shares, group[None], axis=0)[0]
    assert (own[far] == 1.0).all()


def test_a_sample_without_radiation_is_refused():
    moments = np.zeros((4, 6))
    moments[3] = 10.0, 900.0, 5.0, 5.0, 0.0, 0.0
    with pytest.raises(TemplateError, match=r"too few muons .* around 0.65 .* fsr"):
        photon_factors(moments)
