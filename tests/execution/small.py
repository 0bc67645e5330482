"""Small files and a quick processor, and runs of them with a ledger."""

import dataclasses

import numpy as np
import yaml
from numpy.testing import assert_array_equal

from corrections.build_pileup import build_pileup
from corrections.common import Histogram, write_set
from tests.events.nano import write_nano
from wprops.axes import COARSE
from wprops.catalog import Catalog
from wprops.execution.processors import load_processor
from wprops.execution.run import run

#: A processor that is quick, and sees what others see of an event.
CODE = """
import numpy as np
from coffea.lumi_tools import LumiMask
from coffea.processor import ProcessorABC
from wprops.nominal import nominal_weight
from wprops.selection.candidates import certified_events


class Mine(ProcessorABC):
    def __init__(self, golden=None, config=None):
        self.golden = golden
        self.config = config

    @classmethod
    def from_catalog(cls, catalog, binning):
        golden = catalog.golden_json
        return cls(None if golden is None else LumiMask(str(golden)))

    def process(self, events):
        dataset = events.metadata["record"]
        certified = certified_events(events, dataset, self.golden)
        weight = nominal_weight(events) * certified
        rows = np.bincount(np.asarray(events.event % 7, int), weight, minlength=7)
        result = {"rows": FACTOR * rows, "n": len(weight)}
        return {dataset.name: result}

    def postprocess(self, accumulator):
        return accumulator
"""
CHUNKSIZE = 10
#: Events in the files of each dataset.
FILES = {"W": (25, 30, 8), "top": (35,), "data": (20, 15)}


def write_files(folder):
    """Write small files and their catalogue."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(5)
    datasets = []
    for name, sizes in FILES.items():
        entry = {"name": name, "process": name, "era": "2016", "nano": "v9"}
        entry |= {"kind": "data"} if name == "data" else {"kind": "mc", "xsec": 2.5}
        for k, n in enumerate(sizes):
            branches = {
                "event": rng.integers(1, 2**60, n).astype(np.uint64),
                "luminosityBlock": rng.integers(1, 9, n).astype(np.uint32),
            }
            if name != "data":
                branches["genWeight"] = rng.normal(1.0, 0.5, n).astype(np.float32)
                branches["Pileup_nTrueInt"] = rng.uniform(5, 60, n).astype(np.float32)
            write_nano(folder / f"{name}_{k}.root", branches)
        entry["files"] = [f"{name}_{k}.root" for k in range(len(sizes))]
        datasets.append(entry | {"sum_of_weights": "events"})
    content = {"name": "small", "luminosity": 3.0, "datasets": datasets}
    content["golden_json"] = "golden.json"
    (folder / "golden.json").write_text('{"1": [[2, 7]]}')
    path = folder / "catalogue.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return Catalog.read(path)


def write_code(folder, factor, name="mine"):
    path = folder / f"{name}.py"
    path.write_text(CODE.replace("FACTOR", str(factor)))
    return path


def edited(catalog, folder, change):
    """The catalogue after a change of its content, read from a file."""
    content = yaml.safe_load((catalog.base / "catalogue.yaml").read_text())
    content["base"] = str(catalog.base)
    change(content)
    path = folder / "edited.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return Catalog.read(path)


def entry_of(content, name):
    return next(entry for entry in content["datasets"] if entry["name"] == name)


def produce(catalog, name, ledger=None, binning=COARSE, **options):
    """Run a processor; also the number of chunks that were in the ledger."""
    processor = load_processor(str(name)).from_catalog(catalog, binning)
    options = {"chunksize": CHUNKSIZE} | options
    result = run(catalog, processor, progress=False, ledger=ledger, **options)
    return result, result.performance["chunks_from_ledger"]


def n_chunks(result, *names):
    """Number of chunks, of some datasets or of all."""
    inputs = result.provenance["inputs"]
    return sum(not names or item["dataset"] in names for item in inputs)


def entries(folder):
    """Complete entries of a ledger."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return sorted(path for path in files if path.suffix != ".part")


def assert_same_bits(first, second):
    """Compare results, however deep."""
    assert type(first) is type(second)
    if isinstance(first, np.ndarray):
        assert first.dtype == second.dtype
        assert_array_equal(first, second)
    elif isinstance(first, dict):
        assert list(first) == list(second)
        for key, value in first.items():
            assert_same_bits(value, second[key])
    elif isinstance(first, list | tuple):
        assert len(first) == len(second)
        for left, right in zip(first, second, strict=True):
            assert_same_bits(left, right)
    elif dataclasses.is_dataclass(first):
        for field in dataclasses.fields(first):
            assert_same_bits(getattr(first, field.name), getattr(second, field.name))
    else:
        assert first == second


def assert_as_fresh(result, catalog, name, **options):
    """Compare with a run that knows no ledger."""
    fresh, kept = produce(catalog, name, **options)
    assert kept == 0
    assert_same_bits(dict(result.outputs), dict(fresh.outputs))
    assert result.provenance["inputs"] == fresh.provenance["inputs"]


def write_pileup(folder, data):
    """Write weights of pile-up, and the change of a catalogue that asks for them."""
    folder.mkdir(exist_ok=True)
    edges = np.array([0.0, 20.0, 30.0, 100.0])
    profiles = {"nominal": Histogram.from_arrays(data, edges)}
    mc = Histogram.from_arrays([1.0, 2.0, 1.0], edges)
    write_set(folder / "pileup.json", [build_pileup(profiles, mc)], "A test", [])
    pileup = {"file": str(folder / "pileup.json"), "name": "pileup"}
    return lambda content: content.update({"corrections": {"pileup": pileup}})
