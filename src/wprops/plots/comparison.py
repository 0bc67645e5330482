"""Derived quantities beside their truth or the simulation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from wprops.axes import COMPONENTS
from wprops.fit.derived import Derived
from wprops.plots.fits import Measured
from wprops.plots.page import Table, table_of_records
from wprops.store import Generated, TemplateSet, Truth

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Comparison:
    """One derived quantity beside its expectation.

    Attributes
    ----------
    channel, component : str
        Channel and ``"UL"`` (cross section) or ``"A0"`` ….
    measured : Measured
        Values, errors and expectation by cell.
    chi2 : float
        Squared distance with the full covariance of the cells.
    """

    channel: str
    component: str
    measured: Measured
    chi2: float


def compare(
    derived: Mapping[str, Derived], templates: TemplateSet, truth: Truth | None
) -> list[Comparison]:
    """Put all derived maps beside the truth, or beside the simulation without it.

    Parameters
    ----------
    derived : mapping of str to Derived
        Derived quantities of a fit.
    templates : TemplateSet
        Gives the generated values.
    truth : Truth, optional
        What the pseudo-data were made with.
    """
    compared = []
    for channel in templates.channels.values():
        expected = truth.channels.get(channel.name) if truth else channel.generated
        if expected is None:
            continue
        for component in COMPONENTS:
            quantity = "sigma" if component == "UL" else component
            found = derived.get(f"{channel.name}/{quantity}")
            if found is not None:
                compared.append(_comparison(channel.name, component, found, expected))
    return compared


def _comparison(
    channel: str, component: str, found: Derived, expected: Generated
) -> Comparison:
    if component == "UL":
        values = expected.sigma
    else:
        values = expected.coefficients[int(component[1:])]
    difference = found.values - values.ravel()
    return Comparison(
        channel=channel,
        component=component,
        measured=Measured(
            values=found.values.reshape(found.shape),
            errors=found.errors.reshape(found.shape),
            expected=values,
        ),
        chi2=_chi2(difference, found.covariance),
    )


def _chi2(difference: Array, covariance: Array) -> float:
    """χ² of what was fitted; quantities that were frozen have no error."""
    fitted = np.diag(covariance) > 0
    kept = difference[fitted]
    return float(kept @ np.linalg.solve(covariance[np.ix_(fitted, fitted)], kept))


def pulls_of(compared: list[Comparison]) -> Array:
    """All pulls of a comparison, flat."""
    return np.concatenate([item.measured.pulls.ravel() for item in compared])


def comparison_table(caption: str, compared: list[Comparison], reference: str) -> Table:
    """Return one row per channel and quantity, with pulls and χ²."""
    records = []
    for item in compared:
        pulls, n = item.measured.pulls, item.measured.values.size
        records.append(
            {
                "channel": item.channel,
                "quantity": "σ" if item.component == "UL" else item.component,
                "cells": n,
                "median error": float(np.median(item.measured.errors)),
                "mean pull": float(pulls.mean()),
                "RMS of pulls": float(np.sqrt(np.mean(pulls**2))),
                "χ² with covariance": item.chi2,
                "p": float(chi2.sf(item.chi2, n)),
            }
        )
    return table_of_records(f"{caption}, against the {reference}", records)
