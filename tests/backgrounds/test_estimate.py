from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.backgrounds.sideband_set import make_set, records
from wprops.backgrounds.classes import counts_of, varied_prompt
from wprops.backgrounds.curves import QUADRATIC
from wprops.backgrounds.estimate import (
    FAKE_LUMI,
    LUMI,
    add_multijet,
    estimate_again,
)
from wprops.backgrounds.findings import TABLE
from wprops.backgrounds.multijet import estimate_multijet
from wprops.errors import TemplateError
from wprops.fit.run import run_fit
from wprops.store import TemplateSet
from wprops.systematics.catalog import Available, declare


@pytest.fixture(scope="module")
def made():
    return make_set()


@pytest.fixture(scope="module")
def result(made):
    return add_multijet(made[0])


def without(templates, name):
    kept = tuple(record for record in templates.systematics if record.name != name)
    return replace(templates, systematics=kept)


def test_multijet_of_each_channel_is_what_is_in_the_data(made, result):
    _, expected = made
    for index, channel in enumerate(result.channels.values()):
        process = channel.process("qcd")
        # Rates are those of the method's shapes but for the mean over an eta bin.
        assert_allclose(process.nominal, expected.qcd[0, index], rtol=1e-4)
        assert process.role == "background"


def test_every_declared_variation_is_the_estimate_of_varied_simulation(made, result):
    templates, expected = made
    counts = counts_of(templates)
    labels = ["jes_up", "jes_down", "scale_up", "eff_up"]
    prompts = dict(
        zip(
            labels,
            varied_prompt(templates.sidebands, expected.prompt, labels),
            strict=True,
        )
    )
    prompts["fake_lumi_up"] = 1.025 * expected.prompt
    prompts["fake_lumi_down"] = expected.prompt / 1.025
    for label, prompt in prompts.items():
        fresh = estimate_multijet(replace(counts, prompt=prompt)).template.nominal
        for index, channel in enumerate(result.channels.values()):
            process = channel.process("qcd")
            atol = 1e-5 * process.nominal.max()
            assert_allclose(process.varied(label), fresh[index], rtol=1e-4, atol=atol)
            assert not np.allclose(process.varied(label), process.nominal, rtol=1e-5)
    declared = {label for record in result.systematics for label in record.labels}
    statistical = {label for label in declared if label.startswith("fake_stat")}
    for channel in result.channels.values():
        assert set(channel.process("qcd").variations) == set(prompts) | statistical
    assert statistical


def test_other_arrays_are_those_of_the_histograms(made, result):
    templates, _ = made
    assert result.sidebands is templates.sidebands
    for name, channel in templates.channels.items():
        for process in channel.processes.values():
            assert result.channels[name].processes[process.name] is process


def test_the_result_survives_the_file_and_is_fitted(tmp_path):
    """The fit finds the multijet that is there, with a free strength of the signal."""
    templates, expected = make_set(np.random.default_rng(1))
    path = tmp_path / "templates.h5"
    add_multijet(templates).write(path)
    again = TemplateSet.read(path)
    assert again.tables[TABLE]["rates"]
    fit = run_fit(again)
    assert fit.gof.p_value > 1e-3
    assert {"qcd_norm", "fake_lumi", "Wplus/fake_stat_0_eta01"} <= set(fit.names)
    for index, (name, postfit) in enumerate(fit.postfit.items()):
        fitted = postfit.yields[postfit.processes.index("qcd")].sum()
        true = expected.qcd[0, index].sum()
        # The norm of 5 % is nearly all of the uncertainty.
        assert abs(fitted / true - 1) < 3 * 0.05, name


def test_the_curves_are_kept_with_the_estimate(made):
    templates, _ = made
    result = add_multijet(templates, fake_curve=QUADRATIC)
    assert result.tables[TABLE]["settings"] == [
        {"fake_curve": "quadratic", "prompt_curve": "erf"}
    ]
    _, multijet = estimate_again(result)
    assert multijet.rates.fake.curve is QUADRATIC
    for index, channel in enumerate(result.channels.values()):
        assert_allclose(
            multijet.template.nominal[index], channel.process("qcd").nominal
        )
    with pytest.raises(TemplateError, match="not estimated from data"):
        estimate_again(templates)


def test_multijet_that_is_there_already_is_refused(result):
    with pytest.raises(TemplateError, match="'Wplus' has a process 'qcd' already"):
        add_multijet(result)


def test_a_declared_variation_that_was_not_filled_is_named(made):
    templates, _ = made
    pdf = replace(templates.systematics[0], name="pdf_01")
    wrong = replace(templates, systematics=(*templates.systematics, pdf))
    with pytest.raises(TemplateError, match="multijet varies with 'pdf_01_up'"):
        add_multijet(wrong)


def test_the_size_of_the_luminosity_has_to_be_declared(made):
    templates, _ = made
    message = "'fake_lumi' is declared but not 'lumi'"
    with pytest.raises(TemplateError, match=message):
        add_multijet(without(templates, "lumi"))
    neither = without(without(templates, "lumi"), "fake_lumi")
    process = add_multijet(neither).channels["Wplus"].process("qcd")
    assert not any(label.startswith("fake_lumi") for label in process.variations)


@pytest.mark.parametrize(
    ("isolation", "slices", "message"),
    [
        (0, slice(0, 2), "charge -1, eta 0 to 2.4, sideband: empty region"),
        (1, slice(3, 4), "charge -1, eta 0 to 2.4, signal_antiiso: empty region"),
    ],
)
def test_empty_regions_are_named(made, isolation, slices, message):
    templates, _ = made
    data = templates.sidebands.data.copy()
    data[isolation, slices, 1, 1] = 0.0
    wrong = replace(templates, sidebands=replace(templates.sidebands, data=data))
    with pytest.raises(TemplateError, match=message):
        add_multijet(wrong)


def test_checks_say_that_the_method_holds(result):
    tables = result.tables[TABLE]
    assert {row["check"] for row in tables["checks"]} >= {
        "linear fake rate",
        "erf prompt rate",
        "sideband closure",
        "fake rate in slices of mT",
        "quadratic fake rate, charge +1",
    }
    # Data are the expectation: nothing deviates.
    assert all(row["p"] > 0.99 for row in tables["checks"] if "p" in row)
    assert len(tables["rates"]) == len(tables["closure"]) == 4
    assert tables["regions"][0]["multijet"] == pytest.approx(
        result.channels["Wplus"].process("qcd").nominal.sum(), rel=1e-4
    )
    for row in tables["rates"]:
        assert row["fake_slope_error"] > 0
        assert 0 <= row["prompt_p"] <= 1


def test_norms_of_the_subtraction_change_multijet_but_are_no_variations(made, result):
    rows = {(r["systematic"], r["charge"]): r for r in result.tables[TABLE]["norms"]}
    # Those of multijet itself subtract nothing.
    assert {name for name, _ in rows} == {"lumi"}
    process = result.channels["Wminus"].process("qcd")
    up = 100 * (process.varied("fake_lumi_up").sum() / process.nominal.sum() - 1)
    assert rows["lumi", -1]["up_percent"] == pytest.approx(up, rel=1e-4)


def test_a_check_without_enough_events_is_told_and_does_not_prevent_the_estimate(made):
    templates, _ = made
    sidebands = templates.sidebands
    data, mt_sum = sidebands.data.copy(), sidebands.data_mt_sum.copy()
    # One (charge, eta) without any muons in the first slice of mT: 20 GeV instead of 5.
    lost = data[:, 0, 0, 0].sum(axis=-1)
    mt_sum[:, :2, 0] += np.stack([-5.0 * lost, 20.0 * lost], axis=-1)
    data[:, 1, 0, 0] += data[:, 0, 0, 0]
    data[:, 0, 0, 0] = 0.0
    changed = replace(sidebands, data=data, data_mt_sum=mt_sum)
    moved = replace(templates, sidebands=changed)
    tables = add_multijet(moved).tables[TABLE]
    (row,) = (r for r in tables["checks"] if r["check"] == "fake rate in slices of mT")
    assert row["result"].startswith("not possible: the fake rate could not be fitted")
    assert tables["mt_dependence"] == []


def test_records_of_the_sample_are_those_of_the_catalogue():
    """The names that the estimate looks for are declared under these names."""
    declared = {record.name: record for record in declare(Available(fakes=True))}
    assert declared[LUMI].size == records()[3].size
    assert declared[FAKE_LUMI].processes == {"qcd"}
