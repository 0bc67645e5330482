import numpy as np
import pytest
from numpy.polynomial.chebyshev import chebval
from numpy.testing import assert_allclose
from scipy.interpolate import RegularGridInterpolator

from tests.factorised.toy_responses import Breakers, toy_decays
from wprops.axes import FULL
from wprops.errors import ConfigError
from wprops.factorised.contraction import cells_of
from wprops.factorised.kernel import pt_nodes
from wprops.factorised.momentum import response_matrix
from wprops.factorised.panels import RATIO, RATIO_PT, Panels
from wprops.factorised.recoil import acceptance
from wprops.factorised.recoil_classes import (
    RECOIL_CLASSES,
    cells_of_class,
    class_of,
    fill_efficiency_classes,
    fill_recoil_classes,
    split_response,
)
from wprops.factorised.sums import fill
from wprops.physics.collins_soper import leptons_from_angles
from wprops.physics.kinematics import transverse_mass

PANELS = Panels.of(FULL)


@pytest.fixture(scope="module")
def decays():
    breakers = Breakers(fsr_in_recoil=1.0, absy_width=0.3, pileup_efficiency=0.2)
    return toy_decays(300_000, 12, breakers)


@pytest.fixture(scope="module")
def sums(decays):
    return fill(decays, PANELS)


@pytest.mark.parametrize("variable", sorted(RECOIL_CLASSES))
def test_classes_add_up_to_the_recoil_and_the_efficiency(decays, sums, variable):
    recoil = fill_recoil_classes(decays, PANELS, variable)
    assert_allclose(recoil.sum(axis=0), sums.fold_sum("recoil"), atol=1e-9)
    assert (recoil.sum(axis=(1, 2, 3)) > 0).all()
    matched, passing = sums.fold_sum("efficiency")
    counts = fill_efficiency_classes(decays, PANELS, variable)
    for by_class in counts[:, 0]:
        assert_allclose(by_class, matched, atol=1e-9)
    assert_allclose(counts[:, 1].sum(axis=0), passing, atol=1e-9)


def test_residuals_are_as_wide_as_in_their_class(decays):
    recoil = fill_recoil_classes(decays, PANELS, "absy")[:, :4].sum(axis=(1, 3))
    e = np.arange(-89.0, 90.0, 2.0)
    width = np.sqrt(recoil @ e**2 / recoil.sum(axis=1))
    absy = np.abs(decays.y[decays.reco])
    group = class_of(decays, "absy")
    mean = np.bincount(group, absy) / np.bincount(group)
    assert_allclose(width, 14.0 * (1 + 0.3 * (mean - 1)), rtol=0.03)


def test_unknown_classes_are_named(decays):
    with pytest.raises(
        ConfigError, match="no recoil classes of 'phi'; choose from fsr"
    ):
        fill_recoil_classes(decays, PANELS, "phi")


def test_the_responses_of_hard_and_soft_radiation_add_up(sums):
    measured = sums.fold_sum("ratio")[0]
    # The hardest classes have few muons, of which none radiated.
    ratio = measured + np.random.default_rng(1).uniform(0.1, 1.0, measured.shape)
    hard, soft = split_response(ratio)
    assert (hard[..., RATIO[1:] > 0.9 + 1e-9] == 0.0).all()
    assert (soft[..., RATIO[1:] < 0.9 + 1e-9] == 0.0).all()
    generated = ratio.sum(axis=2)
    centre = (np.array(RATIO_PT[1:]) + RATIO_PT[:-1]) / 2
    rest = generated, generated * centre, PANELS, pt_nodes(PANELS)[0]
    whole = response_matrix(ratio, *rest)
    parts = [response_matrix(part, *rest) for part in (hard, soft)]
    assert_allclose(parts[0] + parts[1], whole, atol=1e-12)
    assert parts[0].sum() > 0.01 * whole.sum()


def test_cells_are_divided_among_the_classes_of_rapidity():
    cells = cells_of(PANELS)
    parts = [cells_of_class(PANELS, c) for c in range(6)]
    chosen = np.stack([part >= 0 for part in parts])
    assert (chosen.sum(axis=0) == (cells >= 0)).all()
    assert_allclose(np.max(parts, axis=0), cells)
    # Panels of 0.1: the second class begins at 0.4.
    assert parts[1][0, 3] == -1
    assert parts[1][0, 4] == cells[0, 4]


def test_acceptances_of_classes_predict_the_yields_that_a_common_one_misses():
    decays = toy_decays(300_000, 13, Breakers(absy_width=0.3))
    by_class = fill_recoil_classes(decays, PANELS, "absy")
    filled = (by_class.sum(axis=(2, 3)) > 0).all(axis=0)
    qt, p = decays.qt[decays.reco], decays.reco_pt["nominal"]
    place = np.digitize(qt, PANELS.qt) - 1
    weights = np.bincount(place, qt, minlength=16), np.bincount(place, minlength=16)
    mean = np.divide(weights[0][:16], np.maximum(weights[1][:16], 1))
    nodes, pt = np.linspace(0.0, 60.0, 31), PANELS.pt_centres[::4]
    boson = [decays.qt, decays.y, decays.mass, decays.costheta, decays.phistar]
    boson = [column[decays.reco] for column in boson]
    phi = leptons_from_angles(*boson, np.zeros(len(qt)))[0][2]
    e = decays.residual["nominal"]
    met = qt + e[0] - p * np.cos(phi), e[1] - p * np.sin(phi)
    mt = transverse_mass(p, phi, np.hypot(*met), np.arctan2(met[1], met[0]))
    inside = (p > 26) & (p < 53) & (qt < 60) & decays.passes
    group = class_of(decays, "absy")
    cosphi = np.linspace(-1, 1, 41)
    chi2 = {"classes": 0.0, "common": 0.0}
    for c, own in enumerate(by_class):
        at = inside & (group == c)
        for name, histogram in (("classes", own), ("common", by_class.sum(axis=0))):
            series = acceptance(histogram[filled], mean[filled], nodes, pt)
            values = np.moveaxis(chebval(cosphi, np.moveaxis(series, 1, 0)), -1, 1)
            E = RegularGridInterpolator((nodes, cosphi, pt), values)(
                (qt[at], np.cos(phi)[at], p[at])
            )
            seen = (mt[at] > 40.0).sum()
            chi2[name] += (seen - E.sum()) ** 2 / np.sum(E * (1 - E))
    assert chi2["classes"] < 22.0  # 6 classes: p = 0.001
    assert chi2["common"] > 200.0
