r"""How errors and responses would change with a larger or a smaller simulation.

With f times the simulation the noise floor is M/f and the variance of the templates is
v/f, at the same information: H − M of this simulation, which has no bias. In a
direction that cannot be told from noise it is nothing but a fluctuation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wprops.fit.corrected_score import require_information, sandwich, spectrum
from wprops.fit.covariance import factorise
from wprops.fit.finite_mc import find_lost
from wprops.fit.functionals import Functionals, slopes_of, variances
from wprops.fit.likelihood import LikelihoodPoint
from wprops.fit.model import Model
from wprops.fit.template_noise import Derivatives, noise_floor

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
#: Sizes of the simulation, relative to the one at hand.
FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0, 10.0, 30.0, 100.0)


@dataclass(frozen=True, slots=True, eq=False)
class Growth:
    """Errors and responses against the size of the simulation.

    Attributes
    ----------
    names, units : tuple of str
        Quoted numbers.
    factors : ndarray, shape (n_factors,)
        Simulation relative to the one at hand, infinity at the end.
    naive, barlow_beeston, corrected : ndarray, shape (n_factors, n)
        Errors that these fits state; only the corrected one covers everywhere. NaN
        where the information less the noise is not positive definite, and everywhere
        if the simulation at hand has a direction that cannot be told from noise.
    slopes : ndarray, shape (n_factors, n)
        Response of the Barlow-Beeston fit, see `wprops.fit.gate.Gate`.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    factors: Array
    naive: Array
    barlow_beeston: Array
    corrected: Array
    slopes: Array

    def rows(self) -> Iterator[dict[str, object]]:
        """Yield one row per number and size, for a table."""
        for column, (name, unit) in enumerate(zip(self.names, self.units, strict=True)):
            for row, factor in enumerate(self.factors.tolist()):
                yield {
                    "quantity": name,
                    "unit": unit,
                    "simulation": factor,
                    "naive": float(self.naive[row, column]),
                    "barlow_beeston": float(self.barlow_beeston[row, column]),
                    "corrected": float(self.corrected[row, column]),
                    "slope": float(self.slopes[row, column]),
                }


def growth(
    model: Model,
    point: LikelihoodPoint,
    numbers: Functionals,
    *,
    free: Mask | None = None,
    derivatives: Derivatives = (),
    factors: Sequence[float] = FACTORS,
    exact: bool = False,
) -> Growth:
    """Scale the noise of the templates at fixed information.

    Parameters
    ----------
    model : Model
        What was fitted.
    point : LikelihoodPoint
        Minimum of a fit; parameters stay there.
    numbers : Functionals
        What is quoted.
    free : ndarray of bool, shape (n_par,), optional
        Whether a parameter was fitted; all when omitted.
    derivatives : sequence of sequence of Derivative
        Noise of the derivative in the mass.
    factors : sequence of float
        Sizes of the simulation relative to that of the templates, positive; infinity
        is added.
    exact : bool
        Whether the templates are expectations without noise, and their covariance is
        that of a simulation which was not made: then the information is H itself, and
        known even where that simulation would determine nothing.

    Returns
    -------
    Growth
    """
    free = np.ones(len(point.values), dtype=bool) if free is None else free
    where = np.ix_(free, free)
    gradient = numbers.gradient(point.values)[:, free]
    sizes = np.array([*factors, np.inf])
    shape = (4, len(sizes), len(gradient))
    table = np.full(shape, np.nan)
    expected, variance = point.point.expected, model.variance(point.values)

    def matrices(weight: Array, size: float) -> tuple[Array, Array] | None:
        """H + Λ and M for a size of the simulation."""
        floor, _ = noise_floor(model, point.values, weight, derivatives)
        true = (point.information(weight) - (0.0 if exact else floor))[where]
        if factorise(true) is None:
            return None
        return true + floor[where] / size, floor[where] / size

    weight = model.counted / (expected + variance)
    floor, _ = noise_floor(model, point.values, weight, derivatives)
    here = spectrum(point.information(weight)[where], floor[where])
    is_known = exact or not find_lost(here, model).any()
    for row, size in enumerate(sizes if is_known else ()):
        plain = matrices(model.counted / expected, size)
        lite = matrices(model.counted / (expected + variance / size), size)
        if plain is not None and lite is not None:
            table[:, row] = _errors_and_slopes(gradient, plain[0], *lite)
    measured = (gradient != 0).any(axis=1)
    naive, lite, corrected, slopes = table[:, :, measured]
    return Growth(
        names=tuple(n for n, m in zip(numbers.names, measured, strict=True) if m),
        units=tuple(u for u, m in zip(numbers.units, measured, strict=True) if m),
        factors=sizes,
        naive=naive,
        barlow_beeston=lite,
        corrected=corrected,
        slopes=slopes,
    )


def _errors_and_slopes(
    gradient: Array, plain: Array, fisher: Array, floor: Array
) -> tuple[Array, Array, Array, Array]:
    """Errors that the fits state, and the response, each of shape (n,)."""
    covariances = [require_information(matrix).inverse() for matrix in (plain, fisher)]
    solved = sandwich(fisher, floor)
    assert solved is not None  # fisher - floor has a Cholesky factor
    naive, lite, corrected = (
        np.sqrt(variances(gradient, c)) for c in (*covariances, solved.covariance)
    )
    return naive, lite, corrected, slopes_of(gradient, covariances[1], floor)
