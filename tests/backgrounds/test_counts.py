from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from tests.backgrounds.region_counts import truth
from wprops.backgrounds.counts import REGIONS
from wprops.errors import TemplateError
from wprops.selection import regions as selection


def test_regions_are_those_of_the_selection():
    assert tuple(region.name for region in selection.REGIONS) == REGIONS


def test_an_array_is_found_by_region():
    counts = truth().regions()
    for index, name in enumerate(REGIONS):
        assert_array_equal(counts.of("data", name), counts.data[index])


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("data", -1.0, "data of region 'sideband', charge -1, eta bin 3, pT bin 7 is"),
        ("prompt", np.nan, "prompt of region 'sideband', charge -1, eta bin 3, pT bin"),
        ("prompt_variance", -2.0, "is -2.0, and 1 bins are like it: expected non-neg"),
    ],
)
def test_impossible_numbers_are_refused_with_their_place(name, value, message):
    counts = truth().regions()
    values = getattr(counts, name).copy()
    values[2, 1, 3, 7] = value
    with pytest.raises(TemplateError, match=message):
        replace(counts, **{name: values})


def test_negative_weights_are_allowed_in_the_simulation():
    counts = truth().regions()
    prompt = counts.prompt.copy()
    prompt[2, 1, 3, 7] = -0.5
    assert replace(counts, prompt=prompt).prompt.min() == -0.5


def test_shapes_and_edges_that_do_not_fit_are_refused():
    counts = truth().regions()
    with pytest.raises(
        TemplateError, match=r"prompt of the multijet regions has shape"
    ):
        replace(counts, prompt=counts.prompt[..., :-1])
    with pytest.raises(TemplateError, match="expected two or more increasing"):
        replace(counts, pt_edges=counts.pt_edges[::-1])
