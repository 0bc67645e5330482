"""The records a template set is made of, and the checks they have to pass.

All arrays are float64 and indexed (eta, pT) for templates and (absy, qT) for
maps of the boson.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

import hist
import numpy as np
from numpy.typing import NDArray

from wprops.axes import COMPONENTS, Binning
from wprops.errors import TemplateError
from wprops.systematics.declaration import NOMINAL

Array = NDArray[np.float64]
Role = Literal["signal", "background"]


@dataclass(frozen=True, slots=True, eq=False)
class Process:
    """The templates of one process in one channel.

    Attributes
    ----------
    name : str
        Name of the process, such as ``"W_A4_y0_qt2"`` or ``"top"``.
    role : {"signal", "background"}
        Whether the fit has a strength parameter for it.
    nominal : ndarray, shape (n_eta, n_pt)
        Expected events at the luminosity of the set.
    variance : ndarray, shape (n_eta, n_pt)
        Sum of squared weights of ``nominal``.
    variations : mapping of str to ndarray, shape (n_eta, n_pt)
        Varied expectations by label, see
        `wprops.systematics.declaration.variation_label`.
    component : str, optional
        Helicity component, one of `wprops.axes.COMPONENTS`; signal only.
    cell : tuple of int, optional
        Indices (iabsy, iqt) of the boson's bin; signal only.
    entries : ndarray, shape (n_eta, n_pt), optional
        Number of simulated events behind ``nominal``.
    """

    name: str
    role: Role
    nominal: Array
    variance: Array
    variations: Mapping[str, Array] = field(default_factory=dict)
    component: str | None = None
    cell: tuple[int, int] | None = None
    entries: Array | None = None

    def varied(self, variation: str = NOMINAL) -> Array:
        """Return one variation; raises TemplateError if there is none such."""
        if variation == NOMINAL:
            return self.nominal
        if variation not in self.variations:
            msg = (
                f"process {self.name!r} has no variation {variation!r}; "
                f"it has {', '.join((NOMINAL, *self.variations))}."
            )
            raise TemplateError(msg)
        return self.variations[variation]


@dataclass(frozen=True, slots=True, eq=False)
class SharedEvents:
    """Noise of templates that are filled by the same simulated events.

    Attributes
    ----------
    processes : tuple of str
        Names of the processes that share their events.
    products : ndarray, shape (n_p, n_p, n_eta, n_pt)
        Sums over events of the products of two weights, in each bin: the covariance
        of the templates.
    derivative : str, optional
        Name of the systematic whose derivative is kept too: half the difference of
        its up and down variation of the sum of the processes.
    derivative_products : ndarray, shape (n_p + 1, n_eta, n_pt), optional
        Covariance of the derivative with each process, and its variance at the end.
    folds : ndarray, shape (n_folds, n_p or n_p + 1, n_eta, n_pt), optional
        The templates, and the derivative at the end, of independent parts of the
        simulation, whose sums are those of all events.
    """

    processes: tuple[str, ...]
    products: Array
    derivative: str | None = None
    derivative_products: Array | None = None
    folds: Array | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Generated:
    """Cross sections and angular coefficients of a sample of bosons.

    Attributes
    ----------
    qt_edges : ndarray, shape (n_qt + 1,)
        Edges in transverse momentum [GeV].
    absy_edges : ndarray, shape (n_y + 1,)
        Edges in absolute rapidity.
    sigma : ndarray, shape (n_y, n_qt)
        Cross section of the bin [pb].
    coefficients : ndarray, shape (8, n_y, n_qt)
        Mean A0 … A7 of the bin, weighted by the cross section.
    """

    qt_edges: Array
    absy_edges: Array
    sigma: Array
    coefficients: Array


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What pseudo-data were made with, kept for closure.

    Attributes
    ----------
    boson_mass : float
        Mass of the W [GeV].
    channels : mapping of str to Generated
        Cross sections and coefficients by channel name.
    """

    boson_mass: float
    channels: Mapping[str, Generated]


@dataclass(frozen=True, slots=True, eq=False)
class Sideband:
    """Simulated muons of one process in all classes of isolation and mT.

    Attributes
    ----------
    nominal, variance : ndarray, shape (2, n_mt, 2, n_eta, n_pt)
        Expected events, and their sum of squared weights.
    mt_sum : ndarray, shape (2, n_mt, 2)
        Sum of weight times mT [GeV] by isolation, mT slice and charge.
    variations : mapping of str to ndarray, shape (2, n_mt, 2, n_eta, n_pt)
        Varied expectations by label.
    """

    nominal: Array
    variance: Array
    mt_sum: Array
    variations: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Sidebands:
    """Muons of any isolation and mT, from which multijet is estimated.

    Arrays are indexed (isolation, mT slice, charge, eta, pT): isolated before
    anti-isolated, positive before negative.

    Attributes
    ----------
    mt_edges : ndarray, shape (n_mt + 1,)
        Edges of the slices in mT [GeV]; the last one may be infinite.
    data : ndarray, shape (2, n_mt, 2, n_eta, n_pt)
        Observed events.
    data_mt_sum : ndarray, shape (2, n_mt, 2)
        Sum of their mT [GeV] by isolation, mT slice and charge.
    processes : mapping of str to Sideband
        Processes with prompt muons.
    """

    mt_edges: Array
    data: Array
    data_mt_sum: Array
    processes: Mapping[str, Sideband]


@dataclass(frozen=True, slots=True, eq=False)
class Channel:
    """All templates of one charge in one region, with the data beside them.

    Attributes
    ----------
    name : str
        Name of the channel, such as ``"Wplus"``.
    charge : {1, -1}
        Charge of the reconstructed muon.
    eta_edges, pt_edges : ndarray, shape (n_eta + 1,), (n_pt + 1,)
        Edges in the muon's pseudorapidity and transverse momentum [GeV].
    processes : mapping of str to Process
        Processes by name, in the order in which they are stored.
    shared : tuple of SharedEvents
        Groups of templates made from the same events, disjoint.
    generated : Generated, optional
        What the signal simulation was generated with.
    data : ndarray, shape (n_eta, n_pt), optional
        Observed events.
    region : str
        Name of the selection region.
    """

    name: str
    charge: int
    eta_edges: Array
    pt_edges: Array
    processes: Mapping[str, Process]
    shared: tuple[SharedEvents, ...] = ()
    generated: Generated | None = None
    data: Array | None = None
    region: str = "signal"

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of (eta, pT) bins."""
        return len(self.eta_edges) - 1, len(self.pt_edges) - 1

    def axes(self) -> tuple[hist.axis.Variable, hist.axis.Variable]:
        """Axes (eta, pt) of the templates, with names and labels."""
        edges = tuple(self.eta_edges.tolist()), tuple(self.pt_edges.tolist())
        return Binning(eta=edges[0], pt=edges[1], qt=(), absy=()).muon_axes()

    def process(self, name: str) -> Process:
        """Return one process; raises TemplateError if the channel lacks it."""
        if name not in self.processes:
            msg = (
                f"channel {self.name!r} has no process {name!r}; "
                f"it has {', '.join(self.processes)}."
            )
            raise TemplateError(msg)
        return self.processes[name]

    def total(self) -> tuple[Array, Array]:
        """Sum of the nominal templates and its variance from finite simulation.

        Returns
        -------
        nominal, variance : ndarray, shape (n_eta, n_pt)
            The variance counts the covariance of templates that share events.
        """
        nominal = np.zeros(self.shape)
        variance = np.zeros(self.shape)
        together = {name for group in self.shared for name in group.processes}
        for process in self.processes.values():
            nominal += process.nominal
            if process.name not in together:
                variance += process.variance
        for group in self.shared:
            variance += group.products.sum(axis=(0, 1))
        return nominal, variance


def check_channel(channel: Channel, declared: set[str]) -> None:
    """Check one channel; raises TemplateError naming channel, process and field.

    Parameters
    ----------
    channel : Channel
        The channel to check.
    declared : set of str
        Labels of variations that the systematics of the set declare.
    """
    where = f"channel {channel.name!r}"
    if channel.charge not in (1, -1):
        msg = f"{where} has charge {channel.charge}, expected 1 or -1."
        raise TemplateError(msg)
    _check_edges(channel.eta_edges, f"{where}, eta_edges")
    _check_edges(channel.pt_edges, f"{where}, pt_edges")
    if channel.generated is not None:
        check_generated(channel.generated, f"{where}, generated")
    if channel.data is not None:
        _check_array(channel.data, channel.shape, f"{where}, data", positive=True)
    if not channel.processes:
        msg = f"{where} has no processes."
        raise TemplateError(msg)
    for key, process in channel.processes.items():
        check_name(key, process.name, f"{where}, process")
        _check_process(process, channel.shape, declared, f"{where}, process {key!r}")
    _check_shared(channel, where)


def _check_process(
    process: Process, shape: tuple[int, int], declared: set[str], where: str
) -> None:
    _check_array(process.nominal, shape, f"{where}, nominal")
    _check_array(process.variance, shape, f"{where}, variance", positive=True)
    if process.entries is not None:
        _check_array(process.entries, shape, f"{where}, entries", positive=True)
    for label, values in process.variations.items():
        _check_array(values, shape, f"{where}, variation {label!r}")
    if not process.nominal.any():
        msg = (
            f"{where} is empty: all its bins are zero. Simulate more events, or "
            "leave the process out."
        )
        raise TemplateError(msg)
    undeclared = sorted(set(process.variations) - declared)
    if undeclared:
        msg = (
            f"{where} has variations that no systematic of the set declares: "
            f"{', '.join(undeclared)}. Declare them or leave them out."
        )
        raise TemplateError(msg)
    if process.role not in get_args(Role):
        msg = f"{where} has role {process.role!r}, expected one of {get_args(Role)}."
        raise TemplateError(msg)
    if process.role == "signal" and (
        process.component not in COMPONENTS or process.cell is None
    ):
        msg = (
            f"{where} is a signal with component {process.component!r} and cell "
            f"{process.cell}; expected one of {', '.join(COMPONENTS)} and a pair "
            "(iabsy, iqt)."
        )
        raise TemplateError(msg)


def _check_shared(channel: Channel, where: str) -> None:
    seen: set[str] = set()
    for group in channel.shared:
        here = f"{where}, shared events of {', '.join(group.processes)}"
        n = len(group.processes)
        _check_array(group.products, (n, n, *channel.shape), here)
        repeated = seen.intersection(group.processes)
        if repeated or len(set(group.processes)) != n:
            msg = f"{here}: processes are listed twice: {sorted(repeated)}."
            raise TemplateError(msg)
        seen.update(group.processes)
        for index, name in enumerate(group.processes):
            own = channel.process(name).variance
            # Both are sums of the same squares, maybe in another order.
            if not np.allclose(group.products[index, index], own, rtol=1e-6, atol=0):
                msg = f"{here}: the diagonal differs from the variance of {name!r}."
                raise TemplateError(msg)
        _check_derivative(group, channel, here)
        _check_folds(group, channel, here)


def _check_derivative(group: SharedEvents, channel: Channel, here: str) -> None:
    if (group.derivative is None) != (group.derivative_products is None):
        msg = f"{here}: a derivative and its products go together."
        raise TemplateError(msg)
    if group.derivative_products is not None:
        shape = (len(group.processes) + 1, *channel.shape)
        where = f"{here}, products of the derivative {group.derivative!r}"
        _check_array(group.derivative_products, shape, where)
        _check_array(group.derivative_products[-1], channel.shape, where, positive=True)


def _check_folds(group: SharedEvents, channel: Channel, here: str) -> None:
    if group.folds is None:
        return
    n_columns = len(group.processes) + (group.derivative is not None)
    n_folds = len(group.folds)
    _check_array(group.folds, (n_folds, n_columns, *channel.shape), f"{here}, folds")
    for index, name in enumerate(group.processes):
        process = channel.process(name)
        total = group.folds[:, index].sum(axis=0)
        # Rounding is relative to the events, which may cancel in the template.
        if not np.allclose(total, process.nominal, 0, 1e-6 * _size(process)):
            msg = f"{here}: the folds of {name!r} do not add up to its template."
            raise TemplateError(msg)


def _size(process: Process) -> float:
    """Order of magnitude of the sum of the absolute weights of a template."""
    return float(abs(process.nominal).max() + np.sqrt(process.variance.max()))


def check_generated(generated: Generated, where: str) -> None:
    """Check edges and maps; raises TemplateError that begins with ``where``."""
    _check_edges(generated.qt_edges, f"{where}, qt_edges")
    _check_edges(generated.absy_edges, f"{where}, absy_edges")
    cells = len(generated.absy_edges) - 1, len(generated.qt_edges) - 1
    _check_array(generated.sigma, cells, f"{where}, sigma", positive=True)
    _check_array(generated.coefficients, (8, *cells), f"{where}, coefficients")


def check_sidebands(
    sidebands: Sidebands, shape: tuple[int, int], declared: set[str]
) -> None:
    """Check shapes and numbers; raises TemplateError naming process and field.

    Parameters
    ----------
    sidebands : Sidebands
        The counts to check.
    shape : tuple of int
        Numbers of (eta, pT) bins of the channels.
    declared : set of str
        Labels of variations that the systematics of the set declare.
    """
    edges = sidebands.mt_edges
    if edges.ndim != 1 or len(edges) < 2 or not (edges[1:] > edges[:-1]).all():
        msg = f"sidebands, mt_edges are {edges}, expected increasing numbers."
        raise TemplateError(msg)
    whole = (2, len(sidebands.mt_edges) - 1, 2, *shape)
    _check_array(sidebands.data, whole, "sidebands, data", positive=True)
    _check_mt_sum(sidebands)
    for name, process in sidebands.processes.items():
        where = f"sidebands, process {name!r}"
        check_name(name, name, "sidebands, process")
        undeclared = sorted(set(process.variations) - declared)
        if undeclared:
            msg = f"{where} has undeclared variations: {', '.join(undeclared)}."
            raise TemplateError(msg)
        _check_array(process.nominal, whole, f"{where}, nominal")
        _check_array(process.variance, whole, f"{where}, variance", positive=True)
        _check_array(process.mt_sum, whole[:3], f"{where}, mt_sum")
        for label, values in process.variations.items():
            _check_array(values, whole, f"{where}, variation {label!r}")


def _check_mt_sum(sidebands: Sidebands) -> None:
    """Check that the mean mT of the data lies in each slice; weights may cancel."""
    found, where = sidebands.data_mt_sum, "sidebands, data_mt_sum"
    _check_array(found, sidebands.data.shape[:3], where, positive=True)
    events = sidebands.data.sum(axis=(-2, -1))
    mean = np.divide(found, events, out=np.zeros_like(found), where=events > 0)
    low, high = (e[:, None] for e in (sidebands.mt_edges[:-1], sidebands.mt_edges[1:]))
    # Sums of many numbers are rounded.
    inside = (mean >= low * (1 - 1e-9)) & (mean <= high * (1 + 1e-9))
    wrong = np.where(events > 0, ~inside, found > 0)
    if wrong.any():
        index = tuple(int(i) for i in np.argwhere(wrong)[0])
        msg = (
            f"{where} is {found[index]:g} GeV at {index} for {events[index]:g} events, "
            f"but the slice extends from {low[index[1], 0]:g} to "
            f"{high[index[1], 0]:g} GeV; it is the sum of their mT."
        )
        raise TemplateError(msg)


def check_name(key: str, name: str, where: str) -> None:
    """Check that a record is stored under its name, which is a legal HDF5 one."""
    if key != name or "/" in name or not name:
        msg = f"{where} {name!r} is stored as {key!r}: use one name, without '/'."
        raise TemplateError(msg)


def _check_edges(edges: Array, where: str) -> None:
    if (
        edges.ndim != 1
        or len(edges) < 2
        or not (np.isfinite(edges).all() and (np.diff(edges) > 0).all())
    ):
        msg = f"{where} are {edges}, expected two or more finite, increasing numbers."
        raise TemplateError(msg)


def _check_array(
    values: Array, shape: tuple[int, ...], where: str, *, positive: bool = False
) -> None:
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu":
        kind = getattr(values, "dtype", type(values).__name__)
        msg = f"{where} is of type {kind}, expected an array of real numbers."
        raise TemplateError(msg)
    if values.shape != shape:
        msg = f"{where} has shape {values.shape}, expected {shape}."
        raise TemplateError(msg)
    bad = ~np.isfinite(values)
    if positive:
        bad |= values < 0
    if bad.any():
        index = tuple(int(i) for i in np.argwhere(bad)[0])
        msg = (
            f"{where} has {int(bad.sum())} bins that are not finite"
            f"{' or negative' if positive else ''}, the first at {index}: "
            f"{values[index]}."
        )
        raise TemplateError(msg)
