"""Smooth efficiencies against those of the toy's detector."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import erf

from wprops.errors import FitError, TemplateError
from wprops.factorised.efficiency import fit_efficiency, refit_efficiency
from wprops.factorised.efficiency_curves import (
    CONSTANT,
    ISOLATION,
    OFFSET,
    SHAPES,
    TURN_ON,
    Shape,
)

OF_ROWS, TIED = Shape(ISOLATION), SHAPES[1]
EDGES = np.linspace(25.0, 55.0, 61)
PT = (EDGES[1:] + EDGES[:-1]) / 2
ETA = np.linspace(-2.35, 2.35, 48)
#: Matched muons of one charge and one bin of eta in a sample of 1e8 events.
MUONS = 1e6


def spectrum(pt):
    """A Jacobian peak: muons per GeV, in arbitrary units."""
    return np.exp(-0.5 * ((pt - 38) / 7) ** 2) + 0.1


def toy(pt, turn_on=0.0, eta=ETA):
    """Efficiencies of both charges, shape (2, n_eta, n_pt)."""
    iso = 1 - np.exp(-0.15 * pt / 1.6)
    trigger = iso * (1 + turn_on * (erf((pt - 25) / 10) - 1))
    in_eta = (1 - 0.05 * (eta / 2.4) ** 2) * (1 - 0.05 * np.maximum(abs(eta) - 2, 0))
    return np.array([0.632, 0.671])[:, None, None] * in_eta[:, None] * trigger


def expected(n, turn_on=0.0, eta=ETA):
    """All and passing muons of n in a row: integrals over the bins of pT."""
    x, w = np.polynomial.legendre.leggauss(6)
    nodes = PT[:, None] + 0.25 * x
    weight = spectrum(nodes) * w
    every = n * weight.sum(axis=1) / weight.sum()
    mean = np.average(
        toy(nodes.ravel(), turn_on, eta).reshape(2, -1, 60, 6),
        axis=-1,
        weights=np.broadcast_to(weight, (2, len(eta), 60, 6)),
    )
    every = np.broadcast_to(every, mean.shape)
    return np.stack([every, mean * every])


def drawn(rng, mean):
    every = rng.poisson(mean[0])
    passing = rng.binomial(every, mean[1] / mean[0])
    counts = np.stack([every, passing]).astype(float)
    return counts, counts[[0, 1, 1]]


@pytest.mark.parametrize(
    ("turn_on", "name"),
    [(0.0, "isolation, common"), (0.02, "turn-on, common"), (0.1, "turn-on, common")],
)
def test_the_chosen_shape_describes_exact_efficiencies_of_1e8_events(turn_on, name):
    mean = expected(MUONS, turn_on)
    fit = fit_efficiency(*drawn(np.random.default_rng(1), mean), EDGES)
    assert fit.curve.name.startswith(name)
    assert 1e-3 < fit.p_value < 1 - 1e-3
    # The shape with the exact counts: less than 1 per 10 of the 96 rows.
    exact = fit_efficiency(mean, mean[[0, 1, 1]], EDGES, shape=fit.shape)
    assert exact.chi2.sum() < 9.6
    bias = (exact.values(PT) - toy(PT, turn_on)) / exact.errors(PT)
    assert np.sqrt(np.mean(bias**2)) < 0.3


def test_too_simple_shapes_are_refused_by_name():
    counts, squares = drawn(np.random.default_rng(2), expected(MUONS, 0.05))
    message = r"efficiency \({}\).*does not describe.*chi2/ndf = .*curve"
    for shape in (Shape(CONSTANT), TIED, OF_ROWS):
        with pytest.raises(FitError, match=message.format(shape.curve.name)):
            fit_efficiency(counts, squares, EDGES, shape=shape)
    fit = fit_efficiency(counts, squares, EDGES, shape=OF_ROWS, accept=True)
    assert fit.p_value < 1e-4


def test_one_bad_row_is_refused():
    mean = expected(MUONS)
    mean[1, 1, 20, 30:] *= 0.98
    with pytest.raises(FitError, match="worst of 96, number 68"):
        fit_efficiency(*drawn(np.random.default_rng(3), mean), EDGES, shape=OF_ROWS)


def test_pulls_are_standard_normal_and_p_values_uniform():
    rng, eta = np.random.default_rng(4), ETA[::6]
    mean = expected(2e4, eta=eta)
    fits = [fit_efficiency(*drawn(rng, mean), EDGES, shape=OF_ROWS) for _ in range(60)]
    pt = np.array([26.0, 35.0, 50.0])
    pulls = np.array([(f.values(pt) - toy(pt, eta=eta)) / f.errors(pt) for f in fits])
    assert_allclose(np.sqrt(np.mean(pulls**2, axis=(0, 1, 2))), 1.0, atol=0.1)
    assert abs(pulls.mean(axis=(0, 1, 2))).max() < 0.12
    assert 0.3 < np.mean([f.p_value for f in fits]) < 0.7


@pytest.mark.parametrize("shape", [OF_ROWS, TIED])
def test_weights_of_both_signs_that_differ_for_passing_muons(shape):
    """Generated weights 1 and −0.5, times pile-up weights where a muon passes."""
    rng, n_samples, eta = np.random.default_rng(5), 150, ETA[[0, 10, 30]]
    mean = expected(6e5, eta=eta)[:, :1]
    size = (n_samples, *mean.shape[1:])
    counts, squares = np.zeros((n_samples, 2, *size[1:])), np.zeros((3, *size[1:]))
    for sign in (1.0, -0.5):
        for pileup in (0.6, 1.4):
            every = rng.poisson(mean[0] / 2, size)
            passing = rng.binomial(every, mean[1] / mean[0])
            counts += sign * np.stack([every, pileup * passing], axis=1)
            sums = every.sum(axis=0), passing.sum(axis=0)
            squares += sign**2 * np.stack(
                [sums[0], pileup * sums[1], pileup**2 * sums[1]]
            )
    nominal = fit_efficiency(counts.sum(axis=0), squares, EDGES, shape=shape)
    fit = refit_efficiency(nominal, counts)
    pt = np.array([27.0, 38.0, 50.0])
    pulls = (fit.values(pt) - toy(pt, eta=eta)[:1]) / fit.errors(pt)
    assert_allclose(np.sqrt(np.mean(pulls**2, axis=(0, 1, 2))), 1.0, atol=0.12)
    assert abs(pulls.mean(axis=(0, 1, 2))).max() < 0.15
    assert abs(fit.p_value.mean() - 0.5) < 4 * np.sqrt(1 / 12 / n_samples)


@pytest.mark.parametrize("n", [3e3, 3e4, 3e5])
def test_a_common_shape_is_taken_whatever_the_size_of_the_sample(n):
    """A row of few muons does not tell its own shape: one in four has no solution."""
    mean = expected(n)
    fit = fit_efficiency(*drawn(np.random.default_rng(8), mean), EDGES)
    assert fit.shape == TIED
    assert fit.parameters[..., 1] == pytest.approx(0.15 / 1.6, rel=10 / np.sqrt(n))
    # Errors of the common parameter are in those of all rows.
    pulls = (fit.values(PT) - toy(PT)) / fit.errors(PT)
    assert 0.7 < np.sqrt(np.mean(pulls**2)) < 1.3


def test_folds_and_variations_are_fitted_as_one_by_one():
    rng = np.random.default_rng(6)
    parts = [drawn(rng, expected(MUONS / 20)) for _ in range(20)]
    folds = np.stack([counts for counts, _ in parts])
    total, squares = folds.sum(axis=0), sum(squares for _, squares in parts)
    nominal = fit_efficiency(total, squares, EDGES, shape=OF_ROWS)
    left = refit_efficiency(nominal, total - folds)
    assert left.parameters.shape == (20, 2, 48, 2)
    alone = refit_efficiency(nominal, total - folds[7])
    assert_allclose(left.values(PT)[7], alone.values(PT), rtol=1e-10)
    # The jackknife gives the errors of the fit.
    values = left.values(PT)
    jackknife = np.sqrt(19 / 20 * ((values - values.mean(axis=0)) ** 2).sum(axis=0))
    ratio = np.sqrt(np.mean((jackknife / nominal.errors(PT)) ** 2))
    assert ratio == pytest.approx(1.0, abs=0.1)


def test_a_factor_on_passing_muons_is_a_factor_on_the_efficiency():
    counts, squares = drawn(np.random.default_rng(7), expected(MUONS))
    nominal = fit_efficiency(counts, squares, EDGES, shape=OF_ROWS)
    varied = refit_efficiency(
        nominal, counts * np.array([1.0, 0.97])[:, None, None, None]
    )
    assert_allclose(varied.values(PT) / nominal.values(PT), 0.97, rtol=2e-4)


@pytest.mark.parametrize("curve", [CONSTANT, ISOLATION, OFFSET, TURN_ON])
def test_derivatives_of_the_curves(curve):
    parameters = np.array([0.7, 0.09, 0.12, 0.1, -2.7])[: len(curve.parameters)]
    step = 1e-6
    numeric = [
        (curve.value(PT, parameters + d) - curve.value(PT, parameters - d)) / (2 * step)
        for d in step * np.eye(len(parameters))
    ]
    found = curve.jacobian(PT, parameters)
    assert_allclose(found, np.stack(numeric, axis=-1), atol=1e-7)


def test_bad_input_is_refused_by_name():
    counts = expected(MUONS)
    with pytest.raises(
        TemplateError, match=r"\(2, 2, 48, 60\).*\(2, charge, eta, 50\)"
    ):
        fit_efficiency(counts, counts[[0, 1, 1]], EDGES[:51])
    nominal = fit_efficiency(counts, counts[[0, 1, 1]], EDGES, shape=OF_ROWS)
    with pytest.raises(TemplateError, match=r"end with \(2, 2, 48, 60\)"):
        refit_efficiency(nominal, counts[..., :50])
    counts[1, 1, 3] = 0.0
    with pytest.raises(TemplateError, match="charge -1 in bin 3 of eta"):
        fit_efficiency(counts, counts[[0, 1, 1]], EDGES)
