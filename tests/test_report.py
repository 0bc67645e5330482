"""The report shows what was fitted, beside the truth where there is one."""

import re
from dataclasses import replace

import numpy as np
import pytest

from tests.plots.template_sample import make_template_set
from tests.plots.test_page import parse
from wprops.errors import TemplateError
from wprops.fit.run import run_fit
from wprops.plots.comparison import compare, pulls_of
from wprops.report import write_report


@pytest.fixture(scope="module")
def templates():
    return make_template_set()


@pytest.fixture(scope="module")
def result(templates):
    return run_fit(templates)


@pytest.fixture(scope="module")
def page(templates, result, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "new" / "report.html"
    assert write_report(result, templates, path, timings={"fit": 1.5}) == path
    return path.read_text(encoding="utf-8")


def test_the_page_is_well_formed_and_loads_nothing(page):
    parser = parse(page)
    figures = [link for link in parser.links if link.startswith("data:")]
    assert len(figures) == 20
    others = set(parser.links) - set(figures)
    assert all(link.startswith("#section-") for link in others)


def test_the_summary_has_the_fitted_numbers(page, result, templates):
    mass = result.derived["m_W"]
    assert f"{mass.values[0]:.4f} ± {mass.errors[0]:.4f} GeV" in page
    shift = 1000 * (mass.values[0] - templates.truth.boson_mass)
    # Autoescaping writes + as &#43; in some versions: compare the shown text.
    assert f"{shift:+.1f} MeV" in "".join(parse(page).text)
    pulls = pulls_of(compare(result.derived, templates, templates.truth))
    assert len(pulls) == 2 * 6 * 9
    rms = np.sqrt(np.mean(pulls**2))
    assert f"mean {pulls.mean():.2f}, RMS {rms:.2f}" in page


def test_the_fit_of_the_sample_finds_its_truth(result, templates):
    """The numbers on the page mean something: the closure works."""
    mass = result.derived["m_W"]
    pull = (mass.values[0] - templates.truth.boson_mass) / mass.errors[0]
    assert abs(pull) < 4
    for item in compare(result.derived, templates, templates.truth):
        # χ² of 9 cells; 40 has a probability of 8e-6
        assert item.chi2 < 40


def test_the_page_says_what_limits_the_result(page, result):
    assert f"Finite simulation: {result.finite_mc.verdict}." in page
    slopes = result.finite_mc.slopes[: result.parameters.n_poi]
    assert f"slopes from {slopes.min():.2f} to {slopes.max():.2f}" in page
    assert "growth with the simulation" in page
    assert "Wminus/A4: 9 sound; median error" in page


def test_tables_timings_and_provenance_are_shown_escaped(page):
    assert "&lt;b&gt;trigger" in page
    assert "<b>trigger" not in page
    text = "".join(parse(page).text)
    for expected in ("events_per_s", "123,457", "total", '"created"'):
        assert expected in text


def test_the_cut_flow_has_a_row_per_cut_and_a_column_per_dataset(page):
    rows = page.split("region signal: events processed")[1].split("</table>")[0]
    cells = [
        part.split("<")[0] for part in rows.split(">") if part.split("<")[0].strip()
    ]
    assert cells == [
        *("cut", "Wplus_mu", "top"),
        *("all", "1,234", "2,468"),
        *("&lt;b&gt;trigger", "9", "18"),
    ]


def test_an_asimov_fit_is_compared_with_the_simulation(templates, tmp_path):
    result = run_fit(templates, data="asimov")
    page = write_report(result, templates, tmp_path / "r.html").read_text("utf-8")
    assert "fit of the nominal prediction" in page
    assert "fit − truth" not in page
    assert "beside the simulation" in page


def test_real_data_have_no_truth_and_no_pulls(templates, tmp_path):
    real = replace(templates, truth=None, tables={})
    page = write_report(run_fit(real), real, tmp_path / "r.html").read_text("utf-8")
    assert "fit of the data" in page
    assert "pulls of σ" not in page
    assert "Selection and processing" not in page


def test_a_result_of_other_templates_is_refused(result, tmp_path):
    other = make_template_set(seed=4)
    with pytest.raises(TemplateError, match=r"made with other templates \(digest"):
        write_report(result, other, tmp_path / "r.html")
    assert list(tmp_path.iterdir()) == []


def test_sections_are_linked(page):
    titles = re.findall(r'<section id="(section-\d+)">\s*<h2>', page)
    links = [link for link in parse(page).links if link.startswith("#")]
    assert [f"#{title}" for title in titles] == links
