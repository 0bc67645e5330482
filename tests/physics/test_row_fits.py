"""Fits of many rows at once against fits one by one."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import curve_fit

from wprops.physics.row_fits import invert_rows, minimise_rows

X = np.linspace(0.0, 4.0, 21)
ERROR = 0.02


def fit(rows, begin, **options):
    """Fit a exp(−b x) to rows of values, of which NaN are none."""
    known = np.isfinite(rows)

    def value(parameters):
        return parameters[:, :1] * np.exp(-parameters[:, 1:] * X)

    def residual(chosen, mean):
        return np.where(known[chosen], rows[chosen] - mean, 0.0) / ERROR

    def objective(chosen, parameters):
        return np.sum(residual(chosen, value(parameters)) ** 2, axis=1)

    def normal(chosen, parameters):
        mean = value(parameters)
        slopes = np.stack([mean / parameters[:, :1], -X * mean], axis=-1) / ERROR
        slopes *= known[chosen][..., None]
        gradient = np.einsum("nxk,nx->nk", slopes, residual(chosen, mean))
        return gradient, np.swapaxes(slopes, 1, 2) @ slopes

    found, finished = minimise_rows(objective, normal, begin, **options)
    covariance, determined = invert_rows(normal(np.arange(len(rows)), found)[1])
    return found, finished, covariance, determined


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(1)
    truth = np.stack([rng.uniform(0.5, 2.0, 50), rng.uniform(0.2, 1.5, 50)], axis=1)
    exact = truth[:, :1] * np.exp(-truth[:, 1:] * X)
    return exact + ERROR * rng.normal(size=exact.shape)


def test_rows_are_fitted_as_one_by_one(rows):
    found, finished, covariance, determined = fit(rows, np.full((50, 2), 1.0))
    assert finished.all()
    assert determined.all()
    for row, parameters, errors in zip(rows, found, covariance, strict=True):
        best, expected = curve_fit(
            lambda x, a, b: a * np.exp(-b * x),
            X,
            row,
            p0=[1.0, 1.0],
            sigma=np.full(len(X), ERROR),
            absolute_sigma=True,
        )
        assert_allclose(parameters, best, rtol=1e-5)
        assert_allclose(errors, expected, rtol=1e-3, atol=1e-9)


def test_rows_that_are_not_determined_are_told(rows):
    rows = rows.copy()
    rows[7, np.arange(21) != 5] = np.nan  # one value for two parameters
    _, finished, covariance, determined = fit(rows, np.full((50, 2), 1.0))
    usable = finished & determined
    assert not usable[7]
    assert usable.sum() == 49
    assert np.isfinite(covariance[usable]).all()


def test_the_number_of_steps_is_a_limit(rows):
    begin = np.full((50, 2), 1.0)
    *_, first = fit(rows, begin, max_iterations=1)[:2]
    assert not first.any()
