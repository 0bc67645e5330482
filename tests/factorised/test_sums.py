"""Sums over decays against histograms and loops of NumPy."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.factorised.chunks import THEORY, make_decays, some_of
from wprops.axes import COARSE, FULL
from wprops.errors import InputError, TemplateError
from wprops.factorised.panels import (
    MASS,
    RATIO,
    RATIO_ABSETA,
    RATIO_PT,
    RESIDUAL_PAR,
    RESIDUAL_PERP,
    Panels,
)
from wprops.factorised.sums import FOLDED, array_shapes, fill

PANELS = Panels.of(COARSE)
FOLDS, CHARGES = np.arange(21), [-1.5, 0.0, 1.5]


@pytest.fixture(scope="module")
def decays():
    return make_decays()


@pytest.fixture(scope="module")
def sums(decays):
    return fill(decays, PANELS)


def histogram(columns, edges, weights):
    return np.histogramdd(columns, edges, weights=weights)[0]


def bosons(decays, weights):
    """Histogram of charge, in the order of the sums, qT and |Y|.

    Of bosons with the masses of the line shape.
    """
    inside = (decays.mass >= MASS[0]) & (decays.mass < MASS[-1])
    columns = [-decays.charge, decays.qt, np.abs(decays.y)]
    edges = [CHARGES, PANELS.qt, PANELS.absy]
    return histogram([c[inside] for c in columns], edges, weights[inside])


def test_nodes_hold_the_events_and_their_moments_up_to_the_cubic(decays, sums):
    """Lagrange moments are exact up to degree 3 in qT and 2 in |Y|."""
    moments = sums.fold_sum("boson")
    absy, scale = np.abs(decays.y), bosons(decays, np.abs(decays.weight))
    for a in range(4):
        for b in range(3):
            found = np.einsum(
                "cqayb,qa,yb->cqy", moments, PANELS.qt_nodes**a, PANELS.absy_nodes**b
            )
            weights = decays.weight * decays.qt**a * absy**b
            size = scale * PANELS.qt[1:, None] ** a * PANELS.absy[1:] ** b
            difference = np.abs(found - bosons(decays, weights))
            assert (difference <= 1e-12 * size + 1e-13).all()


def test_a_wrong_power_is_not_exact(decays, sums):
    found = np.einsum("cqayb,qa->cqy", sums.fold_sum("boson"), PANELS.qt_nodes**4)
    expected = bosons(decays, decays.weight * decays.qt**4)
    assert (
        np.abs(found / np.where(expected, expected, np.nan) - 1)[:, 5, 0].max() > 1e-6
    )


def test_no_boson_is_lost(decays, sums):
    inside = sums.fold_sum("boson").sum(axis=(1, 2, 3, 4))
    for k, charge in enumerate((1, -1)):
        expected = decays.weight[decays.charge == charge].sum()
        assert_allclose(inside[k] + sums.arrays["outside"][k], expected, rtol=1e-12)
    assert (sums.arrays["outside"] > 0).all()


def test_squares_and_variations_are_the_histograms(decays, sums):
    assert_allclose(
        sums.arrays["boson_squares"], bosons(decays, decays.weight**2), rtol=1e-12
    )
    labels, ratios = decays.ratios
    assert sums.labels["boson_varied"] == labels == THEORY
    for k in range(len(labels)):
        expected = bosons(decays, decays.weight * ratios[:, k])
        assert_allclose(
            sums.arrays["boson_varied"][k], expected, rtol=1e-10, atol=1e-11
        )
    nominal = sums.fold_sum("boson").sum(axis=(2, 4))
    assert_allclose(sums.arrays["boson_varied"][0], nominal, rtol=1e-10, atol=1e-11)


def test_polarisation_is_the_sum_of_the_harmonics(decays, sums):
    c, phi = decays.costheta, decays.phistar
    s = np.sqrt(1 - c**2)
    harmonics = [
        np.ones(len(c)),
        (1 - 3 * c**2) / 2,
        2 * s * c * np.cos(phi),
        s**2 * np.cos(2 * phi) / 2,
        s * np.cos(phi),
        c,
        s**2 * np.sin(2 * phi),
        2 * s * c * np.sin(phi),
        s * np.sin(phi),
    ]
    columns = [-decays.charge, np.abs(decays.y), decays.qt]
    edges = [CHARGES, COARSE.absy, COARSE.qt]
    for v in range(len(THEORY)):
        for k, P in enumerate(harmonics):
            weights = decays.weight * decays.ratios[1][:, v] * P
            expected = histogram(columns, edges, weights).reshape(2, -1)
            found = sums.arrays["polarisation"][v, :, :, k]
            assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


def test_masses_are_the_histogram(decays, sums):
    columns = [decays.fold, -decays.charge, decays.mass]
    expected = histogram(columns, [FOLDS, CHARGES, MASS], decays.weight)
    assert_allclose(sums.arrays["mass"], expected, rtol=1e-12)
    squares = histogram(columns[1:], [CHARGES, MASS], decays.weight**2)
    assert_allclose(sums.arrays["mass_squares"], squares, rtol=1e-12)


def test_responses_are_the_histogram(decays, sums):
    edges = [FOLDS, CHARGES, RATIO_ABSETA, RATIO_PT]
    columns = [decays.fold, -decays.charge, np.abs(decays.eta), decays.pt]
    expected = histogram(columns, edges, decays.weight)
    assert_allclose(sums.arrays["generated"], expected, rtol=1e-12)
    with_pt = histogram(columns[1:], edges[1:], decays.weight * decays.pt)
    assert_allclose(sums.arrays["ratio_pt"], with_pt, rtol=1e-12)
    reco = decays.reco
    matched = [column[reco] for column in columns]
    for label, pt in decays.reco_pt.items():
        ratio = pt / decays.pt[reco]
        expected = histogram(
            [*matched[1:], ratio], [*edges[1:], RATIO], decays.weight[reco]
        )
        if label == "nominal":
            found = sums.fold_sum("ratio")
        else:
            place = sums.labels["ratio_varied"].index(label)
            found = sums.arrays["ratio_varied"][place]
        # A value on an edge may be on either side of it in the two.
        assert np.abs(found - expected).sum() < 1e-9 * np.abs(expected).sum()


def test_efficiencies_are_the_histograms(decays, sums):
    reco, passes = decays.reco, decays.passes
    edges = [CHARGES, COARSE.eta, PANELS.efficiency_pt]
    varied = sums.labels["efficiency_varied"]
    assert set(varied) == {
        *("muon_scale_up", "muon_scale_down", "prefire_up", "prefire_down")
    }
    for label in ("nominal", *varied):
        pt = decays.reco_pt.get(label, decays.reco_pt["nominal"])
        weight = decays.selected_weight.get(label, decays.selected_weight["nominal"])
        columns = [-decays.charge[reco], decays.reco_eta, pt]
        found = (
            sums.fold_sum("efficiency")
            if label == "nominal"
            else sums.arrays["efficiency_varied"][varied.index(label)]
        )
        expected = [
            histogram(columns, edges, w)
            for w in (decays.weight[reco], np.where(passes, weight, 0.0))
        ]
        assert_allclose(found, expected, rtol=1e-11, atol=1e-12)
        assert np.abs(found[1]).sum() > 0
        if label == "nominal":
            g, p = decays.weight[reco], np.where(passes, weight, 0.0)
            squares = [histogram(columns, edges, w) for w in (g * g, g * p, p * p)]
            assert_allclose(sums.arrays["efficiency_squares"], squares, rtol=1e-11)


def recoil_histogram(decays, residual, counts, weight):
    qt = decays.qt[decays.reco]
    low, high = np.clip(residual[0], -89.9, 89.9), np.abs(residual[1])
    columns = [qt[counts], low[counts], np.minimum(high, 89.9)[counts]]
    edges = [PANELS.qt, RESIDUAL_PAR, RESIDUAL_PERP]
    return histogram(columns, edges, weight[counts])


def test_residuals_are_the_histogram_with_the_far_ones_at_its_edge(decays, sums):
    pt, weight = decays.reco_pt["nominal"], decays.selected_weight["nominal"]
    inside = (pt >= 20) & (pt <= 70)
    counts = inside & decays.passes
    varied = sums.labels["recoil_varied"]
    for label, residual in decays.residual.items():
        expected = recoil_histogram(decays, residual, counts, weight)
        found = (
            sums.fold_sum("recoil")
            if label == "nominal"
            else sums.arrays["recoil_varied"][varied.index(label)]
        )
        assert_allclose(found, expected, rtol=1e-11, atol=1e-12)
    matched = recoil_histogram(decays, decays.residual["nominal"], inside, weight)
    assert_allclose(sums.arrays["recoil_matched"], matched, rtol=1e-11, atol=1e-12)
    assert (np.abs(decays.residual["nominal"][:, counts]) > 90).any(axis=1).all()
    qt = decays.qt[decays.reco]
    total = histogram([qt[counts]], [PANELS.qt], (weight * qt)[counts])
    assert_allclose(sums.arrays["recoil_qt"], total, rtol=1e-11)


def test_sums_of_parts_are_the_sum_of_all(decays, sums):
    parts = [some_of(decays, np.arange(k, len(decays.qt), 3)) for k in range(3)]
    one, two, three = (fill(part, PANELS) for part in parts)
    before = one.arrays["boson"].copy()
    total = one + two
    total += three
    assert_array_equal(one.arrays["boson"], before)
    assert total.arrays.keys() == sums.arrays.keys()
    for name, values in sums.arrays.items():
        scale = np.abs(values).max()
        assert_allclose(
            total.arrays[name], values, rtol=1e-12, atol=1e-13 * scale, err_msg=name
        )


def test_leaving_out_a_fold_is_a_sum_without_its_events(decays, sums):
    rest = fill(some_of(decays, decays.fold != 7), PANELS)
    left = sums.leave_out(7)
    for name in FOLDED:
        found, expected = left.fold_sum(name), rest.fold_sum(name) * 20 / 19
        assert_allclose(found, expected, rtol=1e-11, atol=1e-12, err_msg=name)
    assert sums.arrays["boson"][7].any()


def test_a_jackknife_gives_the_error_of_a_sum_of_weights():
    n = 200_000
    base = make_decays(n, seed=5)
    sums = fill(base, PANELS)
    totals = [sums.leave_out(k).fold_sum("boson")[0].sum() for k in range(20)]
    variance = 19 / 20 * np.sum((totals - np.mean(totals)) ** 2)
    expected = sums.arrays["boson_squares"][0].sum()
    # χ² of 19 degrees of freedom: a third of itself is one standard deviation.
    assert 0.3 < variance / expected < 2.0


def test_arrays_have_the_shapes_that_a_reader_expects(sums):
    for name, shape in array_shapes(PANELS, sums.labels).items():
        assert sums.arrays[name].shape == shape
    others = set(sums.arrays) - set(array_shapes(PANELS, sums.labels))
    assert others
    assert all(name.startswith("check_") for name in others)


def test_sums_of_other_axes_or_labels_do_not_add(decays, sums):
    with pytest.raises(TemplateError, match="their panels are"):
        sums + fill(decays, Panels.of(FULL))
    fewer = dataclasses.replace(
        decays, ratios=(THEORY[:2], np.ascontiguousarray(decays.ratios[1][:, :2]))
    )
    with pytest.raises(TemplateError, match="their labels of variations are"):
        sums + fill(fewer, PANELS)


def test_no_muons_leave_the_arrays_of_the_detector_empty(decays):
    none = some_of(decays, np.setdiff1d(np.arange(len(decays.qt)), decays.reco))
    assert len(none.reco) == 0
    sums = fill(none, PANELS)
    assert sums.arrays["boson"].any()
    for name in ("ratio", "efficiency", "recoil", "recoil_qt"):
        assert not sums.arrays[name].any()


def with_nan(values):
    changed = np.array(values, dtype=float)
    changed.flat[3] = np.nan
    return changed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: {"mass": with_nan(d.mass)}, r"mass has 1 values that are NaN"),
        (lambda d: {"eta": d.eta[:-1]}, r"eta has the shape \(5999,\); expected \(6"),
        (
            lambda d: {"residual": {"nominal": with_nan(d.residual["nominal"])}},
            r"residual\['nominal'\] has 1 values that are NaN",
        ),
        (
            lambda d: {"selected_weight": {"up": d.selected_weight["nominal"]}},
            r"selected_weight has no entry 'nominal'",
        ),
        (
            lambda d: {"ratios": (("up", "nominal", "x"), d.ratios[1])},
            r"ratios has the labels \('up'.*put nominal first",
        ),
        (lambda d: {"charge": 2 * d.charge}, r"charge reaches from 2 to 2"),
        (lambda d: {"fold": d.fold + 1}, r"fold reaches from 1 to 20, not 0 to 19"),
        (
            lambda d: {"reco": d.reco + 9},
            r"reco reaches from \d+ to \d+, not 0 to 5999",
        ),
        (lambda d: {"passes": d.passes[1:]}, r"passes has the shape"),
    ],
)
def test_columns_that_are_no_good_are_named(decays, change, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(decays, **change(decays))
