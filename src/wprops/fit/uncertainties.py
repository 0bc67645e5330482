r"""Expected events with their uncertainty, before and after a fit.

An event count is a function of the parameters with covariance V, so its variance is
:math:`J V J^T`, with all correlations of the parameters. Before the fit V is that of
the auxiliary measurements; parameters that nobody measured before stay at their
starting values without an error.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wprops.fit.block import Block
from wprops.fit.covariance import factorise
from wprops.fit.model import Model
from wprops.fit.parameters import POI_GROUP

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Yields:
    """Expected events of one channel.

    Errors are those of the parameters. The noise of the templates comes on top; it is
    independent from bin to bin.

    Attributes
    ----------
    events, errors, noise : ndarray, shape (n_eta, n_pt)
        Expected events by bin, their error, and the standard deviation of the sum of
        the templates from the finite simulation.
    eta_errors, pt_errors : ndarray, shape (n_eta,), (n_pt,)
        Errors of the projections.
    processes : tuple of str
        Names of the processes.
    process_events, process_errors : ndarray, shape (n_processes,)
        Events of each process in all bins.
    groups : tuple of str
        ``"signal"`` for all signal processes together, and each background.
    group_events, group_errors : ndarray, shape (n_groups,)
        Events of each group in all bins.
    total_error : float
        Error of all events of the channel.
    """

    events: Array
    errors: Array
    noise: Array
    eta_errors: Array
    pt_errors: Array
    processes: tuple[str, ...]
    process_events: Array
    process_errors: Array
    groups: tuple[str, ...]
    group_events: Array
    group_errors: Array
    total_error: float


def prior_covariance(model: Model, free: Mask) -> Array:
    """Covariance of the parameters before the fit.

    Parameters
    ----------
    model : Model
        Gives the constraints, external ones of constrained parameters among them.
    free : ndarray of bool, shape (n_par,)
        Whether a parameter is fitted; the others have no error.

    Returns
    -------
    ndarray, shape (n_par, n_par)
        Zero for parameters without an auxiliary measurement.
    """
    known = np.flatnonzero(free & (model.parameters.precision > 0))
    where = np.ix_(known, known)
    covariance = np.zeros((len(free), len(free)))
    factor = factorise(model.prior[where])
    # a positive diagonal and something positive semidefinite
    assert factor is not None
    covariance[where] = factor.inverse()
    return covariance


def propagate_yields(
    model: Model, values: Array, covariance: Array
) -> dict[str, Yields]:
    """Compute expected events with errors.

    Parameters
    ----------
    model : Model
        Gives events and derivatives.
    values : ndarray, shape (n_par,)
        Parameters.
    covariance : ndarray, shape (n_par, n_par)
        Their covariance.

    Returns
    -------
    dict of str to Yields
        By channel.
    """
    noise = model.split(np.sqrt(model.variance(values)))
    return {
        block.name: _channel(block, values, covariance, noise[block.name])
        for block in model.blocks
    }


def _channel(block: Block, values: Array, covariance: Array, noise: Array) -> Yields:
    point = block.at(values)
    own = covariance[np.ix_(point.active, point.active)]
    jacobian = point.jacobian.reshape(-1, *block.shape)
    processes = point.yields.sum(axis=1)
    derivatives = _process_derivatives(block, values)
    member = _membership(block)
    return Yields(
        events=point.expected.reshape(block.shape),
        errors=_errors(point.jacobian, own).reshape(block.shape),
        noise=noise,
        eta_errors=_errors(jacobian.sum(axis=2), own),
        pt_errors=_errors(jacobian.sum(axis=1), own),
        processes=block.processes,
        process_events=processes,
        process_errors=_errors(derivatives, covariance),
        groups=tuple(member),
        group_events=np.array([processes[mask].sum() for mask in member.values()]),
        group_errors=_errors(
            np.column_stack(
                [derivatives[:, mask].sum(axis=1) for mask in member.values()]
            ),
            covariance,
        ),
        total_error=float(_errors(jacobian.sum(axis=(1, 2))[:, None], own)[0]),
    )


def _errors(jacobian: Array, covariance: Array) -> Array:
    """Root of the diagonal of JᵀVJ for J of shape (n_par, n)."""
    squares = np.einsum("ij,ij->j", jacobian, covariance @ jacobian)
    # rounding can leave −1e-20 where a number does not depend on any parameter
    return np.sqrt(np.maximum(squares, 0.0))


def _process_derivatives(block: Block, values: Array) -> Array:
    """Differentiate the events of each process in all bins, (n_par, n_processes).

    Events are linear in strengths: with a strength for each process, backgrounds too,
    the mixed second derivatives of their sum in strength and parameter are the
    derivatives of each process at strength 1.
    """
    n_par, n_processes = len(values), len(block.processes)
    strengths = n_par + np.arange(n_processes)
    extended = replace(block, signal=np.arange(n_processes), poi=strengths)
    point = extended.at(np.r_[values, block.strengths(values)])
    mixed = point.second(np.ones(block.n_bins))
    is_strength = point.active >= n_par
    unit = point.jacobian[is_strength].sum(axis=1)
    derivatives = np.zeros((n_par, n_processes))
    derivatives[point.active[~is_strength]] = mixed[np.ix_(~is_strength, is_strength)]
    derivatives *= block.strengths(values)
    derivatives[block.poi, block.signal] = unit[block.signal]
    return derivatives


def _membership(block: Block) -> dict[str, Mask]:
    names = np.array(block.processes, dtype=object)
    names[block.signal] = POI_GROUP
    return {name: names == name for name in dict.fromkeys(names.tolist())}
