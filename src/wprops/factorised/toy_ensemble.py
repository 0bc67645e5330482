"""Response and plain templates of toy ensembles, filled with the same decays."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wprops.axes import COMPONENTS, EVEN_COMPONENTS, Binning
from wprops.channels import Truth
from wprops.datasets import BosonPole, Dataset
from wprops.events.samples import Sample
from wprops.events.toy.single_muon import recoil_mt
from wprops.events.toy.truth import ToyTruth, coefficients
from wprops.factorised.build_response import build_response
from wprops.factorised.panels import Panels
from wprops.factorised.response_file import Response
from wprops.factorised.sums import ResponseSums
from wprops.factorised.sums import fill as fill_response
from wprops.factorised.toy_decays import Chunk, SimulatedDecays, ToyEnsemble
from wprops.physics.breit_wigner import mass_weight
from wprops.physics.collins_soper import BosonDecay
from wprops.physics.moments import helicity_weights
from wprops.selection.regions import HIGH_MT
from wprops.store import TemplateSet
from wprops.systematics.catalog import (
    LOW_ACCEPTANCE,
    MASS_STEP,
    SIGNAL,
    Available,
    declare,
)
from wprops.systematics.declaration import NOMINAL, Systematic, variation_label
from wprops.templates.assemble import CHARGES, build_channels, name_processes
from wprops.templates.filling import Block, Columns, bin_index, flat_index
from wprops.templates.parts import DERIVATIVE, MuonBins, Part, boson_cell

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class Filled(NamedTuple):
    """What an ensemble fills: sums of the response, and plain blocks by template."""

    sums: ResponseSums
    blocks: dict[str, Block]


def fill_ensemble(ensemble: ToyEnsemble, panels: Panels, *, workers: int = 1) -> Filled:
    """Fill response and plain templates with all decays of an ensemble.

    Parameters
    ----------
    ensemble : ToyEnsemble
        The ensemble.
    panels : Panels
        The axes of the response, with the binning of the templates.
    workers : int
        Threads; the result has the same bits with any number of them.
    """
    total: Filled | None = None
    with ThreadPoolExecutor(workers) as pool:
        for part in _in_order(pool, ensemble, panels, ahead=workers + 1):
            if total is None:
                total = part
                continue
            sums = total.sums
            sums += part.sums
            for name, block in part.blocks.items():
                known = total.blocks.get(name)
                total.blocks[name] = block if known is None else known.__iadd__(block)
    assert total is not None  # an ensemble has an event of each charge
    return total


def _in_order(
    pool: ThreadPoolExecutor, ensemble: ToyEnsemble, panels: Panels, *, ahead: int
) -> Iterator[Filled]:
    """Yield results in the order of the chunks, of which a few wait to be added."""
    waiting: deque[Future[Filled]] = deque()
    for chunk in ensemble.chunks():
        waiting.append(pool.submit(_fill_chunk, ensemble, chunk, panels))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _fill_chunk(ensemble: ToyEnsemble, chunk: Chunk, panels: Panels) -> Filled:
    simulated = ensemble.simulate(chunk)
    blocks = {
        part.template: part.fill(bins)
        for part, bins in plain_parts(simulated, ensemble.truth, panels.binning)
    }
    return Filled(fill_response(simulated.decays, panels), blocks)


def plain_parts(
    simulated: SimulatedDecays, truth: ToyTruth, binning: Binning
) -> Iterator[tuple[Part, MuonBins]]:
    """Split what is selected into plain templates, as for events of files.

    Parameters
    ----------
    simulated : SimulatedDecays
        Decays of one charge.
    truth : ToyTruth
        Gives the A_i of the weights and the line shape of their derivative.
    binning : Binning
        The binning of the templates.

    Yields
    ------
    part : Part
        Signal by component, or bosons outside of the cells.
    bins : MuonBins
        Where the muons of all selected events go.
    """
    decays = simulated.decays
    chosen, muon_bin = _selected(simulated, binning)
    index = decays.reco[chosen]
    bins = MuonBins(
        n_bins=int(np.prod(binning.shape)),
        nominal=muon_bin,
        shifted={},
        charge=decays.charge[index],
        fold=decays.fold[index],
    )
    boson = BosonDecay(
        decays.qt[index],
        decays.y[index],
        decays.mass[index],
        np.zeros(len(index)),
        decays.costheta[index],
        decays.phistar[index],
    )
    cell, weight = boson_cell(boson, binning), decays.weight[index]
    charge = int(decays.charge[0])
    labels, ratios = _mass_variations(truth, charge, boson.mass)
    inside, outside = np.flatnonzero(cell >= 0), np.flatnonzero(cell < 0)
    if len(inside):
        shares = _shares(truth, charge, boson, inside)
        columns = EVEN_COMPONENTS, shares * weight[inside, None]
        varied = labels, ratios[inside]
        part = Part(SIGNAL, inside, cell[inside], binning.n_cells, columns, varied)
        yield part, bins
    if len(outside):
        unpolarised = COMPONENTS[:1], weight[outside, None]
        varied = labels, ratios[outside]
        nowhere = np.zeros(len(outside), np.int64)
        yield Part(LOW_ACCEPTANCE, outside, nowhere, 1, unpolarised, varied), bins


def _selected(
    simulated: SimulatedDecays, binning: Binning
) -> tuple[IntArray, IntArray]:
    """Find the matched muons of the signal region, and their bins in (eta, pT)."""
    decays = simulated.decays
    passing = np.flatnonzero(decays.passes)
    pt, phi = decays.reco_pt[NOMINAL][passing], simulated.muon_phi[passing]
    muon_bin = flat_index(
        [
            bin_index(decays.reco_eta[passing], binning.eta),
            bin_index(pt, binning.pt),
        ],
        binning.shape,
    )
    qt, residual = decays.qt[decays.reco[passing]], decays.residual[NOMINAL][:, passing]
    mt = recoil_mt(qt, residual, pt, phi)
    assert HIGH_MT.low is not None
    selected = (muon_bin >= 0) & (mt >= HIGH_MT.low)
    return passing[selected], muon_bin[selected]


def _shares(
    truth: ToyTruth, charge: int, boson: BosonDecay, rows: IntArray
) -> FloatArray:
    """Return the share of each even component in some events."""
    A = coefficients(truth, charge, boson.qt[rows], boson.y[rows])
    weights = helicity_weights(boson.costheta[rows], boson.phistar[rows], A)
    return weights[:, : len(EVEN_COMPONENTS)]


def _mass_variations(truth: ToyTruth, charge: int, mass: FloatArray) -> Columns:
    """Return the weights of the W mass up and down, nominal first."""
    boson = truth.boson(charge)
    ratios = np.ones((len(mass), 3))
    for column, sign in ((1, 1.0), (2, -1.0)):
        ratios[:, column] = mass_weight(
            mass,
            pole=boson.mass,
            width=boson.width,
            new_pole=boson.mass + sign * MASS_STEP,
            new_width=boson.width,
        )
    sides = (variation_label(DERIVATIVE, side) for side in ("up", "down"))
    return (NOMINAL, *sides), ratios


def toy_sample(truth: ToyTruth) -> Sample:
    """Describe an ensemble like a dataset, for what asks for its truth."""
    dataset = Dataset(
        name="toy ensemble",
        process="W_mu",
        kind="mc",
        era="2016",
        nano="none",
        xsec=truth.wplus.sigma + truth.wminus.sigma,
        files=("simulated in memory",),
        boson=BosonPole(mass=truth.wplus.mass, width=truth.wplus.width),
    )
    return Sample(dataset=dataset, truth=truth)


def plain_set(
    ensemble: ToyEnsemble, blocks: Mapping[str, Block], binning: Binning
) -> TemplateSet:
    """Build the set of plain templates, with the W mass as its only systematic.

    Parameters
    ----------
    ensemble : ToyEnsemble
        The ensemble.
    blocks : mapping of str to Block
        What it filled.
    binning : Binning
        The binning of the blocks.
    """
    maps = toy_sample(ensemble.truth).generated_maps(binning)
    generated = {name: maps[charge] for name, charge in CHARGES.items()}
    channels = build_channels(blocks, binning, generated)
    return TemplateSet(
        channels=channels,
        systematics=name_processes(mass_records(), channels),
        luminosity=ensemble.luminosity,
        boson_mass=ensemble.truth.wplus.mass,
        truth=Truth(ensemble.truth.wplus.mass, generated),
    )


def toy_response(ensemble: ToyEnsemble, sums: ResponseSums) -> Response:
    """Complete the sums of an ensemble to a response, the mass its only systematic."""
    return build_response(
        sums,
        [toy_sample(ensemble.truth)],
        luminosity=ensemble.luminosity,
        systematics=mass_records(),
    )


def mass_records() -> tuple[Systematic, ...]:
    """Return the record of the W mass alone."""
    return tuple(r for r in declare(Available()) if r.name == DERIVATIVE)
