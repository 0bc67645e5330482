"""A perfect response keeps the sums and has no smearing."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from wprops.axes import COARSE
from wprops.factorised.momentum import response_matrix
from wprops.factorised.panels import RATIO, RESIDUAL_PAR, Panels
from wprops.factorised.toy_decays import ToyEnsemble
from wprops.factorised.toy_ensemble import fill_ensemble, toy_response
from wprops.study.perfect import RECOIL_SHARE, RECOIL_WIDTH, perfect_response
from wprops.systematics.declaration import Systematic

PANELS = Panels.of(COARSE)


@pytest.fixture(scope="module")
def response():
    ensemble = ToyEnsemble(n_events=100_000, seed=2, fsr=True)
    return toy_response(ensemble, fill_ensemble(ensemble, PANELS).sums)


def test_muons_stay_in_their_bin(response):
    perfect = perfect_response(response).sums
    ratio, every = perfect.fold_sum("ratio"), perfect.fold_sum("generated")
    pt = np.array([32.12, 41.9])  # away from the edges of 0.25 GeV
    matrix = response_matrix(ratio, every, perfect.arrays["ratio_pt"], PANELS, pt)
    own = np.searchsorted(PANELS.pt, pt) - 1
    found = matrix[..., np.arange(2), own]
    # the toy loses no muons of that momentum
    assert_allclose(found, 1.0, atol=0.02)
    smeared = response.sums.fold_sum("ratio")
    before = response_matrix(smeared, every, perfect.arrays["ratio_pt"], PANELS, pt)
    assert (before[..., np.arange(2), own] < 0.5).all()


def test_sums_are_kept(response):
    old, new = response.sums, perfect_response(response).sums
    for name in ("ratio", "recoil"):
        axes = (-1,) if name == "ratio" else (-2, -1)
        one, two = (s.arrays[name].sum(axis=axes) for s in (old, new))
        # a Gaussian reaches beyond the cells where qT is highest
        assert_allclose(one, two, rtol=1e-6)
    for name in ("boson", "efficiency", "mass", "recoil_qt"):
        assert new.arrays[name] is old.arrays[name]
    middle = (RATIO[1:] + RATIO[:-1]) / 2
    used = new.fold_sum("ratio").any(axis=(0, 1, 2))
    assert (abs(middle[used] - 1) < 5e-4).all()


def test_the_residual_is_narrow(response):
    sums = perfect_response(response).sums
    shape = sums.fold_sum("recoil").sum(axis=-1)
    centres = (RESIDUAL_PAR[1:] + RESIDUAL_PAR[:-1]) / 2
    width = np.sqrt(shape @ centres**2 / shape.sum(axis=-1))
    wanted = np.maximum(RECOIL_WIDTH, RECOIL_SHARE * sums.mean_qt)
    # the cells add their own width
    assert_allclose(width, np.hypot(wanted, 2 / np.sqrt(12)), rtol=1e-3)


def test_variations_of_muon_and_recoil_are_dropped(response):
    muons = Systematic(
        name="muon_scale", kind="kinematic", processes=frozenset({"W"}), group="muons"
    )
    varied = replace(response, systematics=(*response.systematics, muons))
    perfect = perfect_response(varied)
    assert perfect.systematics == response.systematics
    assert perfect.sums.labels["recoil_varied"] == ()
