"""Expected errors of m_W, cross sections and A_i under assumptions, as one table."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wprops import provenance
from wprops.errors import ConfigError
from wprops.fit.gate import METHODS
from wprops.fit.parameters import declare_parameters
from wprops.fit.preparation import frozen_values
from wprops.store import TemplateSet
from wprops.study.cells import cell_numbers, merge_cells
from wprops.study.information import Expected, expected_information
from wprops.study.scenarios import Errors, Scenario, errors, is_possible
from wprops.study.variants import (
    has_backgrounds,
    simulated_luminosity,
    with_noise_of,
    without_backgrounds,
)
from wprops.systematics.catalog import MASS_STEP

Array = NDArray[np.float64]
#: The fit with templates without noise, and those with templates of a simulation.
EXACT = "without noise"
FITS = (EXACT, *METHODS)
#: Numbers of bins in (qT, |Y|) beside those of the templates.
CELLS = ((5, 3), (2, 2), (1, 1))


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    r"""Expected errors of one fit.

    Attributes
    ----------
    response : str
        ``"measured"`` or ``"perfect"``: with or without smearing.
    backgrounds : bool
        Whether there is more than W → μν.
    channels : str
        What is fitted together, joined by ``"+"``.
    n_qt, n_y : int
        Bins in qT and \|Y\| of one channel.
    n_strengths : int
        Strengths of all channels together.
    scenario : str
        Label of what is assumed.
    fit : str
        One of `FITS`.
    eigenvalue : float, optional
        Apparent information over noise in the weakest direction; None without noise.
    is_determined : bool
        Whether that can be told from noise alone; the corrected fit is refused else.
    mass, mass_total : float
        Error of m_W, statistical and with all nuisance parameters [MeV].
    median, median_total : dict of str to float
        Median over the cells of the errors of cross sections, relative to them
        (``"sigma"``), and of A0 … A4, absolute; without what is fixed.
    """

    response: str
    backgrounds: bool
    channels: str
    n_qt: int
    n_y: int
    n_strengths: int
    scenario: str
    fit: str
    eigenvalue: float | None
    is_determined: bool
    mass: float
    mass_total: float
    median: Mapping[str, float]
    median_total: Mapping[str, float]

    @property
    def cells(self) -> str:
        """Text for the granularity."""
        return f"{self.n_qt} x {self.n_y}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Sensitivity:
    """Expected errors of many fits.

    Attributes
    ----------
    luminosity : float
        Of the data [fb^-1].
    simulation : float, optional
        Luminosity of the simulation in the fits with noise [fb^-1].
    rows : tuple of Row
        The fits.
    provenance : dict
        Versions and inputs.
    """

    luminosity: float
    simulation: float | None
    rows: tuple[Row, ...]
    provenance: Mapping[str, Any]

    def select(self, **wanted: Any) -> list[Row]:
        """Return the rows with given fields."""
        return [
            row
            for row in self.rows
            if all(getattr(row, name) == value for name, value in wanted.items())
        ]

    def write(self, path: Path) -> None:
        """Write everything as JSON."""
        content = asdict(self) | {"format": "wprops sensitivity"}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1), encoding="utf-8")

    def write_table(self, path: Path) -> None:
        """Write one row per fit as CSV, with a column for each median."""
        nested = ("median", "median_total")
        plain = [f.name for f in fields(Row) if f.name not in nested]
        keys = [(n, k) for n in nested for k in self._quantities()]
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow([*plain, *(f"{n}_{k}" for n, k in keys)])
            for row in self.rows:
                medians = [getattr(row, n).get(k, "") for n, k in keys]
                writer.writerow([*(getattr(row, name) for name in plain), *medians])

    def _quantities(self) -> list[str]:
        return list(dict.fromkeys(key for row in self.rows for key in row.median))


def study_sensitivity(
    templates: TemplateSet,
    *,
    cells: Sequence[tuple[int, int]] | None = None,
    scenarios: Sequence[Scenario],
    simulated: TemplateSet | None = None,
    simulation: float | None = None,
    perfect: TemplateSet | None = None,
    freeze: Sequence[str] = (),
) -> Sensitivity:
    r"""Compute expected errors for all granularities, scenarios and variants.

    Parameters
    ----------
    templates : TemplateSet
        Templates whose signal has no noise.
    cells : sequence of (int, int), optional
        Numbers of bins in (qT, \|Y\|); those of the templates and `CELLS` when omitted.
    scenarios : sequence of Scenario
        What is assumed; those that need more cells than there are, are left out.
    simulated : TemplateSet, optional
        Event-weighted templates of the same processes, which tell the noise of a
        simulation.
    simulation : float, optional
        Luminosity of that simulation [fb^-1]; that of ``simulated`` when omitted.
    perfect : TemplateSet, optional
        Templates of the signal without smearing.
    freeze : sequence of str
        Nuisance parameters that are not fitted, by name or pattern.

    Raises
    ------
    ConfigError
        If the templates have fewer bins than asked for, or there is a size of a
        simulation and nothing to tell its noise.
    TemplateError
        If cells cannot be merged, the sets do not belong together, or a pattern
        matches no parameter.
    FitError
        If the data do not determine what is free.
    """
    size = None
    if simulated is not None:
        known = simulated_luminosity(simulated)
        simulation = known if simulation is None else simulation
        size = simulation / known
        templates = with_noise_of(templates, simulated)
    elif simulation is not None:
        msg = (
            f"the noise of a simulation of {simulation:g} fb^-1 is not known without "
            "event-weighted templates; give some (--simulated)"
        )
        raise ConfigError(msg)
    wanted = default_cells(templates) if cells is None else cells
    frozen = _frozen(templates, freeze)
    rows: list[Row] = []
    for response, variant in _variants(templates, perfect):
        here = size if variant is templates else None
        for n_qt, n_y in wanted:
            merged = merge_cells(variant, n_qt, n_y)
            for names in _combinations(merged):
                expected = expected_information(
                    merged, simulation=here, channels=names, frozen=frozen
                )
                common = {
                    "response": response,
                    "backgrounds": has_backgrounds(variant),
                    "channels": "+".join(names),
                    "n_qt": n_qt,
                    "n_y": n_y,
                }
                rows += _rows(expected, scenarios, common)
    return Sensitivity(
        luminosity=templates.luminosity,
        simulation=simulation,
        rows=tuple(rows),
        provenance=provenance.collect(
            frozen=sorted(frozen), templates=templates.provenance
        ),
    )


def _frozen(templates: TemplateSet, patterns: Sequence[str]) -> set[str]:
    """Names that patterns match among the parameters of all channels."""
    parameters = declare_parameters(
        list(templates.channels.values()), templates.systematics, templates.weighting
    )
    wanted = dict.fromkeys(patterns)
    return set(frozen_values(parameters, wanted, parameters.start))


def default_cells(templates: TemplateSet) -> list[tuple[int, int]]:
    """Return the granularity of the templates, and those of `CELLS` below it."""
    own = cell_numbers(templates)
    coarser = [c for c in CELLS if c != own and c[0] <= own[0] and c[1] <= own[1]]
    return [own, *coarser]


def _variants(
    templates: TemplateSet, perfect: TemplateSet | None
) -> Iterator[tuple[str, TemplateSet]]:
    yield "measured", templates
    if has_backgrounds(templates):
        yield "measured", without_backgrounds(templates)
    if perfect is not None:
        yield "perfect", without_backgrounds(perfect)


def _combinations(templates: TemplateSet) -> list[tuple[str, ...]]:
    """Each channel alone, and all together."""
    names = tuple(templates.channels)
    alone: list[tuple[str, ...]] = [(name,) for name in names]
    return [*alone, names] if len(names) > 1 else alone


def _rows(
    expected: Expected, scenarios: Sequence[Scenario], common: Mapping[str, Any]
) -> Iterator[Row]:
    for scenario in scenarios:
        if not is_possible(expected, scenario):
            continue
        statistical = errors(expected, scenario, nuisances=False)
        total = statistical
        if len(expected.others):
            total = errors(expected, scenario)
        has_noise = math.isfinite(total.eigenvalue)
        for fit, one, two in zip(
            FITS, _covariances(statistical), _covariances(total), strict=True
        ):
            if fit != EXACT and not has_noise:
                continue
            mass, median = _errors_of(expected, one)
            mass_total, median_total = _errors_of(expected, two)
            yield Row(
                **common,
                n_strengths=len(expected.sigma) + len(expected.coefficients),
                scenario=scenario.label,
                fit=fit,
                eigenvalue=None if fit == EXACT else total.eigenvalue,
                is_determined=fit == EXACT or total.eigenvalue >= total.level,
                mass=mass,
                mass_total=mass_total,
                median=median,
                median_total=median_total,
            )


def _covariances(found: Errors) -> tuple[Array, ...]:
    return found.exact, found.naive, found.lite, found.corrected


def _errors_of(expected: Expected, covariance: Array) -> tuple[float, dict[str, float]]:
    """Error of m_W [MeV], and medians of those of cross sections and A_i."""
    sizes = np.sqrt(np.diag(covariance))
    groups = {"sigma": expected.sigma, **expected.components}
    return 1e3 * MASS_STEP * float(sizes[expected.mass]), {
        name: float(np.median(sizes[where]))
        for name, where in groups.items()
        if sizes[where].any()
    }
