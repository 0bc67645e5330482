"""Kernels on compact storage against the plain formulas on dense arrays."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.fit.conftest import build_set
from tests.fit.test_model import eta_local
from wprops.fit import kernels
from wprops.fit.interpolation import bounded_square, smooth_abs
from wprops.fit.kernels import threads
from wprops.fit.model import build_model


class Dense:
    """Effects of all parameters on all processes and bins, and the obvious sums."""

    def __init__(self, block, values):
        n_eta, n_pt = block.shape
        shape = (len(values), len(block.processes), n_eta, n_pt)
        a, b, c, d = (np.zeros(shape) for _ in range(4))  # slopes, bends of log, shift
        for group in block.groups:
            for m, p in enumerate(group.members):
                for r, row in enumerate(group.rows):
                    target = ((a, b) if row.is_log else (c, d))[row.is_bend]
                    for e, k in enumerate(block.columns[row.column]):
                        target[k, p, e] = group.tiles[m, e, r]
        for m, k in enumerate(block.norms.parameters):
            a[k] += block.norms.log_size[:, m, None, None]
        a, b, c, d = (x.reshape(*shape[:2], -1) for x in (a, b, c, d))
        t = values[:, None, None]
        s, q = (
            [x[:, None, None] for x in f(values)] for f in (smooth_abs, bounded_square)
        )
        self.strength = block.strengths(values)[:, None]
        self.factor = np.exp((a * t + b * s[0]).sum(axis=0))
        self.unit = (block.nominal + (c * t + d * q[0]).sum(axis=0)) * self.factor
        self.log1, self.log2 = a + b * s[1], b * s[2]
        self.shift1, self.shift2 = c + d * q[1], d * q[2]
        self.block = block

    def unit_jacobian(self):
        """Derivatives of the unit yields, (n_par, n_processes, n_bins)."""
        return self.log1 * self.unit + self.shift1 * self.factor

    def jacobian(self):
        total = (self.strength * self.unit_jacobian()).sum(axis=1)
        total[self.block.poi] += self.unit[self.block.signal]
        return total

    def second(self, weight):
        log, shift, mu = self.log1, self.shift1, self.strength * weight
        both = np.einsum("kpi,lpi,pi->kl", log, log, mu * self.unit)
        mixed = np.einsum("kpi,lpi,pi->kl", log, shift, mu * self.factor)
        bends = self.log2 * self.unit + self.shift2 * self.factor
        total = both + mixed + mixed.T + np.diag((bends * mu).sum(axis=(1, 2)))
        unit = np.einsum("kpi,i->pk", self.unit_jacobian(), weight)[self.block.signal]
        total[self.block.poi] += unit
        total[:, self.block.poi] += unit.T
        return total


def every_kind():
    """Eta-local and common parameters, all interpolations, also within one column."""
    templates = eta_local(build_set())
    kinds = {"W": "linear", "W_UL_y0_qt1": "lognormal", "W_A0_y0_qt1": "quadratic"}
    systematics = tuple(
        replace(s, interpolation_of=kinds) if s.name in ("sf", "pdf_01") else s
        for s in templates.systematics
    )
    return replace(templates, systematics=systematics)


@pytest.fixture(scope="module", params=[np.float32, np.float64])
def model(request):
    return build_model(every_kind(), storage=request.param)


@pytest.fixture(scope="module")
def values(model):
    rng = np.random.default_rng(8)
    values = model.parameters.start + 0.2 * rng.standard_normal(len(model.parameters))
    n_poi = model.parameters.n_poi
    # all pieces of the curves
    values[n_poi:] = rng.uniform(-2.5, 2.5, len(values) - n_poi)
    return values


def expand(active, matrix, n):
    total = np.zeros((n, n))
    total[np.ix_(active, active)] = matrix
    return total


def test_yields_and_jacobian_are_those_of_dense_arrays(model, values):
    for block in model.blocks:
        point, dense = block.at(values), Dense(block, values)
        assert_allclose(point.yields, dense.strength * dense.unit, rtol=1e-13)
        full = np.zeros_like(dense.jacobian())
        full[point.active] = point.jacobian
        # float64 sums of a few terms
        assert_allclose(full, dense.jacobian(), rtol=1e-12, atol=1e-10)


def test_second_derivatives_are_those_of_dense_arrays(model, values):
    for block in model.blocks:
        weight = np.random.default_rng(1).normal(size=block.n_bins)
        point, dense = block.at(values), Dense(block, values)
        expected = dense.second(weight)
        got = expand(point.active, point.second(weight), len(values))
        assert_allclose(got, expected, atol=1e-13 * abs(expected).max())
        assert_allclose(got, got.T, rtol=1e-12, atol=1e-10)


def test_eta_local_parameters_cost_one_column():
    local, common = build_model(eta_local(build_set())), build_model(build_set())
    more = len(local.parameters) - len(common.parameters)
    assert more == 2 * 6 - 1
    stored = [
        sum(group.tiles.size for block in model.blocks for group in block.groups)
        for model in (local, common)
    ]
    assert stored[0] == stored[1]


@pytest.mark.parametrize("n", [2, 5])
def test_results_do_not_depend_on_the_number_of_threads(model, values, monkeypatch, n):
    monkeypatch.setattr(kernels, "_SMALL", 0)
    weight = np.random.default_rng(1).normal(size=model.n_bins)
    results = []
    for n_threads in (1, n):
        with threads(n_threads):
            point = model.at(values)
            results.append((point.expected, point.jacobian(), point.second(weight)))
    for one, many in zip(*results, strict=True):
        assert (one == many).all()
