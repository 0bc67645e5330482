"""A small template set with the features of a real one, made without events."""

import numpy as np

from wprops.axes import COARSE, EVEN_COMPONENTS
from wprops.store import (
    Channel,
    Generated,
    Process,
    SharedEvents,
    TemplateSet,
    Truth,
)
from wprops.systematics.declaration import Systematic

LUMINOSITY = 0.5  # fb^-1
EFFICIENCY = 0.3
ETA, PT = np.array(COARSE.eta), np.array(COARSE.pt)
QT, ABSY = np.array(COARSE.qt), np.array(COARSE.absy)
N_Y, N_QT = len(ABSY) - 1, len(QT) - 1


def make_generated(scale=1.0):
    cells = np.arange(N_Y * N_QT, dtype=float).reshape(N_Y, N_QT)
    coefficients = np.zeros((8, N_Y, N_QT))
    coefficients[:5] = np.array([0.1, 0.05, 0.08, -0.02, -0.4])[:, None, None]
    coefficients[:5] *= 1 + cells / 10
    return Generated(QT, ABSY, scale * (1000 + 50 * cells), coefficients)


def density():
    """Share of each (eta, pT) bin, with an edge at 39 GeV."""
    eta = np.ones(len(ETA) - 1)
    centre = (PT[1:] + PT[:-1]) / 2
    pt = np.exp(-np.abs(centre - 39) / np.where(centre < 39, 12, 4))
    shape = eta[:, None] * pt
    return shape / shape.sum()


def modulation(number):
    """One of many orthogonal waves in the plane; they vanish in the sum over eta."""
    along_eta, along_pt = divmod(number + 8, 8)
    x = (np.arange(len(ETA) - 1) + 0.5) / (len(ETA) - 1)
    y = (np.arange(len(PT) - 1) + 0.5) / (len(PT) - 1)
    return np.outer(np.cos(np.pi * along_eta * x), np.cos(np.pi * along_pt * y))


#: What 50 MeV more of m_W do to the signal, and the truth of the pseudo-data.
HEAVIER = 1 + 0.02 * np.linspace(-1, 1, len(PT) - 1) ** 3
SCALES = {"Wplus": 1.0, "Wminus": 0.75}
MORE_SIGNAL, MASS_PULL = 1.02, 0.4


def make_signal(generated):
    """Six components per cell: UL positive, the others of both signs."""
    processes, shared = {}, []
    for cell, (iabsy, iqt) in enumerate(np.ndindex(N_Y, N_QT)):
        events = 1000 * generated.sigma[iabsy, iqt] * LUMINOSITY * EFFICIENCY
        weights = [
            (component == "UL") + 0.3 * modulation(6 * cell + index)
            for index, component in enumerate(EVEN_COMPONENTS)
        ]
        names = [f"W_{component}_y{iabsy}_qt{iqt}" for component in EVEN_COMPONENTS]
        # four simulated events for each expected one
        products = np.einsum("pij,qij->pqij", weights, weights) * events * density() / 4
        for index, (name, component) in enumerate(
            zip(names, EVEN_COMPONENTS, strict=True)
        ):
            nominal = events * density() * weights[index]
            processes[name] = Process(
                name,
                "signal",
                nominal,
                products[index, index],
                {"mw_up": HEAVIER * nominal, "mw_down": nominal / HEAVIER},
                component,
                (iabsy, iqt),
            )
        shared.append(SharedEvents(tuple(names), products))
    return processes, tuple(shared)


def make_template_set(seed=3):
    rng = np.random.default_rng(seed)
    channels = {}
    for name, charge in (("Wplus", 1), ("Wminus", -1)):
        generated = make_generated(SCALES[name])
        processes, shared = make_signal(generated)
        signal = sum(p.nominal for p in processes.values())
        expected = MORE_SIGNAL * HEAVIER**MASS_PULL * signal
        for background, size in (("qcd", 0.08), ("Z", 0.04), ("top", 0.01)):
            nominal = size * signal.sum() * density()
            processes[background] = Process(background, "background", nominal, nominal)
            expected = expected + nominal
        data = rng.poisson(expected).astype(float)
        channels[name] = Channel(
            name, charge, ETA, PT, processes, shared, generated, data
        )
    mass = Systematic(
        name="mw",
        kind="weight",
        processes=frozenset(processes) - {"qcd", "Z", "top"},
        group="mass",
        constrained=False,
        interpolation="quadratic",
        unit="50 MeV",
    )
    multijet = Systematic(
        name="qcd_norm",
        kind="norm",
        processes=frozenset({"qcd"}),
        group="backgrounds",
        size=1.05,
    )
    return TemplateSet(
        channels=channels,
        systematics=(mass, multijet),
        luminosity=LUMINOSITY,
        boson_mass=80.379,
        provenance={"created": "2026-01-01T00:00:00+00:00", "git": {"dirty": False}},
        truth=Truth(
            80.379 + 0.05 * MASS_PULL,
            {
                name: make_generated(MORE_SIGNAL * scale)
                for name, scale in SCALES.items()
            },
        ),
        tables={
            "cut_flow": [
                {
                    "dataset": dataset,
                    "region": "signal",
                    "cut": cut,
                    "events": events,
                    "weighted": 0.5 * events,
                }
                for dataset, scale in (("Wplus_mu", 1), ("top", 2))
                for cut, events in (("all", 1234 * scale), ("<b>trigger", 9 * scale))
            ],
            "performance": {"events_per_s": 123456.7, "executor": "futures"},
        },
    )
