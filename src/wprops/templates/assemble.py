"""From filled blocks to the template set that the fit reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import reduce
from operator import add
from typing import Any, TypeVar

import numpy as np
from scipy.stats import chi2

from wprops.axes import EVEN_COMPONENTS, Binning
from wprops.catalog import Catalog
from wprops.channels import Channel, Generated, Process, Role, SharedEvents, Truth
from wprops.datasets import Dataset
from wprops.errors import ConfigError, TemplateError
from wprops.events.samples import Sample
from wprops.selection.regions import REGIONS, cut_flow_records
from wprops.store import TemplateSet
from wprops.systematics.catalog import MULTIJET, SIGNAL
from wprops.systematics.declaration import Systematic
from wprops.templates.filling import Block
from wprops.templates.parts import DERIVATIVE, ODD
from wprops.templates.sidebands import ClassSums, build_sidebands

#: Blocks by template.
Blocks = Mapping[str, Block]
Sums = TypeVar("Sums", Block, ClassSums)

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
        By dataset, ``blocks`` by template, ``sidebands`` the same in classes of
        isolation and mT, and ``flows``, the cut flows of all regions.
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
    classes = merge_blocks(output["sidebands"] for output in outputs.values())
    signal = [name for name, output in outputs.items() if SIGNAL in output["blocks"]]
    if not signal:
        msg = (
            "no W → μν events were selected, so there are no signal templates; "
            f"filled templates: {', '.join(merged) or 'none'}. Check the catalogue's "
            "datasets with `process: W_mu` or `W` and their generator information"
        )
        raise TemplateError(msg)
    generated = _generated([samples[name] for name in signal], binning)
    channels = build_channels(merged, binning, generated)
    return TemplateSet(
        channels=channels,
        systematics=name_processes(systematics, channels, later=DATA in classes),
        luminosity=catalog.luminosity,
        boson_mass=_boson_mass([samples[name].dataset for name in signal]),
        truth=_data_truth(samples, binning) if DATA in merged else None,
        sidebands=build_sidebands(classes, binning) if DATA in classes else None,
        tables={
            "cut_flow": [
                row
                for name, output in outputs.items()
                for row in cut_flow_records(
                    name, list(zip(REGIONS, output["flows"], strict=True))
                )
            ],
            "odd_components": odd_table(merged[ODD]),
        },
    )


def _generated(signal: list[Sample], binning: Binning) -> dict[str, Generated]:
    """Return what all signal templates were made with, by channel."""
    first = signal[0]
    for sample in signal:
        name = sample.dataset.name
        if sample.dataset.corrections.boson is not None:
            msg = (
                f"dataset {name!r}: `boson:` changes the spectrum of the signal, but "
                "its strengths refer to the cross sections before; leave it out of the "
                "corrections of signal datasets"
            )
            raise ConfigError(msg)
        if sample.generated != first.generated:
            msg = (
                f"the signal datasets {first.dataset.name!r} and {name!r} were "
                "generated with different truths; one is needed"
            )
            raise ConfigError(msg)
    return _by_channel(first.generated_maps(binning))


def _by_channel(maps: Mapping[int, Generated]) -> dict[str, Generated]:
    return {name: maps[charge] for name, charge in CHARGES.items() if charge in maps}


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
    for sample in samples.values():
        if sample.dataset.kind == "data" and sample.truth is not None:
            maps = _by_channel(sample.generated_maps(binning))
            return Truth(sample.truth.wplus.mass, maps)
    return None


def merge_blocks(datasets: Iterable[Mapping[str, Sums]]) -> dict[str, Sums]:
    """Add the blocks of all datasets."""
    parts: dict[str, list[Sums]] = {}
    for blocks in datasets:
        for template, block in blocks.items():
            parts.setdefault(template, []).append(block)
    return {template: reduce(add, found) for template, found in parts.items()}


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
    names = sorted(set(merged) - {SIGNAL, ODD, DATA})
    n_muon = binning.shape[0] * binning.shape[1]
    channels = {}
    for index, (name, charge) in enumerate(CHARGES.items()):
        processes, shared = _signal(merged[SIGNAL], binning, index)
        for background in names:
            found, group = _processes(
                merged[background],
                (background,),
                "background",
                index * n_muon,
                binning.shape,
            )
            processes[background] = found[0]
            shared += (group,)
        data = None
        if DATA in merged:
            observed = merged[DATA].section(index * n_muon, n_muon)
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
    block: Block, binning: Binning, index: int
) -> tuple[dict[str, Process], tuple[SharedEvents, ...]]:
    """Build the signal processes of one charge and their shared events."""
    n_muon, n_qt = binning.shape[0] * binning.shape[1], len(binning.qt) - 1
    processes, shared = {}, []
    for cell in range(binning.n_cells):
        iabsy, iqt = divmod(cell, n_qt)
        names = tuple(signal_name(c, iabsy, iqt) for c in EVEN_COMPONENTS)
        start = (index * binning.n_cells + cell) * n_muon
        found, group = _processes(block, names, "signal", start, binning.shape)
        for process, component in zip(found, EVEN_COMPONENTS, strict=True):
            processes[process.name] = replace(
                process, component=component, cell=(iabsy, iqt)
            )
        shared.append(group)
    return processes, tuple(shared)


def _processes(
    block: Block,
    names: tuple[str, ...],
    role: Role,
    start: int,
    shape: tuple[int, int],
) -> tuple[list[Process], SharedEvents]:
    """Make one process per component from a range of cells, and what they share."""
    section = block.section(start, shape[0] * shape[1])
    n = len(names)
    products = section.products.reshape(*section.products.shape[:2], *shape)
    folds = section.folds.reshape(*section.folds.shape[:2], *shape)
    sums = section.sums.reshape(*section.sums.shape[:2], *shape)
    entries = section.entries.astype(float).reshape(shape)
    processes = [
        Process(
            name=name,
            role=role,
            nominal=sums[k, 0],
            variance=products[k, k],
            variations=dict(zip(block.labels[1:], sums[k, 1:], strict=True)),
            entries=entries,
        )
        for k, name in enumerate(names)
    ]
    shared = SharedEvents(
        processes=names,
        products=products[:n, :n],
        derivative=DERIVATIVE if block.derivative else None,
        derivative_products=products[n] if block.derivative else None,
        folds=folds,
    )
    return processes, shared


def name_processes(
    systematics: Iterable[Systematic],
    channels: Mapping[str, Channel],
    *,
    later: bool = False,
) -> tuple[Systematic, ...]:
    """Let the records name the processes of the file instead of samples.

    ``"W"`` becomes every signal process; processes that the file lacks are
    dropped, and so are systematics that act on nothing in it. ``later`` tells that
    multijet will be there once it is estimated.
    """
    present: dict[str, set[str]] = {MULTIJET: {MULTIJET}} if later else {}
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
