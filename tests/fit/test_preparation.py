"""What a fit is given: data, starting values, frozen parameters."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.fit.conftest import single_set
from wprops.channels import Process, Sidebands
from wprops.errors import ConfigError, FitError, TemplateError
from wprops.fit.model import build_model
from wprops.fit.run import run_fit


def test_patterns_freeze_parameters_at_the_start_or_at_a_value(template_set):
    result = run_fit(
        template_set, freeze={"*muon_scale": 0.2, "Wplus/W_A4*": None, "lumi": None}
    )
    assert result.frozen == (
        *("Wplus/muon_scale", "Wminus/muon_scale"),
        *("Wplus/W_A4_y0_qt0", "Wplus/W_A4_y0_qt1", "lumi"),
    )
    values = dict(zip(result.names, result.values.tolist(), strict=True))
    assert [values[name] for name in result.frozen] == [0.2, 0.2, 1.0, 1.0, 0.0]
    assert result.provenance["fit"]["frozen"]["Wminus/muon_scale"] == 0.2
    n_free = len(result.names) - len(result.frozen)
    constrained = {"Wplus/muon_scale", "Wminus/muon_scale", "lumi"}
    assert result.gof.ndf == 96 - (n_free - (6 - len(constrained)))


def test_a_pattern_without_a_parameter_is_named(template_set):
    with pytest.raises(TemplateError, match="no parameter matches 'pdf_x\\*'; the"):
        run_fit(template_set, freeze={"pdf_x*": None})


def test_a_snapshot_is_where_a_fit_begins_and_freezes(template_set):
    first = run_fit(template_set)
    again = run_fit(template_set, start=first)
    assert again.iterations < first.iterations
    assert_allclose(again.nll, first.nll, atol=1e-6)
    frozen = run_fit(template_set, start=first, freeze={"mw": None})
    index = first.names.index("mw")
    assert frozen.values[index] == first.values[index]
    assert frozen.errors[index] == 0
    part = run_fit(template_set, start=first, channels=["Wplus"])
    assert set(part.names) < set(first.names)
    single = single_set(
        {
            "W": Process(
                "W",
                "signal",
                np.array([[9.0]]),
                np.array([[0.0]]),
                component="UL",
                cell=(0, 0),
            )
        },
        data=np.array([[9.0]]),
        name="Z",
    )
    with pytest.raises(TemplateError, match="to begin from has no parameter of this"):
        run_fit(single, start=first)


def test_a_toy_is_thrown_from_the_prediction_by_its_seed(template_set):
    first, same, other = (
        run_fit(template_set, data="toy", seed=seed) for seed in (1, 1, 2)
    )
    assert (first.values == same.values).all()
    assert (first.values != other.values).any()
    pulls = (first.values - first.parameters.start) / first.errors
    # 19 pulls of unit width, also those of constrained parameters
    assert 0.4 < np.sqrt((pulls**2).mean()) < 1.7
    assert first.provenance["fit"] == {
        "data": "toy",
        "seed": 1,
        "barlow_beeston": True,
        "frozen": {},
        "strength_prior": None,
        "start": None,
    }
    expected = run_fit(template_set, data="asimov")
    assert_allclose(expected.values, expected.parameters.start, atol=1e-6)
    with pytest.raises(ConfigError, match="'observed', 'asimov' or 'toy'"):
        run_fit(template_set, data="real")


def test_what_cannot_be_scanned_is_refused_before_the_fit(template_set, monkeypatch):
    monkeypatch.setattr("wprops.fit.run.fit_model", None)
    with pytest.raises(TemplateError, match="no parameter 'm_Z'"):
        run_fit(template_set, intervals=["m_Z"])
    with pytest.raises(ConfigError, match="'mw' is frozen in this fit"):
        run_fit(template_set, freeze={"mw": None}, scans=[{"m_W": np.array([80.0])}])


def test_a_model_without_parameters_is_named():
    zero = np.zeros((1, 2))
    top = Process("top", "background", np.array([[9.0, 8.0]]), zero)
    templates = single_set({"top": top}, data=np.array([[9.0, 8.0]]))
    with pytest.raises(FitError, match="has no parameters: no process of its channels"):
        run_fit(templates)


def test_a_fit_of_frozen_parameters_alone_compares_data_and_prediction(template_set):
    result = run_fit(
        template_set, freeze={"*": None}, barlow_beeston=False, impacts=True
    )
    expected = sum(p.yields.sum() for p in result.postfit.values())
    start = build_model(template_set).expected(result.parameters.start).sum()
    assert expected == pytest.approx(start, rel=1e-12)
    assert not result.covariance.any()
    assert not result.impacts.total.any()
    assert result.gof.ndf == 96
    assert "frozen: Wplus/W_UL_y0_qt0" in result.summary()


def with_sidebands(templates, processes):
    channels = {
        name: replace(
            channel,
            processes={n: p for n, p in channel.processes.items() if n in processes},
        )
        for name, channel in templates.channels.items()
    }
    sidebands = Sidebands(
        mt_edges=np.array([0.0, 40.0, np.inf]),
        data=np.zeros((2, 2, 2, *templates.channels["Wplus"].shape)),
        data_mt_sum=np.zeros((2, 2, 2)),
        processes={},
    )
    return replace(templates, channels=channels, sidebands=sidebands)


def test_a_set_whose_multijet_is_still_to_be_estimated_is_refused(template_set):
    names = list(template_set.channels["Wplus"].processes)
    run_fit(with_sidebands(template_set, names))
    without = with_sidebands(template_set, [n for n in names if n != "qcd"])
    with pytest.raises(TemplateError, match=r"no process 'qcd'.*`wprops backgrounds`"):
        run_fit(without)
