"""The parser of RoccoR text files names what is wrong in them."""

import gzip

import pytest

from corrections.roccor import read_roccor
from tests.corrections.roccor_file import MEMBERS, small_file
from wprops.errors import ConfigError


def test_a_line_may_come_twice_but_not_with_other_values(tmp_path):
    # RoccoR2018.txt repeats lines of one member.
    lines = small_file()
    path = tmp_path / "twice.txt"
    path.write_text("\n".join([*lines, lines[-1]]))
    assert len(read_roccor(path).tables) == sum(MEMBERS)
    path.write_text("\n".join([*lines, lines[-6].replace("3.0", "3.5")]))
    with pytest.raises(ConfigError, match=rf"line {len(lines) + 1}: .*again, changed"):
        read_roccor(path)


def changed_line(lines, start, old, new):
    """Change the one line that begins so; return its number too."""
    (number,) = [i for i, line in enumerate(lines) if line.startswith(start)]
    assert old in lines[number]
    changed = lines[number].replace(old, new, 1)
    return [*lines[:number], changed, *lines[number + 1 :]], number + 1


@pytest.mark.parametrize(
    ("start", "old", "new", "message"),
    [
        ("1   1 F 0", "1.05", "1.O5", "1.O5; expected numbers"),
        ("1   1 F 0", "1.05", "nan", "nan; expected 2 finite numbers"),
        ("1   1 F 0", "1.05", "", "1 values.*expected 2 finite numbers"),
        ("1   1 F 0", "F 0", "F 2", r"F with indices \(2,\); expected"),
        ("1   1 F 0", "1.05", "0.0", "0.0 in '1 1 F 0'; expected values above 0.0"),
        ("0   0 R 5 0", "3.0", "1.0", "1.0 in '0 0 R 5 0'; expected values above 1.0"),
        ("0   0 C 1 0 1", "C", "D", "'0 0 D'; expected set, member and a tag of C, F"),
        ("0   0 C 1 0 1", "0   0", "7   0", "set 7, member 0; expected those of NMEM"),
        ("0   0 C 1 0 1", "0   0", "x   0", "x 0; expected integers"),
        ("NSET", "3", "2", "NMEM|members"),
        ("CPHI", "2", "", "'CPHI'; expected CPHI and a positive number"),
        ("CETA", "0.0", "-3.0", "expected increasing edges"),
        ("CETA", " 2.4", "", "2 values.*expected 3 finite numbers"),
    ],
)
def test_a_damaged_line_is_named(start, old, new, message, tmp_path):
    lines, number = changed_line(small_file(), start, old, new)
    path = tmp_path / "damaged.txt"
    path.write_text("\n".join(lines))
    if start == "NSET":  # seen at the next line
        number += 1
    with pytest.raises(ConfigError, match=message) as error:
        read_roccor(path)
    assert f"damaged.txt, line {number}: " in str(error.value)


@pytest.mark.parametrize("start", ["0   0 C 1 0 1", "1   1 F 0", "2   0 R 5 1"])
def test_a_missing_line_is_named(start, tmp_path):
    path = tmp_path / "short.txt"
    path.write_text("\n".join(x for x in small_file() if not x.startswith(start)))
    key = " ".join(start.split())
    with pytest.raises(ConfigError, match=f"has no line '{key}'"):
        read_roccor(path)


def test_a_missing_header_line_is_named(tmp_path):
    path = tmp_path / "short.txt"
    path.write_text("\n".join(x for x in small_file() if not x.startswith("RETA")))
    with pytest.raises(ConfigError, match="has no line RETA"):
        read_roccor(path)


@pytest.mark.parametrize(
    "content",
    # Without a time, so that all workers collect the same name.
    [gzip.compress(b"NSET 1\n" * 1000, mtime=0)[:40], b"\x1f\x8bx", b"\xff\xfe\x00"],
    ids=["cut", "gzip header alone", "no UTF-8"],
)
def test_a_file_that_is_no_text_is_named(content, tmp_path):
    path = tmp_path / "broken.txt.gz"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"cannot read .*broken\.txt\.gz as text"):
        read_roccor(path)
