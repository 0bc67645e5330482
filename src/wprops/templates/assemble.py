"""From filled blocks to the template set that the fit reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import reduce
from operator import add
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from wprops.axes import EVEN_COMPONENTS, Binning
from wprops.catalog import Catalog
from wprops.channels import Channel, Generated, Process, Role, SharedEvents, Truth
from wprops.datasets import Dataset
from wprops.errors import ConfigError, TemplateError
from wprops.events.samples import Sample
from wprops.events.toy.truth import ToyTruth, bin_truth
from wprops.selection.regions import REGIONS, cut_flow_records
from wprops.store import TemplateSet
from wprops.systematics.catalog import SIGNAL
from wprops.systematics.declaration import NOMINAL, Systematic
from wprops.templates.filling import Block
from wprops.templates.parts import ODD

#: Blocks by template, then by kinematic shift.
Blocks = Mapping[str, Mapping[str, Block]]

CHARGES = {"Wplus": 1, "Wminus": -1}
#: The template of the data.
DATA = "data"


def signal_name(component: str, iabsy: int, iqt: int) -> str:
    """Name of a signal process, the only place where it is put together."""
    return f"{SIGNAL}_{component}_y{iabsy}_qt{iqt}"


def build_template_set(
    outputs: Mapping[str, Mapping[str, Any]],
    catalog: Catalog,
    samples: Mapping[str, Sample],
    systematics: Iterable[Systematic],
    binning: Binning,
) -> TemplateSet:
    """Build the template set of a run.

    Parameters
    ----------
    outputs : mapping of str to mapping
        By dataset, ``blocks`` by template and kinematic shift, and ``flows``, the
        cut flows of all regions.
    catalog : Catalog
        The catalogue that was run over.
    samples : mapping of str to Sample
        The small files of its datasets.
    systematics : iterable of Systematic
        The declarations that were filled.
    binning : Binning
        The binning of the blocks.

    Returns
    -------
    TemplateSet
        Without provenance, which belongs to the run.

    Raises
    ------
    TemplateError
        If there is no signal, or its samples have different boson masses.
    ConfigError
        If what was generated is not known.
    """
    merged = merge_blocks(output["blocks"] for output in outputs.values())
    signal = [name for name, output in outputs.items() if SIGNAL in output["blocks"]]
    if not signal:
        msg = (
            "no W → μν events were selected, so there are no signal templates; "
            f"filled templates: {', '.join(merged) or 'none'}. Check the catalogue's "
            "datasets with `process: W_mu` or `W` and their generator information"
        )
        raise TemplateError(msg)
    truth = _signal_truth([samples[name] for name in signal])
    channels = build_channels(merged, binning, generated_maps(truth, binning))
    return TemplateSet(
        channels=channels,
        systematics=name_processes(systematics, channels),
        luminosity=catalog.luminosity,
        boson_mass=_boson_mass([samples[name].dataset for name in signal]),
        truth=_data_truth(samples, binning) if DATA in merged else None,
        tables={
            "cut_flow": [
                row
                for name, output in outputs.items()
                for row in cut_flow_records(
                    name, list(zip(REGIONS, output["flows"], strict=True))
                )
            ],
            "odd_components": odd_table(merged[ODD][NOMINAL]),
        },
    )


def generated_maps(truth: ToyTruth, binning: Binning) -> dict[str, Generated]:
    """Cross sections and coefficients of a toy in the cells, by channel."""
    qt, absy = np.array(binning.qt), np.array(binning.absy)
    return {
        name: Generated(qt, absy, *bin_truth(truth, charge, qt, absy))
        for name, charge in CHARGES.items()
    }


def _signal_truth(signal: list[Sample]) -> ToyTruth:
    """Return the one truth that all signal templates were made with."""
    truth = signal[0].known_truth
    for sample in signal:
        name = sample.dataset.name
        if sample.dataset.corrections.boson is not None:
            msg = (
                f"dataset {name!r}: `boson:` changes the spectrum of the signal, but "
                "its strengths refer to the cross sections before; leave it out of the "
                "corrections of signal datasets"
            )
            raise ConfigError(msg)
        if sample.known_truth != truth:
            msg = (
                f"the signal datasets {signal[0].dataset.name!r} and {name!r} were "
                "generated with different truths; one is needed"
            )
            raise ConfigError(msg)
    return truth


def _boson_mass(datasets: list[Dataset]) -> float:
    poles = {dataset.name: dataset.boson for dataset in datasets}
    masses = {pole.mass for pole in poles.values() if pole is not None}
    if len(masses) != 1 or None in poles.values():
        msg = (
            f"the signal datasets have these masses and widths: {poles}; one mass is "
            "needed, add `boson: {mass: ..., width: ...}` to each of them"
        )
        raise ConfigError(msg)
    return masses.pop()


def _data_truth(samples: Mapping[str, Sample], binning: Binning) -> Truth | None:
    """Truth of the pseudo-data; None for real data."""
    truths = [
        sample.truth
        for sample in samples.values()
        if sample.dataset.kind == "data" and sample.truth is not None
    ]
    if not truths:
        return None
    return Truth(truths[0].wplus.mass, generated_maps(truths[0], binning))


def merge_blocks(datasets: Iterable[Blocks]) -> dict[str, dict[str, Block]]:
    """Add the blocks of all datasets, in their order."""
    parts: dict[str, dict[str, list[Block]]] = {}
    for blocks in datasets:
        for template, shifts in blocks.items():
            for shift, block in shifts.items():
                parts.setdefault(template, {}).setdefault(shift, []).append(block)
    return {
        template: {shift: reduce(add, found) for shift, found in shifts.items()}
        for template, shifts in parts.items()
    }


def build_channels(
    merged: Blocks, binning: Binning, generated: Mapping[str, Generated]
) -> dict[str, Channel]:
    """Build the channels of both charges from merged blocks.

    Parameters
    ----------
    merged : mapping
        Result of `merge_blocks`, with signal templates.
    binning : Binning
        The binning that the blocks were filled with.
    generated : mapping of str to Generated
        What the signal simulation was generated with, by channel.
    """
    backgrounds = sorted(set(merged) - {SIGNAL, ODD, DATA})
    n_muon = binning.shape[0] * binning.shape[1]
    channels = {}
    for index, (name, charge) in enumerate(CHARGES.items()):
        processes, shared = _signal(merged[SIGNAL], binning, index)
        for process in backgrounds:
            processes[process] = _processes(
                merged[process], (process,), "background", index * n_muon, binning.shape
            )[0][0]
        data = None
        if DATA in merged:
            observed = merged[DATA][NOMINAL].section(index * n_muon, n_muon)
            data = observed.sums[0, 0].reshape(binning.shape)
        channels[name] = Channel(
            name=name,
            charge=charge,
            eta_edges=np.array(binning.eta),
            pt_edges=np.array(binning.pt),
            processes=processes,
            shared=shared,
            generated=generated.get(name),
            data=data,
        )
    return channels


def _signal(
    shifts: Mapping[str, Block], binning: Binning, index: int
) -> tuple[dict[str, Process], tuple[SharedEvents, ...]]:
    """Build the signal processes of one charge and their shared events."""
    n_muon, n_qt = binning.shape[0] * binning.shape[1], len(binning.qt) - 1
    processes, shared = {}, []
    for cell in range(binning.n_cells):
        iabsy, iqt = divmod(cell, n_qt)
        names = tuple(signal_name(c, iabsy, iqt) for c in EVEN_COMPONENTS)
        start = (index * binning.n_cells + cell) * n_muon
        found, products = _processes(shifts, names, "signal", start, binning.shape)
        for process, component in zip(found, EVEN_COMPONENTS, strict=True):
            processes[process.name] = replace(
                process, component=component, cell=(iabsy, iqt)
            )
        shared.append(SharedEvents(names, products))
    return processes, tuple(shared)


def _processes(
    shifts: Mapping[str, Block],
    names: tuple[str, ...],
    role: Role,
    start: int,
    shape: tuple[int, int],
) -> tuple[list[Process], NDArray[np.float64]]:
    """Make one process per component from a range of cells, and their covariance."""
    sections = {
        shift: block.section(start, shape[0] * shape[1])
        for shift, block in shifts.items()
    }
    nominal, labels = sections.pop(NOMINAL), shifts[NOMINAL].labels
    products = nominal.products.reshape(len(names), len(names), *shape)
    processes = []
    for k, name in enumerate(names):
        varied = dict(zip(labels[1:], nominal.sums[k, 1:], strict=True))
        varied |= {shift: section.sums[k, 0] for shift, section in sections.items()}
        processes.append(
            Process(
                name=name,
                role=role,
                nominal=nominal.sums[k, 0].reshape(shape),
                variance=products[k, k],
                variations={key: v.reshape(shape) for key, v in varied.items()},
                entries=nominal.entries.astype(float).reshape(shape),
            )
        )
    return processes, products


def name_processes(
    systematics: Iterable[Systematic], channels: Mapping[str, Channel]
) -> tuple[Systematic, ...]:
    """Let the records name the processes of the file instead of samples.

    ``"W"`` becomes every signal process; processes that the file lacks are
    dropped, and so are systematics that act on nothing in it.
    """
    present: dict[str, set[str]] = {}
    for channel in channels.values():
        for process in channel.processes.values():
            sample = SIGNAL if process.role == "signal" else process.name
            present.setdefault(sample, set()).add(process.name)
    named = []
    for record in systematics:
        names = frozenset(
            name
            for sample in record.processes
            for name in present.get(sample, frozenset())
        )
        if names:
            named.append(replace(record, processes=names))
    return tuple(named)


def odd_table(block: Block) -> list[dict[str, Any]]:
    """Compare the odd templates with zero, which they are up to statistics.

    Parameters
    ----------
    block : Block
        The odd components, of unit coefficient, in all cells.

    Returns
    -------
    list of dict
        Per component the χ² of all occupied bins against zero.
    """
    rows = []
    n = len(block.components)
    for k, component in enumerate(block.components):
        variance = block.products[:, k * n - k * (k - 1) // 2]
        # A few events per bin are not Gaussian yet: bins need ten of them.
        filled = block.entries >= 10
        statistic = float((block.sums[filled, k, 0] ** 2 / variance[filled]).sum())
        ndf = int(filled.sum())
        rows.append(
            {
                "component": component,
                "chi2": statistic,
                "bins": ndf,
                # Without bins nothing speaks against zero.
                "p": float(chi2.sf(statistic, ndf)) if ndf else 1.0,
            }
        )
    return rows
