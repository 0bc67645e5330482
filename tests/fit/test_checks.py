"""What a model refuses of a template set that is complete in itself."""

from dataclasses import replace

import numpy as np
import pytest

from tests.fit.conftest import SYSTEMATICS
from wprops.errors import TemplateError
from wprops.fit.checks import (
    acts_on,
    check_counts,
    check_interpolations,
    check_sensitivity,
    check_variations,
    interpolation_for,
)

BY_NAME = {record.name: record for record in SYSTEMATICS}


def test_all_signals_answer_to_one_name(template_set):
    processes = template_set.channels["Wplus"].processes
    assert acts_on(BY_NAME["alphas"], processes["W_A4_y0_qt1"])
    assert not acts_on(BY_NAME["alphas"], processes["top"])
    assert acts_on(BY_NAME["top_xsec"], processes["top"])


def test_the_name_of_a_process_counts_before_that_of_all_signals(template_set):
    process = template_set.channels["Wplus"].processes["W_A4_y0_qt1"]
    kinds = {"W": "linear", "W_A4_y0_qt1": "quadratic"}
    record = replace(BY_NAME["alphas"], interpolation_of=kinds)
    assert interpolation_for(record, process) == "quadratic"
    record = replace(record, interpolation_of={"W": "linear"})
    assert interpolation_for(record, process) == "linear"
    assert interpolation_for(BY_NAME["alphas"], process) == "lognormal"


def test_an_interpolation_without_a_process_is_named(template_set):
    record = replace(BY_NAME["alphas"], interpolation_of={"qcd": "linear"})
    with pytest.raises(TemplateError, match="'alphas' has an interpolation for qcd"):
        check_interpolations(replace(template_set, systematics=(record,)))


def test_a_missing_systematic_is_named_with_process_and_labels(template_set):
    channel = template_set.channels["Wplus"]
    with pytest.raises(TemplateError, match="'top' lacks colour_up, colour_down"):
        check_variations(
            channel,
            [replace(BY_NAME["muon_scale"], name="colour", processes={"top"})],
        )
    check_variations(channel, SYSTEMATICS)


def test_a_parameter_without_information_is_named():
    jacobian, expected = np.array([[1e-6, 1e-6], [10.0, 0.0]]), np.array([4.0, 0.1])
    # 1e-12/4 + 1e-12 of information: bins below one event count as one
    with pytest.raises(TemplateError, match=r"no sensitivity to 'dead': .* 1\.2e-12"):
        check_sensitivity(jacobian, expected, [(1, "alive"), (0, "dead")])
    check_sensitivity(jacobian, expected, [(1, "alive")])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda counts: counts[:-1], r"96 counts, .* \(95,\)"),
        (lambda counts: counts.reshape(2, -1), r"96 counts, .* \(2, 48\)"),
        (lambda counts: np.r_[counts[:-1], -1.0], r"Wminus \(5, 7\) is -1\.0"),
        (lambda counts: np.r_[np.nan, counts[1:]], r"Wplus \(0, 0\) is nan"),
        (
            lambda counts: np.r_[counts[:9], np.inf, counts[10:]],
            r"Wplus \(1, 1\) is inf",
        ),
    ],
)
def test_counts_that_cannot_be_fitted_are_named(model, change, message):
    counts = model.expected(model.parameters.start)
    check_counts(model, counts)
    with pytest.raises(TemplateError, match=message):
        check_counts(model, change(counts))


def test_counts_of_masked_channels_do_not_matter(model):
    counts = model.expected(model.parameters.start)
    counts[:48] = np.nan
    check_counts(replace(model, masked=frozenset({"Wplus"})), counts)
