"""Finished chunks: which are taken from the ledger, and which are computed again."""

import dataclasses
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import hist
import numpy as np
import pytest
import yaml
from numpy.testing import assert_array_equal

from corrections.build_pileup import build_pileup
from corrections.common import Histogram, write_set
from tests.events.nano import toy_catalog, write_nano
from wprops.axes import COARSE
from wprops.catalog import Catalog
from wprops.errors import ConfigError, InputError
from wprops.execution.ledger import Ledger, plain
from wprops.execution.processors import load_processor
from wprops.execution.run import run
from wprops.provenance import digest
from wprops.store import TemplateSet
from wprops.systematics.catalog import Available, declare

#: A processor that is quick, and sees what others see of an event.
CODE = """
import numpy as np
from coffea.lumi_tools import LumiMask
from coffea.processor import ProcessorABC
from wprops.nominal import nominal_weight
from wprops.selection.candidates import certified_events
from wprops.templates.ordered_sum import OrderedSum


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
        return {dataset.name: OrderedSum(result, events.metadata["chunk"])}

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


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return write_files(tmp_path_factory.mktemp("small") / "files")


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    return write_code(tmp_path_factory.mktemp("code"), 1)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """Simulation, for the processors of the project."""
    return toy_catalog(
        tmp_path_factory.mktemp("toy"),
        events=1500,
        seed=17,
        samples=["Wplus_mu", "data"],
        data_fraction=1.0,
    )


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


@pytest.mark.parametrize("name", ["templates", "gen_moments", "cut_flow", "control"])
def test_a_second_run_takes_all_chunks_from_the_ledger(toy, tmp_path, name):
    options = {"chunksize": 300}
    first, new = produce(toy, name, tmp_path, **options)
    again, kept = produce(toy, name, tmp_path, **options)
    assert new == 0
    assert kept == n_chunks(again) == len(entries(tmp_path)) >= 5
    assert_same_bits(dict(again.outputs), dict(first.outputs))
    assert_as_fresh(first, toy, name, **options)


# What is computed again


def test_another_binning_is_computed_again(toy, tmp_path):
    other = dataclasses.replace(COARSE, pt=(25.0, 35.0, 55.0))
    first, _ = produce(toy, "templates", tmp_path, chunksize=10_000)
    result, kept = produce(toy, "templates", tmp_path, other, chunksize=10_000)
    assert kept == 0
    assert_as_fresh(result, toy, "templates", binning=other, chunksize=10_000)
    # The first ones are still there.
    again, kept = produce(toy, "templates", tmp_path, chunksize=10_000)
    assert kept == n_chunks(first)
    assert_same_bits(dict(again.outputs), dict(first.outputs))


def test_each_part_of_a_configuration_counts(toy):
    def code(catalog=toy, **changes):
        binning = dataclasses.replace(COARSE, **changes)
        processor = load_processor("templates").from_catalog(catalog, binning)
        return Ledger(processor, Path("ledger"), {"Wplus_mu": ""}).datasets["Wplus_mu"]

    codes = [
        code(),
        code(pt=(25.0, 55.0)),
        code(eta=(-2.4, 2.4)),
        code(qt=(0.0, 60.0)),
        code(absy=(0.0, 2.4)),
        code(toy.model_copy(update={"without": ("jes",)})),
        code(toy.model_copy(update={"golden_json": None})),
    ]
    assert len(set(codes)) == len(codes)
    assert code() == codes[0]


def test_another_cross_section_is_of_one_dataset(small, mine, tmp_path):
    produce(small, mine, tmp_path / "ledger")
    changed = edited(
        small, tmp_path, lambda c: entry_of(c, "top").update({"xsec": 123.0})
    )
    result, kept = produce(changed, mine, tmp_path / "ledger")
    assert kept == n_chunks(result, "W", "data")
    assert_as_fresh(result, changed, mine)


def test_another_luminosity_leaves_data(small, mine, tmp_path):
    produce(small, mine, tmp_path)
    more = small.model_copy(update={"luminosity": 2 * small.luminosity})
    result, kept = produce(more, mine, tmp_path)
    assert kept == n_chunks(result, "data")
    assert_as_fresh(result, more, mine)


def test_another_file_changes_the_normalisation_of_simulation_alone(
    small, mine, tmp_path
):
    def without_last(content):
        for name in ("W", "data"):
            entry_of(content, name)["files"].pop()

    fewer = edited(small, tmp_path, without_last)
    before, _ = produce(fewer, mine, tmp_path / "ledger")
    result, kept = produce(small, mine, tmp_path / "ledger")
    assert kept == n_chunks(before, "top", "data") < n_chunks(result, "top", "data")
    assert_as_fresh(result, small, mine)


def test_what_is_said_of_a_dataset_counts_for_it_alone(small, mine, tmp_path):
    produce(small, mine, tmp_path / "ledger")
    changed = edited(
        small, tmp_path, lambda c: entry_of(c, "data").update({"triggers": []})
    )
    result, kept = produce(changed, mine, tmp_path / "ledger")
    assert kept == n_chunks(result, "W", "top")


@pytest.mark.parametrize("chunksize", [CHUNKSIZE - 3, 10_000])
def test_other_ranges_are_computed_again(small, mine, tmp_path, chunksize):
    top = small.only(["top"])
    produce(top, mine, tmp_path)
    result, kept = produce(top, mine, tmp_path, chunksize=chunksize)
    assert kept == 0
    assert_as_fresh(result, top, mine, chunksize=chunksize)


def test_a_file_with_other_events_is_computed_again(mine, tmp_path):
    catalog = write_files(tmp_path / "files")
    produce(catalog, mine, tmp_path / "ledger")
    events = {"event": np.arange(20).astype(np.uint64)}
    write_nano(Path(catalog.dataset("data").files[0]), events)
    result, kept = produce(catalog, mine, tmp_path / "ledger")
    assert kept == n_chunks(result) - 2
    assert_as_fresh(result, catalog, mine)


def test_other_certified_sections_are_computed_again(small, mine, tmp_path):
    produce(small, mine, tmp_path / "ledger")
    (tmp_path / "golden.json").write_text(json.dumps({"1": [[2, 6]]}))
    changed = small.model_copy(update={"golden_json": tmp_path / "golden.json"})
    result, kept = produce(changed, mine, tmp_path / "ledger")
    assert kept == 0
    assert_as_fresh(result, changed, mine)


def test_other_code_of_the_processor_is_run_again(small, tmp_path):
    first, _ = produce(small, write_code(tmp_path, 1), tmp_path / "ledger")
    other, kept = produce(small, write_code(tmp_path, 2.0), tmp_path / "ledger")
    assert kept == 0
    for name in FILES:
        assert_array_equal(other.outputs[name]["rows"], 2 * first.outputs[name]["rows"])
    # Whatever the name of the file: the first code is known already.
    (tmp_path / "elsewhere").mkdir()
    same = write_code(tmp_path / "elsewhere", 1, "same")
    again, kept = produce(small, same, tmp_path / "ledger")
    assert kept == n_chunks(again)
    assert_same_bits(dict(again.outputs), dict(first.outputs))


def test_code_beside_a_processor_counts_too(small, tmp_path):
    """A processor may import it."""
    produce(small, write_code(tmp_path, 1), tmp_path / "ledger")
    (tmp_path / "helper.py").write_text("FACTOR = 2\n")
    _, kept = produce(small, write_code(tmp_path, 1), tmp_path / "ledger")
    assert kept == 0
    (tmp_path / "helper.py").write_text("FACTOR = 3\n")
    _, kept = produce(small, write_code(tmp_path, 1), tmp_path / "ledger")
    assert kept == 0


def test_the_configuration_of_a_processor_counts(small, mine, tmp_path):
    processor = load_processor(str(mine))
    top = small.only(["top"])
    for config in ("a", "b", {"a": 1}, {"a": 2}, np.arange(3), np.arange(3.0)):
        hits = [
            run(
                top,
                processor(config=config),
                progress=False,
                ledger=tmp_path,
                chunksize=CHUNKSIZE,
            ).performance["chunks_from_ledger"]
            for _ in range(2)
        ]
        assert hits == [0, 4]


def test_settings_by_any_name_count(small, tmp_path):
    path = write_code(tmp_path, 1)
    path.write_text(path.read_text().replace("self.config =", "self.samples ="))
    processor = load_processor(str(path))
    top, options = small.only(["top"]), {"progress": False, "ledger": tmp_path / "kept"}
    run(top, processor(config={"cut": 1}), **options)
    result = run(top, processor(config={"cut": 2}), **options)
    assert result.performance["chunks_from_ledger"] == 0


def write_pileup(folder, data):
    """Write weights of pile-up, and the change of a catalogue that asks for them."""
    folder.mkdir(exist_ok=True)
    edges = np.array([0.0, 20.0, 30.0, 100.0])
    profiles = {"nominal": Histogram.from_arrays(data, edges)}
    mc = Histogram.from_arrays([1.0, 2.0, 1.0], edges)
    write_set(folder / "pileup.json", [build_pileup(profiles, mc)], "A test", [])
    pileup = {"file": str(folder / "pileup.json"), "name": "pileup"}
    return lambda content: content.update({"corrections": {"pileup": pileup}})


def test_a_correction_with_another_content_is_computed_again(small, mine, tmp_path):
    results = []
    for name, data in (("one", [1.0, 1, 1]), ("two", [5.0, 1, 1])):
        corrected = edited(small, tmp_path, write_pileup(tmp_path / name, data))
        result, kept = produce(corrected, mine, tmp_path / "ledger")
        assert kept == 0
        assert_as_fresh(result, corrected, mine)
        results.append(result.outputs["top"]["rows"])
    assert not np.array_equal(*results)
    # The same content in another place is the same correction.
    corrected = edited(small, tmp_path, write_pileup(tmp_path / "three", [1.0, 1, 1]))
    result, kept = produce(corrected, mine, tmp_path / "ledger")
    assert kept == n_chunks(result)
    assert_array_equal(result.outputs["top"]["rows"], results[0])


def test_a_correction_that_changes_under_its_name_is_not_mixed_up(
    small, mine, tmp_path
):
    for data in ([1.0, 1, 1], [5.0, 1, 1]):
        corrected = edited(small, tmp_path, write_pileup(tmp_path / "one", data))
        result, kept = produce(corrected, mine, tmp_path / "ledger")
        assert kept == 0
    same = edited(small, tmp_path, write_pileup(tmp_path / "two", [5.0, 1, 1]))
    assert_as_fresh(result, same, mine)


# What is not computed again


def test_chunks_may_have_other_numbers(small, mine, tmp_path):
    """Files in another order: the same entries, added in another order."""
    produce(small, mine, tmp_path / "ledger")
    turned = edited(
        small, tmp_path, lambda c: [d["files"].reverse() for d in c["datasets"]]
    )
    result, kept = produce(turned, mine, tmp_path / "ledger")
    assert kept == n_chunks(result)
    assert_as_fresh(result, turned, mine)


def test_a_new_dataset_is_the_only_one_processed(small, mine, tmp_path):
    produce(small.only(["W", "data"]), mine, tmp_path)
    result, kept = produce(small, mine, tmp_path)
    assert kept == n_chunks(result, "W", "data")
    assert_as_fresh(result, small, mine)


def test_files_may_move(small, mine, tmp_path):
    first, _ = produce(small, mine, tmp_path / "ledger")
    shutil.copytree(small.base, tmp_path / "elsewhere")
    moved = Catalog.read(tmp_path / "elsewhere" / "catalogue.yaml")
    result, kept = produce(moved, mine, tmp_path / "ledger")
    assert kept == n_chunks(result)
    assert_same_bits(dict(result.outputs), dict(first.outputs))


@pytest.mark.parametrize("name", ["templates", "gen_moments"])
def test_processors_with_samples_process_a_new_dataset_alone(toy, tmp_path, name):
    options = {"chunksize": 10_000}
    produce(toy.only(["Wplus_mu"]), name, tmp_path, **options)
    result, kept = produce(toy, name, tmp_path, **options)
    assert kept == n_chunks(result, "Wplus_mu")


@pytest.mark.parametrize("name", ["templates", "gen_moments"])
def test_files_of_processors_with_samples_may_move(toy, tmp_path, name):
    options = {"chunksize": 10_000}
    produce(toy, name, tmp_path / "ledger", **options)
    shutil.copytree(toy.base, tmp_path / "elsewhere")
    moved = Catalog.read(tmp_path / "elsewhere" / "catalogue.yaml")
    result, kept = produce(moved, name, tmp_path / "ledger", **options)
    assert kept == n_chunks(result)


# Entries that are no good


def flip(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        flip,
        lambda content: bytes([content[0] ^ 1]) + content[1:],
        lambda content: content[:-1],
        lambda content: content[:20],
        lambda _: b"",
        lambda content: content + b"\0",
    ],
    ids=["content", "checksum", "last byte", "checksum cut", "empty", "longer"],
)
def test_a_damaged_entry_is_computed_again(small, mine, tmp_path, caplog, damage):
    first, _ = produce(small, mine, tmp_path)
    broken = entries(tmp_path)[5]
    whole = broken.read_bytes()
    broken.write_bytes(damage(whole))
    result, kept = produce(small, mine, tmp_path)
    assert kept == n_chunks(result) - 1
    assert_same_bits(dict(result.outputs), dict(first.outputs))
    assert f"{broken} is damaged; its chunk is processed again" in caplog.text
    assert broken.read_bytes() == whole
    assert produce(small, mine, tmp_path)[1] == n_chunks(result)


def test_a_file_that_was_not_finished_is_no_entry(small, mine, tmp_path):
    first, _ = produce(small, mine, tmp_path)
    last = entries(tmp_path)[0]
    last.rename(last.with_name(f"{last.name}.1234.part"))
    result, kept = produce(small, mine, tmp_path)
    assert kept == n_chunks(result) - 1
    assert_same_bits(dict(result.outputs), dict(first.outputs))


def test_a_run_that_failed_keeps_what_was_finished(mine, tmp_path):
    catalog = write_files(tmp_path / "files")
    path = Path(catalog.dataset("top").files[0])
    whole = path.read_bytes()
    corrected = edited(catalog, tmp_path, write_pileup(tmp_path / "one", [1.0, 1, 1]))
    # Without what the correction needs.
    write_nano(path, {"genWeight": np.ones(35)})
    with pytest.raises(InputError, match=r"top_0\.root has no branch 'Pileup_nTrueInt"):
        produce(corrected, mine, tmp_path / "ledger")
    finished = len(entries(tmp_path / "ledger"))
    path.write_bytes(whole)
    result, kept = produce(corrected, mine, tmp_path / "ledger")
    assert kept == finished == n_chunks(result, "W", "data")
    assert_as_fresh(result, corrected, mine)


# What a digest is made of


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (1, 2),
        (1, 1.5),
        ("a", "b"),
        (None, "None"),
        (True, "True"),
        (float("inf"), float("-inf")),
        ([1, 2], [2, 1]),
        ([[1], [2]], [[1, 2]]),
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"b": 1}),
        (frozenset({"a"}), frozenset({"a", "b"})),
        (np.zeros(3), np.zeros(4)),
        (np.zeros((2, 3)), np.zeros((3, 2))),
        (np.zeros(2), np.zeros(2, np.float32)),
        (np.array([0.0, 1.0]), np.array([1.0, 0.0])),
        (np.arange(4)[::2], np.arange(2)),
        (b"a", b"b"),
        (1 + 2j, 1 - 2j),
        (range(3), range(4)),
        (COARSE, dataclasses.replace(COARSE, pt=(25.0, 55.0))),
        (declare(Available(n_pdf=2)), declare(Available(n_pdf=3))),
        (declare(Available(n_pdf=2)), declare(Available(n_pdf=2, fakes=True))),
    ],
)
def test_different_configurations_have_different_digests(first, second):
    assert digest(plain(first)) != digest(plain(second))


def test_equal_configurations_have_equal_digests(small, tmp_path):
    (tmp_path / "one.txt").write_text("content")
    (tmp_path / "two.txt").write_text("content")
    record = small.dataset("top")
    for first, second in (
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({3, 1, 2}, {2, 3, 1}),
        ((1, 2), [1, 2]),
        (np.float64(0.5), 0.5),
        (np.arange(10)[::3], np.array([0, 3, 6, 9])),
        (tmp_path / "one.txt", tmp_path / "two.txt"),
        (record, record.model_copy()),
    ):
        assert digest(plain(first)) == digest(plain(second))
    (tmp_path / "two.txt").write_text("other")
    assert plain(tmp_path / "one.txt") != plain(tmp_path / "two.txt")


@pytest.mark.parametrize("value", [lambda x: x, (i for i in range(3))])
def test_what_has_no_digest_is_refused(value):
    with pytest.raises(
        ConfigError, match=r"no digest can be made of .*without a ledge"
    ):
        plain({"config": [value]})


def test_a_processor_without_source_asks_to_do_without_ledger(small, tmp_path):
    namespace = {"__name__": "nowhere"}
    exec(CODE.replace("FACTOR", "1"), namespace)
    with pytest.raises(
        ConfigError, match=r"code of Mine cannot be found .*or run without a ledger"
    ):
        run(small.only(["top"]), namespace["Mine"](), progress=False, ledger=tmp_path)


class Slotted:
    """Attributes in slots and in a dictionary."""

    __slots__ = ("__dict__", "value")

    def __init__(self, value):
        self.value = value


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (hist.axis.Regular(10, 0, 1, name="x"), hist.axis.Regular(20, 0, 1, name="x")),
        (hist.axis.Variable([0, 1], name="x"), hist.axis.Variable([0, 2], name="x")),
        (functools.partial(max, 1), functools.partial(max, 2)),
        (np.exp, np.log),
        (Slotted(1), Slotted(2)),
    ],
    ids=["regular axis", "variable axis", "partial", "function", "slots"],
)
def test_objects_that_differ_are_told_apart(first, second):
    assert digest(plain(first)) != digest(plain(second))


IN_ANOTHER_PROCESS = """
import sys
from pathlib import Path
from wprops.axes import COARSE
from wprops.catalog import Catalog
from wprops.execution.ledger import Ledger
from wprops.execution.processors import load_processor

catalog = Catalog.read(Path(sys.argv[1]))
processor = load_processor("templates").from_catalog(catalog, COARSE)
print(*Ledger(processor, Path("ledger"), catalog.dataset_digests()).datasets.values())
"""


def test_keys_do_not_depend_on_the_seed_of_hashes(toy):
    """Sets of strings have another order in each process."""
    process = subprocess.Popen(
        [sys.executable, "-c", IN_ANOTHER_PROCESS, toy.base / "catalogue.yaml"],
        env=os.environ | {"PYTHONHASHSEED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    processor = load_processor("templates").from_catalog(toy, COARSE)
    ledger = Ledger(processor, Path("ledger"), toy.dataset_digests())
    expected = list(ledger.datasets.values())
    assert len(set(expected)) == 2
    assert process.communicate()[0].split() == expected


# Interruptions


def killed(catalogue, output, at_least, delay, workers):
    """Run the command line and kill it with its workers, once there are entries."""
    command = [sys.executable, "-m", "wprops.cli", "run", str(catalogue)]
    command += ["-o", str(output), "--binning", "coarse", "--chunksize", "75"]
    command += ["--executor", "futures", "--workers", workers]
    ledger = output.with_name(f"{output.name}.ledger")
    with output.with_suffix(".log").open("w") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            start_new_session=True,  # so that its workers can be killed with it
        )
        try:
            deadline = time.monotonic() + 120
            while len(entries(ledger)) < at_least and process.poll() is None:
                assert time.monotonic() < deadline
                time.sleep(0.005)
            time.sleep(delay)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert process.returncode == -signal.SIGKILL
    assert not output.exists()
    return len(entries(ledger))


def test_a_run_that_was_killed_twice_gives_what_an_undisturbed_one_gives(tmp_path):
    written = toy_catalog(
        tmp_path / "toy",
        events=2400,
        seed=19,
        samples=["Wplus_mu", "Wminus_mu", "top", "data"],
        fsr=True,
    )
    # New processes would compile what looks up sections.
    catalog = edited(written, tmp_path, lambda content: content.pop("golden_json"))
    catalogue = tmp_path / "edited.yaml"
    processor = load_processor("templates").from_catalog(catalog, COARSE)
    options = {"progress": False, "chunksize": 75}
    undisturbed = run(catalog, processor, **options)
    total = undisturbed.performance["chunks"]
    processor.save(undisturbed, tmp_path / "undisturbed.h5")

    rng = np.random.default_rng()  # another moment each time
    output = tmp_path / "killed.h5"
    finished = 0
    for workers in ("2", "1"):
        before = finished
        at_least, delay = before + rng.integers(1, 7), rng.uniform(0.0, 0.1)
        finished = killed(catalogue, output, at_least, delay, workers)
        assert before < finished < total
    result = run(catalog, processor, ledger=tmp_path / "killed.h5.ledger", **options)
    assert result.performance["chunks_from_ledger"] == finished
    assert result.performance["chunks"] == total
    assert_same_bits(dict(result.outputs), dict(undisturbed.outputs))
    processor.save(result, output)
    first, second = (
        TemplateSet.read(path) for path in (tmp_path / "undisturbed.h5", output)
    )
    assert_same_bits(first.channels, second.channels)
    assert first.tables["cut_flow"] == second.tables["cut_flow"]
    assert first.provenance["inputs"] == second.provenance["inputs"]
