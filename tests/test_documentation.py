"""Examples of the documentation run as they are printed."""

import re
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
from coffea.nanoevents import NanoEventsFactory
from numpy.testing import assert_allclose

from wprops import weights
from wprops.catalog import Catalog
from wprops.events.schema import NanoSchema
from wprops.events.toy.samples import write_toy
from wprops.store import TemplateSet
from wprops.systematics.declaration import Systematic

DOCS = Path(__file__).resolve().parents[1] / "docs"


def python_blocks(page):
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


def test_the_systematic_of_the_guide_gives_weights(tmp_path, monkeypatch):
    (block,) = python_blocks("guide/systematics.md")
    record, function = block.split("# in wprops/weights.py")
    monkeypatch.setattr(weights, "WEIGHTS", dict(weights.WEIGHTS))
    namespace = vars(weights) | {"ak": ak}
    exec(function, namespace)
    declared = eval(record.split("\n", 1)[1], {"Systematic": Systematic})

    catalogue = write_toy(
        tmp_path, events=20_000, seed=1, samples=["top"], workers=1, progress=False
    )
    catalog = Catalog.read(catalogue)
    events = NanoEventsFactory.from_root(
        {catalog.dataset("top").files[0]: "Events"},
        schemaclass=NanoSchema,
        mode="virtual",
    ).events()
    pick = np.flatnonzero(ak.to_numpy(ak.num(events.Muon)) > 0)
    inputs = weights.WeightInputs(
        events=events, pick=pick, dataset=catalog.dataset("top")
    )
    labels, ratios = weights.weight_ratios(inputs, [declared], "top")
    assert labels == ("nominal", "top_pt_up", "top_pt_down")
    pt = ak.to_numpy(ak.firsts(events.Muon.pt))[pick]
    assert_allclose(ratios[:, 1], 1 + 0.05 * (pt - 40) / 40, rtol=1e-6)
    assert_allclose(ratios[:, 1] + ratios[:, 2], 2.0, rtol=1e-6)


def test_a_template_file_is_written_and_opened_as_printed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    opening, reading, writing = python_blocks("reference/template-file.md")
    namespace = {"Path": Path}
    exec(writing, namespace)
    exec(opening, namespace)
    assert namespace["top"].values().shape == (48, 60)
    # The other example names templates that this small file lacks.
    exec(reading.split("templates.hist")[0], namespace)
    assert isinstance(namespace["templates"], TemplateSet)


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda p: p.stem)
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+\.md)\)", page.read_text()):
        assert (page.parent / target).is_file(), target


def test_keys_of_the_catalogue_are_documented():
    text = (DOCS / "reference/catalogue.md").read_text()
    for name in Catalog.model_fields:
        assert f"{name}:" in text, name
    for name in Catalog.model_fields["datasets"].annotation.__args__[0].model_fields:
        assert f"`{name}`" in text or f"`{name}." in text, name
