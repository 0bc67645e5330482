"""Split selected events into the sets of templates that they fill.

A background fills one template. A W → μν event fills, in the cell of its boson, the
templates of all helicity components, or that of low acceptance where the boson lies
outside of the measured cells; a W → τν event is a background.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from wprops.axes import COMPONENTS, EVEN_COMPONENTS, ODD_COMPONENTS, Binning
from wprops.corrections.efficiency import MuonFactors
from wprops.errors import InputError
from wprops.event_random import event_hash
from wprops.events.generator import MUON, TAU, HardLeptons, hard_leptons
from wprops.events.samples import Sample
from wprops.events.schema import file_name, get_branch
from wprops.physics.collins_soper import BosonDecay, boson_and_angles
from wprops.physics.moments import helicity_weights
from wprops.systematics.catalog import LOW_ACCEPTANCE, SIGNAL, TAUS
from wprops.systematics.declaration import NOMINAL, Systematic, variation_label
from wprops.templates.filling import (
    N_FOLDS,
    Block,
    Cells,
    Columns,
    bin_index,
    fill,
    flat_index,
)
from wprops.weights import WeightInputs, weight_ratios

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: Samples of W bosons, which are split by the generated lepton and acceptance.
W_SAMPLES = ("W", "W_mu", "W_tau")
#: The odd components, filled to show that they vanish; no process of the fit.
ODD = "W_odd"
_UNPOLARISED = COMPONENTS[:1]
#: The systematic whose derivative is kept with its noise: it is made of the same
#: events as the components, and its noise imitates sensitivity to it.
DERIVATIVE = "mw"


@dataclass(frozen=True, slots=True, eq=False)
class MuonBins:
    """Where the muons of the selected events go, in (eta, pT), and their events.

    Attributes
    ----------
    n_bins : int
        Number of (eta, pT) bins.
    nominal : ndarray of int, shape (n_selected,)
        Flat bin, −1 outside of the axes or of the region.
    shifted : mapping of str to ndarray of int, shape (n_selected,)
        The same for each kinematic shift.
    charge : ndarray of int, shape (n_selected,)
        Charge of the muon.
    fold : ndarray of int, shape (n_selected,)
        Fold of the event.
    """

    n_bins: int
    nominal: IntArray
    shifted: Mapping[str, IntArray]
    charge: IntArray
    fold: IntArray


def event_folds(events: ak.Array, pick: IntArray) -> IntArray:
    """Fold of picked events by a hash of run, luminosity block and event number."""
    remedy = "every NanoAOD has it; produce the file again"
    numbers = (
        ak.to_numpy(get_branch(events, name, remedy=remedy))[pick]
        for name in ("run", "luminosityBlock", "event")
    )
    return (event_hash(*numbers) % np.uint64(N_FOLDS)).astype(np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Selected events that fill one set of templates.

    Attributes
    ----------
    template : str
        Name of the set.
    index : ndarray of int, shape (n,)
        Which of the selected events.
    cell : ndarray of int, shape (n,)
        Cell of the boson.
    n_cells : int
        Number of such cells.
    components : (names, ndarray of shape (n, n_components))
        Nominal weights in each component.
    variations : (labels, ndarray of shape (n, n_labels))
        Weights relative to nominal, which is the first.
    varies : bool
        Whether the kinematic variations are wanted too.
    """

    template: str
    index: IntArray
    cell: IntArray
    n_cells: int
    components: Columns
    variations: Columns
    varies: bool = True

    def fill(self, muons: MuonBins) -> Block:
        """Fill the templates [charge, cell, muon bin], positive muons first.

        Parameters
        ----------
        muons : MuonBins
            The muons of all selected events.
        """
        negative = (muons.charge[self.index] < 0).astype(np.int64)
        shape = (2, self.n_cells, muons.n_bins)

        def place(muon_bin: IntArray) -> IntArray:
            return flat_index([negative, self.cell, muon_bin[self.index]], shape)

        shifted = muons.shifted if self.varies else {}
        cells = Cells(
            n_cells=int(np.prod(shape)),
            nominal=place(muons.nominal),
            shifted={label: place(found) for label, found in shifted.items()},
            fold=muons.fold[self.index],
        )
        return fill(
            cells,
            self.components,
            self.variations,
            derivative=self._derivative(),
        )

    @property
    def unpolarised(self) -> Part:
        """The same events in one template, whatever their boson."""
        _, values = self.components
        return replace(
            self,
            cell=np.zeros(len(self.index), np.int64),
            n_cells=1,
            components=(_UNPOLARISED, values.sum(axis=1, keepdims=True)),
        )

    def _derivative(self) -> FloatArray | None:
        labels, ratios = self.variations
        up, down = (variation_label(DERIVATIVE, side) for side in ("up", "down"))
        if up not in labels:
            return None
        return (ratios[:, labels.index(up)] - ratios[:, labels.index(down)]) / 2


def split_events(
    events: ak.Array,
    pick: IntArray,
    weight: FloatArray,
    sample: Sample,
    systematics: tuple[Systematic, ...],
    binning: Binning,
    muons: MuonFactors | None = None,
) -> Iterator[Part]:
    """Split selected events of a sample into the templates that they fill.

    Parameters
    ----------
    events : awkward.Array
        The chunk of NanoEvents.
    pick : ndarray of int, shape (n,)
        Indices of the selected events in it.
    weight : ndarray, shape (n,)
        Their nominal weights.
    sample : Sample
        The sample they are from.
    systematics : tuple of Systematic
        The declarations in force.
    binning : Binning
        Gives the cells of the boson.
    muons : MuonFactors, optional
        Efficiency scale factors of their muons, already in ``weight``.

    Raises
    ------
    InputError
        If an event of a W sample has no W, or a branch of weights is missing.
    ConfigError
        If the catalogue lacks what a declared variation needs.
    """
    inputs = WeightInputs(
        events=events,
        pick=pick,
        dataset=sample.dataset,
        hessian=sample.hessian,
        muons=muons,
    )
    process = sample.dataset.process
    if process not in W_SAMPLES:
        ratios = weight_ratios(inputs, systematics, process)
        yield _unpolarised(process, np.arange(len(pick)), weight, ratios)
        return
    leptons = hard_leptons(events)
    _require_w(events, leptons, pick, process)
    flavour, charge = leptons.flavour[pick], leptons.charge[pick]
    boson = boson_and_angles(leptons.lepton[:, pick], leptons.other[:, pick])
    cell = boson_cell(boson, binning)
    for template, chosen in {
        SIGNAL: (flavour == MUON) & (cell >= 0),
        LOW_ACCEPTANCE: (flavour == MUON) & (cell < 0),
        TAUS: flavour == TAU,
    }.items():
        index = np.flatnonzero(chosen)
        if not len(index):
            continue
        bosons = BosonDecay(*(column[index] for column in boson))
        ratios = weight_ratios(inputs.restricted(index, bosons), systematics, template)
        if template != SIGNAL:
            yield _unpolarised(template, index, weight, ratios)
            continue
        nominal = (NOMINAL,), np.ones((len(index), 1))
        for name, (names, values) in _components(sample, charge[index], bosons):
            columns = names, values * weight[index][:, None]
            is_fit = name == SIGNAL
            yield Part(
                template=name,
                index=index,
                cell=cell[index],
                n_cells=binning.n_cells,
                components=columns,
                variations=ratios if is_fit else nominal,
                varies=is_fit,
            )


def boson_cell(boson: BosonDecay, binning: Binning) -> IntArray:
    """Flat (|Y|, qT) cell of each boson, −1 outside of the measured range."""
    return flat_index(
        [bin_index(np.abs(boson.y), binning.absy), bin_index(boson.qt, binning.qt)],
        (len(binning.absy) - 1, len(binning.qt) - 1),
    )


def _unpolarised(
    template: str, index: IntArray, weight: FloatArray, ratios: Columns
) -> Part:
    """Make one template of events whatever their boson."""
    columns = _UNPOLARISED, weight[index][:, None]
    return Part(template, index, np.zeros(len(index), np.int64), 1, columns, ratios)


def _components(
    sample: Sample, charge: IntArray, boson: BosonDecay
) -> Iterator[tuple[str, Columns]]:
    """Weights of the even components, and of the odd ones without their A_i.

    A factor A_i near zero would hide whether odd templates vanish by themselves.
    """
    n_even = len(EVEN_COMPONENTS)
    A = np.zeros((8, len(charge)))
    for sign in (1, -1):
        same = charge == sign
        A[:, same] = sample.coefficients(sign, boson.qt[same], boson.y[same])
    angles = boson.costheta, boson.phistar, A
    yield SIGNAL, (EVEN_COMPONENTS, helicity_weights(*angles)[:, :n_even])
    odd = helicity_weights(*angles, weighting="sigma")[:, n_even:]
    yield ODD, (ODD_COMPONENTS, odd)


def _require_w(
    events: ak.Array, leptons: HardLeptons, pick: IntArray, process: str
) -> None:
    """Raise InputError where a selected event has no W."""
    n_lost = int((leptons.charge[pick] == 0).sum())
    if n_lost:
        msg = (
            f"{file_name(events)}: {n_lost} of {len(pick)} selected events have no "
            "W → lν in GenPart (statusFlags fromHardProcess and isLastCopy); is "
            f"`process: {process}` right for this sample?"
        )
        raise InputError(msg)
