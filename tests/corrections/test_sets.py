import json

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from wprops.corrections.sets import (
    bin_index,
    finite_columns,
    get_correction,
    open_set,
    require,
    require_charge,
)
from wprops.errors import ConfigError, InputError


@pytest.fixture
def path(tmp_path):
    """One correction, weight(pt) = 2."""
    content = {
        "schema_version": 2,
        "corrections": [
            {
                "name": "weight",
                "version": 1,
                "inputs": [{"name": "pt", "type": "real"}],
                "output": {"name": "weight", "type": "real"},
                "data": 2.0,
            }
        ],
    }
    path = tmp_path / "set.json"
    path.write_text(json.dumps(content))
    return path


def test_a_correction_is_found_by_name_and_inputs(path):
    assert get_correction(path, "weight", ["pt"]).evaluate(1.0) == 2.0


def test_an_unknown_name_lists_the_known_ones(path):
    with pytest.raises(ConfigError, match=r"no correction 'height'; it has weight"):
        get_correction(path, "height", ["pt"])


def test_other_inputs_are_named(path):
    with pytest.raises(ConfigError, match=r"inputs pt; this use of it gives eta, pt"):
        get_correction(path, "weight", ["eta", "pt"])


def test_a_missing_or_foreign_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"no correction file .*none\.json"):
        open_set(tmp_path / "none.json")
    (tmp_path / "foreign.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"foreign\.json is not a correctionlib file"):
        open_set(tmp_path / "foreign.json")


def test_columns_become_floats():
    a, b = finite_columns(a=np.array([1, 2], dtype=np.int8), b=[0.5, 1.5])
    assert a.dtype == b.dtype == np.float64
    assert_array_equal(a, [1.0, 2.0])
    assert [column.size for column in finite_columns(a=[], b=[])] == [0, 0]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": [1.0], "b": [1.0, 2.0]}, r"a \(1,\), b \(2,\); expected flat"),
        ({"a": [[1.0]]}, r"a \(1, 1\); expected flat"),
        ({"a": 1.0}, r"a \(\); expected flat"),
        (
            {"a": [1.0, 2.0, 3.0], "b": [0.0, np.inf, np.nan]},
            r"b\[1\] is inf, expected a finite number \(2 of 3 entries are not\); sel",
        ),
    ],
)
def test_columns_that_cannot_be_used_are_named(columns, message):
    with pytest.raises(InputError, match=message):
        finite_columns(**columns)


def test_the_first_impossible_value_is_named():
    values = np.array([1, 5, 7])
    require("n", values, values > 0, "more", "take others")
    with pytest.raises(InputError, match=r"n\[1\] is 5, expected.*2 of 3.*take others"):
        require("n", values, values < 3, "less", "take others")
    require_charge(np.array([-1, 1, -1]))
    with pytest.raises(InputError, match=r"charge\[0\] is 0, expected \+1 or -1"):
        require_charge(np.array([0.0]))


def test_bins_are_half_open_and_values_outside_are_in_the_nearest():
    edges = np.array([-1.0, 0.0, 2.0, np.inf])
    values = np.array([-np.inf, -1.0, -0.1, 0.0, 1.9, 2.0, 1e9])
    assert_array_equal(bin_index(edges, values), [0, 0, 0, 1, 1, 2, 2])
    assert_array_equal(bin_index(edges[:2], values), 0)
