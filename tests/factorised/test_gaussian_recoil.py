import numpy as np
import pytest
from numpy.testing import assert_allclose

from wprops.factorised.gaussian_recoil import gaussian_acceptance
from wprops.physics.kinematics import transverse_mass

EDGES = np.array([-0.3, 0.0, 0.3])


@pytest.mark.parametrize(
    ("qt", "cosphi", "pt"), [(5.0, 0.3, 35.0), (30.0, -0.5, 26.0), (20.0, 0.8, 45.0)]
)
def test_the_acceptance_is_that_of_drawn_residuals(qt, cosphi, pt):
    rng = np.random.default_rng(1)
    n = 400_000
    mean, sigma = (1.0, -2.0), (16.0, 10.0)
    e = np.array([mean]).T + np.array([sigma]).T * rng.standard_normal((2, n))
    hadron = np.array([qt + e[0], e[1]])
    phi = np.arccos(cosphi)
    muon = pt * np.array([[np.cos(phi)], [np.sin(phi)]])
    met = hadron - muon
    mt = transverse_mass(pt, phi, np.hypot(*met), np.arctan2(met[1], met[0]))
    along = -np.sum(hadron * muon, axis=0) / pt**2
    counts = np.bincount(np.digitize(along, EDGES)[mt > 40.0], minlength=4)
    parts = gaussian_acceptance(
        qt, cosphi, pt, mean, np.square(sigma), along_edges=EDGES
    )
    assert_allclose(counts / n, parts, atol=5 * 0.5 / np.sqrt(n))


def test_classes_of_the_recoil_add_up_to_the_acceptance():
    grid = np.linspace(26.0, 50.0, 5)
    parts = gaussian_acceptance(
        12.0, 0.4, grid, (0.5, 0.0), (200.0, 180.0), along_edges=EDGES
    )
    (whole,) = gaussian_acceptance(12.0, 0.4, grid, (0.5, 0.0), (200.0, 180.0))
    assert parts.shape == (4, 5)
    assert_allclose(parts.sum(axis=0), whole, atol=1e-12)


def test_without_a_cut_everything_is_accepted():
    accepted = gaussian_acceptance(
        30.0, [-0.9, 0.9], 40.0, (0, 0), (196, 196), cut=1e-3
    )
    assert_allclose(accepted, 1.0, atol=1e-9)
