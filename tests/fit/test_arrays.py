import numpy as np
import pytest
from numpy.testing import assert_allclose

from wprops.errors import TemplateError
from wprops.fit.arrays import template_set
from wprops.fit.model import build_model, observed

FLAT = np.array([10.0, 20.0, 30.0])
UP, DOWN = FLAT * [1.1, 1.0, 0.9], FLAT * [0.9, 1.0, 1.1]


def test_the_model_is_what_the_arrays_say():
    templates = template_set(
        {"a": FLAT[::-1]},
        {"b": FLAT, "c": 2 * FLAT},
        data=[1, 2, 3],
        shapes={"slope": {"b": (UP, DOWN), "c": (2 * UP, 2 * DOWN)}},
        norms={"norm": (1.2, ["c"])},
        variance={"b": FLAT},
        interpolation="linear",
        channel="sr",
    )
    model = build_model(templates)
    assert model.parameters.names == ("sr/a", "slope", "norm")
    values = np.array([0.5, -1.0, 2.0])
    expected = 0.5 * FLAT[::-1] + DOWN + 1.2**2 * 2 * DOWN
    assert_allclose(model.expected(values), expected, rtol=1e-7)
    assert_allclose(model.variance(values), FLAT)
    assert observed(templates, model).tolist() == [1, 2, 3]


def test_one_template_is_mirrored():
    templates = template_set({"a": FLAT}, {}, shapes={"slope": {"a": UP}})
    model = build_model(templates)
    assert_allclose(model.expected(np.array([1.0, -1.0])), FLAT**2 / UP, rtol=1e-6)


def test_two_dimensions_are_eta_and_pt():
    templates = template_set({"a": np.ones((2, 3))}, {})
    assert build_model(templates).blocks[0].shape == (2, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"background": {"a": FLAT}}, "a are both signal and background"),
        ({"norms": {"n": (1.1, ["d"])}}, "'n' acts on d, which are no processes"),
        ({"shapes": {"s": {"d": UP}}}, "'s' acts on d"),
        ({"shapes": {"s": {"a": UP, "b": (UP, DOWN)}}}, "'s' varies some"),
        ({"signal": {"a": np.ones((1, 1, 3))}}, "process 'a' has 3 dimensions"),
        ({"data": [1.0, 2.0]}, "data has shape"),
    ],
)
def test_arrays_that_do_not_fit_together_are_named(options, message):
    arguments = {"signal": {"a": FLAT}, "background": {"b": FLAT}} | options
    with pytest.raises(TemplateError, match=message):
        template_set(**arguments)
