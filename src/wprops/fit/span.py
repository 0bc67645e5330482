"""The quantities of a fit next to the span of an ansatz, and what departs from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from wprops.channels import Generated
from wprops.errors import ConfigError
from wprops.fit.ansatz import LAM_TUNG, SIGMA, Ansatz, averages, n_functions
from wprops.fit.derived import Quantity, quantities
from wprops.fit.parameters import Parameters
from wprops.store import TemplateSet

Array = NDArray[np.float64]
Index = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Span:
    """Smooth values of the quantities of a fit, and what departs from them.

    The quantities are dimensionless: A_i, and cross sections in units of the generated
    ones. Departures are the components orthogonal to the span, in an orthonormal basis,
    so that their squares add up to that of the distance to the closest smooth values.

    Attributes
    ----------
    quantities : mapping of str to Quantity
        What is smooth, by name such as ``"Wplus/A4"``.
    scale : ndarray, shape (n_x,)
        Units of the numbers.
    labels : tuple of str
        Names of the factors of the polynomials.
    basis : ndarray, shape (n_x, n_factors)
        Averages of the polynomials.
    complement : ndarray, shape (n_x - n_factors, n_x)
        Orthonormal rows, orthogonal to the columns of the basis.
    """

    quantities: Mapping[str, Quantity]
    scale: Array
    labels: tuple[str, ...]
    basis: Array
    complement: Array

    def numbers(self, values: Array) -> Array:
        """Return the quantities at parameters of shape (n_par,), shape (n_x,)."""
        parts = [q.function(values) for q in self.quantities.values()]
        return np.concatenate(parts) / self.scale

    def jacobian(self, values: Array) -> Array:
        """Return their derivatives, shape (n_x, n_par)."""
        parts = [q.jacobian(values) for q in self.quantities.values()]
        return np.vstack(parts) / self.scale[:, None]

    @property
    def strengths(self) -> Index:
        """Positions of the strengths that the quantities are proportional to."""
        return np.concatenate([q.over for q in self.quantities.values()])

    @property
    def _stages(self) -> tuple[Index, Index]:
        """Rows of cross sections, and of coefficients, which are divided by them."""
        ratio = np.repeat(
            [q.under is not None for q in self.quantities.values()],
            [len(q.over) for q in self.quantities.values()],
        )
        return np.flatnonzero(~ratio), np.flatnonzero(ratio)

    def moved_to(self, values: Array, numbers: Array) -> Array:
        """Move these strengths to where the quantities have wanted values, (n_par,).

        Quantities are proportional to them, whatever the other parameters are.
        """
        moved = values.copy()
        for rows in self._stages:
            own = self.strengths[rows]
            slope = self.jacobian(moved)[rows, own]
            moved[own] += (numbers - self.numbers(moved))[rows] / slope
        return moved

    def tangent(self, values: Array) -> Array:
        """Return derivatives of the parameters in quantities that replace strengths.

        Returns
        -------
        ndarray, shape (n_par, n_par)
            Columns in the order of the parameters, with a quantity in the place of
            its strength.
        """
        plain, ratio = (self._replaced(values, rows) for rows in self._stages)
        tangent: Array = ratio @ plain
        return tangent

    def _replaced(self, values: Array, rows: Index) -> Array:
        """Return derivatives of the parameters where some quantities replace theirs."""
        J, own = self.jacobian(values)[rows], self.strengths[rows]
        slope = J[np.arange(len(rows)), own]
        J[:, own] = 0.0
        tangent = np.eye(len(values))
        tangent[own] -= J / slope[:, None]
        tangent[own, own] = 1 / slope
        return tangent

    def factors(self, numbers: Array) -> Array:
        """Return the factors of the closest smooth values, shape (n_factors, …)."""
        return linalg.lstsq(self.basis, numbers)[0]


def build_span(
    templates: TemplateSet, parameters: Parameters, ansatz: Ansatz, values: Array
) -> Span:
    """Build the span of an ansatz for the quantities of a fit.

    Parameters
    ----------
    templates : TemplateSet
        Gives the bins and the generated cross sections.
    parameters : Parameters
        What is fitted.
    ansatz : Ansatz
        Degrees of the polynomials.
    values : ndarray, shape (n_par,)
        Parameters at which the cross sections weight the averages.

    Raises
    ------
    ConfigError
        If the fit measures none of the quantities, or the ansatz leaves no bin
        to be smoothed.
    """
    derived = quantities(templates, parameters)
    found: dict[str, Quantity] = {}
    blocks: list[tuple[Array, list[str]]] = []
    for channel in templates.channels.values():
        if channel.generated is None or f"{channel.name}/{SIGMA}" not in derived:
            continue
        sigma = derived[f"{channel.name}/{SIGMA}"].function(values)
        present = {
            name: derived[f"{channel.name}/{name}"]
            for name in ansatz.degrees
            if f"{channel.name}/{name}" in derived
        }
        for together in _groups(present, ansatz):
            found |= {f"{channel.name}/{n}": present[n] for n in together}
            blocks.append(
                _block(channel.name, together, ansatz, channel.generated, sigma)
            )
    if not blocks:
        msg = (
            f"the fit measures none of {', '.join(ansatz.degrees) or 'nothing'}; "
            "regularise what it measures: a fit of helicity components of channels "
            "with a record of what was generated"
        )
        raise ConfigError(msg)
    span = Span(
        quantities=found,
        scale=np.concatenate([_scale(templates, n, q) for n, q in found.items()]),
        labels=tuple(label for _, labels in blocks for label in labels),
        basis=np.asarray(linalg.block_diag(*(matrix for matrix, _ in blocks))),
        complement=np.asarray(
            linalg.block_diag(*(_complement(matrix) for matrix, _ in blocks))
        ),
    )
    if not len(span.complement):
        msg = "the ansatz has a parameter for every bin; lower its degrees"
        raise ConfigError(msg)
    return span


def _groups(present: Mapping[str, Quantity], ansatz: Ansatz) -> list[tuple[str, ...]]:
    """Quantities that share their factors: those of Lam and Tung, or each alone."""
    shared = LAM_TUNG if ansatz.lam_tung and set(LAM_TUNG) <= set(present) else ()
    alone: list[tuple[str, ...]] = [(n,) for n in present if n not in shared]
    return [shared, *alone] if shared else alone


def _block(
    channel: str,
    together: Sequence[str],
    ansatz: Ansatz,
    generated: Generated,
    sigma: Array,
) -> tuple[Array, list[str]]:
    name = together[0]
    degrees = ansatz.degrees[name]
    edges = generated.absy_edges, generated.qt_edges
    # the same factors for all that are together
    one = averages(name, degrees, edges, sigma.reshape(generated.sigma.shape))
    numbers = n_functions(name, degrees)
    labels = [
        f"{channel}/{'='.join(together)}: y{m} qt{n}"
        for m in range(numbers.absy)
        for n in range(numbers.qt)
    ]
    return np.vstack([one] * len(together)), labels


def _complement(matrix: Array) -> Array:
    orthogonal, _ = linalg.qr(matrix)
    return orthogonal[:, matrix.shape[1] :].T


def _scale(templates: TemplateSet, name: str, quantity: Quantity) -> Array:
    channel, _, kind = name.rpartition("/")
    generated = templates.channel(channel).generated
    if kind == SIGMA and generated is not None:
        return generated.sigma.ravel()
    return np.ones(len(quantity.labels))
