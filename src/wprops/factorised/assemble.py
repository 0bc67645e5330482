"""Templates of W → μν from smooth operators, nominal and with every systematic.

Nominal and varied templates share quadrature and operators, so their differences have
no noise of their own: theory variations are other spectra of bosons, mass and width
another line shape, muon and recoil other responses, efficiencies other factors.

Arrays of templates have the shape (cell, component, eta, pT). The last cell is low
acceptance: the bosons beyond all others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from wprops.axes import EVEN_COMPONENTS
from wprops.channels import Process
from wprops.errors import TemplateError
from wprops.factorised.contraction import bin_templates, cells_of, contract
from wprops.factorised.kernel import decay_tensor
from wprops.factorised.operators import Operators
from wprops.factorised.panels import Panels
from wprops.factorised.remedies import Part
from wprops.factorised.response_file import Factors, Response
from wprops.factorised.sources import nominal_source, varied_sources
from wprops.physics.moments import Weighting
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
IntArray = NDArray[np.int64]
#: Templates by variation.
Templates = dict[str, FloatArray]

#: Shifts of mass and width [GeV] by variation.
LINE_SHAPES = {
    variation_label(name, side): (sign * dm, sign * dwidth)
    for name, dm, dwidth in (("mw", MASS_STEP, 0.0), ("width", 0.0, WIDTH_STEP))
    for side, sign in (("up", 1.0), ("down", -1.0))
}


def nominal_templates(
    response: Response, operators: Operators, index: int, weighting: Weighting
) -> FloatArray:
    """Nominal templates of one charge, without remedies.

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
    source = nominal_source(response, operators.bosons[index], index, weighting)
    decays = contract(tensor, source, response.panels, cells_of(response.panels))
    grid = _efficiency(response, operators.efficiencies[NOMINAL], index)
    return bin_templates(decays, grid, response.panels)


def all_templates(
    response: Response,
    operators: Operators,
    index: int,
    weighting: Weighting,
    parts: Sequence[Part] | None = None,
) -> Templates:
    """Templates of one charge, nominal and by every variation that is declared.

    Parameters
    ----------
    response, operators, index, weighting
        As of `nominal_templates`.
    parts : sequence of Part, optional
        The parts of a remedy, whose templates add up; all events together without.

    Raises
    ------
    TemplateError
        If a systematic is declared that the response knows nothing of.
    """
    records = [r for r in response.systematics if r.kind != "norm"]
    records = [r for r in records if r.processes & {SIGNAL, LOW_ACCEPTANCE}]
    wanted = {label for record in records for label in record.labels}
    bosons = operators.bosons[index]
    sources = {NOMINAL: nominal_source(response, bosons, index, weighting)}
    sources |= varied_sources(response, bosons, index, weighting, wanted)
    templates: Templates = {}
    for part in parts or (Part(cells=cells_of(response.panels)),):
        own = part.of(operators), part.cells
        for found in (
            _of_detector(response, *own, index, sources, wanted),
            _of_line_shape(response, *own, index, sources[NOMINAL], wanted),
        ):
            for label, values in found:
                known = templates.get(label)
                templates[label] = values if known is None else known + values
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
    cells: IntArray,
    index: int,
    sources: Mapping[str, FloatArray],
    wanted: set[str],
) -> Iterator[tuple[str, FloatArray]]:
    """Nominal templates, kinematic variations, efficiencies and spectra."""
    panels = response.panels
    responses, recoils = operators.responses[index], operators.acceptances
    kinematic = [label for label in recoils if label == NOMINAL or label in wanted]
    tensors = _tensors(
        response,
        operators,
        index,
        {k: (k if k in responses else NOMINAL, k) for k in kinematic},
    )

    def grid(label: str) -> FloatArray:
        found = operators.efficiencies
        return _efficiency(response, found.get(label, found[NOMINAL]), index)

    for label in kinematic[1:]:
        decays = contract(tensors.pop(label), sources[NOMINAL], panels, cells)
        yield label, bin_templates(decays, grid(label), panels)
    decays = contract(tensors[NOMINAL], sources[NOMINAL], panels, cells)
    yield NOMINAL, bin_templates(decays, grid(NOMINAL), panels)
    for label in operators.efficiencies:
        if label in wanted and label not in kinematic:
            yield label, bin_templates(decays, grid(label), panels)
    for label, factor in _factor_variations(response.factors, index):
        yield label, bin_templates(decays, grid(NOMINAL) * factor, panels)
    for label, source in sources.items():
        if label != NOMINAL:
            decays = contract(tensors[NOMINAL], source, panels, cells)
            yield label, bin_templates(decays, grid(NOMINAL), panels)


def _of_line_shape(
    response: Response,
    operators: Operators,
    cells: IntArray,
    index: int,
    source: FloatArray,
    wanted: set[str],
) -> Iterator[tuple[str, FloatArray]]:
    """Templates of other masses and widths."""
    grid = _efficiency(response, operators.efficiencies[NOMINAL], index)
    pairs = {NOMINAL: (NOMINAL, NOMINAL)}
    for label, shift in LINE_SHAPES.items():
        if label in wanted:
            tensor = _tensors(response, operators, index, pairs, shift)[NOMINAL]
            decays = contract(tensor, source, response.panels, cells)
            yield label, bin_templates(decays, grid, response.panels)


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
