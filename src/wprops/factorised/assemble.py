"""Templates of W → μν from smooth operators, nominal and with every systematic.

Nominal and varied templates share quadrature and operators, so their differences have
no noise of their own: theory variations are other spectra of bosons, mass and width
another line shape, muon and recoil other responses, efficiencies other factors.

Arrays of templates have the shape (cell, component, eta, pT). The last cell is low
acceptance: the bosons beyond all others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from wprops.axes import EVEN_COMPONENTS
from wprops.channels import Process
from wprops.errors import TemplateError
from wprops.factorised.contraction import bin_templates, cells_of, contract
from wprops.factorised.kernel import decay_tensor
from wprops.factorised.operators import Operators
from wprops.factorised.panels import Panels
from wprops.factorised.response_file import CHARGES, Factors, Response
from wprops.factorised.spectrum import BosonFit, fit_boson
from wprops.factorised.sums import ResponseSums
from wprops.physics.moments import Weighting, coefficients_from_means
from wprops.systematics.catalog import (
    LOW_ACCEPTANCE,
    MASS_STEP,
    SIGNAL,
    WIDTH_STEP,
    stat_name,
)
from wprops.systematics.declaration import NOMINAL, Systematic, variation_label
from wprops.templates.assemble import signal_name

FloatArray = NDArray[np.float64]
#: Templates by variation.
Templates = dict[str, FloatArray]

#: Shifts of mass and width [GeV] by variation.
LINE_SHAPES = {
    variation_label(name, side): (sign * dm, sign * dwidth)
    for name, dm, dwidth in (("mw", MASS_STEP, 0.0), ("width", 0.0, WIDTH_STEP))
    for side, sign in (("up", 1.0), ("down", -1.0))
}
#: Number of A_i that have templates.
_N_EVEN = len(EVEN_COMPONENTS) - 1
#: Effective events (Σw)²/Σw² of a panel whose own ratio of spectra is used.
_LEAST_EVENTS = 20.0


def nominal_templates(
    response: Response, operators: Operators, index: int, weighting: Weighting
) -> FloatArray:
    """Nominal templates of one charge.

    Parameters
    ----------
    response : Response
        What was summed over the events.
    operators : Operators
        What was fitted to it.
    index : int
        Position of the charge in `wprops.factorised.response_file.CHARGES`.
    weighting : {"sigma_A", "sigma"}
        Whether components carry the A_i of the simulation.

    Returns
    -------
    ndarray, shape (n_cells + 1, 6, n_eta, n_pt)
        Expected events.
    """
    pairs = {NOMINAL: (NOMINAL, NOMINAL)}
    tensor = _tensors(response, operators, index, pairs)[NOMINAL]
    source = _source(response, operators.bosons[index], index, weighting)
    decays = contract(tensor, source, response.panels, cells_of(response.panels))
    grid = _efficiency(response, operators.efficiencies[NOMINAL], index)
    return bin_templates(decays, grid, response.panels)


def all_templates(
    response: Response, operators: Operators, index: int, weighting: Weighting
) -> Templates:
    """Templates of one charge, nominal and by every variation that is declared.

    Arguments are those of `nominal_templates`.

    Raises
    ------
    TemplateError
        If a systematic is declared that the response knows nothing of.
    """
    records = [r for r in response.systematics if r.kind != "norm"]
    records = [r for r in records if r.processes & {SIGNAL, LOW_ACCEPTANCE}]
    wanted = {label for record in records for label in record.labels}
    templates = dict(_of_detector(response, operators, index, weighting, wanted))
    templates |= _of_line_shape(response, operators, index, weighting, wanted)
    missing = sorted(wanted - set(templates))
    if missing:
        msg = (
            f"the response has no variations {', '.join(missing[:5])}, which its "
            f"systematics declare ({len(missing)} in all); produce the file again, "
            "or leave them out with `without:` in the catalogue"
        )
        raise TemplateError(msg)
    return {label: templates[label] for label in (NOMINAL, *sorted(wanted))}


def _of_detector(
    response: Response,
    operators: Operators,
    index: int,
    weighting: Weighting,
    wanted: set[str],
) -> Iterator[tuple[str, FloatArray]]:
    """Nominal templates, kinematic variations, efficiencies and spectra."""
    panels, cells = response.panels, cells_of(response.panels)
    responses, recoils = operators.responses[index], operators.acceptances
    kinematic = [label for label in recoils if label == NOMINAL or label in wanted]
    tensors = _tensors(
        response,
        operators,
        index,
        {k: (k if k in responses else NOMINAL, k) for k in kinematic},
    )
    bosons = operators.bosons[index]
    source = _source(response, bosons, index, weighting)

    def grid(label: str) -> FloatArray:
        found = operators.efficiencies
        return _efficiency(response, found.get(label, found[NOMINAL]), index)

    for label in kinematic[1:]:
        decays = contract(tensors.pop(label), source, panels, cells)
        yield label, bin_templates(decays, grid(label), panels)
    decays = contract(tensors[NOMINAL], source, panels, cells)
    yield NOMINAL, bin_templates(decays, grid(NOMINAL), panels)
    for label in operators.efficiencies:
        if label in wanted and label not in kinematic:
            yield label, bin_templates(decays, grid(label), panels)
    for label, factor in _factor_variations(response.factors, index):
        yield label, bin_templates(decays, grid(NOMINAL) * factor, panels)
    for label, varied in _varied_sources(response, bosons, index, weighting, wanted):
        decays = contract(tensors[NOMINAL], varied, panels, cells)
        yield label, bin_templates(decays, grid(NOMINAL), panels)


def _of_line_shape(
    response: Response,
    operators: Operators,
    index: int,
    weighting: Weighting,
    wanted: set[str],
) -> Iterator[tuple[str, FloatArray]]:
    """Templates of other masses and widths."""
    panels, cells = response.panels, cells_of(response.panels)
    source = _source(response, operators.bosons[index], index, weighting)
    grid = _efficiency(response, operators.efficiencies[NOMINAL], index)
    for label, shift in LINE_SHAPES.items():
        if label in wanted:
            pairs = {NOMINAL: (NOMINAL, NOMINAL)}
            tensor = _tensors(response, operators, index, pairs, shift)[NOMINAL]
            yield (
                label,
                bin_templates(contract(tensor, source, panels, cells), grid, panels),
            )


def _tensors(
    response: Response,
    operators: Operators,
    index: int,
    pairs: Mapping[str, tuple[str, str]],
    shift: tuple[float, float] = (0.0, 0.0),
) -> dict[str, FloatArray]:
    shape = operators.line_shapes[index]
    return decay_tensor(
        response.panels,
        shape.shifted(*shift) if any(shift) else shape,
        operators.responses[index],
        operators.acceptances,
        pairs,
    )


def _source(
    response: Response, bosons: BosonFit, index: int, weighting: Weighting
) -> FloatArray:
    """Bosons at the nodes by component, shape (6, n_q, n_y)."""
    return _weighted(response, bosons.densities(response.panels), index, weighting, 0.0)


def _varied_sources(
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


def _efficiency(response: Response, efficiency: FloatArray, index: int) -> FloatArray:
    """Efficiency times scale factors, shape (n_eta, n_pt)."""
    grid = _at_nodes(efficiency[index], response.panels)
    if response.factors is None:
        return grid
    return grid * _flat(response.factors.nominal[index])


def _at_nodes(rows: FloatArray, panels: Panels) -> FloatArray:
    """Give each node of eta the row of its bin."""
    nodes = panels.eta_nodes.ravel()
    return rows[np.searchsorted(panels.binning.eta, nodes, side="right") - 1]


def _flat(grid: FloatArray) -> FloatArray:
    """Count nodes of eta through all panels."""
    return grid.reshape(-1, grid.shape[-1])


def _factor_variations(
    factors: Factors | None, index: int
) -> Iterator[tuple[str, FloatArray]]:
    """Variations of the scale factors, relative to nominal, shape (n_eta, n_pt)."""
    if factors is None:
        return
    changes = {"sf_syst": factors.systematic[index]}
    for part in range(factors.n_parts):
        inside = factors.eta_bin % factors.n_parts == part
        for k in range(factors.stat.shape[-1]):
            stat = factors.stat[index, ..., k]
            name = stat_name(k, part, factors.n_parts)
            changes[name] = np.where(inside[..., None], stat, 0.0)
    for name, change in changes.items():
        yield variation_label(name, "up"), _flat(1.0 + change)
        yield variation_label(name, "down"), _flat(1.0 - change)


def processes_of(
    templates: Templates, panels: Panels, systematics: tuple[Systematic, ...]
) -> dict[str, Process]:
    """Make the processes of one charge: the signal and low acceptance.

    Parameters
    ----------
    templates : mapping of str to ndarray, shape (n_cells + 1, 6, n_eta, n_pt)
        Templates by variation, nominal among them.
    panels : Panels
        The grid.
    systematics : tuple of Systematic
        Declarations, with samples as processes.
    """

    def labels(sample: str) -> list[str]:
        acting = [r for r in systematics if sample in r.processes]
        return [label for record in acting for label in record.labels]

    n_qt = len(panels.binning.qt) - 1
    zeros = np.zeros(panels.binning.shape)
    processes = {}
    for cell in range(panels.binning.n_cells):
        place = divmod(cell, n_qt)
        for k, component in enumerate(EVEN_COMPONENTS):
            name = signal_name(component, *place)
            processes[name] = Process(
                name=name,
                role="signal",
                nominal=templates[NOMINAL][cell, k],
                variance=zeros,
                variations={v: templates[v][cell, k] for v in labels(SIGNAL)},
                component=component,
                cell=place,
            )
    low = {label: values[-1].sum(axis=0) for label, values in templates.items()}
    processes[LOW_ACCEPTANCE] = Process(
        name=LOW_ACCEPTANCE,
        role="background",
        nominal=low[NOMINAL],
        variance=zeros,
        variations={v: low[v] for v in labels(LOW_ACCEPTANCE)},
    )
    return processes
