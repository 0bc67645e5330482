"""Whatever a chunk depends on changes its key, and it is computed again."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from tests.events.nano import write_nano
from tests.execution.small import (
    CHUNKSIZE,
    FILES,
    assert_as_fresh,
    assert_same_bits,
    edited,
    entry_of,
    n_chunks,
    produce,
    write_code,
    write_files,
    write_pileup,
)
from wprops.axes import COARSE
from wprops.execution.ledger import Ledger
from wprops.execution.processors import load_processor
from wprops.execution.run import run


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
