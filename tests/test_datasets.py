"""Catalogues are read once, checked in full, and say what is wrong."""

import pickle
import re
from collections import defaultdict
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from wprops.catalog import Catalog
from wprops.datasets import FLAGS, TRIGGERS, Dataset, LheWeights
from wprops.errors import ConfigError

CATALOGUE_2016 = Path(__file__).parents[1] / "datasets" / "2016.yaml"
SIDE_FILES = ("truth.json", "pdf_hessian.csv", "golden.json")
DATA = {"name": "data", "process": "data", "kind": "data", "era": "2016", "nano": "v9"}


def signal(**changes):
    """A dataset of simulation as the toy writes it; None removes a key."""
    entry = {
        "name": "Wplus_mu",
        "process": "W_mu",
        "kind": "mc",
        "era": "2016",
        "nano": "v9",
        "generator": "wprops toy",
        "xsec": 11500.0,
        "files": ["Wplus_mu_000.root", "Wplus_mu_001.root"],
        "weights": {
            "pdf": {
                "branch": "LHEPdfWeight",
                "replicas": 100,
                "alphas": True,
                "hessian": "pdf_hessian.csv",
            },
            "scale": "LHEScaleWeight",
        },
        "truth": "truth.json",
    } | changes
    return {key: value for key, value in entry.items() if value is not None}


def toy(*datasets, **changes):
    """The catalogue of a toy as plain data."""
    data = DATA | {"files": ["data_000.root"], "truth": "truth.json"}
    return {
        "name": "toy",
        "luminosity": 0.4,
        "datasets": [*(datasets or (signal(), data))],
        "golden_json": "golden.json",
    } | changes


def write(folder, content):
    """Write a catalogue and its side files, but no events."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in SIDE_FILES:
        (folder / name).write_text(f"{name}\n")
    path = folder / "catalogue.yaml"
    path.write_text(
        content
        if isinstance(content, str)
        else yaml.safe_dump(content, sort_keys=False)
    )
    return path


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_a_toy_catalogue_becomes_records_with_absolute_paths(tmp_path):
    path = write(tmp_path, toy())
    touch(tmp_path, "Wplus_mu_000.root", "Wplus_mu_001.root", "data_000.root")
    catalog = Catalog.read(path)
    catalog.require_files()
    assert (catalog.name, catalog.luminosity) == ("toy", 0.4)
    assert catalog.golden_json == tmp_path / "golden.json"
    simulation, data = catalog.datasets
    assert (simulation.kind, simulation.process) == ("mc", "W_mu")
    assert simulation.xsec == 11500.0
    assert simulation.files == (
        str(tmp_path / "Wplus_mu_000.root"),
        str(tmp_path / "Wplus_mu_001.root"),
    )
    pdf = simulation.weights.pdf
    assert (pdf.branch, pdf.replicas, pdf.alphas) == ("LHEPdfWeight", 100, True)
    assert pdf.hessian == tmp_path / "pdf_hessian.csv"
    assert simulation.weights.scale == "LHEScaleWeight"
    assert (data.kind, data.xsec, data.weights) == ("data", None, LheWeights())
    assert data.truth == tmp_path / "truth.json"
    assert (data.triggers, data.flags, data.met) == (TRIGGERS, FLAGS, None)


def test_the_path_may_be_relative_text(tmp_path, monkeypatch):
    write(tmp_path / "toy", toy())
    monkeypatch.chdir(tmp_path)
    catalog = Catalog.read("toy/catalogue.yaml")
    assert catalog.golden_json == tmp_path / "toy" / "golden.json"


def test_the_2016_catalogue_parses_and_adds_up():
    catalog = Catalog.read(CATALOGUE_2016)
    assert catalog.luminosity == 35.9
    sums = defaultdict(float)
    for dataset in catalog.datasets:
        sums[dataset.process] += dataset.xsec or 0.0
        carries_theory = dataset.process in {"W", "Z"}
        assert (dataset.weights.pdf is not None) == carries_theory
    top = 2 * 182.0 + 95.02 + 136.02 + 80.95 + 3.68 + 2 * 35.6
    expected = {"W": 61526.7, "Z": 6025.2 + 1903.0, "top": top, "data": 0.0}
    assert sums == pytest.approx(expected | {"diboson": 115.0 + 47.13 + 16.523})
    assert sum(dataset.kind == "data" for dataset in catalog.datasets) == 7


def test_the_2016_patterns_take_extensions_and_no_other_sample(tmp_path):
    content = yaml.safe_load(CATALOGUE_2016.read_text())
    patterns = [entry["files"][0] for entry in content["datasets"]]
    sample = [pattern.removesuffix("/*.root").rstrip("*") for pattern in patterns]
    for name in sample:
        touch(tmp_path, f"{name}/tree.root", f"{name}_ext1/tree.root")
    catalog = Catalog.read(write(tmp_path, content))
    catalog.require_files()
    for name, dataset in zip(sample, catalog.datasets, strict=True):
        folders = [name] if dataset.kind == "data" else [name, f"{name}_ext1"]
        found = [str(Path(file).relative_to(tmp_path).parent) for file in dataset.files]
        assert found == folders


def test_patterns_expand_in_order_and_skip_hidden_files(tmp_path):
    events = tmp_path / "events[1]"
    touch(events, "W/b.root", "W/a.root", "W/.c.root", "W_ext/d.root", "x[1].root")
    touch(events, *SIDE_FILES)  # they start from the base too
    entries = ["x[1].root", "W*/*.root"]
    catalog = Catalog.read(
        write(tmp_path / "here", toy(signal(files=entries), base="../events[1]"))
    )
    names = ("x[1].root", "W/a.root", "W/b.root", "W_ext/d.root")
    assert catalog.datasets[0].files == tuple(str(events / name) for name in names)


def test_absolute_patterns_ignore_the_base(tmp_path):
    touch(tmp_path, "far/a.root")
    entries = [str(tmp_path / "far" / "*.root")]
    catalog = Catalog.read(write(tmp_path / "here", toy(signal(files=entries))))
    assert catalog.datasets[0].files == (str(tmp_path / "far" / "a.root"),)


def test_urls_stay_and_are_not_looked_for(tmp_path):
    url = "root://server.cern.ch//store/a.root"
    catalog = Catalog.read(write(tmp_path, toy(signal(files=[url]))))
    assert catalog.datasets[0].files == (url,)
    catalog.require_files()


def test_absent_files_are_an_error_only_when_asked_for(tmp_path):
    (tmp_path / "folder.root").mkdir()
    entries = ["W*/*.root", "folder.root"]
    catalog = Catalog.read(write(tmp_path, toy(signal(files=entries))))
    assert catalog.datasets[0].files[0] == "W*/*.root"
    message = (
        r"(?s)no file in .*'Wplus_mu': W\*/\*\.root\n.*folder\.root\n.*Set `base:`"
    )
    with pytest.raises(ConfigError, match=message):
        catalog.require_files()


@pytest.mark.parametrize(
    "datasets",
    [
        [signal(files=["a.root", "a.root"])],
        [signal(files=["*.root", "./a.root"])],
        [signal(files=["a.root"]), signal(name="W2", files=["*.root"])],
        [signal(files=["W*/*.root"]), signal(name="W2", files=["W*/*.root"])],
    ],
    ids=["twice", "pattern and name", "two datasets", "unmatched pattern"],
)
def test_a_file_listed_twice_is_refused(tmp_path, datasets):
    touch(tmp_path, "a.root")
    with pytest.raises(ConfigError, match="listed twice, first in dataset 'Wplus_mu'"):
        Catalog.read(write(tmp_path, toy(*datasets)))


def test_datasets_inherit_triggers_and_flags_they_do_not_set(tmp_path):
    own = signal(name="own", files=["b.root"], triggers=["HLT_Mu17"], flags=[])
    content = toy(signal(), own, triggers=["HLT_Mu50"], flags=["Flag_goodVertices"])
    inherited, own = Catalog.read(write(tmp_path, content)).datasets
    assert inherited.triggers == ("HLT_Mu50",)
    assert inherited.flags == ("Flag_goodVertices",)
    assert own.triggers == ("HLT_Mu17",)
    assert own.flags == ()


def test_an_era_without_quotes_is_text(tmp_path):
    catalog = Catalog.read(write(tmp_path, toy(signal(era=2016))))
    assert catalog.datasets[0].era == "2016"


def test_only_keeps_the_order_of_the_catalogue(tmp_path):
    entries = [signal(name=name, files=[f"{name}.root"]) for name in ("c", "a", "b")]
    catalog = Catalog.read(write(tmp_path, toy(*entries)))
    assert [d.name for d in catalog.only(["b", "c"]).datasets] == ["c", "b"]
    assert catalog.dataset("a") is catalog.datasets[1]
    with pytest.raises(ConfigError, match="'toy' has no dataset 'd'; it has c, a, b"):
        catalog.only(["d"])
    with pytest.raises(ConfigError, match="name at least one"):
        catalog.only([])


def test_records_travel_and_do_not_change(tmp_path):
    catalog = Catalog.read(write(tmp_path, toy()))
    assert pickle.loads(pickle.dumps(catalog)) == catalog
    assert pickle.loads(pickle.dumps(catalog.datasets[0])) == catalog.datasets[0]
    with pytest.raises(ValidationError, match="frozen"):
        catalog.datasets[0].xsec = 1.0


def test_the_digest_is_that_of_the_content_wherever_it_lies(tmp_path):
    def read(place, content):
        touch(tmp_path / place, "W_000.root", "W_001.root")
        return Catalog.read(write(tmp_path / place, content))

    content = toy(signal(files=["W_*.root"]))
    reference = read("here", content).digest
    assert re.fullmatch("[0-9a-f]{64}", reference)
    assert read("there", content).digest == reference
    assert read("there", content | {"base": "../here"}).digest == reference
    assert read("here", content | {"triggers": list(TRIGGERS)}).digest == reference
    for change in ({"luminosity": 0.5}, {"flags": []}, {"name": "other"}):
        assert read("here", content | change).digest != reference
    assert read("here", toy(signal(files=["W_000.root"]))).digest != reference
    catalog = read("here", content)
    (tmp_path / "here" / "pdf_hessian.csv").write_text("0.5\n")
    assert catalog.digest != reference


def pdf(**changes):
    return {
        "pdf": {"branch": "LHEPdfWeight", "replicas": 100, "alphas": True} | changes
    }


def isolation(simulated):
    """Corrections with a step of the isolation; golden.json is a file that exists."""
    step = {"file": "golden.json", "name": "isolation", "isolation": simulated}
    return {"efficiency": [step]}


def test_files_of_the_isolation_are_found_and_count(tmp_path):
    content = toy(signal(corrections=isolation({"file": "truth.json", "name": "mc"})))
    catalog = Catalog.read(write(tmp_path, content))
    (step,) = catalog.datasets[0].corrections.efficiency
    assert step.file == tmp_path / "golden.json"
    assert step.isolation.file == tmp_path / "truth.json"
    without = toy(signal(corrections=isolation(None)))
    plain = Catalog.read(write(tmp_path, without))
    assert plain.datasets[0].corrections.efficiency[0].isolation is None
    before = catalog.dataset_digests()["Wplus_mu"]
    assert before != plain.dataset_digests()["Wplus_mu"]
    (tmp_path / "truth.json").write_text("other")
    assert catalog.dataset_digests()["Wplus_mu"] != before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "found an empty file, expected a mapping .* name, luminosity, dat"),
        ("- W", r"found \['W'\], expected a mapping"),
        ("name: [", r"(?s)not a valid YAML file: .*\.yaml\", line 1"),
        ("name: a\nname: b", r"(?s)key 'name' is written twice.*yaml\", line 2"),
        ("\x00", "not a valid YAML file"),
        (toy(lumi=3), "lumi: unknown key, known are name, luminosity, base"),
        (toy(luminosity=0), r"luminosity: found 0, expected greater than 0 \(lumino"),
        (toy(luminosity=float("nan")), "luminosity: found nan, expected"),
        (toy(datasets=[]), r"datasets: found \[\], expected at least one entry"),
        (toy(datasets={"W": 1}), r"datasets: found {'W': 1}, expected a list"),
        (toy("W"), "dataset number 1: found 'W', expected a mapping"),
        (toy(base="root://server//store"), "base: found .* URLs in `files:`"),
        (toy(signal(), signal()), "datasets: found Wplus_mu more than once"),
        (toy(signal(name=None)), "dataset number 1: name: found nothing.*; add it"),
        (toy(signal(kind="MC")), "'Wplus_mu': kind: found 'MC', expected 'data' or"),
        (toy(signal(xsec=None)), "'Wplus_mu': xsec: found nothing; simulation"),
        (toy(signal(xsec=-1)), "'Wplus_mu': xsec: found -1, expected greater than 0"),
        (toy(signal(xsec="big")), "xsec: found 'big', expected a valid number"),
        (toy(DATA | {"files": ["a"], "xsec": 2}), "'data': xsec: found 2, but data"),
        (toy(signal(files="a.root")), "files: found 'a.root', expected a list"),
        (toy(signal(files=[])), "files: found .*, expected at least one entry"),
        (toy(signal(files=["a", {}])), r"files\[1\]: found {}, expected a valid str"),
        (toy(signal(file=["a"])), "'Wplus_mu': file: unknown key, known are name"),
        (
            toy(signal(weights=pdf(replicas=0))),
            r"'Wplus_mu': weights\.pdf\.replicas: found 0, .* \(number of replicas\)",
        ),
        (
            toy(signal(weights=pdf(replica=1))),
            r"weights\.pdf\.replica: unknown key, known are branch, replicas",
        ),
        (
            toy(signal(weights=pdf(hessian="no.csv"))),
            r"'Wplus_mu': weights\.pdf\.hessian: no file .*no\.csv; relative paths",
        ),
        (toy(signal(truth="no.json")), "'Wplus_mu': truth: no file .*no.json"),
        (
            toy(signal(coefficients="no.h5")),
            "'Wplus_mu': coefficients: no file .*no.h5",
        ),
        (
            toy(signal(corrections={"prefire": True})),
            "'Wplus_mu': corrections.prefire: found yes, a YAML boolean; write `branch",
        ),
        (toy(corrections={"prefire": False}), "corrections.prefire: found no, a YAML"),
        (
            toy(signal(corrections=isolation({"file": "no.json", "name": "mc"}))),
            r"'Wplus_mu': corrections\.efficiency\.isolation: no file .*no.json",
        ),
        (
            toy(signal(corrections=isolation("mc"))),
            r"efficiency\[0\]\.isolation: found 'mc', expected a mapping .* \(for fac",
        ),
        (
            toy(signal(corrections=isolation({"file": "a", "key": "mc"}))),
            r"efficiency\[0\]\.isolation\.key: unknown key, known are file, name",
        ),
        (toy(golden_json="no.json"), "golden_json: no file .*no.json.* remove the"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, content, message):
    path = write(tmp_path, content)
    with pytest.raises(ConfigError, match=message) as caught:
        Catalog.read(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_all_problems_are_reported_one_per_line(tmp_path):
    path = write(tmp_path, toy(signal(xsec=-1, kind="x"), luminosity=-1))
    with pytest.raises(ConfigError) as caught:
        Catalog.read(path)
    assert len(str(caught.value).splitlines()) == 3


def test_a_missing_catalogue_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"no\.yaml: cannot read .*No such file"):
        Catalog.read(tmp_path / "no.yaml")


def test_every_field_is_described():
    for record in (Catalog, Dataset, LheWeights):
        assert all(field.description for field in record.model_fields.values())
