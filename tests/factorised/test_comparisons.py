import numpy as np
import pytest
from numpy.testing import assert_allclose

from wprops.factorised.comparisons import chi2_of, compare, excess, reach


def cells_and_products(values, group, weight):
    """Sums of one feature in classes, by explicit loops."""
    rows = []
    for c in range(group.max() + 1):
        w, x = weight[group == c], values[group == c]
        rows.append([w.sum(), w @ x, w @ w])
    z = np.stack([np.ones(len(values)), values])
    return np.array(rows), (z * weight**2) @ z.T


def test_chi2_of_unweighted_classes_is_that_of_an_analysis_of_variance():
    rng = np.random.default_rng(1)
    x, group = rng.normal(3.0, 2.0, 900), np.repeat([0, 1, 2], [400, 300, 200])
    comparison = compare(*cells_and_products(x, group, np.ones(900)))
    means = np.array([x[group == c].mean() for c in range(3)])
    counts = np.array([400, 300, 200])
    expected = np.sum(counts * (means - x.mean()) ** 2) / x.var()
    chi2, ndf = comparison.chi2()
    assert (ndf, chi2) == (2, pytest.approx(expected))
    assert_allclose(comparison.centre, x.mean())


def test_classes_of_few_effective_events_are_left_out():
    rng = np.random.default_rng(2)
    x, group = rng.normal(size=450), np.repeat([0, 1, 2], [200, 200, 50])
    arguments = cells_and_products(x, group, np.ones(450))
    comparison = compare(*arguments)
    assert comparison.chi2()[1] == 1
    assert comparison.weight.tolist() == [200.0, 200.0, 0.0]
    # Alternating signs leave no effective events at all.
    weight = np.where(np.arange(450) % 2, 1.0, -0.9)
    assert compare(*cells_and_products(x, group, weight)) is None


def test_noise_is_what_squares_are_without_a_difference():
    rng = np.random.default_rng(3)
    found = []
    for _ in range(300):
        x, group = rng.normal(size=800), np.repeat([0, 1], [500, 300])
        weight = rng.uniform(0.5, 1.5, 800)
        comparison = compare(*cells_and_products(x, group, weight))
        found.append(comparison.squares(np.array([[2.0]]), np.ones(1)))
    squares, noise = np.mean(found, axis=0)
    # The mean of 300 squares of a normal has a relative error of 8 %.
    assert_allclose(squares, noise, rtol=0.3)


def test_combinations_that_vanish_by_construction_do_not_count():
    contrast = np.eye(4) - 0.25
    chi2, ndf = chi2_of(contrast @ [1.0, 2.0, 3.0, 6.0], contrast @ contrast.T)
    assert (ndf, chi2) == (3, pytest.approx(14.0))
    assert chi2_of(np.zeros(2), np.zeros((2, 2))) == (0, 0)


def test_a_size_is_beyond_noise():
    assert excess(np.array([25.0, 1.0]), np.array([9.0, 4.0])) == 4.0
    assert excess(1.0, 4.0) == 0.0


def test_an_effect_within_reach_raises_chi2_by_three_standard_deviations():
    rng = np.random.default_rng(4)
    group, n = np.repeat(np.arange(8), 500), 4000
    one = compare(*cells_and_products(rng.normal(size=n), group, np.ones(n)))
    noise = one.squares(np.ones((1, 1)), np.ones(1))[1]
    ndf = one.chi2()[1]
    shift = reach(noise, ndf) * np.where(group % 2, 1.0, -1.0)
    chi2 = [
        compare(
            *cells_and_products(rng.normal(size=n) + shift, group, np.ones(n))
        ).chi2()[0]
        for _ in range(100)
    ]
    expected = ndf + 3 * np.sqrt(2 * ndf)
    assert np.mean(chi2) == pytest.approx(expected, rel=0.2)
