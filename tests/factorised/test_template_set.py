"""Factorised templates against the event-weighted ones of the same toy files."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import yaml

from corrections.build_toy import BLOCK, build_toy
from tests.events.nano import toy_catalog
from wprops.axes import COARSE
from wprops.catalog import Catalog
from wprops.errors import TemplateError
from wprops.execution.processors import load_processor
from wprops.execution.run import run
from wprops.factorised.response_file import Response
from wprops.factorised.summary import summary, warnings
from wprops.factorised.template_set import factorised_set
from wprops.fit.run import run_fit
from wprops.store import TemplateSet
from wprops.systematics.declaration import NOMINAL

N_REPLICAS = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Toy files with all corrections, response and templates of them."""
    folder = tmp_path_factory.mktemp("factorised")
    toy_catalog(
        folder,
        events=150_000,
        seed=31,
        samples=["Wplus_mu", "Wminus_mu", "top", "data"],
        fsr=True,
        data_fraction=0.2,
    )
    build_toy(folder / "truth.json", folder / "corrections")
    path = folder / "catalogue.yaml"
    content = yaml.safe_load(path.read_text())
    # The spectrum of the signal stays, and momenta need no Z sample.
    corrections = {k: v for k, v in BLOCK.items() if k not in ("boson", "muons")}
    path.write_text(yaml.safe_dump(content | {"corrections": corrections}))
    catalog = Catalog.read(path)
    for name in ("response", "templates"):
        chosen = load_processor(name).from_catalog(catalog, COARSE)
        chosen.save(run(catalog, chosen, progress=False), folder / f"{name}.h5")
    return folder


@pytest.fixture(scope="module")
def response(folder):
    return Response.read(folder / "response.h5")


@pytest.fixture(scope="module")
def plain(folder):
    return TemplateSet.read(folder / "templates.h5")


@pytest.fixture(scope="module")
def made(response, plain):
    return factorised_set(response, plain=plain, n_replicas=N_REPLICAS)


def signal(channel, label=NOMINAL):
    return sum(p.varied(label) for p in channel.processes.values() if p.component)


def test_the_simulation_is_described(made):
    for closure in made.tables["factorised"]["closure"].values():
        assert closure["p"] > 1e-3
    for row in made.tables["factorised"]["assumptions"]:
        assert row["verdict"] != "fails", row


@pytest.mark.parametrize("name", ["Wplus", "Wminus"])
def test_low_acceptance_is_that_of_events(made, plain, name):
    ours, theirs = (s.channel(name).process("W_lowacc") for s in (made, plain))
    error = np.sqrt(theirs.variance.sum())
    assert abs(ours.nominal.sum() - theirs.nominal.sum()) < 3 * error


@pytest.mark.parametrize("name", ["Wplus", "Wminus"])
def test_every_variation_moves_the_signal_as_that_of_events_does(made, plain, name):
    """Yields in the lower and the upper half of pT, from the same events."""

    def changes(channel, label):
        nominal, varied = signal(channel), signal(channel, label)
        half = nominal.shape[1] // 2
        parts = slice(None, half), slice(half, None)
        return np.array([varied[:, p].sum() / nominal[:, p].sum() - 1 for p in parts])

    ours, theirs = made.channel(name), plain.channel(name)
    labels = theirs.process("W_UL_y0_qt0").variations
    assert len(labels) > 30
    wrong = {}
    for label in labels:
        a, b = changes(ours, label), changes(theirs, label)
        # 10^4 muons are in each half. Weights scatter less than 2 % around their mean,
        # those of the mass 5 %; shifts move a few hundred muons across a cut.
        kinematic = label.startswith(("muon", "jes", "unclustered"))
        tolerance = 4e-3 if kinematic else 2.5e-3 if label.startswith("mw") else 8e-4
        if (np.abs(a - b) > tolerance).any():
            wrong[label] = a, b
    assert not wrong


def test_replicas_tell_the_statistics_of_the_simulation(made, plain):
    """The yield is as uncertain as the number of events behind it."""
    channel = made.channel("Wplus")
    nominal = signal(channel).sum()
    moves = [
        signal(channel, f"response_stat_{k + 1:02d}_up").sum() / nominal - 1
        for k in range(N_REPLICAS)
    ]
    n_events = sum(
        p.entries.sum()
        for p in plain.channel("Wplus").processes.values()
        if p.component == "UL"
    )
    # χ² with one degree of freedom
    squared = np.sum(np.square(moves)) * n_events
    assert squared < 12


def test_the_fit_takes_the_file(made, tmp_path):
    path = tmp_path / "templates.h5"
    made.write(path)
    back = TemplateSet.read(path)
    assert back.provenance["templates"] == "factorised"
    assert "closure of Wplus" in summary(back)
    result = run_fit(back)
    assert np.isfinite(result.values).all()
    names = [name for name in result.parameters.names if "stat" in name]
    assert any(name.startswith("response_stat") for name in names)
    assert any("/efficiency_stat" in name for name in names)


def test_without_plain_templates_there_is_signal_alone(response):
    alone = factorised_set(response, n_replicas=0)
    alone.validate()
    channel = alone.channel("Wminus")
    assert len(channel.processes) == 9 * 6 + 1
    assert "closure" not in alone.tables["factorised"]


def test_bad_input_is_named(response, plain):
    with pytest.raises(TemplateError, match="do not make 3 replicas"):
        factorised_set(response, n_replicas=3)
    other = replace(plain, luminosity=1.0, weighting="sigma")
    with pytest.raises(TemplateError, match=r"luminosity .*; weighting by A_i"):
        factorised_set(response, plain=other, n_replicas=0)
    unknown = replace(response.systematics[0], name="nonsense")
    declared = replace(response, systematics=(*response.systematics, unknown))
    with pytest.raises(TemplateError, match="no variations nonsense_"):
        factorised_set(declared, n_replicas=0)


@pytest.mark.parametrize("name", ["Wplus", "Wminus"])
def test_scales_move_low_acceptance_in_their_slice(made, plain, name):
    ours, theirs = (s.channel(name).process("W_lowacc") for s in (made, plain))
    moved = []
    # A_i of low acceptance are not varied: part of the effect on selected muons.
    for label in (v for v in theirs.variations if v.startswith("scale_")):
        a, b = (p.varied(label).sum() / p.nominal.sum() - 1 for p in (ours, theirs))
        assert abs(a - b) < 3e-3, label
        assert a * b > 0 or max(abs(a), abs(b)) < 3e-3, label
        moved.append(abs(b))
    assert max(moved) > 5e-3


def test_a_wrong_acceptance_is_seen_by_the_closure(response, plain):
    """A recoil that is always measured 25 GeV too long."""
    sharp = response.sums.arrays["recoil"].copy()
    total = sharp.sum(axis=(2, 3))
    sharp[:] = 0.0
    middle = sharp.shape[2] // 2
    sharp[:, :, middle + 12, 0] = total
    arrays = response.sums.arrays | {"recoil": sharp}
    wrong = replace(response, sums=replace(response.sums, arrays=arrays))
    made = factorised_set(wrong, plain=plain, n_replicas=0)
    for closure in made.tables["factorised"]["closure"].values():
        assert closure["p"] < 1e-6
    assert sum("closure of W" in line for line in warnings(made)) == 2


def test_other_cells_are_refused(response, plain):
    channel = plain.channels["Wplus"]
    other = replace(channel.generated, qt_edges=channel.generated.qt_edges * 1.01)
    changed = replace(channel, generated=other)
    wrong = replace(plain, channels=plain.channels | {"Wplus": changed})
    with pytest.raises(TemplateError, match=r"cells of \(qT, \|Y\|\)"):
        factorised_set(response, plain=wrong, n_replicas=0)
