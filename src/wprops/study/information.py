r"""What expected data tell: the Fisher information in cross sections and A_i.

The information of strengths, nuisance parameters and m_W at the generated point is
:math:`H = J W J^T`, J the derivatives of the expected events and W = 1/ν. It is kept in
coordinates in which a coefficient stands in the place of its strength, so that fixed
coefficients, priors on them and smoothness are additions to it or restrictions. A
simulation of finite size adds its noise floor M (`wprops.fit.corrected_score`); with
Barlow-Beeston the weights are 1/(ν + v).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wprops.errors import TemplateError
from wprops.fit.ansatz import default_ansatz, n_functions
from wprops.fit.derived import MASS, quantities
from wprops.fit.model import Model, ModelPoint, build_model
from wprops.fit.parameters import Parameters
from wprops.fit.span import Span, build_span
from wprops.fit.template_noise import mass_derivatives, noise_floor
from wprops.store import TemplateSet

Array = NDArray[np.float64]
Index = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Expected:
    """Information matrices of one or more channels, in coordinates.

    Attributes
    ----------
    names : tuple of str
        Coordinates: parameters of the fit, with A_i in the places of their strengths.
    sigma, coefficients, others : ndarray of int
        Positions of strengths of cross sections, of coefficients, and of nuisance
        parameters that are fitted, other than the mass.
    mass : int
        Position of the mass, in units of `wprops.systematics.catalog.MASS_STEP`.
    constraints : ndarray, shape (n, n)
        Information Λ of constraints.
    fisher : ndarray, shape (n, n)
        H of templates without noise.
    floor : ndarray, shape (n, n)
        M of a simulation, with the weights of H; zero without one.
    lite, lite_floor : ndarray, shape (n, n)
        H and M with the weights of Barlow-Beeston.
    n_bins : int
        Number of bins.
    span : Span, optional
        What smooth coefficients look like; None where there are too few cells.
    components : dict of str to ndarray of int
        Positions of the coefficients by their name.
    """

    names: tuple[str, ...]
    sigma: Index
    coefficients: Index
    others: Index
    mass: int
    constraints: Array
    fisher: Array
    floor: Array
    lite: Array
    lite_floor: Array
    n_bins: int
    span: Span | None = None
    components: dict[str, Index] = field(default_factory=dict)


def expected_information(
    templates: TemplateSet,
    *,
    simulation: float | None = None,
    channels: Sequence[str] | None = None,
    frozen: Collection[str] = (),
) -> Expected:
    """Compute the information of expected data at the generated point.

    Parameters
    ----------
    templates : TemplateSet
        Templates without noise. Their stored covariance is that of a simulation, which
        need not have been made (`wprops.study.variants.with_noise_of`).
    simulation : float, optional
        Size of the simulation relative to the one of the covariance; None for an
        infinite one.
    channels : sequence of str, optional
        Channels to fit together; all when omitted.
    frozen : collection of str
        Names of nuisance parameters that are not fitted.

    Raises
    ------
    TemplateError
        If the set does not vary the mass, or no model can be made of it.
    """
    model = build_model(templates, channels=channels)
    parameters = model.parameters
    point = model.at(parameters.start)
    tangent, components = _coordinates(templates, parameters)
    mass = _mass(parameters)
    coefficients = np.concatenate([np.empty(0, np.int64), *components.values()])
    is_sigma = np.arange(len(parameters)) < parameters.n_poi
    is_sigma[coefficients] = False
    others = np.array(
        [
            i
            for i, name in enumerate(parameters.names)
            if i >= parameters.n_poi and i != mass and name not in frozen
        ],
        dtype=np.int64,
    )
    matrices = _matrices(templates, model, point, simulation)
    fisher, floor, lite, lite_floor, constraints = (
        tangent.T @ matrix @ tangent for matrix in (*matrices, model.prior)
    )
    return Expected(
        names=parameters.names,
        sigma=np.flatnonzero(is_sigma),
        coefficients=np.sort(coefficients),
        others=others,
        mass=mass,
        constraints=constraints,
        fisher=fisher,
        floor=floor,
        lite=lite,
        lite_floor=lite_floor,
        n_bins=int(model.counted.sum()),
        span=_smooth(templates, parameters, components),
        components=_by_component(components),
    )


def _mass(parameters: Parameters) -> int:
    if MASS not in parameters.names:
        msg = (
            f"the templates have no variation {MASS!r} of the W mass; make them with "
            "it to know how well it is measured"
        )
        raise TemplateError(msg)
    return parameters.index(MASS)


def _coordinates(
    templates: TemplateSet, parameters: Parameters
) -> tuple[Array, dict[str, Index]]:
    """Return derivatives of the parameters in the coordinates, and where A_i are."""
    ratios = {
        name: quantity
        for name, quantity in quantities(templates, parameters).items()
        if quantity.under is not None
    }
    if not ratios:
        return np.eye(len(parameters)), {}
    for name, quantity in ratios.items():
        slope = np.diag(quantity.matrix)
        if not slope.all():
            label = quantity.labels[int(np.argmin(abs(slope)))]
            msg = (
                f"the generated {name} is zero in {label}, so that its template knows "
                "nothing of it; make templates with weighting 'sigma'"
            )
            raise TemplateError(msg)
    n = sum(len(quantity.over) for quantity in ratios.values())
    # of the span only the change of coordinates is used
    span = Span(ratios, np.ones(n), (), np.eye(n), np.zeros((0, n)))
    places = {name: quantity.over for name, quantity in ratios.items()}
    return span.tangent(parameters.start), places


def _by_component(places: dict[str, Index]) -> dict[str, Index]:
    """Join the positions of a coefficient in all channels."""
    found: dict[str, list[Index]] = {}
    for name, positions in places.items():
        found.setdefault(name.rpartition("/")[-1], []).append(positions)
    return {name: np.concatenate(parts) for name, parts in sorted(found.items())}


def _matrices(
    templates: TemplateSet, model: Model, point: ModelPoint, simulation: float | None
) -> tuple[Array, Array, Array, Array]:
    start, expected = model.parameters.start, point.expected
    weight = model.counted / expected
    fisher = point.information(weight)
    if simulation is None:
        nothing = np.zeros_like(fisher)
        return fisher, nothing, fisher, nothing
    derivatives = mass_derivatives(templates, model)
    floor, _ = noise_floor(model, start, weight, derivatives)
    variance = model.variance(start) / simulation
    light = model.counted / (expected + variance)
    lite_floor, _ = noise_floor(model, start, light, derivatives)
    lite = point.information(light)
    return fisher, floor / simulation, lite, lite_floor / simulation


def _smooth(
    templates: TemplateSet, parameters: Parameters, places: dict[str, Index]
) -> Span | None:
    """Span of the default ansatz, where it says something about all coefficients."""
    if not places:
        return None
    ansatz = default_ansatz(templates)
    n_cells = min(len(positions) for positions in places.values())
    numbers = [n_functions(name, degrees) for name, degrees in ansatz.degrees.items()]
    if all(n.qt * n.absy >= n_cells for n in numbers):
        return None
    return build_span(templates, parameters, ansatz, parameters.start)
