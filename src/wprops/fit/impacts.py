r"""What each uncertainty does to a result, in matrix form from one Hessian.

With the covariance :math:`C = H^{-1}` of the parameters and the derivatives A of a
quantity q in them, two numbers tell what nuisance parameter k does to q:

.. math:: t_k = (AC)_k / \sqrt{C_{kk}}, \qquad g_k = (AC)_k \sqrt{p_k}.

The *traditional* impact t is the shift of q when the parameter moves by its error after
the fit; squares of correlated parameters do not add up. The *global* impact g is the
response to the auxiliary measurement, of precision p, shifted by its own error. The
auxiliary measurements are independent of each other, of the counts and of the
simulation, so the variance of q is the sum of

.. math:: Σ_k g_k^2 + AC \, L^T V^{-1} L \, CA^T + AC \, M \, CA^T + AC \, S \, CA^T,

external measurements, the simulated events with the information M of the
Barlow-Beeston factors, and the data, with the rest S of the Hessian. See A. Pinto et
al., arXiv:2307.04007. The responses to auxiliary and external measurements are exact
derivatives of the minimum; S is the sum over bins of the products of derivatives
divided by the counts up to what fluctuations of the data about a curved model add.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wprops.errors import TemplateError
from wprops.fit.covariance import factorise
from wprops.fit.derived import Quantity
from wprops.fit.likelihood import LikelihoodPoint
from wprops.fit.model import Model
from wprops.fit.parameters import Parameters

Array = NDArray[np.float64]
#: Parts of the variance, in the order of `Impacts.parts`.
PARTS = ("data", "simulation", "systematics", "external")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Impacts:
    """Impacts of the nuisance parameters on parameters and derived quantities.

    Attributes
    ----------
    quantities, units : tuple of str, length n
        What is measured: parameters, then derived quantities such as
        ``"Wplus/A4/y0_qt2"``, and the unit of their impacts.
    sources : tuple of str, length n_sources
        Nuisance parameters.
    groups : tuple of str, length n_groups
        Their groups.
    total : ndarray, shape (n,)
        Variance of the quantities.
    traditional, global_ : ndarray, shape (n, n_sources)
        Impacts with their signs. A parameter without constraint has no auxiliary
        measurement and global impact 0, a frozen one has none of either.
    traditional_groups : ndarray, shape (n, n_groups)
        Root of the decrease of the variance when the parameters of a group are fixed.
    global_groups : ndarray, shape (n, n_groups)
        Root of the sum of squares of the global impacts.
    parts : ndarray, shape (n, 4)
        Variance from each of `PARTS`, with the sum ``total``. What the data say of a
        hardly constrained parameter can be a little negative: data that fluctuate
        about a curved model weaken the constraint.
    """

    quantities: tuple[str, ...]
    units: tuple[str, ...]
    sources: tuple[str, ...]
    groups: tuple[str, ...]
    total: Array
    traditional: Array
    global_: Array
    traditional_groups: Array
    global_groups: Array
    parts: Array

    def index(self, quantity: str) -> int:
        """Return the row of a quantity.

        Raises
        ------
        TemplateError
            If there are no impacts on it.
        """
        if quantity not in self.quantities:
            msg = (
                f"there are no impacts on {quantity!r}; there are those on "
                f"{len(self.quantities)} quantities, such as "
                f"{', '.join(self.quantities[-3:])}"
            )
            raise TemplateError(msg)
        return self.quantities.index(quantity)


def compute_impacts(
    model: Model,
    point: LikelihoodPoint,
    covariance: Array,
    derived: Mapping[str, Quantity],
) -> Impacts:
    """Compute impacts on all parameters and on derived quantities.

    Parameters
    ----------
    model : Model
        The model that was fitted.
    point : LikelihoodPoint
        The minimum.
    covariance : ndarray, shape (n_par, n_par)
        Of the parameters, from the exact Hessian (`Minimum.covariance`).
    derived : mapping of str to Quantity
        See `wprops.fit.derived.quantities`.

    Returns
    -------
    Impacts
    """
    parameters = model.parameters
    names, units = list(parameters.names), list(parameters.units)
    rows = [np.eye(len(parameters))]
    for name, quantity in derived.items():
        names += quantity.names(name)
        units += [quantity.unit] * len(quantity.labels)
        rows.append(quantity.jacobian(point.values))
    jacobian = np.vstack(rows)
    response = jacobian @ covariance
    total = np.einsum("ij,ij->i", response, jacobian)
    moved = response[:, parameters.n_poi :]
    error = np.sqrt(np.diag(covariance)[parameters.n_poi :])
    global_ = moved * np.sqrt(parameters.precision[parameters.n_poi :])
    members = _group_members(parameters)
    traditional_groups = np.zeros((len(names), len(members)))
    global_groups = np.zeros_like(traditional_groups)
    for column, group in enumerate(members.values()):
        traditional_groups[:, column] = _fixing(response, covariance, group)
        squares = global_[:, group - parameters.n_poi] ** 2
        global_groups[:, column] = np.sqrt(squares.sum(axis=1))
    return Impacts(
        quantities=tuple(names),
        units=tuple(units),
        sources=parameters.names[parameters.n_poi :],
        groups=tuple(members),
        total=total,
        traditional=np.divide(moved, error, out=np.zeros_like(moved), where=error > 0),
        global_=global_,
        traditional_groups=traditional_groups,
        global_groups=global_groups,
        parts=_parts(model, point, response, total, (global_**2).sum(axis=1)),
    )


def signed_root(variance: Array) -> Array:
    """Root of a variance, negative for a negative one.

    Examples
    --------
    >>> signed_root(np.array([4.0, -9.0])).tolist()
    [2.0, -3.0]
    """
    return np.sign(variance) * np.sqrt(abs(variance))


def _group_members(parameters: Parameters) -> dict[str, NDArray[np.int64]]:
    groups = parameters.groups[parameters.n_poi :]
    return {
        group: parameters.n_poi + np.flatnonzero([other == group for other in groups])
        for group in dict.fromkeys(groups)
    }


def _squares(rows: Array, matrix: Array) -> Array:
    """Diagonal of rows · matrix · rowsᵀ."""
    return np.einsum("ij,ij->i", rows @ matrix, rows)


def _fixing(response: Array, covariance: Array, group: NDArray[np.int64]) -> Array:
    """Root of the variance that goes when a group is fixed: of a Gaussian."""
    fitted = group[np.diag(covariance)[group] > 0]
    factor = factorise(covariance[np.ix_(fitted, fitted)])
    # a covariance that was inverted from a positive definite matrix is one too
    assert factor is not None
    moved = response[:, fitted]
    squares = np.einsum("ij,ji->i", moved, factor.solve(moved.T))
    return np.sqrt(squares)


def _parts(
    model: Model, point: LikelihoodPoint, response: Array, total: Array, known: Array
) -> Array:
    # with k of the Barlow-Beeston factor the score of a bin moves by 1/(ν + k) per
    # auxiliary event, of which there are k ± √k; k/(ν + k) = ν · information
    expected, information = point.point.expected, point.terms.information
    weight = information * (1 - information * expected)
    simulation = _squares(response, point.point.information(weight))
    external = _squares(response, model.external.information)
    data = total - simulation - known - external
    return np.column_stack([data, simulation, known, external])
