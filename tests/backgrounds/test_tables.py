import csv
from dataclasses import replace

import numpy as np
import pytest

from tests.backgrounds.sideband_set import make_set
from tests.plots.template_sample import make_template_set
from wprops.backgrounds.estimate import add_multijet, estimate_again
from wprops.backgrounds.summary import summary
from wprops.backgrounds.tables import (
    ALL,
    STATISTICS,
    event_yields,
    group_table,
    multijet_tables,
    write_tables,
    yield_variations,
)


@pytest.fixture(scope="module")
def templates():
    return add_multijet(make_set()[0])


def row_of(rows, **values):
    (row,) = (r for r in rows if all(r[key] == v for key, v in values.items()))
    return row


def test_yields_add_up_and_are_compared_with_the_signal(templates):
    rows = event_yields(templates)
    for name, channel in templates.channels.items():
        own = {row["process"]: row for row in rows if row["channel"] == name}
        assert set(own) == {"W", "Z", "qcd", "total", "data"}
        assert own["total"]["events"] == pytest.approx(
            sum(own[process]["events"] for process in ("W", "Z", "qcd"))
        )
        assert own["data"]["events"] == channel.data.sum()
        assert own["data"]["statistical"] == np.sqrt(channel.data.sum())
        # The data are the expectation.
        assert own["total"]["events"] == pytest.approx(channel.data.sum(), rel=1e-4)
        assert own["Z"]["percent_of_signal"] == pytest.approx(25.0)


def test_the_statistical_error_of_multijet_is_that_of_the_estimate(templates):
    """The variance left in the template and its nuisances are the covariance."""
    _, multijet = estimate_again(templates)
    expected = np.sqrt(multijet.template.covariance().sum(axis=(1, 2, 3)))
    for index, name in enumerate(templates.channels):
        row = row_of(event_yields(templates), channel=name, process="qcd")
        # Correlations of the 0.1 % that are kept in the variance are not counted.
        assert row["statistical"] == pytest.approx(expected[index], rel=2e-3)


def test_the_error_of_the_signal_counts_events_that_templates_share():
    templates = make_template_set()
    channel = templates.channels["Wplus"]
    signal = {n: p for n, p in channel.processes.items() if p.role == "signal"}
    alone = replace(channel, processes=signal)
    expected = np.sqrt(alone.total()[1].sum())
    row = row_of(event_yields(templates), channel="Wplus", process="W")
    assert row["statistical"] == pytest.approx(expected)
    naive = np.sqrt(sum(p.variance.sum() for p in signal.values()))
    assert abs(naive / expected - 1) > 0.002


def test_variations_are_percents_of_the_yield(templates):
    rows = yield_variations(templates)
    place = {"channel": "Wminus", "process": "Z"}
    lumi = row_of(rows, systematic="lumi", **place)
    assert lumi["up_percent"] == pytest.approx(2.5)
    assert lumi["down_percent"] == pytest.approx(-100 * 0.025 / 1.025)
    scale = row_of(rows, systematic="scale", **place)
    assert (scale["up_percent"], scale["down_percent"]) == pytest.approx((3.0, -3.0))
    jes = row_of(rows, systematic="jes", **place)
    assert (jes["up_percent"], jes["down_percent"]) == pytest.approx((1.0, -1.0))
    z = templates.channels["Wminus"].process("Z").nominal.sum(axis=1)
    eff = row_of(rows, systematic="eff", **place)
    assert eff["up_percent"] == pytest.approx(np.sqrt(np.sum(z**2)) / z.sum())
    assert not [r for r in rows if r["systematic"] == "scale" and r["process"] == "W"]


def test_groups_are_added_in_squares(templates):
    rows = yield_variations(templates)
    place = {"channel": "Wplus", "process": "Z"}
    single = [
        (row["up_percent"] - row["down_percent"]) / 2
        for row in rows
        if row["group"] == "shapes" and row["systematic"] != ALL
        if all(row[key] == value for key, value in place.items())
    ]
    assert len(single) == 3
    both = row_of(rows, group="shapes", systematic=ALL, **place)
    assert both["up_percent"] == pytest.approx(np.sqrt(np.sum(np.square(single))))
    table = row_of(group_table(templates), group="shapes", channel="Wplus")
    assert table["Z"] == both["up_percent"]
    statistics = row_of(rows, group=STATISTICS, **place)
    z = templates.channels["Wplus"].process("Z")
    expected = 100 * np.sqrt(z.variance.sum()) / z.nominal.sum()
    assert statistics["up_percent"] == pytest.approx(expected)


def test_tables_are_written_as_csv(templates, tmp_path):
    paths = list(write_tables(templates, tmp_path / "new"))
    names = {path.name for path in paths}
    assert {"yields.csv", "yield_variations.csv", "multijet_rates.csv"} <= names
    with (tmp_path / "new" / "multijet_rates.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    expected = multijet_tables(templates)["rates"]
    assert len(rows) == len(expected)
    for row, original in zip(rows, expected, strict=True):
        assert {key: float(value) for key, value in row.items()} == original


def test_tables_of_an_earlier_estimate_do_not_stay(templates, tmp_path):
    (tmp_path / "multijet_norms.csv").write_text("old")
    found = {**multijet_tables(templates), "norms": []}
    list(write_tables(replace(templates, tables={"multijet": found}), tmp_path))
    assert not (tmp_path / "multijet_norms.csv").exists()
    assert (tmp_path / "multijet_rates.csv").exists()


def test_the_summary_has_yields_checks_and_numbers_of_diagnoses(templates):
    text = summary(templates)
    row = row_of(event_yields(templates), channel="Wplus", process="qcd")
    assert f"multijet in Wplus: {row['events']:,.0f} ± " in text
    assert "sideband closure: observed / estimate 1.0000" in text
    diagnoses = multijet_tables(templates)["diagnoses"]
    assert len(diagnoses) == sum(
        int(line.split(" x ")[0]) for line in text.splitlines() if " x " in line
    )
