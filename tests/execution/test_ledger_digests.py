"""What the keys of a ledger are made of."""

import dataclasses
import functools
import os
import subprocess
import sys
from pathlib import Path

import hist
import numpy as np
import pytest

from tests.execution.small import CODE
from wprops.axes import COARSE
from wprops.errors import ConfigError
from wprops.execution.ledger import Ledger, plain
from wprops.execution.processors import load_processor
from wprops.execution.run import run
from wprops.provenance import digest
from wprops.systematics.catalog import Available, declare


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
