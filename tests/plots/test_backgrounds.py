"""Figures of the multijet estimate show the numbers that they are made from."""

from dataclasses import replace
from html import escape

import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.backgrounds.sideband_set import make_set
from tests.plots.template_sample import make_template_set
from wprops.backgrounds.classes import ANTI_ISOLATED, ISOLATED
from wprops.backgrounds.estimate import add_multijet, estimate_again
from wprops.backgrounds.prefit import systematic_variance
from wprops.errors import TemplateError
from wprops.plots.background_section import background_section
from wprops.plots.backgrounds import plot_classes, plot_unrolled, project_classes
from wprops.plots.distributions import plot_distribution, project
from wprops.plots.page import render
from wprops.plots.rates import plot_rate_parameters, plot_rates
from wprops.plots.style import SampleLabel

LABEL = SampleLabel(luminosity=1.0)


@pytest.fixture(scope="module")
def templates():
    return add_multijet(make_set(np.random.default_rng(1))[0])


@pytest.fixture(scope="module")
def estimate(templates):
    return estimate_again(templates)


def test_parameters_are_drawn_over_eta_with_their_errors(estimate):
    regions, multijet = estimate
    figure = plot_rate_parameters(regions, multijet, label=LABEL)
    shown = [ax for ax in figure.axes if ax.get_visible()]
    labels = [ax.get_ylabel() for ax in shown]
    assert labels == [
        "fake rate f: offset",
        "fake rate f: slope [1/GeV]",
        "fake rate f: p-value of the fit",
        "prompt rate p: A",
        "prompt rate p: B [1/GeV]",
        "prompt rate p: C",
        "prompt rate p: p-value of the fit",
    ]
    slope = shown[1]
    for index, container in enumerate(slope.containers):
        line, _, bars = container.lines
        expected = multijet.rates.fake.parameters[index, :, 1]
        assert_allclose(line.get_ydata(), expected)
        # Horizontal bars are the bins, vertical ones the errors.
        heights = [np.ptp(segment[:, 1]) for segment in bars[1].get_segments()]
        variance = multijet.rates.fake.covariance[index, :, 1, 1]
        assert_allclose(heights, 2 * np.sqrt(variance))
    assert not plt.get_fignums()


def test_rates_are_drawn_as_the_fit_sees_them(estimate):
    """Pulls of the points are the terms of its χ²."""
    regions, multijet = estimate
    figure = plot_rates(regions, multijet, [0, 1], label=LABEL)
    for row, fit in enumerate((multijet.rates.fake, multijet.rates.prompt)):
        for eta in range(2):
            ax = figure.axes[2 * row + eta]
            for index, container in enumerate(ax.containers):
                line, _, (bars,) = container.lines
                errors = [np.ptp(s[:, 1]) / 2 for s in bars.get_segments()]
                rate = fit.rates()[index, eta]
                chi2 = np.sum(((line.get_ydata() - rate) / errors) ** 2)
                assert chi2 == pytest.approx(fit.chi2[index, eta])
    assert "-2.4 < \\eta < 0" in figure.axes[0].texts[0].get_text()


def test_all_bins_in_a_row_are_those_of_the_templates(templates):
    channel = templates.channels["Wminus"]
    figure = plot_unrolled(templates, channel, label=LABEL)
    main, ratio = figure.axes
    drawn = {line.get_label(): line for line in main.lines}
    total = channel.total()[0].ravel()
    assert_allclose(drawn["Data"].get_ydata(), channel.data.ravel())
    assert_allclose(ratio.lines[0].get_ydata(), channel.data.ravel() / total)
    steps = {patch.get_label(): patch for patch in main.patches}
    multijet = channel.process("qcd").nominal.ravel()
    assert_allclose(steps["Prediction"].get_data().values, total)
    assert_allclose(steps["Multijet"].get_data().values, multijet)
    assert_allclose(steps["Prompt muons"].get_data().values, total - multijet)
    band = steps["stat. and syst."].get_data()
    half = (band.values - band.baseline) / 2
    variance = channel.total()[1]
    variance = variance + systematic_variance(templates.systematics, channel)
    assert_allclose(half, np.sqrt(variance).ravel())


def test_bins_in_a_row_need_multijet(templates):
    channel = templates.channels["Wplus"]
    kept = {n: p for n, p in channel.processes.items() if n != "qcd"}
    with pytest.raises(TemplateError, match="'Wplus' has no process 'qcd'"):
        plot_unrolled(templates, replace(channel, processes=kept), label=LABEL)


def test_classes_have_the_counts_of_the_sidebands(templates, estimate):
    _, multijet = estimate
    channel = templates.channels["Wminus"]
    sidebands = templates.sidebands
    for isolation in (ISOLATED, ANTI_ISOLATED):
        shown = project_classes(templates, channel, multijet, isolation)
        counted = sidebands.data[isolation, :, 1].sum(axis=(1, 2))
        assert_allclose(shown.data, counted)
        for name, key in (("signal", "W"), ("Z", "Z")):
            counts = sidebands.processes[key].nominal[isolation, :, 1]
            assert_allclose(shown.groups[name], counts.sum(axis=(1, 2)))
        if isolation == ANTI_ISOLATED:
            assert_allclose(shown.total, counted)


def test_the_fake_rate_predicts_the_isolated_classes():
    """Of data as expected, with a fake rate that is the same in all slices."""
    templates = add_multijet(make_set()[0])
    _, multijet = estimate_again(templates)
    for channel in templates.channels.values():
        shown = project_classes(templates, channel, multijet, ISOLATED)
        assert_allclose(shown.total, shown.data, rtol=1e-3)
        last = channel.process("qcd").nominal.sum()
        assert shown.groups["qcd"][-1] == pytest.approx(last, rel=1e-3)


def test_the_band_of_classes_has_the_systematics_of_prompt_muons(templates, estimate):
    _, multijet = estimate
    channel = templates.channels["Wplus"]
    shown = project_classes(templates, channel, multijet, ANTI_ISOLATED)
    w, z = (templates.sidebands.processes[name] for name in ("W", "Z"))

    def per_slice(values):
        return values[ANTI_ISOLATED, :, 0].sum(axis=(1, 2))

    jes = sum(
        per_slice(p.variations["jes_up"] - p.variations["jes_down"]) / 2 for p in (w, z)
    )
    scale = per_slice(z.variations["scale_up"] - z.nominal)
    eff = sum((p.variations["eff_up"] - p.nominal) for p in (w, z))
    eff = (eff[ANTI_ISOLATED, :, 0].sum(axis=-1) ** 2).sum(axis=-1)
    size = (1.025 - 1 / 1.025) / 2
    lumi = size * sum(per_slice(p.nominal) for p in (w, z))
    simulated = sum(per_slice(p.variance) for p in (w, z))
    assert_allclose(shown.variance, jes**2 + scale**2 + eff + lumi**2 + simulated)


def test_figure_of_classes_names_the_slices(templates, estimate):
    _, multijet = estimate
    channel = templates.channels["Wplus"]
    figure = plot_classes(templates, channel, multijet, label=LABEL)
    ticks = [text.get_text() for text in figure.axes[2].get_xticklabels()]
    assert ticks == ["0–15", "15–30", "30–40", "≥ 40"]
    titles = [ax.get_legend().get_title().get_text() for ax in figure.axes[:2]]
    assert titles == ["$W^+$, isolated", "$W^+$, anti-isolated"]


@pytest.mark.parametrize("axis", ["eta", "pt"])
def test_distributions_before_the_fit_can_show_all_uncertainties(templates, axis):
    channel = templates.channels["Wplus"]
    without, shown = (
        project(channel, axis),
        project(channel, axis, templates.systematics),
    )
    added = systematic_variance(templates.systematics, channel, axis)
    assert_allclose(shown.variance, without.variance + added)
    figure = plot_distribution(
        channel, axis, label=LABEL, systematics=templates.systematics
    )
    texts = {text.get_text() for text in figure.axes[0].get_legend().get_texts()}
    assert "stat. and syst." in texts


def test_the_section_shows_yields_rates_and_checks(templates):
    section = background_section(templates, LABEL)
    assert [n.name for n in section.key_numbers] == [
        "multijet in Wplus",
        "multijet in Wminus",
    ]
    assert len(section.figures) == 6
    captions = {table.caption: table for table in section.tables}
    assert not captions["expected events before the fit"].is_folded
    assert not captions["multijet: does the method hold?"].is_folded
    folded = [table for table in section.tables if table.is_folded]
    assert captions["multijet: parameters of the fake and the prompt rate"] in folded
    page = render("title", "", [section])
    assert page.count("<details>") == page.count("</details>") == len(folded)
    for table in folded:
        assert f"<summary>{escape(table.caption)}</summary>" in page


def test_without_multijet_from_data_the_section_has_yields_alone():
    section = background_section(make_template_set(), LABEL)
    assert not section.figures
    assert not section.key_numbers
    assert len(section.tables) == 3
