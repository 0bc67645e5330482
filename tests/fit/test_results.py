"""A result is the same after it was written and read, and tells all of itself."""

from dataclasses import fields, is_dataclass, replace

import h5py
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from tests.fit.conftest import build_set
from wprops.errors import TemplateError
from wprops.fit.results import FitResult
from wprops.fit.run import run_fit


@pytest.fixture(scope="module")
def templates():
    return build_set(n_cells=1)


@pytest.fixture(scope="module")
def result(templates):
    return run_fit(
        templates,
        impacts=True,
        freeze={"top_*": 0.5},
        scans=[
            {"m_W": np.linspace(80.3, 80.4, 3)},
            {"lumi": np.array([-1.0, 1.0]), "mw": np.array([0.0, 1.0])},
        ],
        intervals=["m_W", "lumi"],
    )


def assert_same(first, second):
    assert type(first) is type(second)
    if isinstance(first, np.ndarray):
        assert_array_equal(first, second)
    elif isinstance(first, dict):
        assert list(first) == list(second)
        for name in first:
            assert_same(first[name], second[name])
    elif is_dataclass(first):
        for field in fields(first):
            assert_same(getattr(first, field.name), getattr(second, field.name))
    else:
        assert first == second


def test_a_file_holds_all_of_a_result(result, tmp_path):
    result.write(tmp_path / "fit.h5")
    assert_same(FitResult.read(tmp_path / "fit.h5"), result)


def test_a_result_without_impacts_and_correction_is_written_too(result, tmp_path):
    bare = replace(
        result, impacts=None, corrected=None, scans={}, intervals={}, frozen=()
    )
    bare.write(tmp_path / "fit.h5")
    assert_same(FitResult.read(tmp_path / "fit.h5"), bare)


def test_points_that_failed_are_kept_as_such(result, tmp_path):
    scan = result.scans["m_W"]
    failed = replace(scan, nll=np.array([np.nan, 0.0, 1.0]), reasons=("why", "", ""))
    replace(result, scans={"m_W": failed}).write(tmp_path / "fit.h5")
    again = FitResult.read(tmp_path / "fit.h5").scans["m_W"]
    assert np.isnan(again.nll[0])
    assert again.reasons == ("why", "", "")
    assert (
        "3 points, 1 without a minimum\n  why"
        in replace(result, scans={"m_W": failed}).summary()
    )


def test_a_result_that_lost_a_part_is_refused(result, tmp_path):

    result.write(tmp_path / "fit.h5")
    with h5py.File(tmp_path / "fit.h5", "a") as file:
        del file["postfit_yields"]
    with pytest.raises(TemplateError, match="has no 'postfit_yields'"):
        FitResult.read(tmp_path / "fit.h5")


def test_frozen_parameters_have_no_error_and_no_correlation(result):
    index = result.names.index("top_xsec")
    assert result.frozen == ("top_xsec",)
    assert result.values[index] == 0.5
    assert result.errors[index] == 0
    correlation = result.correlation
    assert not correlation[index].any()
    others = np.delete(np.arange(len(correlation)), index)
    np.testing.assert_allclose(np.diag(correlation)[others], 1, rtol=1e-12)


def test_the_summary_has_what_was_asked_for(result):
    text = result.summary()
    mass, found = result.derived["m_W"], result.intervals["m_W"]
    assert f"m_W = {mass.values[0]:.4f} ± {mass.errors[0]:.4f} GeV" in text
    assert f"interval of m_W: [{found.low[0]:.5g}, {found.high[0]:.5g}]" in text
    assert "frozen: top_xsec" in text
    assert "scan of lumi, mw: 4 points, 0 without a minimum" in text
    assert f"error of m_W: {mass.errors[0]:.3g} GeV, from" in text
    data = np.sqrt(result.impacts.parts[result.impacts.index("m_W"), 0])
    assert f"data{data:>30.3g} GeV" in text
    after = result.postfit_yields["Wplus"]
    assert f"{after.group_events[0]:,.1f} ± {after.group_errors[0]:>9,.1f}" in text
    row = next(line for line in text.splitlines() if line.startswith("top_xsec"))
    assert row.endswith("0.500    0.000  1 sigma, frozen")


def test_a_scan_below_the_minimum_is_pointed_out(result):
    scan = replace(result.scans["m_W"], nll=np.array([0.5, -0.3, 0.4]))
    text = replace(result, scans={"m_W": scan}).summary()
    assert "the NLL falls 0.3 below the fit" in text


def test_yields_after_the_fit_are_those_of_its_templates(result, templates):
    for name, yields in result.postfit_yields.items():
        fitted = result.postfit[name].yields
        np.testing.assert_allclose(yields.events, fitted.sum(axis=0), rtol=1e-12)
        before = result.prefit_yields[name]
        # the background that is frozen away from its start
        top = before.groups.index("top")
        nominal = templates.channels[name].processes["top"].nominal.sum()
        assert before.group_events[top] == pytest.approx(nominal * np.sqrt(1.06))
        # the fit measures what was uncertain
        assert yields.total_error < 0.5 * before.total_error


def test_a_file_stays_small(result, tmp_path):
    result.write(tmp_path / "fit.h5")
    stored = sum(p.yields.nbytes for p in result.postfit.values())
    stored += result.covariance.nbytes + result.finite_mc.noise_floor.nbytes
    assert (tmp_path / "fit.h5").stat().st_size < 10 * stored + 100_000
