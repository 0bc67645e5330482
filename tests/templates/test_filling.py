"""The filling engine against the plain histogram loop."""

import itertools
import operator
from functools import reduce

import hist
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from wprops.errors import TemplateError
from wprops.templates.filling import (
    N_FOLDS,
    Block,
    Cells,
    bin_index,
    fill,
    flat_index,
)

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
        "shifted_pt": rng.uniform(20.0, 60.0, n),
        "components": rng.normal(size=(n, 3)),
        "variations": np.column_stack([np.ones(n), rng.normal(1, 0.1, (n, 3))]),
        "derivative": rng.normal(0.0, 0.1, n),
        "fold": rng.integers(0, N_FOLDS, n),
    }


def cell_of(columns, pt="pt"):
    return flat_index(
        [bin_index(columns["eta"], ETA), bin_index(columns[pt], PT)], (12, 6)
    )


def fill_columns(columns, keep=slice(None)) -> Block:
    kept = {name: values[keep] for name, values in columns.items()}
    cells = Cells(
        n_cells=72,
        nominal=cell_of(kept),
        shifted={"muon_scale_up": cell_of(kept, "shifted_pt")},
        fold=kept["fold"],
    )
    return fill(
        cells,
        (COMPONENTS, kept["components"]),
        (LABELS, kept["variations"]),
        derivative=kept["derivative"],
    )


def fill_reference(columns, component, label, pt="pt"):
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
    return template.fill(eta=columns["eta"], pt=columns[pt], weight=weight)


@pytest.mark.parametrize("component", COMPONENTS)
@pytest.mark.parametrize("label", LABELS)
def test_engine_agrees_with_one_histogram_per_template(columns, component, label):
    sums = fill_columns(columns).section(0, 72).sums
    found = sums[COMPONENTS.index(component), LABELS.index(label)]
    reference = fill_reference(columns, component, label)
    # boost-histogram sums in the same order
    assert_allclose(found, reference.values().ravel(), atol=1e-12)


@pytest.mark.parametrize("component", COMPONENTS)
def test_shifted_events_fill_the_cell_they_move_to(columns, component):
    block = fill_columns(columns)
    assert block.labels == (*LABELS, "muon_scale_up")
    found = block.section(0, 72).sums[COMPONENTS.index(component), -1]
    reference = fill_reference(columns, component, "nominal", "shifted_pt")
    assert_allclose(found, reference.values().ravel(), atol=1e-12)


def test_products_hold_the_squared_weights_and_their_covariance(columns):
    matrix = fill_columns(columns).section(0, 72).products
    reference = fill_reference(columns, "A0", "nominal")
    assert_allclose(matrix[1, 1], reference.variances().ravel(), atol=1e-12)
    cell = cell_of(columns)
    inside = cell >= 0
    total = columns["components"].sum(axis=1) * columns["derivative"]
    both = np.column_stack([columns["components"], total])
    assert matrix.shape == (4, 4, 72)
    for one in range(4):
        for other in range(4):
            product = both[:, one] * both[:, other]
            expected = np.bincount(cell[inside], product[inside], minlength=72)
            assert_allclose(matrix[one, other], expected, atol=1e-12)
    assert_array_equal(matrix[0, 2], matrix[2, 0])


def test_folds_are_the_templates_of_their_events(columns):
    block = fill_columns(columns)
    whole = block.section(0, 72)
    assert whole.folds.shape == (N_FOLDS, 4, 72)
    assert_allclose(whole.folds[:, :3].sum(axis=0), whole.sums[:, 0], atol=1e-12)
    alone = fill_columns(columns, columns["fold"] == 7).section(0, 72)
    assert_array_equal(whole.folds[7, :3], alone.sums[:, 0])
    assert_allclose(
        alone.folds[7, 3],
        fill_derivative(columns, columns["fold"] == 7),
        atol=1e-12,
    )


def fill_derivative(columns, keep):
    weight = columns["components"].sum(axis=1) * columns["derivative"]
    cell = cell_of(columns)
    keep = keep & (cell >= 0)
    return np.bincount(cell[keep], weight[keep], minlength=72)


def test_the_spread_of_folds_is_the_covariance_of_the_templates(columns):
    """K Σ_f (T_f − mean)² / (K − 1) estimates what `products` sums exactly."""
    whole = fill_columns(columns).section(0, 72)
    spread = N_FOLDS * np.var(whole.folds, axis=0, ddof=1)
    expected = np.moveaxis(whole.products, -1, 0).diagonal(axis1=1, axis2=2).T
    # 72 cells × 19 degrees of freedom: 2.7 % for one column.
    ratio = spread.sum(axis=1) / expected.sum(axis=1)
    assert_allclose(ratio, 1.0, atol=0.12)


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


def test_blocks_of_parts_add_up(columns):
    starts = [0, 3, 40, 900, 901, 4000, 5000]
    pieces = [
        fill_columns(columns, slice(one, other))
        for one, other in itertools.pairwise(starts)
    ]
    whole = fill_columns(columns).section(0, 72)
    total = reduce(operator.add, pieces).section(0, 72)
    in_place = reduce(operator.iadd, pieces).section(0, 72)
    for found, other, expected in zip(total, in_place, whole, strict=True):
        assert_allclose(found, expected, atol=1e-12)
        assert_array_equal(found, other)


def test_adding_leaves_the_terms_alone_and_adding_in_place_does_not(columns):
    few, many = fill_columns(columns, slice(5)), fill_columns(columns)
    before = few.sums.copy(), many.sums.copy()
    total = few + many
    assert_array_equal(few.sums, before[0])
    assert_array_equal(many.sums, before[1])
    buffer = many.sums
    many += few
    assert many.sums is buffer
    assert_array_equal(many.sums, total.section(0, 72).sums.transpose(2, 0, 1))


def test_sparse_blocks_stay_sparse():
    def one(cell):
        cells = Cells(
            n_cells=1000,
            nominal=np.array([cell]),
            fold=np.zeros(1, dtype=np.int64),
        )
        unit = np.ones((1, 1))
        return fill(cells, (("UL",), unit), (("nominal",), unit))

    total = one(17) + one(900)
    assert_array_equal(total.cells, [17, 900])
    for cell in range(400):
        total += one(cell)
    assert len(total.cells) == 1000  # all cells once many are occupied
    assert total.section(17, 1).sums == 2
    assert total.entries.sum() == 402


def test_blocks_of_other_templates_are_refused(columns):
    block = fill_columns(columns)
    columns["variations"] = columns["variations"][:, :3]
    other = fill(
        Cells(n_cells=72, nominal=cell_of(columns), fold=columns["fold"]),
        (COMPONENTS, columns["components"]),
        (LABELS[:3], columns["variations"]),
    )
    with pytest.raises(TemplateError, match="different templates"):
        block + other
    with pytest.raises(TemplateError, match="different templates"):
        block += other


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
