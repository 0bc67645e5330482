"""The filling engine against the plain histogram loop."""

import hist
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from wprops.errors import TemplateError
from wprops.templates.filling import Block, bin_index, fill, flat_index

COMPONENTS = ("UL", "A0", "A4")
LABELS = ("nominal", "mw_up", "mw_down", "pdf_01_up")
ETA = np.linspace(-2.4, 2.4, 13)
PT = np.linspace(25.0, 55.0, 7)


@pytest.fixture
def columns():
    rng = np.random.default_rng(7)
    n = 5000
    return {
        "eta": rng.uniform(-2.6, 2.6, n),
        "pt": rng.uniform(20.0, 60.0, n),
        "components": rng.normal(size=(n, 3)),
        "variations": np.column_stack([np.ones(n), rng.normal(1, 0.1, (n, 3))]),
    }


def fill_columns(columns, keep=slice(None)) -> Block:
    cell = flat_index(
        [bin_index(columns["eta"][keep], ETA), bin_index(columns["pt"][keep], PT)],
        (12, 6),
    )
    return fill(
        cell,
        72,
        (COMPONENTS, columns["components"][keep]),
        (LABELS, columns["variations"][keep]),
    )


def fill_reference(columns, component, label):
    """One histogram fill per component and variation: slow and obvious."""
    template = hist.Hist(
        hist.axis.Variable(ETA, name="eta"),
        hist.axis.Variable(PT, name="pt"),
        storage=hist.storage.Weight(),
    )
    weight = (
        columns["components"][:, COMPONENTS.index(component)]
        * columns["variations"][:, LABELS.index(label)]
    )
    return template.fill(eta=columns["eta"], pt=columns["pt"], weight=weight)


@pytest.mark.parametrize("component", COMPONENTS)
@pytest.mark.parametrize("label", LABELS)
def test_engine_agrees_with_one_histogram_per_template(columns, component, label):
    sums = fill_columns(columns).section(0, 72).sums
    found = sums[COMPONENTS.index(component), LABELS.index(label)]
    reference = fill_reference(columns, component, label)
    # boost-histogram sums in the same order; only w*v rounds differently
    assert_allclose(found, reference.values().ravel(), atol=1e-12)


def test_products_hold_the_squared_weights_and_their_covariance(columns):
    block = fill_columns(columns)
    matrix = block.section(0, 72).products
    reference = fill_reference(columns, "A0", "nominal")
    assert_allclose(matrix[1, 1], reference.variances().ravel(), rtol=1e-12)
    cell = flat_index(
        [bin_index(columns["eta"], ETA), bin_index(columns["pt"], PT)], (12, 6)
    )
    inside = cell >= 0
    product = columns["components"][:, 0] * columns["components"][:, 2]
    expected = np.bincount(cell[inside], product[inside], minlength=72)
    assert_allclose(matrix[0, 2], expected, atol=1e-12)
    assert_array_equal(matrix[0, 2], matrix[2, 0])


def test_entries_count_events_inside(columns):
    counted = hist.Hist(
        hist.axis.Variable(ETA, name="eta"), hist.axis.Variable(PT, name="pt")
    ).fill(eta=columns["eta"], pt=columns["pt"])
    assert_array_equal(
        fill_columns(columns).section(0, 72).entries, counted.values().ravel()
    )


def test_a_section_is_a_range_of_cells(columns):
    block = fill_columns(columns)
    whole, part = block.section(0, 72), block.section(30, 12)
    for found, expected in zip(part, whole, strict=True):
        assert_array_equal(found, expected[..., 30:42])


def test_blocks_of_two_halves_add_up(columns):
    whole = fill_columns(columns)
    halves = fill_columns(columns, slice(0, 40)) + fill_columns(
        columns, slice(40, None)
    )
    assert_array_equal(halves.cells, whole.cells)
    assert_allclose(halves.sums, whole.sums, atol=1e-12)
    assert_array_equal(halves.entries, whole.entries)


def test_blocks_of_other_templates_are_refused(columns):
    block = fill_columns(columns)
    other = fill(
        np.zeros(1, dtype=np.int64),
        72,
        (("UL",), np.ones((1, 1))),
        (("nominal",), np.ones((1, 1))),
    )
    with pytest.raises(TemplateError, match="different templates"):
        block + other


def test_a_nan_weight_is_named(columns):
    columns["variations"][3, 2] = np.nan
    with pytest.raises(TemplateError, match="'mw_down' has 1 weights that are NaN"):
        fill_columns(columns)


@given(value=st.floats(-10, 70), i=st.integers(0, 6))
def test_bins_are_half_open(value, i):
    assert bin_index([PT[i]], PT)[0] == (i if i < 6 else -1)
    index = bin_index([value], PT)[0]
    assert index == -1 or PT[index] <= value < PT[index + 1]
    assert (index == -1) == (not 25.0 <= value < 55.0)


def test_nan_is_outside():
    assert bin_index([np.nan], PT)[0] == -1
