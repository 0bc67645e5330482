import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.factorised.toy_responses import Breakers, toy_decays
from wprops.axes import COARSE, FULL
from wprops.factorised.check_sums import ABSY, ALONG, PILEUP, fill_checks
from wprops.factorised.panels import RATIO_PT, Panels
from wprops.physics.collins_soper import leptons_from_angles

PANELS = Panels.of(FULL)


@pytest.fixture(scope="module")
def decays():
    breakers = Breakers(isolation=0.3, fsr_in_recoil=1.0)
    return toy_decays(40_000, 3, breakers, weighted=True)


@pytest.fixture(scope="module")
def sums(decays):
    return fill_checks(decays, PANELS)


@pytest.fixture(scope="module")
def muons(decays):
    """Matched muons by explicit vectors in the lab, for bosons of any azimuth."""
    i = decays.reco
    rng = np.random.default_rng(8)
    phi = rng.uniform(-np.pi, np.pi, len(i))
    boson = (decays.qt, decays.y, decays.mass, decays.costheta, decays.phistar)
    muon, neutrino = leptons_from_angles(*(column[i] for column in boson), phi)
    qt = decays.qt[i] * np.array([np.cos(phi), np.sin(phi)])
    along, across = qt / decays.qt[i], np.array([-np.sin(phi), np.cos(phi)])
    e = decays.residual["nominal"]
    hadron = qt + e[0] * along + e[1] * across
    unit = np.array([np.cos(muon[2]), np.sin(muon[2])])
    towards = np.sign(np.sum(unit * across, axis=0))
    assert_allclose(neutrino[0] * np.cos(neutrino[2]) + muon[0] * unit[0], qt[0])
    return {
        "recoil": -np.sum(hadron * unit, axis=0) / decays.reco_pt["nominal"],
        "e_par": np.clip(e[0], -90, 90),
        "e_side": np.clip(e[1], -90, 90) * towards,
        "ratio": decays.reco_pt["nominal"] / decays.pt[i],
        "weight": decays.weight[i],
    }


def test_passing_muons_are_counted_in_classes_of_the_recoil(decays, sums, muons):
    pt, eta = decays.reco_pt["nominal"], decays.reco_eta
    selected = decays.selected_weight["nominal"] * decays.passes
    columns = np.stack([decays.charge[decays.reco] < 0, eta, pt, muons["recoil"]], 1)
    edges = [
        [-0.5, 0.5, 1.5],
        PANELS.eta,
        np.arange(25.0, 56.0),
        [-np.inf, *ALONG, np.inf],
    ]
    w = muons["weight"]
    for row, weight in enumerate((w, selected, w**2, w * selected, selected**2)):
        expected, _ = np.histogramdd(columns, edges, weights=weight)
        assert_allclose(sums["check_efficiency"][row], expected, atol=1e-9)
        inside = (np.abs(eta) < 2.4) & (pt >= 25) & (pt < 55)
        pileup = np.digitize(decays.pileup, PILEUP)[inside]
        total = np.bincount(pileup, weight[inside], minlength=6)
        assert_allclose(sums["check_pileup"][row], total, atol=1e-9)


def test_residuals_are_summed_with_the_side_of_the_muon(decays, sums, muons):
    pt = decays.reco_pt["nominal"]
    qt, y = decays.qt[decays.reco], np.abs(decays.y[decays.reco])
    used = (pt >= 20) & (pt <= 70) & (qt < 200)
    panel = np.digitize(qt, PANELS.qt) - 1
    e = np.stack([muons["e_par"], muons["e_side"]])
    z = np.stack([np.ones(len(qt)), *e, *(e**2)])
    classes = {
        "fsr": np.digitize(muons["ratio"], [0.9]),
        "absy": np.digitize(y, ABSY),
        "pileup": np.digitize(decays.pileup, PILEUP),
    }
    w = muons["weight"]
    for q in (0, 5, 12):
        at = used & (panel == q)
        expected = (z[:, at] * w[at] ** 2) @ z[:, at].T
        assert_allclose(sums["check_residual"][q], expected, rtol=1e-9, atol=1e-6)
        for name, group in classes.items():
            for c, found in enumerate(sums[f"check_residual_{name}"][q]):
                here = at & (group == c)
                expected = [*(z[:, here] @ w[here]), np.sum(w[here] ** 2)]
                assert_allclose(found, expected, rtol=1e-9, atol=1e-6)


def test_responses_are_summed_in_cells_of_charge_eta_and_pt(decays, sums, muons):
    i = decays.reco
    d, w = muons["ratio"] - 1, muons["weight"]
    eta, pt = np.abs(decays.eta[i]), decays.pt[i]
    at = (decays.charge[i] < 0) & (eta >= 0.7) & (eta < 0.8) & (np.abs(d) < 0.1)
    at &= (pt >= RATIO_PT[3]) & (pt < RATIO_PT[4])
    assert at.sum() > 20
    expected = [np.sum(w[at] * d[at] ** n) for n in range(3)]
    expected += [np.sum(w[at] ** 2 * d[at] ** n) for n in range(5)]
    assert_allclose(sums["check_response"][1, 7, 3], expected, rtol=1e-9, atol=1e-12)


def test_masses_are_summed_in_cells_of_the_boson(decays, sums):
    m = np.clip(decays.mass, 70, 90) - 80
    at = (decays.qt >= 6) & (decays.qt < 8) & (np.abs(decays.y) >= 0.8)
    at &= np.abs(decays.y) < 1.2
    w = decays.weight[at]
    expected = [w.sum(), w @ m[at], w @ m[at] ** 2, w @ w]
    assert_allclose(sums["check_mass"][3, 2], expected, rtol=1e-9)
    inside = decays.qt < 200
    z = np.stack([np.ones(inside.sum()), m[inside], m[inside] ** 2])
    w = decays.weight[inside]
    assert_allclose(sums["check_mass_products"], (z * w**2) @ z.T, rtol=1e-9)


def test_sums_of_chunks_add_up(decays, sums):
    halves = []
    for part in (0, 1):
        chosen = np.arange(len(decays.qt)) % 2 == part
        matched = chosen[decays.reco]
        number = np.cumsum(chosen) - 1
        columns = {
            name: getattr(decays, name)
            for name in decays.__dataclass_fields__
            if name not in ("ratios", "reco")
        }
        cut = {
            name: {label: v[..., matched] for label, v in values.items()}
            if isinstance(values, dict)
            else values[chosen if len(values) == len(chosen) else matched]
            for name, values in columns.items()
        }
        halves.append(
            fill_checks(
                type(decays)(
                    **cut,
                    ratios=(("nominal",), np.ones((chosen.sum(), 1))),
                    reco=number[decays.reco[matched]],
                ),
                PANELS,
            )
        )
    for name, whole in sums.items():
        assert_allclose(halves[0][name] + halves[1][name], whole, atol=1e-6)


def test_bins_of_half_a_gev_leave_a_narrow_last_stratum(decays):
    binning = type(COARSE)(
        eta=COARSE.eta, pt=(26.0, 40.0, 45.5), qt=COARSE.qt, absy=COARSE.absy
    )
    every = fill_checks(decays, Panels.of(binning))["check_efficiency"][0]
    assert every.shape[2] == 20
    pt, eta = decays.reco_pt["nominal"], decays.reco_eta
    last = (pt >= 45) & (pt < 45.5) & (np.abs(eta) < 2.4)
    expected = decays.weight[decays.reco][last].sum()
    assert_allclose(every[:, :, -1].sum(), expected)
