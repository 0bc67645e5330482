"""What a multijet estimate says about itself, as plain tables that travel with it.

The set that comes out of `wprops.backgrounds.estimate.add_multijet` has them below
``tables["multijet"]``, each a list of records:

==================  =================================================================
``settings``        names of the curves of both rates
``regions``         events by region and charge: data, prompt, multijet left
``rates``           parameters of both rates over eta, with errors and p-values
``closure``         the method applied at low mT, over eta
``mt_dependence``   the fake rate in slices of mT, over eta
``curves``          other shapes of the rates
``norms``           what the sizes of the subtracted processes do; not in the fit
``checks``          one line per check; says so where one was not possible
``diagnoses``       what looks odd
==================  =================================================================
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2 as chi2_distribution

from wprops.backgrounds.checks import (
    ALTERNATIVES,
    Closure,
    compare_curves,
    sideband_closure,
)
from wprops.backgrounds.classes import mt_classes
from wprops.backgrounds.counts import CHARGES, REGIONS, Regions
from wprops.backgrounds.diagnoses import as_table
from wprops.backgrounds.mt_dependence import MtDependence, measure_mt_dependence
from wprops.backgrounds.multijet import Multijet
from wprops.backgrounds.rates import subtracted
from wprops.channels import Sidebands
from wprops.errors import TemplateError

Array = NDArray[np.float64]
Rows = list[dict[str, Any]]

#: Where the tables are among those of a set.
TABLE = "multijet"


def findings(
    sidebands: Sidebands, regions: Regions, multijet: Multijet
) -> dict[str, Rows]:
    """Run all checks of an estimate.

    Parameters
    ----------
    sidebands : Sidebands
        Counts of all classes.
    regions : Regions
        Those of the regions.
    multijet : Multijet
        The nominal estimate.

    Returns
    -------
    dict of str to list of dict
        The tables. A check that needs more events than there are does not prevent an
        estimate: its row among ``checks`` says what is missing.
    """
    tables: dict[str, Rows] = {
        "settings": [
            {
                "fake_curve": multijet.rates.fake.curve.name,
                "prompt_curve": multijet.rates.prompt.curve.name,
            }
        ],
        "regions": region_rows(regions),
        "rates": rate_rows(regions, multijet),
    }
    checks: Rows = []

    def attempt(name: str, check: Callable[[], Rows]) -> Rows:
        try:
            return check()
        except TemplateError as error:
            checks.append({"check": name, "result": f"not possible: {error}"})
            return []

    def close() -> Rows:
        closure = sideband_closure(regions, multijet)
        checks.append(_closure_check(closure))
        return _closure_rows(regions, closure)

    def extrapolate() -> Rows:
        slices, sideband, signal = mt_classes(sidebands)
        found = measure_mt_dependence(slices, multijet, sideband, signal)
        checks.extend(_mt_checks(found))
        return _mt_rows(regions, found)

    tables["closure"] = attempt("sideband closure", close)
    tables["mt_dependence"] = attempt("fake rate in slices of mT", extrapolate)
    tables["curves"] = compare_curves(regions, multijet, {})
    for name, curves in ALTERNATIVES.items():
        compare = partial(compare_curves, regions, multijet, {name: curves})
        other = attempt(name, compare)
        tables["curves"] += [row for row in other if row["curves"] == name]
    tables["checks"] = [*_rate_checks(multijet), *checks, *_curve_checks(tables)]
    tables["diagnoses"] = as_table(multijet.diagnoses)
    return tables


def region_rows(regions: Regions) -> Rows:
    """Events of each region and charge, with what the subtraction leaves."""
    return [
        {
            "region": region,
            "charge": charge,
            "data": float(regions.of("data", region)[index].sum()),
            "prompt": float(regions.of("prompt", region)[index].sum()),
            "multijet": float(subtracted(regions, region)[index].sum()),
        }
        for region in REGIONS
        for index, charge in enumerate(CHARGES)
    ]


def rate_rows(regions: Regions, multijet: Multijet) -> Rows:
    """Parameters of both rates in each (charge, eta), with errors and p-values."""
    rows = _places(regions)
    for name in ("fake", "prompt"):
        fit = getattr(multijet.rates, name)
        errors = np.sqrt(np.diagonal(fit.covariance, axis1=-2, axis2=-1))
        for k, parameter in enumerate(fit.curve.parameters):
            _add(rows, f"{name}_{parameter}", fit.parameters[..., k])
            _add(rows, f"{name}_{parameter}_error", errors[..., k])
        _add(rows, f"{name}_chi2", fit.chi2)
        _add(rows, f"{name}_ndf", fit.ndf)
        _add(rows, f"{name}_p", fit.p_value())
    return rows


def _closure_rows(regions: Regions, closure: Closure) -> Rows:
    rows = _places(regions)
    _add(rows, "estimate", closure.estimate.sum(axis=-1))
    _add(rows, "observed", closure.observed.sum(axis=-1))
    _add(rows, "error", closure.error)
    _add(rows, "pull", closure.difference / closure.error)
    return rows


def _mt_rows(regions: Regions, found: MtDependence) -> Rows:
    rows = _places(regions)
    for name in ("slope", "slope_error", "shift", "shift_error", "chi2", "ndf"):
        _add(rows, name, getattr(found, name))
    return rows


def _rate_checks(multijet: Multijet) -> Rows:
    """χ² of all fits of a rate together."""
    rows = []
    for name in ("fake", "prompt"):
        fit = getattr(multijet.rates, name)
        statistic, ndf = float(fit.chi2.sum()), int(fit.ndf.sum())
        rows.append(
            {
                "check": f"{fit.curve.name} {name} rate",
                "result": f"χ² {statistic:.1f} of {ndf}",
                "p": float(chi2_distribution.sf(statistic, ndf)) if ndf else 1.0,
            }
        )
    return rows


def _closure_check(closure: Closure) -> dict[str, Any]:
    pulls = closure.difference / closure.error
    known = np.isfinite(pulls)
    statistic, n = float(np.sum(pulls[known] ** 2)), int(known.sum())
    ratio = closure.observed.sum() / closure.estimate.sum()
    missing = (
        f", {known.size - n} (charge, eta) without errors" if n < known.size else ""
    )
    return {
        "check": "sideband closure",
        "result": f"observed / estimate {ratio:.4f}, χ² {statistic:.1f} of {n}"
        + missing,
        "p": float(chi2_distribution.sf(statistic, n)) if n else 1.0,
    }


def _mt_checks(found: MtDependence) -> Rows:
    slope, shift = found.common_slope(), found.total()
    return [
        {
            "check": "fake rate in slices of mT",
            "result": f"changes by ({4000 * slope.value:+.2f} ± "
            f"{4000 * slope.error:.2f}) % per 40 GeV",
            "p": found.p_value(),
        },
        {
            "check": "extrapolation in mT",
            "result": f"would change the yield by ({100 * shift.value:+.2f} ± "
            f"{100 * shift.error:.2f}) %",
        },
    ]


def _curve_checks(tables: dict[str, Rows]) -> Rows:
    return [
        {
            "check": f"{row['curves']}, charge {row['charge']:+d}",
            "result": f"changes the yield by {100 * row['change']:+.3f} %, moves "
            f"{100 * row['moved']:.2f} % of it between bins",
        }
        for row in tables["curves"]
        if row["curves"] in ALTERNATIVES
    ]


def _places(regions: Regions) -> Rows:
    """One record per charge and eta bin."""
    edges = regions.eta_edges.tolist()
    return [
        {"charge": charge, "eta_low": low, "eta_high": high}
        for charge in CHARGES
        for low, high in pairwise(edges)
    ]


def _add(rows: Rows, name: str, values: NDArray[Any]) -> None:
    """Add a column from an array of shape (2, n_eta); what is not known is None."""
    for row, value in zip(rows, values.ravel().tolist(), strict=True):
        row[name] = value if math.isfinite(value) else None
