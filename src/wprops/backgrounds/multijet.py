"""The multijet estimate as a whole: rates, template, systematics, diagnoses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wprops.backgrounds.counts import Regions
from wprops.backgrounds.curves import ERF, LINEAR
from wprops.backgrounds.diagnoses import (
    Diagnosis,
    diagnose_counts,
    diagnose_rates,
    diagnose_yield,
    require_estimate,
)
from wprops.backgrounds.rates import Rates, measure_rates
from wprops.backgrounds.template import QcdTemplate, build_template, qcd_yield
from wprops.errors import TemplateError
from wprops.physics.rate_curves import Curve
from wprops.systematics.declaration import NOMINAL

Array = NDArray[np.float64]

#: Variations that are fitted together; limits the memory.
_CHUNK = 16


@dataclass(frozen=True, slots=True, eq=False)
class Multijet:
    """The nominal estimate.

    Attributes
    ----------
    rates : Rates
        Fitted rates of shape (2, n_eta).
    template : QcdTemplate
        Multijet muons in the signal region.
    diagnoses : tuple of Diagnosis
        What looks odd; nothing fatal.
    """

    rates: Rates
    template: QcdTemplate
    diagnoses: tuple[Diagnosis, ...]


def estimate_multijet(
    regions: Regions, *, fake_curve: Curve = LINEAR, prompt_curve: Curve = ERF
) -> Multijet:
    """Estimate multijet in the signal region from the other three.

    Parameters
    ----------
    regions : Regions
        Counts without leading axes.
    fake_curve, prompt_curve : Curve
        Shapes of the rates in pT.

    Returns
    -------
    Multijet

    Raises
    ------
    TemplateError
        Naming charge, eta bin and region, if a region is empty, the subtraction leaves
        nothing, a fit fails or the prompt rate does not exceed the fake rate. Or if the
        counts have leading axes.
    """
    if regions.data.ndim != 4 or regions.prompt.ndim != 4:
        msg = (
            f"data and prompt of the multijet regions have shapes {regions.data.shape} "
            f"and {regions.prompt.shape}; give one data set and the nominal simulation."
        )
        raise TemplateError(msg)
    labels = (NOMINAL,)
    diagnoses = diagnose_counts(regions, labels)
    require_estimate(diagnoses)
    rates = measure_rates(regions, fake_curve=fake_curve, prompt_curve=prompt_curve)
    diagnoses += diagnose_rates(regions, rates, labels)
    require_estimate(diagnoses)
    template = build_template(regions, rates)
    diagnoses += diagnose_yield(regions, template.nominal, labels)
    return Multijet(rates, template, tuple(diagnoses))


def vary_multijet(
    regions: Regions, rates: Rates, labels: Sequence[str], prompt: Array
) -> Array:
    """Carry variations of the prompt muons through the estimate.

    Both rates are fitted again, from the nominal result, and turn the same data into a
    template. The variances of the simulation stay those of the nominal one.

    Parameters
    ----------
    regions : Regions
        Nominal counts, without leading axes.
    rates : Rates
        The nominal rates; their curves are used.
    labels : sequence of str
        Names of the variations.
    prompt : ndarray, shape (n_var, 4, 2, n_eta, n_pt)
        Prompt muons of each variation, coherent in all regions. A process without the
        variation enters with its nominal expectation.

    Returns
    -------
    ndarray, shape (n_var, 2, n_eta, n_pt)
        Multijet muons in the signal region.

    Raises
    ------
    TemplateError
        As `estimate_multijet`, naming the variation; or if the shape is another.
    """
    expected = (len(labels), *regions.prompt.shape)
    if prompt.shape != expected:
        msg = f"varied prompt muons have shape {prompt.shape}, expected {expected}."
        raise TemplateError(msg)
    templates = np.empty((len(labels), *regions.prompt.shape[1:]))
    for first in range(0, len(labels), _CHUNK):
        part = slice(first, first + _CHUNK)
        varied = replace(regions, prompt=prompt[part])
        require_estimate(diagnose_counts(varied, labels[part]))
        fitted = measure_rates(
            varied,
            fake_curve=rates.fake.curve,
            prompt_curve=rates.prompt.curve,
            start=rates,
        )
        require_estimate(diagnose_rates(varied, fitted, labels[part]))
        templates[part] = qcd_yield(varied, fitted)
    return templates
