"""The smooth operators that all templates of a charge share, fitted to the sums.

Each is low-dimensional, so that the noise of the simulation moves all templates
alike: their near-degeneracies, and with them the errors of a fit, survive it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wprops.factorised.efficiency import (
    EfficiencyFit,
    fit_efficiency,
    refit_efficiency,
)
from wprops.factorised.kernel import pt_nodes
from wprops.factorised.line_shape import LineShape, fit_line_shape
from wprops.factorised.momentum import response_matrix
from wprops.factorised.recoil import acceptance
from wprops.factorised.response_file import CHARGES, Response
from wprops.factorised.spectrum import BosonFit, fit_boson
from wprops.factorised.sums import ResponseSums
from wprops.systematics.declaration import NOMINAL, variation_label

FloatArray = NDArray[np.float64]
#: Arrays by variation, nominal first.
Varied = Mapping[str, FloatArray]


def efficiency_stat(index: int) -> str:
    """Name of a statistical variation of the fitted efficiency."""
    return f"efficiency_stat_{index}"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Operators:
    """What bosons and detector do, for both charges (+1, −1).

    Attributes
    ----------
    bosons : tuple of BosonFit
        Spectra by charge.
    line_shapes : tuple of LineShape
        Mass spectra by charge.
    responses : tuple of mapping of str to ndarray
        By charge and variation of the muon's momentum: probabilities that a muon at a
        node of generated pT is measured in a fine bin, (|eta| class, node, bin).
    efficiency : EfficiencyFit
        The nominal efficiency.
    efficiencies : mapping of str to ndarray, shape (2, n_eta, n_pt)
        By variation: efficiencies in the fine bins of pT. Their statistical
        variations are independent in each bin of eta.
    acceptances : mapping of str to ndarray, shape (n_q, n_order, n_pt)
        By variation of the recoil: acceptance of the cut on mT, see
        `wprops.factorised.recoil.acceptance`.
    """

    bosons: tuple[BosonFit, ...]
    line_shapes: tuple[LineShape, ...]
    responses: tuple[Varied, ...]
    efficiency: EfficiencyFit
    efficiencies: Varied
    acceptances: Varied

    def goodness(self) -> list[dict[str, Any]]:
        """Return χ², degrees of freedom and p of every fit, as a table."""
        rows = []
        for charge, boson, shape in zip(
            CHARGES, self.bosons, self.line_shapes, strict=True
        ):
            parts = zip(("", " at high |Y|", " at high qT"), boson.parts, strict=True)
            for name, fit in parts:
                rows.append(_row(f"boson spectrum{name}", charge, fit, fit.degrees))
            rows.append(_row("line shape", charge, shape, len(shape.coefficients) - 1))
        for k, charge in enumerate(CHARGES):
            efficiency = self.efficiency
            rows.append(
                {
                    "operator": "efficiency",
                    "charge": charge,
                    "chi2": float(efficiency.chi2[k].sum()),
                    "ndf": int(efficiency.ndf[k].sum()),
                    "shape": efficiency.curve.name,
                }
            )
        return rows


def _row(
    operator: str, charge: int, fit: Any, shape: int | tuple[int, int]
) -> dict[str, Any]:
    return {
        "operator": operator,
        "charge": charge,
        "chi2": float(fit.chi2),
        "ndf": int(fit.ndf),
        "shape": f"degree {shape}",
    }


def fit_operators(
    response: Response, *, nominal: Operators | None = None, accept: bool = False
) -> Operators:
    """Fit all operators.

    Parameters
    ----------
    response : Response
        Sums over events, and the mass and width they were generated with.
    nominal : Operators, optional
        Those of all events, whose shapes are kept, when the sums are a part of them;
        without variations then.
    accept : bool
        Whether to take fits that do not describe the sums.

    Raises
    ------
    TemplateError
        If sums are empty.
    FitError
        If a fit does not describe the sums and is not accepted.
    """
    sums, panels = response.sums, response.panels
    spectrum = sums.fold_sum("boson").sum(axis=(2, 4))
    squares = sums.arrays["boson_squares"]
    mass, mass_squares = sums.fold_sum("mass"), sums.arrays["mass_squares"]
    bosons, line_shapes = [], []
    for k, charge in enumerate(CHARGES):
        operator = f"boson spectrum of charge {charge:+d}"
        start = None if nominal is None else nominal.bosons[k]
        bosons.append(
            fit_boson(
                *(spectrum[k], squares[k], panels),
                nominal=start,
                operator=operator,
                accept=accept,
            )
        )
        line_shapes.append(
            fit_line_shape(
                *(mass[k], mass_squares[k]),
                pole=response.mass,
                width=response.width,
                degree=None
                if nominal is None
                else len(nominal.line_shapes[k].coefficients) - 1,
                accept=accept,
            )
        )
    varied = nominal is None
    fit, efficiencies = _efficiencies(sums, nominal, varied=varied, accept=accept)
    return Operators(
        bosons=tuple(bosons),
        line_shapes=tuple(line_shapes),
        responses=_responses(sums, varied=varied),
        efficiency=fit,
        efficiencies=efficiencies,
        acceptances=_acceptances(sums, varied=varied),
    )


def _responses(sums: ResponseSums, *, varied: bool) -> tuple[Varied, ...]:
    panels, arrays = sums.panels, sums.arrays
    found = {NOMINAL: sums.fold_sum("ratio")}
    if varied:
        found |= _by_label(sums, "ratio_varied")
    generated, weighted_pt = sums.fold_sum("generated"), arrays["ratio_pt"]
    nodes, _ = pt_nodes(panels)
    return tuple(
        {
            label: response_matrix(
                ratio[k], generated[k], weighted_pt[k], panels, nodes
            )
            for label, ratio in found.items()
        }
        for k in range(len(CHARGES))
    )


def _efficiencies(
    sums: ResponseSums, nominal: Operators | None, *, varied: bool, accept: bool
) -> tuple[EfficiencyFit, Varied]:
    panels, counts = sums.panels, sums.fold_sum("efficiency")
    if nominal is None:
        squares = sums.arrays["efficiency_squares"]
        fit = fit_efficiency(counts, squares, panels.efficiency_pt, accept=accept)
    else:
        # Its statistics is known by row, which replicas could not tell.
        fit = nominal.efficiency
    pt = panels.pt_centres
    found = {NOMINAL: fit.values(pt)}
    for k, change in enumerate(fit.variations(pt) if varied else ()):
        label = variation_label(efficiency_stat(k), "up")
        found[label] = found[NOMINAL] + change
    labels = sums.labels["efficiency_varied"]
    if varied and labels:
        # Their goodness is that of the nominal fit, whose events they share.
        moved = refit_efficiency(fit, sums.arrays["efficiency_varied"], accept=True)
        found |= dict(zip(labels, moved.values(pt), strict=True))
    return fit, found


def _acceptances(sums: ResponseSums, *, varied: bool) -> Varied:
    panels, histogram = sums.panels, sums.fold_sum("recoil")
    found = {NOMINAL: histogram}
    if varied:
        found |= _by_label(sums, "recoil_varied")
    # The classes' mean qT is that of all events, whatever moves the recoil.
    mean = sums.mean_qt
    qt, pt = panels.qt_nodes.ravel(), panels.pt_centres
    return {label: acceptance(h, mean, qt, pt) for label, h in found.items()}


def _by_label(sums: ResponseSums, name: str) -> Varied:
    return dict(zip(sums.labels[name], sums.arrays[name], strict=True))
