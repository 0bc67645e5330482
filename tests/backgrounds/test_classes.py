from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.backgrounds.sideband_set import (
    CHANGES,
    FRACTIONS,
    MEAN_MT,
    MT_EDGES,
    make_set,
)
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
    slices, sideband, signal = mt_classes(templates.sidebands)
    mean = MEAN_MT["qcd"]
    assert_allclose(slices.mean_mt, mean[:3])
    assert sideband == pytest.approx(0.45 * mean[0] + 0.55 * mean[1])
    assert signal == pytest.approx(mean[3])
    total = expected.qcd + expected.prompt
    assert_allclose(slices.data[:2].sum(axis=0), total[2:])
    assert_allclose(slices.data[2], 0.3 * total[2:])
    assert_allclose(slices.prompt_variance[:2].sum(axis=0), 0.3 * expected.prompt[2:])


def test_mean_mt_is_that_of_the_anti_isolated_muons_that_are_not_prompt():
    """Counted muon by muon, with prompt ones that are known in size alone."""
    rng = np.random.default_rng(3)
    fall = {"qcd": rng.exponential(12.0, 40_000), "prompt": rng.uniform(0, 120, 9_000)}
    share = {"qcd": 0.8, "prompt": 0.1}
    counts, sums = {}, {}
    for kind, mt in fall.items():
        anti = rng.random(len(mt)) < share[kind]
        columns = anti.astype(int), mt, rng.integers(0, 2, len(mt))
        axes = ([0, 1, 2], [*MT_EDGES[:-1], 1e9], [0, 1, 2])
        counts[kind] = np.histogramdd(columns, axes)[0][..., None, None]
        sums[kind] = np.histogramdd(columns, axes, weights=mt)[0]
        if kind == "qcd":
            mean = [mt[anti & (mt >= low)].mean() for low in (40.0,)]
            mean += [mt[anti & (mt < high)].mean() for high in (30.0, 15.0)]
    prompt = Sideband(counts["prompt"], counts["prompt"], sums["prompt"])
    data, data_mt_sum = sum(counts.values()), sum(sums.values())
    classes = mt_classes(Sidebands(MT_EDGES, data, data_mt_sum, {"W": prompt}))
    found = classes.signal, classes.sideband, classes.slices.mean_mt[0]
    assert_allclose(found, mean)
    # The exponential has its mean 12 GeV above the cut.
    assert classes.signal == pytest.approx(52.0, abs=0.7)


@pytest.mark.parametrize(
    ("data", "mt_sum", "message"),
    [
        (0.0, 0.0, r"are -\d.* muons with mT from 40 to inf GeV, and their mT adds up"),
        (1.0, 0.3, "a mean within the slice is needed to extrapolate"),
    ],
)
def test_a_slice_without_a_mean_of_multijet_is_an_error(made, data, mt_sum, message):
    """Fewer data than simulation, or less of their mT."""
    templates, _ = made
    found = templates.sidebands
    factor = np.array([1.0, 1.0, 1.0, 0.0])[:, None]
    changed = replace(
        found,
        data=found.data * (factor + (1 - factor) * data)[..., None, None],
        data_mt_sum=found.data_mt_sum * (factor + (1 - factor) * mt_sum),
    )
    with pytest.raises(TemplateError, match=message):
        mt_classes(changed)


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
