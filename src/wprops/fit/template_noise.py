r"""Covariance of the templates and of the derivative in m_W, as a model needs it.

Templates of a cell, and the derivative of their sum in the mass, are made of the same
events. With the weight :math:`h_e(μ) = Σ_p μ_p h_{ep}` of an event at strengths μ and
its relative change δ_e with the mass parameter θ, a bin expects
:math:`Σ_e h_e(μ) (1 + θ δ_e)`, and M and the score of the corrected fit need

.. math:: S_{pq} = Σ_e h_{ep} h_{eq}, \quad c_p(μ) = Σ_e δ_e h_e(μ) h_{ep}, \quad
   d(μ) = Σ_e δ_e^2 h_e(μ)^2.

A template file has c and d at the generated strengths g. They are moved to others with
:math:`μ = r g + μ_⊥`, :math:`r = g^T S μ / g^T S g`, and the mean change
:math:`\bar δ = c·g / g^T S g` of the bin:

.. math:: c(μ) = r c + \bar δ S μ_⊥, \qquad d(μ) = d \, μ^T S μ / g^T S g,

which is exact where all strengths of a cell move together and where δ is the same for
all events of a bin. Of the other nuisance parameters no products are known: their
derivatives count as free of noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wprops.channels import Channel, SharedEvents
from wprops.errors import ConfigError
from wprops.fit.block import Block
from wprops.fit.checks import acts_on
from wprops.fit.corrected_score import fold_noise_floor
from wprops.fit.model import Model
from wprops.fit.parameters import nuisance_names
from wprops.store import TemplateSet

Array = NDArray[np.float64]
Index = NDArray[np.int64]


class Derivative(NamedTuple):
    """Noise of the derivative of the sum of some templates in one parameter.

    Attributes
    ----------
    members : ndarray of int, shape (n,)
        Positions of the processes in the block.
    parameter : int
        Position of the parameter.
    generated : ndarray, shape (n,)
        Strengths g at which the products are known.
    templates : ndarray, shape (n, n, n_bins)
        S.
    products : ndarray, shape (n, n_bins)
        c(g).
    variance : ndarray, shape (n_bins,)
        d(g).
    """

    members: Index
    parameter: int
    generated: Array
    templates: Array
    products: Array
    variance: Array

    def at(self, strengths: Array) -> tuple[Array, Array]:
        """Return c(μ), shape (n, n_bins), and d(μ), shape (n_bins,)."""
        here = np.tensordot(strengths, self.templates, axes=1)  # Sμ
        there = np.tensordot(self.generated, self.templates, axes=1)  # Sg
        norm = self.generated @ there
        ratio = _divide(self.generated @ here, norm)
        mean = _divide(self.generated @ self.products, norm)
        products = ratio * self.products + mean * (here - ratio * there)
        return products, self.variance * _divide(strengths @ here, norm)


#: Numbers of folds with which M is checked; production keeps 20.
FOLDS = (10, 20)
#: Derivatives by block of a model.
Derivatives = Sequence[Sequence[Derivative]]


def mass_derivatives(templates: TemplateSet, model: Model) -> Derivatives:
    """Look up the noise of derivatives that a template set has.

    Parameters
    ----------
    templates : TemplateSet
        The set the model was built of.
    model : Model
        What is fitted.

    Returns
    -------
    sequence of sequence of Derivative
        By block; none for groups of templates without a stored derivative, and for
        derivatives that the model has no single parameter for.
    """
    return [
        [
            _derivative(group, block, model, parameter)
            for group in templates.channel(block.name).shared
            for parameter in _parameter(
                templates, templates.channel(block.name), group, model
            )
        ]
        for block in model.blocks
    ]


def _parameter(
    templates: TemplateSet, channel: Channel, group: SharedEvents, model: Model
) -> list[int]:
    """Position of the parameter of a stored derivative, or nothing."""
    if group.derivative_products is None:
        return []
    processes = [channel.process(name) for name in group.processes]
    return [
        model.parameters.index(nuisance_names(record, channel)[0])
        for record in templates.systematics
        if record.name == group.derivative
        and not record.eta_local
        and all(acts_on(record, process) for process in processes)
    ]


def _derivative(
    group: SharedEvents, block: Block, model: Model, parameter: int
) -> Derivative:
    assert group.derivative_products is not None  # see _parameter
    members = np.array([block.processes.index(name) for name in group.processes])
    n = len(members)
    stored = group.derivative_products.reshape(n + 1, -1)
    return Derivative(
        members=members,
        parameter=parameter,
        generated=block.strengths(model.parameters.start)[members],
        templates=group.products.reshape(n, n, -1),
        products=stored[:n],
        variance=stored[n],
    )


def noise_floor(
    model: Model, values: Array, weight: Array, derivatives: Derivatives = ()
) -> tuple[Array, Array]:
    """Noise of the Fisher matrix and of the score from the finite simulation.

    Parameters
    ----------
    model : Model
        Gives the covariance of the templates.
    values : ndarray, shape (n_par,)
        Parameters.
    weight : ndarray, shape (n_bins,)
        Weight w of each bin in the Fisher matrix.
    derivatives : sequence of sequence of Derivative
        Noise of the derivative in the mass, see `mass_derivatives`.

    Returns
    -------
    matrix : ndarray, shape (n_par, n_par)
        M, zero in all parameters whose noise is not known.
    score : ndarray, shape (n_par,)
        What the noise takes from the score: the sum over events of an event's weight
        times its derivatives, M times the absolute strengths, those fixed at 1
        included, and to first order in the mass parameter.
    """
    n = len(model.parameters)
    matrix, score = np.zeros((n, n)), np.zeros(n)
    for position, (block, part) in enumerate(_by_block(model, weight)):
        noise = block.noise.weighted(part)[block.signal]
        matrix[np.ix_(block.poi, block.poi)] += noise[:, block.signal]
        score[block.poi] += noise @ block.strengths(values)
        for derivative in derivatives[position] if derivatives else ():
            _add_derivative(matrix, score, block, values, part, derivative)
    return matrix, score


def _add_derivative(
    matrix: Array,
    score: Array,
    block: Block,
    values: Array,
    weight: Array,
    derivative: Derivative,
) -> None:
    strengths = block.strengths(values)[derivative.members]
    products, variance = (x @ weight for x in derivative.at(strengths))
    k, theta = derivative.parameter, values[derivative.parameter]
    matrix[k, k] += variance
    score[k] += products @ strengths + theta * variance
    poi = _strength_positions(block)[derivative.members]
    free = poi >= 0
    matrix[k, poi[free]] += products[free]
    matrix[poi[free], k] += products[free]
    # the weight of an event and its derivative in a strength move with the mass
    score[poi[free]] += 2 * theta * products[free]


def _strength_positions(block: Block) -> Index:
    """Parameter of the strength of each process; −1 for backgrounds."""
    positions = np.full(len(block.processes), -1, dtype=np.int64)
    positions[block.signal] = block.poi
    return positions


def _by_block(model: Model, weight: Array) -> list[tuple[Block, Array]]:
    ends = np.cumsum([block.n_bins for block in model.blocks])
    parts = np.split(weight, ends[:-1])
    return list(zip(model.blocks, parts, strict=True))


def _divide(over: Array, under: Array) -> Array:
    """Quotient, 0 in bins without simulation."""
    return np.divide(over, under, out=np.zeros_like(over), where=under > 0)


def fold_ratios(
    templates: TemplateSet, model: Model, weight: Array, derivatives: Derivatives = ()
) -> Array:
    """Check the noise floor with folds, for the numbers of folds `FOLDS`.

    Parameters
    ----------
    templates : TemplateSet
        The set the model was built of.
    model : Model
        What is fitted.
    weight : ndarray, shape (n_bins,)
        Weight w of each bin in the Fisher matrix.
    derivatives : sequence of sequence of Derivative
        Noise of the derivative in the mass.

    Returns
    -------
    ndarray, shape (n, 2)
        Number of folds and mean ratio of the diagonals of M; empty where the set has
        no folds of a signal process, or no multiple of these numbers.
    """
    stored = {
        len(group.folds)
        for block in model.blocks
        for group in templates.channel(block.name).shared
        if group.folds is not None
    }
    floor, _ = noise_floor(model, model.parameters.start, weight, derivatives)
    analytic = np.diag(floor)
    rows = []
    for n_folds in FOLDS:
        if not stored or any(n % n_folds for n in stored):
            continue
        found = fold_floor(templates, model, weight, n_folds)
        if found is not None:
            noisy = analytic > 0
            rows.append((n_folds, (np.diag(found)[noisy] / analytic[noisy]).mean()))
    return np.array(rows).reshape(-1, 2)


def fold_floor(
    templates: TemplateSet, model: Model, weight: Array, n_folds: int
) -> Array | None:
    """Noise floor at the generated point from folds instead of stored products.

    Parameters
    ----------
    templates : TemplateSet
        The set the model was built of.
    model : Model
        What is fitted.
    weight : ndarray, shape (n_bins,)
        Weight w of each bin in the Fisher matrix.
    n_folds : int
        Neighbouring folds are merged until there are as many.

    Returns
    -------
    ndarray, shape (n_par, n_par), or None
        M of the strengths and of the mass; None where the set has no folds of a signal
        process.

    Raises
    ------
    ConfigError
        If the number of stored folds is no multiple of ``n_folds``.
    """
    n = len(model.parameters)
    matrix = np.zeros((n, n))
    n_found = 0
    for block, part in _by_block(model, weight):
        positions = _strength_positions(block)
        channel = templates.channel(block.name)
        for group in channel.shared:
            if group.folds is None:
                continue
            members = [block.processes.index(name) for name in group.processes]
            mass = [*_parameter(templates, channel, group, model), -1][0]
            columns = np.append(positions[members], mass)[: group.folds.shape[1]]
            floor = fold_noise_floor(_merged(group.folds, n_folds), part)
            used = columns >= 0
            floor = floor[np.ix_(used, used)]
            matrix[np.ix_(columns[used], columns[used])] += floor
            n_found += int((positions[members] >= 0).sum())
    return matrix if n_found == model.parameters.n_poi else None


def _merged(folds: Array, n_folds: int) -> Array:
    stored = len(folds)
    if n_folds < 2 or stored % n_folds:
        msg = (
            f"{stored} stored folds cannot be merged to {n_folds}; ask for a divisor "
            "of their number, 2 or more"
        )
        raise ConfigError(msg)
    shape = (n_folds, stored // n_folds, folds.shape[1], -1)
    return folds.reshape(shape).sum(axis=1)
