"""Order-independent sums: the same bits for any order of arrival."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from wprops.templates.ordered_sum import OrderedSum


def chunk_results(n, seed=3):
    # magnitudes over many decades, so that every rounding shows
    rng = np.random.default_rng(seed)
    return [rng.normal(size=4) * 10.0 ** rng.integers(-12, 12) for _ in range(n)]


def merge(order, values):
    result = OrderedSum(values[order[0]], order[0])
    for chunk in order[1:]:
        result = result + OrderedSum(values[chunk], chunk)
    return result


@given(data=st.data(), n=st.integers(1, 23))
def test_every_order_gives_the_same_bits(data, n):
    values = chunk_results(n)
    order = data.draw(st.permutations(range(n)))
    expected = merge(list(range(n)), values)
    result = merge(order, values)
    assert_array_equal(result.total(), expected.total())
    assert result.n_chunks == n


def test_plain_addition_would_depend_on_the_order():
    values = chunk_results(16)
    assert not np.array_equal(sum(values), sum(values[::-1]))


def test_merging_partial_merges_gives_the_same_bits():
    values = chunk_results(13)
    left = merge([5, 0, 12, 3, 1], values)
    right = merge([2, 11, 4, 6, 10, 9, 8, 7], values)
    assert_array_equal((right + left).total(), merge(list(range(13)), values).total())


def test_the_sum_is_close_to_the_exact_one():
    values = chunk_results(9)
    exact = np.sum(np.array(values, dtype=np.longdouble), axis=0)
    scale = np.max(np.abs(values))
    total = merge(list(range(9)), values).total()
    assert np.max(np.abs(total - exact)) < 1e-14 * scale


def test_few_partial_sums_are_held_in_order():
    values = chunk_results(100)
    result = OrderedSum(values[0], 0)
    for chunk in range(1, 100):
        result = result + OrderedSum(values[chunk], chunk)
        assert len(result.nodes) <= 7


def test_a_repeated_chunk_is_refused():
    values = chunk_results(4)
    with pytest.raises(ValueError, match="chunk 2 was added twice"):
        merge([0, 2, 2], values)
