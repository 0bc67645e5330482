"""Entries of a ledger that are damaged or not finished, and runs that fail."""

from pathlib import Path

import numpy as np
import pytest

from tests.events.nano import write_nano
from tests.execution.small import (
    assert_as_fresh,
    assert_same_bits,
    edited,
    entries,
    n_chunks,
    produce,
    write_files,
    write_pileup,
)
from wprops.errors import InputError


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
