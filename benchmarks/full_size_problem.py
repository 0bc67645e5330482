"""A synthetic measurement of any size, with the templates of W → μν by quadrature.

The helicity templates come from `wprops.physics.lepton_spectrum`: those of A0 to A4
change sign, neighbouring cells look alike, and some combinations of all strengths move
the prediction hardly at all. The uncertainties are those of the catalogue of
systematics, with smooth effects of realistic size. The templates fluctuate like those
of a simulation, unless it is infinite; the data come from the exact expectation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from wprops.axes import COMPONENTS
from wprops.channels import Channel, Generated, Process, SharedEvents
from wprops.physics.lepton_spectrum import Nodes, lepton_template
from wprops.store import TemplateSet
from wprops.systematics.catalog import (
    LOW_ACCEPTANCE,
    MASS_STEP,
    MULTIJET,
    MUON_SCALE,
    SIGNAL,
    TAUS,
    Available,
    declare,
)
from wprops.systematics.declaration import Systematic

Array = NDArray[np.float64]
MASS, WIDTH, RESOLUTION = 80.379, 2.085, 0.012
QT_EDGES = np.array([0, 2, 4, 6, 8, 10, 12, 16, 20, 26, 36, 60], dtype=float)
ABSY_MAX = 2.4
#: Coarser than the default, 1e-3 of the contents: the problem is exact as it is.
NODES = Nodes(qt=3, absy=5, u=4, pt=2, phi=8, phi_per_gev=1.0, u_step=0.2, pt_step=1.0)
#: Fraction of all events, and falling constant in pT [GeV].
BACKGROUNDS = {
    LOW_ACCEPTANCE: (0.05, 25.0),
    TAUS: (0.02, 8.0),
    "Z": (0.04, 20.0),
    "top": (0.005, 40.0),
    "diboson": (0.001, 30.0),
    MULTIJET: (0.08, 6.0),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """Size of a problem; the default is the full measurement of one charge.

    Attributes
    ----------
    n_eta, n_pt : int
        Bins of the muon.
    n_qt, n_y : int
        Cells of the boson; each has six templates.
    n_pdf : int
        Directions of the parton densities; with all other uncertainties and 48
        rows in eta, 60 of them make 242 nuisance parameters.
    charges : tuple of int
        One channel each.
    """

    n_eta: int = 48
    n_pt: int = 60
    n_qt: int = 11
    n_y: int = 6
    n_pdf: int = 60
    charges: tuple[int, ...] = (1,)


#: 2880 bins, 402 processes and 242 nuisance parameters.
FULL = Size()
#: 720 bins, 114 processes and 140 nuisance parameters.
QUARTER = Size(n_eta=24, n_pt=30, n_qt=6, n_y=3, n_pdf=30)
BOTH = Size(charges=(1, -1))


def build_problem(
    size: Size = FULL,
    *,
    events: float = 1.3e8,
    simulated: float = 4.0,
    seed: int = 1,
) -> TemplateSet:
    """Build templates and Poisson data.

    Parameters
    ----------
    size : Size
        Bins, cells and uncertainties.
    events : float
        Expected events of each charge.
    simulated : float
        Simulated events per expected one; infinity for templates without noise.
    seed : int
        Of the data, of the noise and of the shapes of the uncertainties.
    """
    available = Available(
        n_pdf=size.n_pdf,
        alphas=True,
        scale=True,
        prefire=True,
        efficiency=True,
        fakes=True,
    )
    systematics = declare(available)
    channels = [
        _channel(size, charge, systematics, events, simulated, seed)
        for charge in size.charges
    ]
    return TemplateSet(
        channels={channel.name: channel for channel in channels},
        systematics=systematics,
        luminosity=16.8,
        boson_mass=MASS,
    )


def spectrum(charge: int, qt: Array, absy: Array) -> tuple[Array, Array]:
    """Cross section in qT and |Y|, in arbitrary units, and A0 to A7."""
    asymmetry = 1 + charge * 0.1 * absy**2 / (1 + absy**2)
    density = qt * np.exp(-qt / 5.5) + 0.08 * qt / (1 + (qt / 12) ** 3)
    density = density * np.exp(-((absy / 3.0) ** 4)) * asymmetry
    fraction = qt**2 / (qt**2 + MASS**2)
    slow = np.tanh(absy)
    one = np.ones_like(density)
    A4 = charge * (0.1 + 0.9 * slow**2) * (1 - 0.3 * fraction)
    A = (
        fraction * one,
        0.3 * np.sqrt(fraction) * slow * one,
        0.85 * fraction * (1 + 0.05 * absy**2),
        charge * 0.2 * fraction * slow * one,
        A4 * one,
        0 * one,
        0 * one,
        0 * one,
    )
    return density, np.stack(A)


def _channel(
    size: Size,
    charge: int,
    systematics: Sequence[Systematic],
    events: float,
    simulated: float,
    seed: int,
) -> Channel:
    eta_edges = np.linspace(-2.4, 2.4, size.n_eta + 1)
    pt_edges = np.linspace(25.0, 55.0, size.n_pt + 1)
    qt_edges = np.interp(
        np.linspace(0, 1, size.n_qt + 1), np.linspace(0, 1, len(QT_EDGES)), QT_EDGES
    )
    absy_edges = np.linspace(0.0, ABSY_MAX, size.n_y + 1)
    shapes = _Shapes(eta_edges, pt_edges, systematics, seed)
    cells = list(product(range(size.n_y), range(size.n_qt)))
    templates = {
        (y, q): _cell(
            charge, qt_edges[q : q + 2], absy_edges[y : y + 2], eta_edges, pt_edges
        )
        for y, q in cells
    }
    signal_fraction = 1 - sum(fraction for fraction, _ in BACKGROUNDS.values())
    total = sum(varied[0].sum() for varied in templates.values())
    scale = signal_fraction * events / total
    expected = scale * sum(varied[0].sum(axis=0) for varied in templates.values())
    processes: dict[str, Process] = {}
    shared = []
    rng = np.random.default_rng([seed, charge + 1])
    for (y, q), varied in templates.items():
        place = (y + 0.5) / size.n_y, (q + 0.5) / size.n_qt
        members, products = _signal(
            (y, q), scale * varied, shapes, place, simulated, rng
        )
        processes |= members
        shared.append(SharedEvents(tuple(members), products))
    for name, (fraction, slope) in BACKGROUNDS.items():
        nominal = shapes.background(slope)
        nominal *= fraction * events / nominal.sum()
        expected += nominal
        processes[name] = Process(
            name=name,
            role="background",
            nominal=nominal,
            variance=nominal / simulated,
            variations=dict(shapes.variations(name, nominal, (0.5, 0.5), 0)),
        )
    return Channel(
        name="Wplus" if charge > 0 else "Wminus",
        charge=charge,
        eta_edges=eta_edges,
        pt_edges=pt_edges,
        processes=processes,
        shared=tuple(shared),
        generated=_generated(charge, qt_edges, absy_edges),
        data=rng.poisson(expected).astype(float),
    )


def _cell(
    charge: int, qt: Array, absy: Array, eta_edges: Array, pt_edges: Array
) -> Array:
    """Templates for the nominal mass, up and down, shape (3, 6, n_eta, n_pt)."""
    return np.stack(
        [
            lepton_template(
                lambda qt, absy: spectrum(charge, qt, absy),
                (qt[0], qt[1]),
                (absy[0], absy[1]),
                eta_edges,
                pt_edges,
                pole=MASS + shift,
                width=WIDTH,
                resolution=RESOLUTION,
                nodes=NODES,
            )
            for shift in (0.0, MASS_STEP, -MASS_STEP)
        ]
    )


def _signal(
    cell: tuple[int, int],
    varied: Array,
    shapes: _Shapes,
    place: tuple[float, float],
    simulated: float,
    rng: np.random.Generator,
) -> tuple[dict[str, Process], Array]:
    exact = varied[0]
    # simulated events of one weight each whose helicity weights scatter
    products = np.einsum("pij,qij->pqij", exact, exact)
    np.divide(products, exact[0], out=products, where=exact[0] > 0)
    for p in range(1, len(exact)):
        products[p, p] += 0.05 * abs(exact[p])
    products /= simulated
    common = rng.normal(size=exact[0].shape) / np.sqrt(simulated * exact[0].clip(1e-9))
    own = rng.normal(size=exact.shape) * np.sqrt(0.05 * abs(exact) / simulated)
    own[0] = 0.0
    nominal = exact * (1 + common.clip(-0.5, 0.5)) + own
    processes = {}
    for p, component in enumerate(COMPONENTS[: len(nominal)]):
        name = f"{SIGNAL}_{component}_y{cell[0]}_qt{cell[1]}"
        up, down = varied[1:, p] - exact[p]
        mass = {"mw_up": nominal[p] + up, "mw_down": nominal[p] + down}
        processes[name] = Process(
            name=name,
            role="signal",
            nominal=nominal[p],
            variance=products[p, p],
            variations=mass | dict(shapes.variations(SIGNAL, nominal[p], place, p)),
            component=component,
            cell=cell,
        )
    return processes, products


def _generated(charge: int, qt_edges: Array, absy_edges: Array) -> Generated:
    """Cross sections and coefficients by the midpoint rule."""
    density, A = spectrum(
        charge, _centres(qt_edges)[None, :], _centres(absy_edges)[:, None]
    )
    return Generated(
        qt_edges=qt_edges,
        absy_edges=absy_edges,
        sigma=density * np.diff(qt_edges) * np.diff(absy_edges)[:, None],
        coefficients=A,
    )


class _Shapes:
    """Smooth effects of the uncertainties on templates."""

    def __init__(
        self,
        eta_edges: Array,
        pt_edges: Array,
        systematics: Sequence[Systematic],
        seed: int,
    ) -> None:
        self.eta = _centres(eta_edges)[:, None] / 2.4
        self.pt_gev = _centres(pt_edges)[None, :]
        self.pt = (self.pt_gev - 40.0) / 15.0
        self.systematics = systematics
        rng = np.random.default_rng(seed)
        # one row of random coefficients per systematic
        self.random = rng.normal(size=(len(systematics), 8))

    def background(self, slope: float) -> Array:
        """Falling in pT, flat in eta but for the edges."""
        return np.exp(-(self.pt_gev - 25.0) / slope) * (1.2 - 0.4 * self.eta**2)

    def variations(
        self, process: str, nominal: Array, place: tuple[float, float], component: int
    ) -> Iterator[tuple[str, Array]]:
        """Give all variations of a template but those of the mass of the signal."""
        for systematic, random in zip(self.systematics, self.random, strict=True):
            is_done = systematic.name == "mw" and process == SIGNAL
            if process not in systematic.processes or is_done or systematic.size:
                continue
            change = nominal * self._effect(systematic, random, place, component)
            if systematic.name == "muon_scale":
                slope = np.gradient(nominal, self.pt_gev[0], axis=1)
                change = -MUON_SCALE * self.pt_gev * slope
            yield systematic.labels[0], nominal + change
            if len(systematic.labels) == 2:
                yield systematic.labels[1], nominal - 0.9 * change

    def _effect(
        self,
        systematic: Systematic,
        random: Array,
        place: tuple[float, float],
        component: int,
    ) -> Array:
        """Relative change of the contents."""
        y, q = place
        if systematic.eta_local:
            power = int(systematic.name[-1])
            # no two rows of eta are measured equally well
            return 1e-3 * self.pt**power * (1.2 + np.sin(7 * self.eta + random[0]))
        if systematic.group in ("pdf", "alphas"):
            rate = random[0] * np.cos(3 * y + random[1]) + 0.2 * random[2] * (q - 0.5)
            shape = random[3] * np.cos(np.pi * self.eta * (1 + y) + random[4])
            shape = shape + 0.1 * random[5] * self.pt + 0.3 * random[6] * component / 6
            return 5e-3 * (rate + 0.3 * shape)
        size = 0.05 if systematic.group.startswith("scale") else 2e-3
        smooth = np.cos(2 * self.pt + random[0]) + 0.5 * random[1] * self.eta**2
        return size * smooth


def _centres(edges: Array) -> Array:
    return 0.5 * (edges[1:] + edges[:-1])
