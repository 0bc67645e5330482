"""Bias of factorised templates at infinite simulation, against the truth itself.

``python -m benchmarks.factorised_bias [--fsr] [--resolution]``

Operators are fitted to expectation values of the sums (`benchmarks.exact_response`).
What a fit of the true prediction by the factorised templates moves is the bias of the
method, in units of the errors at 35.9/fb, of every strength and of m_W, with 90 and all
396 strengths free. ``--true NAME`` puts true operators in place of fitted ones, to find
where a bias comes from.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.exact_response import (
    efficiency,
    exact_set,
    expected_sums,
    gaussian_series,
)
from wprops.axes import FULL, Binning
from wprops.events.toy.deviations import VARYING_RESOLUTION, deviate
from wprops.events.toy.truth import ToyTruth, density
from wprops.factorised.assemble import all_templates
from wprops.factorised.operators import Operators, fit_operators
from wprops.factorised.panels import Panels
from wprops.factorised.toy_decays import ToyEnsemble
from wprops.factorised.toy_ensemble import toy_response
from wprops.systematics.declaration import NOMINAL
from wprops.templates.assemble import CHARGES

FloatArray = NDArray[np.float64]
#: Cells that are merged for 90 strengths: 5 ranges of qT, 3 of |Y|.
QT_GROUPS = (0, 0, 1, 1, 2, 2, 2, 3, 3, 4, 4)
Y_GROUPS = (0, 0, 1, 1, 2, 2)


@dataclass(frozen=True, slots=True)
class TrueBosons:
    """The truth in place of a fitted spectrum."""

    ensemble: ToyEnsemble
    charge: int

    def densities(self, panels: Panels) -> FloatArray:
        """Events per GeV and unit of |Y| at the nodes of all panels."""
        qt = panels.qt_nodes[:, :, None, None]
        scale = 1e3 * self.ensemble.luminosity
        return scale * density(self.ensemble.truth, self.charge, qt, panels.absy_nodes)


def merged(templates: FloatArray, binning: Binning) -> dict[int, FloatArray]:
    """Templates (strength, bin) of 90 and of all strengths, low acceptance left out."""
    cells = templates[:-1].reshape(len(binning.absy) - 1, len(binning.qt) - 1, 6, -1)
    groups = np.add.outer(5 * np.array(Y_GROUPS), np.array(QT_GROUPS))
    few = np.zeros((15, *cells.shape[2:]))
    np.add.at(few, groups, cells)
    return {90: few.reshape(90, -1), 396: cells.reshape(-1, cells.shape[-1])}


def solve(columns: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Errors of a linear fit, and what turns residuals into shifts in those units."""
    information = (columns * weight) @ columns.T
    scale = np.sqrt(np.diag(information))
    inverse = np.linalg.inv(information / np.outer(scale, scale))
    errors = np.sqrt(np.diag(inverse)) / scale
    return errors, (inverse / np.outer(scale, scale)) @ (columns * weight)


def with_truth(
    operators: Operators, names: list[str], ensemble: ToyEnsemble, panels: Panels
) -> Operators:
    """Replace fitted operators by the truth."""
    changes: dict[str, Any] = {}
    if "spectrum" in names:
        changes["bosons"] = tuple(TrueBosons(ensemble, charge) for charge in (1, -1))
    if "recoil" in names:
        qt, pt = panels.qt_nodes.ravel(), panels.pt_centres
        changes["acceptances"] = {NOMINAL: gaussian_series(ensemble.truth, qt, pt)}
    if "efficiency" in names:
        edges = np.array(panels.binning.eta)
        middle = (edges[1:] + edges[:-1])[:, None] / 2
        found = [
            efficiency(ensemble.truth, c, panels.pt_centres, middle) for c in (1, -1)
        ]
        changes["efficiencies"] = {NOMINAL: np.stack(found)}
    return replace(operators, **changes)


def main() -> None:
    """Print biases for both charges."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fsr", action="store_true", help="let muons radiate")
    parser.add_argument("--resolution", action="store_true", help="vary it in pT, eta")
    parser.add_argument("--true", nargs="*", default=[], help="spectrum, recoil, …")
    parser.add_argument("--exact", type=Path, help="file to keep the exact templates")
    parser.add_argument("--events", type=int, default=10**8, help="for the goodness")
    options = parser.parse_args()
    deviations = VARYING_RESOLUTION if options.resolution else {}
    truth = deviate(ToyTruth(), deviations)
    ensemble = ToyEnsemble(
        n_events=options.events, seed=1, truth=truth, fsr=options.fsr
    )
    panels = Panels.of(FULL)
    exact = exact_set(ensemble, options.exact)
    start = time.perf_counter()
    response = toy_response(ensemble, expected_sums(ensemble, panels))
    operators = fit_operators(response)
    for row in operators.goodness():
        print(
            f"{row['operator']} {row['charge']:+d} ({row['shape']}): {row['chi2']:.2f}"
        )
    print(f"operators: {time.perf_counter() - start:.1f} s")
    operators = with_truth(operators, options.true, ensemble, panels)
    for k, (name, charge) in enumerate(CHARGES.items()):
        start = time.perf_counter()
        made = all_templates(response, operators, k, "sigma_A")
        print(f"charge {charge:+d}: templates in {time.perf_counter() - start:.1f} s")
        report(made, exact[name])


def report(made: dict[str, FloatArray], truth: FloatArray) -> None:
    """Print precision of the templates and biases of the fits."""
    nominal = made[NOMINAL]
    axes = 0, 2, 3
    L1 = np.abs((nominal - truth)[:-1]).sum(axis=axes) / np.abs(truth[:-1]).sum(
        axis=axes
    )
    print("L1 of UL, A0 … A4:", " ".join(f"{value:.1e}" for value in L1))
    low = nominal[-1].sum() / truth[-1].sum() - 1
    print(f"low acceptance: total {low:+.1e}")
    target = truth[:-1].sum(axis=(0, 1)).ravel()
    derivative = (made["mw_up"] - made["mw_down"])[:-1].sum(axis=(0, 1)).ravel() / 2
    background = truth[-1].sum(axis=0).ravel()
    weight = 1 / (target + background)
    residual = target - nominal[:-1].sum(axis=(0, 1)).ravel()
    print(f"chi2 of the prediction at 35.9/fb: {weight @ residual**2:.3f}")
    for n, templates in merged(nominal, FULL).items():
        for name, columns in (
            ("m_W fixed", templates),
            ("m_W free", np.vstack([templates, derivative])),
        ):
            errors, gain = solve(columns, weight)
            bias = gain @ residual / errors
            line = (
                f"{n} strengths, {name}: largest bias {np.abs(bias[:n]).max():.3f}, "
                f"RMS {np.sqrt(np.mean(bias[:n] ** 2)):.3f} sigma"
            )
            if name == "m_W free":
                line += f"; m_W {bias[-1]:+.3f} sigma of {50 * errors[-1]:.1f} MeV"
            print(line)


if __name__ == "__main__":
    main()
