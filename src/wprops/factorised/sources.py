"""Densities of bosons at the nodes of the panels, by component, nominal and varied."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from wprops.axes import EVEN_COMPONENTS
from wprops.errors import TemplateError
from wprops.factorised.contraction import cells_of
from wprops.factorised.response_file import CHARGES, Response
from wprops.factorised.spectrum import BosonFit, fit_boson
from wprops.factorised.sums import ResponseSums
from wprops.physics.moments import Weighting, coefficients_from_means

FloatArray = NDArray[np.float64]

#: Number of A_i that have templates.
_N_EVEN = len(EVEN_COMPONENTS) - 1
#: Effective events (Σw)²/Σw² of a panel whose own ratio of spectra is used.
_LEAST_EVENTS = 20.0


def nominal_source(
    response: Response, bosons: BosonFit, index: int, weighting: Weighting
) -> FloatArray:
    """Bosons at the nodes by component, shape (6, n_q, n_y)."""
    return _weighted(response, bosons.densities(response.panels), index, weighting, 0.0)


def varied_sources(
    response: Response,
    bosons: BosonFit,
    index: int,
    weighting: Weighting,
    wanted: set[str],
) -> Iterator[tuple[str, FloatArray]]:
    """Bosons of the theory variations.

    Their A_i differ from the nominal ones by the change of the mean in each cell;
    those of low acceptance stay nominal.
    """
    sums, panels = response.sums, response.panels
    labels = sums.labels["boson_varied"]
    sliced = {
        label
        for record in response.systematics
        if record.group == "scale_w"
        for label in record.labels
    }
    for k, label in enumerate(labels):
        if label in wanted & sliced:
            density = bosons.densities(panels) * _panel_ratio(sums, k, index)
            yield label, _weighted(response, density, index, weighting, 0.0)
    use = [k for k, label in enumerate(labels) if label in wanted - sliced]
    if not use:
        return
    fits = fit_boson(
        sums.arrays["boson_varied"][use, index],
        sums.arrays["boson_squares"][index],
        panels,
        nominal=bosons,
        operator=f"varied boson spectra of charge {CHARGES[index]:+d}",
        # Their goodness is that of the nominal fit, whose events they share.
        accept=True,
    )
    means = [
        _mean_coefficients(sums.arrays["polarisation"][k, index]) for k in (0, *use)
    ]
    for k, density, mean in zip(use, fits.densities(panels), means[1:], strict=True):
        change = mean - means[0]
        yield labels[k], _weighted(response, density, index, weighting, change)


def _panel_ratio(sums: ResponseSums, label: int, index: int) -> FloatArray:
    """Varied over nominal bosons of every panel, shape (n_qpanel, 1, n_ypanel, 1).

    Scales act in slices of qT, at whose edges no smooth function could jump; they are
    variations of low acceptance alone, which is one template. A panel with few
    effective events has the ratio of all |Y|.
    """
    every = sums.arrays["boson_varied"][:, index]
    nominal, varied = every[0], every[label]
    squares = sums.arrays["boson_squares"][index]
    common = varied.sum(axis=1) / nominal.sum(axis=1)
    out = np.repeat(common[:, None], nominal.shape[1], axis=1)
    filled = (nominal > 0.0) & (nominal**2 > _LEAST_EVENTS * squares)
    np.divide(varied, nominal, out=out, where=filled)
    return out[:, None, :, None]


def _mean_coefficients(sums: FloatArray) -> FloatArray:
    """A0 … A4 of all cells, and zeros for low acceptance, shape (5, n_cells + 1)."""
    if not (sums[:, 0] > 0.0).all():
        cell = int(np.argmin(sums[:, 0] > 0.0))
        msg = (
            f"cell {cell} of (|Y|, qT) has no positive sum of weights, so its angular "
            "coefficients are not known; run over more simulation, or use wider cells"
        )
        raise TemplateError(msg)
    means = sums[:, 1:].T / sums[:, 0]
    A = coefficients_from_means(means)[:_N_EVEN]
    return np.pad(A, ((0, 0), (0, 1)))


def _weighted(
    response: Response,
    density: FloatArray,
    index: int,
    weighting: Weighting,
    change: FloatArray | float,
) -> FloatArray:
    """Multiply the density by A_i where the component carries it."""
    panels, cells = response.panels, cells_of(response.panels)
    shape = (*panels.qt_nodes.shape, *panels.absy_nodes.shape)
    cell = np.broadcast_to(cells[:, None, :, None], shape)
    A = response.coefficients[index, :_N_EVEN].reshape(_N_EVEN, *shape)
    A = A + (change[:, cell] if isinstance(change, np.ndarray) else change)
    if weighting == "sigma":
        # Low acceptance is the sum of its components, so it carries them always.
        A = np.where(cell == panels.binning.n_cells, A, 1.0)
    source = density * np.concatenate([np.ones((1, *shape)), A])
    return source.reshape(len(source), panels.qt_nodes.size, panels.absy_nodes.size)
