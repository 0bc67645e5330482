"""Merged cells predict the same, with fewer strengths and the noise of their events."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.study.sets import GENERATED, exact_set, noisy_set
from wprops.channels import Truth
from wprops.errors import ConfigError, TemplateError
from wprops.fit.model import build_model
from wprops.fit.template_noise import mass_derivatives, noise_floor
from wprops.study.cells import cell_numbers, group_bins, merge_cells


def matrix_of(templates, merged):
    """What merged strengths do to those of the cells, (n_merged, n)."""
    (old,), (new,) = templates.channels.values(), merged.channels.values()
    add = np.zeros((len(new.processes), len(old.processes)))
    groups = group_bins(5, 2), group_bins(3, 1)
    for i, coarse in enumerate(new.processes.values()):
        for j, fine in enumerate(old.processes.values()):
            y, qt = fine.cell
            cell = groups[1][y], groups[0][qt]
            add[i, j] = fine.component == coarse.component and cell == coarse.cell
    assert_array_equal(add.sum(axis=0), 1)
    return add


def test_groups_hold_nearly_equal_numbers_of_neighbours():
    assert group_bins(6, 3).tolist() == [0, 0, 1, 1, 2, 2]
    for n in range(1, 12):
        groups = group_bins(11, n)
        sizes = np.bincount(groups)
        assert len(sizes) == n
        assert np.ptp(sizes) <= 1
        assert (np.diff(groups) >= 0).all()


@pytest.mark.parametrize("n", [0, 12])
def test_more_groups_than_bins_are_refused(n):
    with pytest.raises(ConfigError, match="ask for 1 to 11"):
        group_bins(11, n)


def test_a_merged_set_has_the_same_prediction_and_mass_derivative():
    templates = exact_set()
    merged = merge_cells(templates, 2, 1)
    merged.validate()
    assert cell_numbers(merged) == (2, 1)
    (old,), (new,) = templates.channels.values(), merged.channels.values()
    assert len(new.processes) == 12
    for label in ("nominal", "mw_up", "mw_down"):
        one, two = (
            sum(p.varied(label) for p in c.processes.values()) for c in (old, new)
        )
        assert_allclose(one, two, rtol=1e-12)


def test_maps_of_merged_cells_are_sums_and_weighted_means():
    merged = merge_cells(exact_set(), 2, 3).channels["Wplus"].generated
    assert merged.qt_edges.tolist() == [0.0, 8.0, 60.0]
    assert merged.absy_edges.tolist() == [0.0, 0.8, 1.6, 2.4]
    sigma, A = GENERATED.sigma, GENERATED.coefficients
    assert_allclose(merged.sigma[:, 0], sigma[:, :2].sum(axis=1))
    mean = np.average(A[4, 1, 2:], weights=sigma[1, 2:])
    assert_allclose(merged.coefficients[4, 1, 1], mean)


def test_the_truth_of_pseudo_data_is_merged_alike():
    templates = replace(exact_set(), truth=Truth(80.4, {"Wplus": GENERATED}))
    merged = merge_cells(templates, 2, 1)
    assert_allclose(
        merged.truth.channels["Wplus"].coefficients,
        merged.channels["Wplus"].generated.coefficients,
    )


def test_noise_of_merged_templates_is_that_of_all_their_events():
    templates = noisy_set(derivative="mw")
    merged = merge_cells(templates, 2, 1)
    merged.validate()
    add = np.pad(matrix_of(templates, merged), ((0, 1), (0, 1)))
    add[-1, -1] = 1.0  # the mass
    floors = []
    for each in (templates, merged):
        model = build_model(each)
        values = model.parameters.start
        weight = 1 / model.expected(values)
        found = noise_floor(model, values, weight, mass_derivatives(each, model))
        floors.append(found[0])
    assert floors[0][-1, -1] > 0
    assert_allclose(add @ floors[0] @ add.T, floors[1], rtol=1e-9, atol=1e-12)


def test_folds_of_merged_templates_add_up_to_them():
    templates = noisy_set()
    (channel,) = templates.channels.values()
    shared = []
    for group in channel.shared:
        sums = np.stack([channel.process(n).nominal for n in group.processes])
        shared.append(replace(group, folds=np.stack([0.25 * sums, 0.75 * sums])))
    channel = replace(channel, shared=tuple(shared))
    merged = merge_cells(replace(templates, channels={"Wplus": channel}), 2, 1)
    merged.validate()  # which adds up folds
    assert all(group.folds is not None for group in merged.channels["Wplus"].shared)


def test_templates_without_their_coefficients_are_not_added():
    with pytest.raises(TemplateError, match="'sigma_A'"):
        merge_cells(replace(exact_set(), weighting="sigma"), 2, 1)


def test_a_channel_without_edges_of_cells_is_refused():
    templates = exact_set()
    channel = replace(templates.channels["Wplus"], generated=None)
    with pytest.raises(TemplateError, match="no record of what was generated"):
        merge_cells(replace(templates, channels={"Wplus": channel}), 2, 1)


def test_systematics_act_on_merged_processes():
    templates = exact_set()
    names = frozenset(templates.channels["Wplus"].processes)
    (mass,) = templates.systematics
    named = replace(mass, processes=names, interpolation_of={"W_A4_y0_qt1": "linear"})
    merged = merge_cells(replace(templates, systematics=(named,)), 2, 1)
    (record,) = merged.systematics
    assert record.processes == frozenset(merged.channels["Wplus"].processes)
    assert record.interpolation_of == {"W_A4_y0_qt0": "linear"}
    assert "mw" in build_model(merged).parameters.names
