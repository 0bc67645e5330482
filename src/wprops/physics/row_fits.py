"""Many small non-linear fits at once, one per row of an array."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

#: Range of the damping, in units of the diagonal of the information.
_LEAST_DAMPING, _MOST_DAMPING = 1e-9, 1e9
#: Squared distance to the solution, in standard deviations, of a finished fit.
_TOLERANCE = 1e-12
#: The same, where steps need no check.
_CLOSE = 1e-6
#: Smallest eigenvalue of the information, in units of its diagonal, of a fit that
#: determines all of its parameters.
_DEGENERATE = 1e-13


def minimise_rows(
    objective: Callable[[Rows, Array], Array],
    normal: Callable[[Rows, Array], tuple[Array, Array]],
    begin: Array,
    *,
    max_iterations: int = 500,
) -> tuple[Array, NDArray[np.bool_]]:
    """Find the parameters of each row with the smallest objective.

    Steps with the expected information and Levenberg damping of each row, which have to
    lower the objective. A row leaves the iteration when it is finished.

    Parameters
    ----------
    objective : callable
        From chosen rows (n,) and their parameters (n, k) to values (n,), −2 ln L.
    normal : callable
        From the same to the gradient of ln L (n, k) and the expected information
        (n, k, k).
    begin : ndarray, shape (n_rows, k)
        Parameters to start from.
    max_iterations : int
        Steps after which a row that has no minimum is given up.

    Returns
    -------
    parameters : ndarray, shape (n_rows, k)
        The best that were found.
    finished : ndarray of bool, shape (n_rows,)
        Whether the minimum was found.
    """
    parameters = begin.copy()
    active = np.arange(len(begin))
    damping = np.full(len(begin), 1e-3)
    value = objective(active, begin)
    last, slope = np.zeros_like(begin), np.zeros(len(begin))
    finished = np.zeros(len(begin), dtype=bool)
    for _ in range(max_iterations):
        here = parameters[active]
        gradient, information = normal(active, here)
        # The expected information may be half of the true curvature or less: the last
        # step then went to the other side of the minimum, about as far away.
        beyond = np.sum(gradient * last[active], axis=1) < -slope[active] / 2
        damping[active] *= np.where(beyond, 100.0, 1.0)
        step, distance = _step(gradient, information, damping[active])
        trial = here + step
        reached = objective(active, trial)
        # Close to the minimum the objective is the same up to rounding.
        better = (reached <= value[active]) | (distance < _CLOSE)
        parameters[active] = np.where(better[:, None], trial, here)
        value[active] = np.where(better, reached, value[active])
        last[active] = np.where(better[:, None], step, 0.0)
        slope[active] = np.sum(gradient * step, axis=1)
        damping[active] *= np.where(better, 0.1, 10.0)
        damping[active] = np.maximum(damping[active], _LEAST_DAMPING)
        done = distance < _TOLERANCE
        finished[active] = done
        active = active[~done & (damping[active] < _MOST_DAMPING)]
        if len(active) == 0:
            break
    return parameters, finished


def invert_rows(information: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Invert the information of each row.

    Returns
    -------
    covariance : ndarray, shape (n, k, k)
        Inverses; NaN where parameters are not determined.
    determined : ndarray of bool, shape (n,)
        Whether all parameters of the row are.
    """
    scale, matrix = _normalised(information)
    determined = np.linalg.eigvalsh(matrix)[:, 0] > _DEGENERATE
    matrix[~determined] = np.eye(matrix.shape[-1])
    covariance = np.linalg.inv(matrix) / (scale[:, :, None] * scale[:, None, :])
    covariance[~determined] = np.nan
    return covariance, determined


def _step(gradient: Array, information: Array, damping: Array) -> tuple[Array, Array]:
    """Damped step, and the squared undamped one in standard deviations."""
    scale, matrix = _normalised(information)
    scaled = (gradient / scale)[..., None]
    unit = np.eye(matrix.shape[-1])
    full = np.linalg.solve(matrix + _LEAST_DAMPING * unit, scaled)
    step = np.linalg.solve(matrix + damping[:, None, None] * unit, scaled)
    return step[..., 0] / scale, np.sum(full * scaled, axis=(1, 2))


def _normalised(information: Array) -> tuple[Array, Array]:
    """Square roots of the diagonal, and the matrix with unit diagonal."""
    diagonal = np.diagonal(information, axis1=1, axis2=2)
    scale = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    return scale, information / (scale[:, :, None] * scale[:, None, :])
