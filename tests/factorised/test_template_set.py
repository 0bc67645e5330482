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
from wprops.factorised.summary import summary
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
        # Weights scatter less than 2 % around their mean and 10^4 muons are in each
        # half; shifts move a few hundred of them across a cut.
        kinematic = label.startswith(("muon", "jes", "unclustered"))
        if (np.abs(a - b) > (4e-3 if kinematic else 8e-4)).any():
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
    result = run_fit(path)
    mass = result.values[list(result.parameters).index("mw")]
    assert np.isfinite(mass)


def test_without_plain_templates_there_is_signal_alone(response):
    alone = factorised_set(response, n_replicas=0)
    alone.validate()
    channel = alone.channel("Wminus")
    assert len(channel.processes) == 9 * 6 + 1
    assert "closure" not in alone.tables["factorised"]


def test_bad_input_is_named(response, plain):
    with pytest.raises(TemplateError, match="3 replicas do not divide the 20"):
        factorised_set(response, n_replicas=3)
    other = replace(plain, luminosity=1.0, weighting="sigma")
    with pytest.raises(TemplateError, match=r"luminosity .*; weighting by A_i"):
        factorised_set(response, plain=other, n_replicas=0)
    unknown = replace(response.systematics[0], name="nonsense")
    declared = replace(response, systematics=(*response.systematics, unknown))
    with pytest.raises(TemplateError, match="no variations nonsense_"):
        factorised_set(declared, n_replicas=0)
