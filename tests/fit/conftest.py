"""Small template sets in memory: two charges, one row of cells, all kinds."""

import numpy as np
import pytest

from wprops.channels import Channel, Generated, Process, SharedEvents
from wprops.fit.model import build_model
from wprops.store import TemplateSet
from wprops.systematics.declaration import Systematic

ETA = np.linspace(-2.4, 2.4, 7)
PT = np.linspace(25.0, 55.0, 9)
W = frozenset({"W"})
SYSTEMATICS = (
    Systematic(
        name="mw",
        kind="weight",
        processes=W,
        group="mass",
        constrained=False,
        interpolation="quadratic",
        unit="50 MeV",
    ),
    Systematic(
        name="pdf_01", kind="weight", processes=W, group="pdf", variations=("up",)
    ),
    Systematic(name="alphas", kind="weight", processes=W, group="pdf"),
    Systematic(
        name="muon_scale",
        kind="kinematic",
        processes=W | {"top"},
        group="muons",
        interpolation="linear",
        charge_correlated=False,
    ),
    Systematic(
        name="top_xsec",
        kind="norm",
        processes=frozenset({"top"}),
        group="xsec",
        size=1.06,
    ),
    Systematic(
        name="lumi", kind="norm", processes=W | {"top"}, group="lumi", size=1.025
    ),
    Systematic(
        name="z_xsec", kind="norm", processes=frozenset({"Z"}), group="xsec", size=1.1
    ),
)


def grid():
    eta = (ETA[1:] + ETA[:-1])[:, None] / 4.8
    pt = ((PT[1:] + PT[:-1])[None, :] - 80.0) / 30.0
    return eta, pt


def shapes(cell, charge):
    """Densities of UL, A0 and A4 on the grid; A0 and A4 change sign."""
    eta, pt = grid()
    bulk = np.exp(-((pt - 0.7 * cell) ** 2) * 3) * (1.1 - 0.4 * eta**2)
    return {
        "UL": bulk,
        "A0": bulk * 0.3 * (pt**2 - 0.3 + 0.2 * eta**2 * (1 + cell)),
        "A4": bulk * charge * (0.4 * eta + 0.2 * eta * pt * (1 + cell)),
    }


def variations(nominal):
    eta, pt = grid()
    return {
        "mw_up": nominal * (1 + 0.03 * pt + 0.004 * pt**2),
        "mw_down": nominal * (1 - 0.03 * pt + 0.002 * pt**2),
        "pdf_01_up": nominal * (1.01 + 0.03 * eta**2),
        "alphas_up": nominal * (1.02 + 0.01 * pt),
        "alphas_down": nominal * (0.99 - 0.012 * pt),
        "muon_scale_up": nominal * (1 + 0.05 * pt**3),
        "muon_scale_down": nominal * (1 - 0.045 * pt**3),
    }


def signal(cell, charge, events, weight):
    nominals = {name: events * s for name, s in shapes(cell, charge).items()}
    n = list(nominals.values())
    # events of weight `weight` whose helicity weights scatter around T_p/T_UL
    products = weight * (
        np.einsum("pij,qij->pqij", n, n) / n[0]
        + 0.05 * np.eye(len(n))[:, :, None, None] * n[0]
    )
    processes = {
        f"W_{name}_y0_qt{cell}": Process(
            name=f"W_{name}_y0_qt{cell}",
            role="signal",
            nominal=nominal,
            variance=products[i, i],
            variations=variations(nominal),
            component=name,
            cell=(0, cell),
        )
        for i, (name, nominal) in enumerate(nominals.items())
    }
    return processes, SharedEvents(tuple(processes), products)


def background(name, nominal, weight):
    scale = {k: v for k, v in variations(nominal).items() if k.startswith("muon_")}
    return Process(
        name=name,
        role="background",
        nominal=nominal,
        variance=weight * nominal,
        variations=scale if name == "top" else {},
    )


def channel(name, charge, *, events=4000.0, weight=0.25, n_cells=2):
    eta, pt = grid()
    processes, shared = {}, []
    for cell in range(n_cells):
        members, group = signal(cell, charge, events, weight)
        processes |= members
        shared.append(group)
    processes["top"] = background("top", 60 * (1.5 - pt + 0 * eta), weight)
    processes["qcd"] = background("qcd", 90 * (1.3 - pt + eta**2), weight)
    generated = Generated(
        qt_edges=np.array([0.0, 8.0, 20.0])[: n_cells + 1],
        absy_edges=np.array([0.0, 2.4]),
        sigma=np.array([[4000.0, 2500.0]])[:, :n_cells],
        coefficients=np.linspace(0.05, 0.4, 8 * n_cells).reshape(8, 1, n_cells),
    )
    total = sum(process.nominal for process in processes.values())
    rng = np.random.default_rng(5 + charge)
    return Channel(
        name=name,
        charge=charge,
        eta_edges=ETA,
        pt_edges=PT,
        processes=processes,
        shared=tuple(shared),
        generated=generated,
        data=rng.poisson(total).astype(float),
    )


def build_set(**options):
    return TemplateSet(
        channels={
            "Wplus": channel("Wplus", 1, **options),
            "Wminus": channel("Wminus", -1, **options),
        },
        systematics=SYSTEMATICS,
        luminosity=1.0,
        boson_mass=80.379,
    )


def single_set(processes, *, data=None, shared=(), systematics=(), name="Wplus"):
    """One channel of one eta row from (name, nominal, variance) or processes."""
    first = next(iter(processes.values()))
    shape = first.nominal.shape
    return TemplateSet(
        channels={
            name: Channel(
                name=name,
                charge=1,
                eta_edges=np.linspace(-1, 1, shape[0] + 1),
                pt_edges=np.linspace(25, 55, shape[1] + 1),
                processes=processes,
                shared=shared,
                data=data,
            )
        },
        systematics=systematics,
        luminosity=1.0,
        boson_mass=80.379,
    )


@pytest.fixture(scope="session")
def template_set():
    return build_set()


@pytest.fixture(scope="session")
def model(template_set):
    return build_model(template_set)


@pytest.fixture
def somewhere(model):
    """Parameters away from the start, some nuisances beyond one sigma."""
    rng = np.random.default_rng(3)
    values = model.parameters.start + 0.1 * rng.standard_normal(len(model.parameters))
    values[model.parameters.n_poi :] = rng.uniform(-1.8, 1.8, values.size)[
        model.parameters.n_poi :
    ]
    return values
