import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import quad

from wprops.physics.breit_wigner import fixed_width, line_shape, mass_weight

M, G = 80.379, 2.085
W = {"pole": M, "width": G}


def integrate(function):
    # Split at the pole, where adaptive integration would miss the peak.
    return sum(quad(function, *r, epsabs=1e-12)[0] for r in ((50, M), (M, 120)))


@pytest.mark.parametrize("running", [False, True])
def test_shape_is_normalised_on_its_window(running):
    assert_allclose(
        integrate(lambda m: float(line_shape(m, **W, running=running))), 1, rtol=1e-9
    )
    assert line_shape(49.9, **W) == line_shape(120.1, **W) == 0


def test_a_running_width_is_a_fixed_one_elsewhere():
    m = np.linspace(50, 120, 200)
    written_out = 2 * m / ((m**2 - M**2) ** 2 + (m**2 * G / M) ** 2)
    shape = line_shape(m, **W, running=True)
    assert_allclose(shape / written_out, shape[0] / written_out[0], rtol=1e-12)
    mass, width = fixed_width(M, G)
    assert_allclose(mass - M, -0.0270, atol=5e-5)
    assert_allclose(width / G, mass / M, rtol=1e-12)


@pytest.mark.parametrize("shift", [-0.1, -0.05, 0.01, 0.05, 0.1])
def test_weights_turn_one_shape_into_another_and_keep_the_norm(shift):
    new = {"new_pole": M + shift, "new_width": G}

    def reweighted(m):
        return float(line_shape(m, **W) * mass_weight(m, **W, **new))

    assert_allclose(integrate(reweighted), 1.0, rtol=1e-9)
    m = np.linspace(55, 115, 50)
    assert_allclose(
        [reweighted(x) for x in m], line_shape(m, pole=M + shift, width=G), rtol=1e-12
    )


def test_the_raw_ratio_would_change_the_norm():
    """The known ∓0.06 % of an unnormalised ratio at ±50 MeV."""

    def raw(pole):
        return lambda m: 2 * m * M * G / ((m * m - pole**2) ** 2 + (pole * G) ** 2)

    change = integrate(raw(M + 0.05)) / integrate(raw(M)) - 1
    assert_allclose(change, -0.0006, atol=0.0001)


def test_the_width_can_vary_too():
    m = np.array([M - 5.0, M, M + 5.0])
    ratio = mass_weight(m, **W, new_pole=M, new_width=G + 0.042)
    assert ratio[1] < 1 < ratio[0]


def test_masses_at_the_edge_have_the_weight_of_the_edge():
    new = {"new_pole": M + 0.05, "new_width": G}
    outside, edge = (mass_weight(m, **W, **new) for m in (49.999, 50.0))
    assert outside == edge


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match=r"width -1.*positive"):
        line_shape(80.0, pole=M, width=-1)
