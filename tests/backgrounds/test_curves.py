import numpy as np
import pytest
from numpy.testing import assert_allclose

from wprops.backgrounds.curves import (
    CUBIC,
    ERF,
    LINEAR,
    LOGISTIC,
    QUADRATIC,
    polynomial,
)

CURVES = {curve.name: curve for curve in (LINEAR, QUADRATIC, CUBIC, ERF, LOGISTIC)}
PARAMETERS = {
    "linear": [0.2, 0.003],
    "quadratic": [0.2, 0.003, -1e-4],
    "cubic": [0.2, 0.003, -1e-4, 2e-6],
    "erf": [0.95, 0.03, 0.4],
    "logistic": [0.95, 0.08, 0.5],
}
PT = np.linspace(25.0, 55.0, 7)


@pytest.mark.parametrize("name", CURVES)
def test_jacobian_is_the_derivative(name):
    curve, parameters = CURVES[name], np.array(PARAMETERS[name])
    assert len(curve.parameters) == len(parameters)
    for k in range(len(parameters)):
        # Central differences: the error is of second order in the step.
        step = np.zeros_like(parameters)
        step[k] = 1e-5 * abs(parameters[k])
        up, down = (curve.value(PT, parameters + s) for s in (step, -step))
        expected = (up - down) / (2 * step[k])
        assert_allclose(
            curve.jacobian(PT, parameters)[:, k], expected, rtol=1e-6, atol=1e-9
        )


@pytest.mark.parametrize("name", CURVES)
def test_rows_are_evaluated_together(name):
    curve, parameters = CURVES[name], np.array(PARAMETERS[name])
    rows = np.stack([parameters, 1.1 * parameters])
    together = curve.value(PT, rows)
    assert_allclose(together, [curve.value(PT, row) for row in rows])
    # And each at a pT of its own, as events need it.
    assert_allclose(curve.value(PT[:2, None], rows)[:, 0], np.diagonal(together[:, :2]))


@pytest.mark.parametrize("name", ["erf", "logistic"])
def test_saturating_curves_start_through_both_points(name):
    points, rates = np.array([[30.0, 45.0]]), np.array([[0.85, 0.95]])
    curve = CURVES[name]
    start = curve.start(points, rates)
    assert_allclose(curve.value(points, start)[0], rates[0])


def test_higher_polynomials_are_refused():
    with pytest.raises(ValueError, match="0 to 3, not 4"):
        polynomial(4)
