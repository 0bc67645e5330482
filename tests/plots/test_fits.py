"""Figures of results show the numbers they are given."""

import numpy as np
import pytest

from tests.plots.template_sample import make_template_set
from wprops.fit.run import run_fit
from wprops.plots.fits import (
    Measured,
    plot_correlation,
    plot_mass,
    plot_nuisances,
    plot_pulls,
    plot_spectra,
    plot_yields,
)
from wprops.plots.style import SampleLabel

LABEL = SampleLabel(luminosity=0.02)


@pytest.fixture
def measured():
    rng = np.random.default_rng(4)
    expected = rng.uniform(1, 2, (2, 3))
    values = expected + 0.1 * rng.normal(size=(2, 3))
    return Measured(values=values, errors=np.full((2, 3), 0.1), expected=expected)


@pytest.mark.parametrize("names", [("UL",), ("UL", "A0"), ("UL", "A0", "A4")])
def test_spectra_show_values_truth_and_pulls(measured, names):
    figure = plot_spectra(
        "Wplus",
        dict.fromkeys(names, measured),
        np.array([0.0, 5.0, 10.0, 60.0]),
        np.array([0.0, 1.0, 2.0]),
        reference="truth",
        label=LABEL,
    )
    shown = [ax for ax in figure.axes if ax.get_visible()]
    assert len(shown) == 2 * len(names)
    spectra = [ax for ax in shown if ax.get_legend() is not None]
    for ax in spectra:
        drawn = ax.containers[0].lines[0].get_ydata()
        np.testing.assert_array_equal(drawn, measured.values.ravel())
        steps = ax.patches[0].get_data().values
        np.testing.assert_array_equal(steps, measured.expected.ravel())
    for ax in set(shown) - set(spectra):
        drawn = ax.lines[-1].get_ydata()
        expected = (measured.values - measured.expected).ravel() / 0.1
        np.testing.assert_allclose(drawn, expected, rtol=1e-12)


def test_pulls_stand_beside_a_unit_normal():
    pulls = np.random.default_rng(5).normal(size=400)
    ax = plot_pulls(pulls, title="all", label=LABEL).axes[0]
    counts, expected = (patch.get_data().values for patch in ax.patches)
    assert counts.sum() == 400
    # The range holds all but 6e-5 of a unit normal.
    assert expected.sum() == pytest.approx(400, rel=1e-4)
    title = ax.get_legend().get_title().get_text()
    assert f"mean {pulls.mean():.2f}" in title
    assert f"RMS {np.sqrt((pulls**2).mean()):.2f}" in title


def test_no_pull_falls_out_of_the_range():
    ax = plot_pulls(np.array([0.0, 7.3, -9.8]), title="all", label=LABEL).axes[0]
    assert ax.patches[0].get_data().values.sum() == 3


def test_nuisances_are_listed_from_top_to_bottom():
    ax = plot_nuisances(
        ["lumi", "alphas"], np.array([0.5, -3.0]), np.array([0.9, 0.8]), label=LABEL
    ).axes[0]
    labels = [text.get_text() for text in ax.get_yticklabels()]
    assert dict(zip(labels, ax.get_yticks(), strict=True)) == {"lumi": 1, "alphas": 0}
    low, high = ax.get_xlim()
    assert low < -3.8
    assert high > 3.8


@pytest.mark.parametrize(("n", "named"), [(5, True), (60, False)])
def test_correlations_are_named_while_names_fit(n, named):
    names = [f"p{i}" for i in range(n)]
    ax = plot_correlation(names, np.eye(n), label=LABEL).axes[0]
    labels = [text.get_text() for text in ax.get_xticklabels()]
    assert (labels == names) is named
    np.testing.assert_array_equal(ax.images[0].get_array(), np.eye(n))


def test_mass_shows_value_error_and_truth():
    ax = plot_mass(
        {"simulation": (80.379, 0.0), "fit": (80.41, 0.03)}, truth=80.4, label=LABEL
    ).axes[0]
    texts = [text.get_text() for text in ax.texts]
    assert {"80.379", "80.410 ± 0.030"} <= set(texts)
    assert ax.lines[-1].get_xdata() == [80.4, 80.4]
    low, high = ax.get_ylim()
    assert low > high  # the first row is on top


@pytest.mark.parametrize("axis", ["eta", "pt"])
def test_yields_have_the_band_of_the_fit(axis):
    templates = make_template_set()
    result = run_fit(templates, channels=["Wplus"])
    postfit, yields = result.postfit["Wplus"], result.postfit_yields["Wplus"]
    fitted = postfit.applied_to(templates.channels["Wplus"])
    main, ratio = plot_yields(fitted, yields, axis, label=LABEL).axes
    bands = [p for p in main.patches if p.get_label() == "uncertainty"]
    summed = 1 if axis == "eta" else 0
    errors = yields.eta_errors if axis == "eta" else yields.pt_errors
    noise = (yields.noise**2).sum(axis=summed)
    total = yields.events.sum(axis=summed)
    upper, _, lower = bands[0].get_data()
    np.testing.assert_allclose((upper + lower) / 2, total, rtol=1e-9)
    np.testing.assert_allclose((upper - lower) / 2, np.sqrt(errors**2 + noise))
    points = ratio.containers[0].lines[0].get_ydata()
    np.testing.assert_allclose(points, postfit.data.sum(axis=summed) / total)
