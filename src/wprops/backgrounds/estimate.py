"""From histograms with sidebands to templates with multijet from data.

What the estimate says about itself goes into the tables of the set, below
``"multijet"``: see `wprops.backgrounds.findings`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wprops.backgrounds.classes import (
    counts_of,
    require_sidebands,
    scaled_prompt,
    varied_prompt,
)
from wprops.backgrounds.counts import CHARGES, Regions
from wprops.backgrounds.curves import CURVES, ERF, LINEAR
from wprops.backgrounds.findings import TABLE, findings
from wprops.backgrounds.multijet import Multijet, estimate_multijet, vary_multijet
from wprops.backgrounds.nuisances import (
    fake_systematics,
    multijet_processes,
    principal_variations,
)
from wprops.channels import Channel, Process
from wprops.errors import TemplateError
from wprops.physics.rate_curves import Curve
from wprops.store import TemplateSet
from wprops.systematics.catalog import MULTIJET, SIGNAL
from wprops.systematics.declaration import Systematic, variation_label

Array = NDArray[np.float64]

#: The luminosity of what is subtracted, and the record that has its uncertainty.
FAKE_LUMI, LUMI = "fake_lumi", "lumi"


def add_multijet(
    templates: TemplateSet, *, fake_curve: Curve = LINEAR, prompt_curve: Curve = ERF
) -> TemplateSet:
    """Estimate multijet from the sidebands and make it a process of each channel.

    Parameters
    ----------
    templates : TemplateSet
        Histograms of a catalogue with ``multijet: data``.
    fake_curve, prompt_curve : Curve
        Shapes of the rates in pT.

    Returns
    -------
    TemplateSet
        With the process ``qcd`` in each channel, which has every variation that a
        systematic declares for it, the declarations of its statistical uncertainty,
        and the tables of what was found. All other arrays are those of ``templates``.

    Raises
    ------
    TemplateError
        If there are no sidebands or there is multijet already; if a declared variation
        was not filled; or, naming variation, charge, eta bin and region, if there is
        no estimate: see `wprops.backgrounds.multijet.estimate_multijet`.
    """
    regions = counts_of(templates)
    for channel in templates.channels.values():
        if MULTIJET in channel.processes:
            msg = (
                f"channel {channel.name!r} has a process {MULTIJET!r} already; give "
                "the histograms as `wprops run` wrote them"
            )
            raise TemplateError(msg)
    multijet = estimate_multijet(
        regions, fake_curve=fake_curve, prompt_curve=prompt_curve
    )
    varied = _variations(templates, regions, multijet)
    statistical = principal_variations(multijet.template)
    processes = multijet_processes(multijet.template, statistical, varied)
    found = findings(require_sidebands(templates), regions, multijet)
    found["norms"] = _norms(templates, regions, multijet)
    result = replace(
        templates,
        channels={
            name: _with(channel, processes[channel.charge])
            for name, channel in templates.channels.items()
        },
        systematics=(
            *templates.systematics,
            *fake_systematics(len(statistical.deviations)),
        ),
        tables={**templates.tables, TABLE: found},
    )
    result.validate()
    return result


def estimate_again(templates: TemplateSet) -> tuple[Regions, Multijet]:
    """Repeat the nominal estimate of a set that `add_multijet` made.

    Raises
    ------
    TemplateError
        If the set has no sidebands or no estimate.
    """
    regions = counts_of(templates)
    if TABLE not in templates.tables:
        msg = "multijet of this set was not estimated from data."
        raise TemplateError(msg)
    (settings,) = templates.tables[TABLE]["settings"]
    curves = {name: CURVES[curve] for name, curve in settings.items()}
    return regions, estimate_multijet(regions, **curves)


def _with(channel: Channel, process: Process) -> Channel:
    return replace(channel, processes={**channel.processes, process.name: process})


def _variations(
    templates: TemplateSet, regions: Regions, multijet: Multijet
) -> dict[str, Array]:
    """Estimates by label of everything that is declared for multijet."""
    sidebands = require_sidebands(templates)
    acting = [s for s in templates.systematics if MULTIJET in s.processes]
    names = {record.name for record in acting}
    labels = [label for s in acting if s.name != FAKE_LUMI for label in s.labels]
    prompt = varied_prompt(sidebands, regions.prompt, labels)
    if FAKE_LUMI in names:
        up, down = (variation_label(FAKE_LUMI, side) for side in ("up", "down"))
        size = _size_of_luminosity(templates.systematics)
        scaled = np.stack([size * regions.prompt, regions.prompt / size])
        labels, prompt = [*labels, up, down], np.concatenate([prompt, scaled])
    varied = vary_multijet(regions, multijet.rates, labels, prompt)
    return dict(zip(labels, varied, strict=True))


def _size_of_luminosity(systematics: tuple[Systematic, ...]) -> float:
    for record in systematics:
        if record.name == LUMI and record.size is not None:
            return record.size
    msg = (
        f"{FAKE_LUMI!r} is declared but not {LUMI!r}, whose size it has; leave out "
        "both with `without: [luminosity]` in the catalogue, or none"
    )
    raise TemplateError(msg)


def _norms(
    templates: TemplateSet, regions: Regions, multijet: Multijet
) -> list[dict[str, Any]]:
    """Return what norms of prompt processes do to multijet; they are not in the fit."""
    sidebands = require_sidebands(templates)
    nominal = multijet.template.nominal.sum(axis=(1, 2))
    rows = []
    for record in templates.systematics:
        if record.size is None:
            continue
        names = record.processes | (
            {SIGNAL} if _names_signal(record, templates) else frozenset()
        )
        if not names & set(sidebands.processes):
            continue
        factors = record.size, 1 / record.size
        prompt = np.stack(
            [scaled_prompt(sidebands, regions.prompt, names, f) for f in factors]
        )
        labels = [variation_label(record.name, side) for side in ("up", "down")]
        varied = vary_multijet(regions, multijet.rates, labels, prompt)
        up, down = varied.sum(axis=(2, 3)) / nominal - 1
        rows += [
            {
                "systematic": record.name,
                "charge": charge,
                "up_percent": float(100 * up[index]),
                "down_percent": float(100 * down[index]),
            }
            for index, charge in enumerate(CHARGES)
        ]
    return rows


def _names_signal(record: Systematic, templates: TemplateSet) -> bool:
    return any(
        process.role == "signal" and process.name in record.processes
        for channel in templates.channels.values()
        for process in channel.processes.values()
    )
