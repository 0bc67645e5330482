r"""Solves the score of a model, with or without what noise of templates takes from it.

.. math:: J^T W (n - ν) + s - Λ (θ - θ_0) = 0, \quad A = H - M + Λ, \quad
   V = A^{-1} (H + Λ) A^{-1},

with s and M of `wprops.fit.template_noise.noise_floor`, and W = 1/(ν + v) refreshed at
every step. Without s and M these are the equations of the Barlow-Beeston fit, or of the
naive one with v = 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wprops.fit.corrected_score import sandwich
from wprops.fit.covariance import factorise
from wprops.fit.likelihood import Likelihood, LikelihoodPoint
from wprops.fit.template_noise import Derivatives, noise_floor

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
#: Distance to the solution [half squared errors] below which steps end.
_TOLERANCE = 1e-8
_MAX_STEPS = 30


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """Root of a score, with matrices over all parameters; fixed ones have zeros.

    Attributes
    ----------
    likelihood : Likelihood
        Counts and constraints, with the weights of the last step.
    point : LikelihoodPoint
        Where the last step began, a negligible distance away.
    values, covariance : ndarray, shape (n_par,), (n_par, n_par)
        Parameters and V.
    inverse : ndarray, shape (n_par, n_par)
        A⁻¹.
    fisher, floor : ndarray, shape (n_par, n_par)
        H + Λ and M.
    """

    likelihood: Likelihood
    point: LikelihoodPoint
    values: Array
    covariance: Array
    inverse: Array
    fisher: Array
    floor: Array

    def parts(self, derivatives: Derivatives = ()) -> tuple[Array, Array, Array]:
        """Split the covariance by what fluctuates: data, simulation, constraints.

        Parameters
        ----------
        derivatives : sequence of sequence of Derivative
            Those of the solution.

        Returns
        -------
        tuple of ndarray, shape (n_par, n_par)
            A⁻¹CA⁻¹ for C = Σw²ν(JJᵀ − Σ) of the data, Λ of the constraints as if all
            were auxiliary measurements, and the rest of H, which is the simulation's.
        """
        model, weight = self.likelihood.model, self.point.terms.information
        weight = weight**2 * self.point.point.expected
        data = self.point.information(weight) - model.prior
        data -= noise_floor(model, self.point.values, weight, derivatives)[0]
        rest = self.fisher - model.prior - data
        first, second, third = (
            self.inverse @ c @ self.inverse for c in (data, rest, model.prior)
        )
        return first, second, third


def weighted(
    likelihood: Likelihood, values: Array, *, barlow_beeston: bool
) -> Likelihood:
    """Give a likelihood the weights 1/(ν + v) of a point, or 1/ν.

    Bins that expect nothing keep no noise; `Likelihood.at` refuses such a point.
    """
    model = likelihood.model
    ratio = np.zeros(model.n_bins)
    if barlow_beeston:
        expected = model.expected(values)
        has_noise = model.counted & (expected > 0)
        np.divide(model.variance(values), expected**2, out=ratio, where=has_noise)
    return replace(likelihood, relative_variance=ratio)


def solve_score(
    likelihood: Likelihood,
    values: Array,
    *,
    free: Mask,
    barlow_beeston: bool = True,
    corrected: bool = True,
    derivatives: Derivatives = (),
) -> Solution | None:
    """Find where a score vanishes.

    Parameters
    ----------
    likelihood : Likelihood
        Counts and constraints; its weights are replaced.
    values : ndarray, shape (n_par,)
        Where to begin, such as the minimum of the Barlow-Beeston likelihood.
    free : ndarray of bool, shape (n_par,)
        Which parameters move.
    barlow_beeston : bool
        Whether weights count the noise of the templates.
    corrected : bool
        Whether the score is corrected for that noise.
    derivatives : sequence of sequence of Derivative
        Noise of the derivative in the mass.

    Returns
    -------
    Solution or None
        None where A is not positive definite, a step leads to bins that expect no
        events, or steps do not end within `_MAX_STEPS`.
    """
    model, where = likelihood.model, np.ix_(free, free)
    floor, score = np.zeros((len(free), len(free))), np.zeros(len(free))
    for _ in range(_MAX_STEPS):
        current = weighted(likelihood, values, barlow_beeston=barlow_beeston)
        point = current.at(values)
        if point is None:
            return None
        fisher, weight = point.fisher(), point.terms.information
        if corrected:
            floor, score = noise_floor(model, values, weight, derivatives)
        expected = factorise((fisher - floor)[where])
        if expected is None:
            return None
        root = (score - point.gradient())[free]
        # where errors of strengths and nuisance parameters are large together, steps
        # with expected second derivatives zigzag (see wprops.fit.minimise)
        exact = factorise((point.hessian() - floor)[where])
        step = (expected if exact is None else exact).solve(root)
        values = values.copy()
        values[free] += step
        if 0.5 * abs(root @ step) < _TOLERANCE:
            return _solution(current, point, values, free, fisher, floor)
    return None


def _solution(
    likelihood: Likelihood,
    point: LikelihoodPoint,
    values: Array,
    free: Mask,
    fisher: Array,
    floor: Array,
) -> Solution | None:
    where = np.ix_(free, free)
    solved = sandwich(fisher[where], floor[where])
    if solved is None:
        return None
    inverse, covariance = np.zeros_like(fisher), np.zeros_like(fisher)
    inverse[where], covariance[where] = solved
    return Solution(likelihood, point, values, covariance, inverse, fisher, floor)
