from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.backgrounds.sideband_set import CHANGES, FRACTIONS, MT_EDGES, make_set
from wprops.backgrounds.classes import (
    SIDEBAND_BELOW,
    SIGNAL_FROM,
    counts_of,
    mt_classes,
    varied_prompt,
)
from wprops.channels import Sideband, Sidebands
from wprops.errors import TemplateError
from wprops.selection import regions as selection


@pytest.fixture(scope="module")
def made():
    return make_set()


def test_regions_end_where_those_of_the_selection_do():
    assert selection.LOW_MT.high == SIDEBAND_BELOW
    assert selection.HIGH_MT.low == SIGNAL_FROM
    assert {SIDEBAND_BELOW, SIGNAL_FROM} <= set(selection.MT_SLICES)
    assert selection.ISOLATION_CLASSES == ("isolated", "anti_isolated")


def test_regions_are_sums_of_classes_and_processes(made):
    templates, expected = made
    counts = counts_of(templates)
    assert_allclose(counts.data, expected.qcd + expected.prompt)
    assert_allclose(counts.prompt, expected.prompt)
    assert_allclose(counts.prompt_variance, 0.3 * expected.prompt)
    assert_array_equal(counts.eta_edges, expected.eta_edges)


def test_a_process_without_a_variation_stays_nominal(made):
    templates, expected = made
    labels = list(CHANGES)
    varied = varied_prompt(templates.sidebands, expected.prompt, labels)
    for label, prompt in zip(labels, varied, strict=True):
        factor = sum(
            share * np.array(CHANGES[label].get(name, np.ones(4)))
            for name, share in FRACTIONS.items()
        )
        assert_allclose(prompt, factor[:, None, None, None] * expected.prompt)


def test_a_variation_that_nobody_has_is_named(made):
    templates, expected = made
    with pytest.raises(TemplateError, match=r"'pdf_01_up', but no process .*\(W, Z\)"):
        varied_prompt(templates.sidebands, expected.prompt, ["jes_up", "pdf_01_up"])


def test_slices_below_the_signal_have_their_counts(made):
    templates, expected = made
    slices, sideband, _ = mt_classes(templates.sidebands)
    assert_allclose(slices.mean_mt, [7.5, 22.5, 35.0])
    assert sideband == pytest.approx(0.45 * 7.5 + 0.55 * 22.5)
    total = expected.qcd + expected.prompt
    assert_allclose(slices.data[:2].sum(axis=0), total[2:])
    assert_allclose(slices.data[2], 0.3 * total[2:])
    assert_allclose(slices.prompt_variance[:2].sum(axis=0), 0.3 * expected.prompt[2:])


@pytest.mark.parametrize("fall", [5.0, 12.0, 40.0])
def test_the_mean_beyond_the_slices_is_that_of_an_exponential(fall):
    shares = -np.diff(np.exp(-MT_EDGES / fall))
    data = np.zeros((2, 4, 2, 1, 2))
    data[1] = 1e4 * shares[:, None, None, None]
    empty = Sideband(np.zeros_like(data), np.zeros_like(data))
    classes = mt_classes(Sidebands(MT_EDGES, data, {"W": empty}))
    assert classes.signal == pytest.approx(40.0 + fall)


def test_no_multijet_above_the_gap_is_an_error(made):
    templates, _ = made
    data = templates.sidebands.data.copy()
    data[1, 3] = 0.0
    with pytest.raises(TemplateError, match="positive numbers are needed"):
        mt_classes(replace(templates.sidebands, data=data))


def test_histograms_without_sidebands_say_what_to_set(made):
    templates, _ = made
    with pytest.raises(TemplateError, match="set `multijet: data` in the catalogue"):
        counts_of(replace(templates, sidebands=None))
    with pytest.raises(TemplateError, match="no simulated process to subtract"):
        counts_of(
            replace(templates, sidebands=replace(templates.sidebands, processes={}))
        )


def test_slices_that_are_not_those_of_the_regions_are_refused(made):
    templates, _ = made
    edges = np.array([0.0, 20.0, 35.0, 40.0, np.inf])
    other = replace(templates.sidebands, mt_edges=edges)
    with pytest.raises(TemplateError, match="edges at 30 GeV are needed"):
        counts_of(replace(templates, sidebands=other))


def test_channels_have_to_share_their_edges_and_differ_in_charge(made):
    templates, _ = made
    plus, minus = templates.channels.values()
    shifted = replace(minus, eta_edges=minus.eta_edges + 0.1)
    with pytest.raises(
        TemplateError, match="'Wminus' has charge -1, and its edges are"
    ):
        counts_of(replace(templates, channels={"Wplus": plus, "Wminus": shifted}))
    twice = replace(minus, charge=1)
    with pytest.raises(TemplateError, match="one channel per charge"):
        counts_of(replace(templates, channels={"Wplus": plus, "Wminus": twice}))
