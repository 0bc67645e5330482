import numpy as np
import pytest
from numpy.polynomial.chebyshev import chebval
from numpy.testing import assert_allclose
from scipy.interpolate import RegularGridInterpolator

from tests.factorised.toy_responses import Breakers, toy_decays
from wprops.axes import FULL
from wprops.factorised.panels import Panels
from wprops.factorised.recoil import acceptance
from wprops.factorised.recoil_classes import RECOIL_CLASSES
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
def test_classes_add_up_to_the_recoil(sums, variable):
    recoil = sums.arrays[f"recoil_{variable}"]
    assert_allclose(recoil.sum(axis=0), sums.fold_sum("recoil"), atol=1e-9)
    assert (recoil.sum(axis=(1, 2, 3)) > 0).all()


def test_passing_muons_add_up_to_the_efficiency(decays, sums):
    passing = sums.arrays["passing_pileup"]
    assert_allclose(passing.sum(axis=0), sums.fold_sum("efficiency")[1], atol=1e-9)
    pt, eta = decays.reco_pt["nominal"], decays.reco_eta
    inside = decays.passes & (pt >= 26) & (pt < 55) & (np.abs(eta) < 2.4)
    inside &= (decays.pileup >= 20) & (decays.pileup < 25)
    charge = decays.charge[decays.reco] < 0
    starts = np.searchsorted(PANELS.efficiency_pt, 26.0 - 1e-9)
    found = passing[2][..., starts:].sum(axis=(1, 2))
    assert_allclose(found, np.bincount(charge[inside], minlength=2))


def test_muons_without_hard_radiation_are_the_rest(decays, sums):
    pt = decays.reco_pt["nominal"]
    hard = pt / decays.pt[decays.reco] < 0.9
    used = decays.passes & (pt >= 20) & (pt <= 70) & hard
    used &= decays.qt[decays.reco] < PANELS.qt[-1]
    rest = sums.fold_sum("recoil") - sums.arrays["recoil_soft"]
    assert_allclose(rest.sum(), used.sum())
    assert (rest > -1e-9).all()


def test_residuals_are_as_wide_as_in_their_class(decays, sums):
    recoil = sums.arrays["recoil_absy"][:, :4].sum(axis=(1, 3))
    e = np.arange(-89.0, 90.0, 2.0)
    width = np.sqrt(recoil @ e**2 / recoil.sum(axis=1))
    absy = np.abs(decays.y[decays.reco])
    group = np.digitize(absy, RECOIL_CLASSES["absy"])
    mean = np.bincount(group, absy) / np.bincount(group)
    assert_allclose(width, 14.0 * (1 + 0.3 * (mean - 1)), rtol=0.03)


def test_acceptances_of_classes_predict_the_yields_that_a_common_one_misses():
    decays = toy_decays(300_000, 13, Breakers(absy_width=0.3))
    by_class = fill(decays, PANELS).arrays["recoil_absy"]
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
    group = np.digitize(np.abs(decays.y[decays.reco]), RECOIL_CLASSES["absy"])
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
