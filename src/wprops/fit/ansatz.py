r"""What smooth cross sections and coefficients look like: spans of polynomials.

A coefficient is a sum of products of polynomials in qT and in \|Y\|, up to a degree in
each variable: a product belongs to the span if both of its degrees do. A0 … A3 vanish
at qT = 0 and A1, A4 at Y = 0, by a factor qT or \|Y\| in every polynomial, so that the
constraints hold whatever the factors are. What the fit measures are averages over
bins; so are the functions here, with the measured cross section as weight: its sums
over \|Y\| and over qT are turned into densities inside of the bins
(`wprops.physics.smooth_coefficients.density_nodes`), and the average of a product is
the product of averages, as if the shape in qT were the same in all of a \|Y\| bin.
Averages of A_i of the toy are right to 1.5e-3, values at bin centres to 3e-2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.polynomial.legendre import legvander
from numpy.typing import NDArray

from wprops.axes import COMPONENTS, EVEN_COMPONENTS
from wprops.errors import ConfigError
from wprops.physics.smooth_coefficients import (
    VANISH_AT_QT_0,
    VANISH_AT_Y_0,
    Nodes,
    boson_nodes,
)
from wprops.store import TemplateSet

Array = NDArray[np.float64]
Index = NDArray[np.int64]
#: Name of the cross sections among the quantities of a channel.
SIGMA = "sigma"
#: What Lam and Tung relate: A0 = A2 at first order in alphaS.
LAM_TUNG = ("A0", "A2")


class Degrees(NamedTuple):
    r"""Highest powers of qT and of \|Y\|."""

    qt: int
    absy: int


#: With 66 cells per charge these are 9, 6, 9, 9 and 12 parameters.
DEFAULT_DEGREES: Mapping[str, Degrees] = {
    "A0": Degrees(3, 2),
    "A1": Degrees(3, 2),
    "A2": Degrees(3, 2),
    "A3": Degrees(3, 2),
    "A4": Degrees(3, 3),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Ansatz:
    """Degrees of the polynomials.

    Attributes
    ----------
    degrees : mapping of str to Degrees
        By quantity: ``"A0"`` … ``"A4"``, and ``"sigma"`` for cross sections in units
        of the generated ones. What is not listed stays free in every bin.
    lam_tung : bool
        Whether A0 = A2.
    """

    degrees: Mapping[str, Degrees] = field(
        default_factory=lambda: dict(DEFAULT_DEGREES)
    )
    lam_tung: bool = False

    def __post_init__(self) -> None:
        known = (SIGMA, *EVEN_COMPONENTS[1:])
        for name, degrees in self.degrees.items():
            if name not in known:
                msg = f"degrees of {name!r}: expected one of {', '.join(known)}"
                raise ConfigError(msg)
            if min(n_functions(name, degrees)) < 1:
                msg = (
                    f"{name} with degrees {degrees.qt} in qT and {degrees.absy} in |Y| "
                    "is zero or nothing, since it has to vanish where physics says so; "
                    "raise the degree"
                )
                raise ConfigError(msg)
        if self.lam_tung and len({self.degrees.get(name) for name in LAM_TUNG}) != 1:
            msg = "A0 = A2 needs the same degrees for both"
            raise ConfigError(msg)

    def changed(self, name: str, degrees: Degrees) -> Ansatz:
        """Return the ansatz with other degrees of one quantity.

        Where A0 = A2, of both.
        """
        both = LAM_TUNG if self.lam_tung and name in LAM_TUNG else (name,)
        return replace(self, degrees={**self.degrees, **dict.fromkeys(both, degrees)})


def n_functions(name: str, degrees: Degrees) -> Degrees:
    r"""Return numbers of polynomials in qT and in \|Y\|.

    Examples
    --------
    >>> n_functions("A0", Degrees(3, 2)), n_functions("A4", Degrees(3, 3))
    (Degrees(qt=3, absy=3), Degrees(qt=4, absy=3))
    """
    lowest = lowest_degrees(name)
    return Degrees(degrees.qt - lowest.qt + 1, degrees.absy - lowest.absy + 1)


def lowest_degrees(name: str) -> Degrees:
    """Lowest powers that physics allows for a quantity."""
    index = COMPONENTS.index(name) - 1 if name in COMPONENTS else None
    return Degrees(int(index in VANISH_AT_QT_0), int(index in VANISH_AT_Y_0))


def default_ansatz(templates: TemplateSet) -> Ansatz:
    r"""Return the default degrees, not more than the bins of the set can tell."""
    maps = [c.generated for c in templates.channels.values() if c.generated is not None]
    if not maps:
        return Ansatz()
    n_qt = min(len(generated.qt_edges) - 1 for generated in maps)
    n_y = min(len(generated.absy_edges) - 1 for generated in maps)
    degrees = {}
    for name, wanted in DEFAULT_DEGREES.items():
        lowest = lowest_degrees(name)
        degrees[name] = Degrees(
            min(wanted.qt, n_qt - 1 + lowest.qt),
            min(wanted.absy, n_y - 1 + lowest.absy),
        )
    return Ansatz(degrees=degrees)


def averages(
    name: str, degrees: Degrees, edges: tuple[Array, Array], sigma: Array
) -> Array:
    r"""Averages of all products of polynomials over the bins.

    Parameters
    ----------
    name : str
        ``"sigma"`` or a coefficient, which says where they vanish.
    degrees : Degrees
        Highest powers.
    edges : tuple of ndarray, shapes (n_y + 1,), (n_qt + 1,)
        Edges in \|Y\| and in qT [GeV].
    sigma : ndarray, shape (n_y, n_qt)
        Cross sections of the bins, the weight of the averages.

    Returns
    -------
    ndarray, shape (n_y · n_qt, n_functions)
        Rows with qT fastest, columns likewise.

    Raises
    ------
    ConfigError
        If there are more polynomials in one variable than bins.
    """
    numbers = n_functions(name, degrees)
    for variable, n, axis in (("qT", numbers.qt, 1), ("|Y|", numbers.absy, 0)):
        n_bins = len(edges[axis]) - 1
        if n > n_bins:
            msg = (
                f"{name} has {n} polynomials in {variable}, but there are {n_bins} "
                f"bins; lower its degree in {variable}"
            )
            raise ConfigError(msg)
    absy, qt = boson_nodes(edges, sigma)
    vanish = lowest_degrees(name)
    in_absy = _averages(absy, edges[0][-1], numbers.absy, bool(vanish.absy))
    in_qt = _averages(qt, edges[1][-1], numbers.qt, bool(vanish.qt))
    return np.asarray(np.kron(in_absy, in_qt), dtype=float)


def _averages(nodes: Nodes, highest: float, n: int, vanish: bool) -> Array:
    x = nodes.points / highest
    values = legvander(2 * x - 1, n - 1)
    if vanish:
        values = values * x[..., None]
    return np.einsum("bn,bnk->bk", nodes.weights, values)
