"""Measured quantities from fitted parameters: cross sections, A_i, m_W.

All of them share one line of mathematics, `propagate`; they differ in the
function and its derivatives. Cross sections are the fitted strength times the
generated cross section of the bin. A theory variation that changes the rate of a signal
template is left out of that product, although it changes the cross section too: where
such a nuisance parameter is pulled, the cross section is off by the same fraction (per
cents of a standard deviation in PDFs), and its error contains the freedom of the rate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wprops.axes import COMPONENTS
from wprops.channels import Channel, Generated
from wprops.errors import TemplateError
from wprops.fit.parameters import Parameters, poi_name
from wprops.store import TemplateSet, Weighting
from wprops.systematics.catalog import MASS_STEP

Array = NDArray[np.float64]
#: Name of the systematic that shifts the W mass by `MASS_STEP` per unit.
MASS = "mw"
#: Name of the mass among the derived quantities.
MASS_NAME = "m_W"
_UL = COMPONENTS[0]


def quoted_names(name: str, labels: Sequence[str]) -> list[str]:
    """Name each number of a quantity, such as ``"Wplus/A4/y0_qt2"`` or ``"m_W"``."""
    return [label if label == name else f"{name}/{label}" for label in labels]


@dataclass(frozen=True, slots=True, eq=False)
class Derived:
    """One derived quantity, flat, with its covariance.

    Attributes
    ----------
    labels : tuple of str
        What each number is, such as ``"y0_qt2"``.
    unit : str
        Unit of the values.
    shape : tuple of int
        Shape of the map the values form, (n_y, n_qt) for maps.
    values : ndarray, shape (n,)
        Central values.
    covariance : ndarray, shape (n, n)
        Covariance from all parameters.
    """

    labels: tuple[str, ...]
    unit: str
    shape: tuple[int, ...]
    values: Array
    covariance: Array

    @property
    def errors(self) -> Array:
        """Standard deviations, shape (n,)."""
        return np.sqrt(np.diag(self.covariance))

    def without(self, refused: NDArray[np.bool_]) -> Derived:
        """Replace some of the numbers, shape (n,), and their covariance by NaN."""
        either = refused[:, None] | refused
        return replace(
            self,
            values=np.where(refused, np.nan, self.values),
            covariance=np.where(either, np.nan, self.covariance),
        )


def propagate(
    function: Callable[[Array], Array],
    jacobian: Callable[[Array], Array],
    values: Array,
    covariance: Array,
) -> tuple[Array, Array]:
    """Value and covariance of ``function(values)`` to first order.

    Parameters
    ----------
    function, jacobian : callable
        Map (n_par,) to (n_out,) and to (n_out, n_par).
    values : ndarray, shape (n_par,)
        Parameters.
    covariance : ndarray, shape (n_par, n_par)
        Their covariance.

    Examples
    --------
    >>> double = np.array([[2.0]])
    >>> propagate(lambda v: 2 * v, lambda v: double, np.ones(1), np.eye(1))
    (array([2.]), array([[4.]]))
    """
    J = jacobian(values)
    return function(values), J @ covariance @ J.T


@dataclass(frozen=True, slots=True, eq=False)
class Quantity:
    """A function of the parameters, one number per row of a matrix.

    It is ``offset + matrix · values[over] / values[under]``, without denominators where
    ``under`` is None.

    Attributes
    ----------
    labels : tuple of str
        What each number is.
    unit : str
        Unit of the numbers.
    shape : tuple of int
        Shape of the map they form.
    matrix : ndarray, shape (n, n_over)
        Coefficients.
    over : ndarray of int, shape (n_over,)
        Positions of the parameters that enter.
    under : ndarray of int, shape (n,), optional
        Positions of the parameters by which the numbers are divided.
    offset : float
        What is added to all of them.
    """

    labels: tuple[str, ...]
    unit: str
    shape: tuple[int, ...]
    matrix: Array
    over: NDArray[np.int64]
    under: NDArray[np.int64] | None = None
    offset: float = 0.0

    def names(self, name: str) -> list[str]:
        """Name each number of the quantity that `quantities` lists as ``name``."""
        return quoted_names(name, self.labels)

    def function(self, values: Array) -> Array:
        """Map parameters (n_par,) to the numbers, shape (n,)."""
        product = self.matrix @ values[self.over]
        ratio = product if self.under is None else product / values[self.under]
        return self.offset + ratio

    def jacobian(self, values: Array) -> Array:
        """Return derivatives in the parameters, shape (n, n_par)."""
        J = np.zeros((len(self.matrix), len(values)))
        if self.under is None:
            J[:, self.over] = self.matrix
            return J
        rows = np.arange(len(self.matrix))
        J[:, self.over] = self.matrix / values[self.under][:, None]
        J[rows, self.under] = (self.offset - self.function(values)) / values[self.under]
        return J

    def measure(self, values: Array, covariance: Array) -> Derived:
        """Value and covariance to first order."""
        measured = propagate(self.function, self.jacobian, values, covariance)
        return Derived(self.labels, self.unit, self.shape, *measured)


def quantities(templates: TemplateSet, parameters: Parameters) -> dict[str, Quantity]:
    """List what follows from the parameters of a fit.

    Parameters
    ----------
    templates : TemplateSet
        Gives the generated cross sections and coefficients.
    parameters : Parameters
        What is fitted.

    Returns
    -------
    dict of str to Quantity
        ``m_W`` [GeV] if the set varies the mass; for each fitted channel with a
        record of what was generated ``{channel}/sigma`` [pb], ``{channel}/A0`` …,
        ``{channel}/dsigma_dqt`` [pb/GeV] and ``{channel}/dsigma_dabsy`` [pb].

    Raises
    ------
    TemplateError
        If a bin lacks the template of a component that others have.
    """
    found = {}
    if MASS in parameters.names:
        found[MASS_NAME] = Quantity(
            labels=(MASS_NAME,),
            unit="GeV",
            shape=(1,),
            matrix=np.array([[MASS_STEP]]),
            over=np.array([parameters.index(MASS)]),
            offset=templates.boson_mass,
        )
    for channel in templates.channels.values():
        if channel.generated is None:
            continue
        strengths = _strength_indices(channel, channel.generated, parameters)
        if not strengths:
            continue
        own = _channel_quantities(channel.generated, strengths, templates.weighting)
        for name, quantity in own.items():
            found[f"{channel.name}/{name}"] = quantity
    return found


def derive(
    templates: TemplateSet, parameters: Parameters, values: Array, covariance: Array
) -> dict[str, Derived]:
    """Compute all derived quantities of a fit.

    Parameters
    ----------
    templates : TemplateSet
        Gives the generated cross sections and coefficients.
    parameters : Parameters
        What was fitted.
    values, covariance : ndarray, shape (n_par,), (n_par, n_par)
        Result of the fit.

    Returns
    -------
    dict of str to Derived
        By the names of `quantities`.

    Raises
    ------
    TemplateError
        If a bin lacks the template of a component that others have.
    """
    return {
        name: quantity.measure(values, covariance)
        for name, quantity in quantities(templates, parameters).items()
    }


def _strength_indices(
    channel: Channel, generated: Generated, parameters: Parameters
) -> dict[str, NDArray[np.int64]]:
    """Positions of the strengths by component, shape (n_y, n_qt)."""
    indices: dict[str, NDArray[np.int64]] = {}
    for process in channel.processes.values():
        name = poi_name(channel.name, process.name)
        if process.role != "signal" or name not in parameters.names:
            continue
        # the template set was checked: a signal has a component and a cell
        component, cell = process.component or "", process.cell or (-1, -1)
        empty = np.full(generated.sigma.shape, -1, dtype=np.int64)
        indices.setdefault(component, empty)[cell] = parameters.index(name)
    for component, table in indices.items():
        if (table < 0).any():
            where = np.argwhere(table < 0)[0]
            msg = (
                f"channel {channel.name!r} has no template of {component} in cell "
                f"(y, qt) = ({where[0]}, {where[1]}) but in others; fill all cells "
                "of the generated map or none"
            )
            raise TemplateError(msg)
    return indices


def _channel_quantities(
    generated: Generated, strengths: dict[str, NDArray[np.int64]], weighting: Weighting
) -> dict[str, Quantity]:
    sigma = generated.sigma
    n_y, n_qt = sigma.shape
    ul = strengths[_UL].ravel()
    labels = tuple(f"y{y}_qt{q}" for y in range(n_y) for q in range(n_qt))
    over_y = np.kron(np.ones(n_y), np.eye(n_qt)) * sigma.ravel()
    over_qt = np.kron(np.eye(n_y), np.ones(n_qt)) * sigma.ravel()
    found = {
        "sigma": Quantity(labels, "pb", sigma.shape, np.diag(sigma.ravel()), ul),
        "dsigma_dqt": Quantity(
            tuple(f"qt{q}" for q in range(n_qt)),
            "pb/GeV",
            (n_qt,),
            over_y / np.diff(generated.qt_edges)[:, None],
            ul,
        ),
        "dsigma_dabsy": Quantity(
            tuple(f"y{y}" for y in range(n_y)),
            "pb",
            (n_y,),
            over_qt / np.diff(generated.absy_edges)[:, None],
            ul,
        ),
    }
    for component, table in strengths.items():
        if component == _UL:
            continue
        mean = generated.coefficients[int(component[1:])].ravel()
        scale = mean if weighting == "sigma_A" else np.ones_like(mean)
        found[component] = Quantity(
            labels, "", sigma.shape, np.diag(scale), table.ravel(), ul
        )
    return found
