"""Template sets whose strengths are those of many cells; most have no shape at all."""

from dataclasses import replace

import numpy as np

from wprops.axes import COMPONENTS, EVEN_COMPONENTS
from wprops.channels import Channel, Generated, Process, Truth
from wprops.events.toy.truth import ToyTruth, bin_truth
from wprops.fit.parameters import declare_parameters
from wprops.store import TemplateSet
from wprops.systematics.declaration import Systematic

QT = (0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 16.0, 20.0, 26.0, 36.0, 60.0)
ABSY = (0.0, 0.4, 0.8, 1.2, 1.6, 2.0, 2.4)
MASS = Systematic(
    name="mw",
    kind="weight",
    processes=frozenset({"W"}),
    group="mass",
    constrained=False,
    interpolation="quadratic",
    unit="50 MeV",
)


def toy_maps(absy=ABSY, qt=QT, charge=1):
    sigma, A = bin_truth(ToyTruth(), charge, qt, absy)
    return Generated(np.array(qt), np.array(absy), sigma, A)


def cells_set(generated, *, components=EVEN_COMPONENTS, weighting="sigma", **fields):
    """One bin and one process per component and cell."""
    one = np.ones((1, 1))
    cells = list(np.ndindex(generated.sigma.shape))
    processes = {
        f"W_{c}_y{y}_qt{q}": Process(
            name=f"W_{c}_y{y}_qt{q}",
            role="signal",
            nominal=one,
            variance=one,
            component=c,
            cell=(y, q),
        )
        for c in components
        for y, q in cells
    }
    channel = Channel(
        name="Wplus",
        charge=1,
        eta_edges=np.array([-1.0, 1.0]),
        pt_edges=np.array([25.0, 55.0]),
        processes=processes,
        generated=generated,
    )
    return TemplateSet(
        channels={"Wplus": channel},
        systematics=(MASS,),
        luminosity=1.0,
        boson_mass=80.379,
        weighting=weighting,
        **fields,
    )


def shaped_set(
    generated,
    *,
    coefficients=None,
    factor=1.0,
    events=3e6,
    shift=0.0,
    contrast=0.8,
    seed=2,
):
    """Templates of all components with shapes of their own in 120 bins.

    Data are expected of the ``coefficients``, generated ones when omitted, of cross
    sections that are off by a factor, and of a shifted mass.
    """
    rng = np.random.default_rng(seed)
    shape = 12, 10
    x = np.linspace(-1, 1, 120).reshape(shape)
    A = generated.coefficients if coefficients is None else coefficients
    processes, data = {}, np.zeros(shape)
    for y, q in np.ndindex(generated.sigma.shape):
        n = events * generated.sigma[y, q] / generated.sigma.sum()
        bulk = n * rng.dirichlet(np.full(120, 2.0)).reshape(shape)
        for c in EVEN_COMPONENTS:
            one = bulk if c == "UL" else bulk * rng.uniform(-contrast, contrast, shape)
            name = f"W_{c}_y{y}_qt{q}"
            processes[name] = Process(
                name=name,
                role="signal",
                nominal=one,
                variance=1e-6 * bulk,
                variations={
                    "mw_up": one * (1 + 0.02 * x),
                    "mw_down": one * (1 - 0.02 * x),
                },
                component=c,
                cell=(y, q),
            )
            strength = factor * (1.0 if c == "UL" else A[int(c[1])][y, q])
            data += strength * one * (1 + 0.02 * x * shift)
    channel = Channel(
        name="Wplus",
        charge=1,
        eta_edges=np.linspace(-2.4, 2.4, 13),
        pt_edges=np.linspace(25, 55, 11),
        processes=processes,
        generated=generated,
        data=data,
    )
    return TemplateSet(
        channels={"Wplus": channel},
        systematics=(MASS,),
        luminosity=1.0,
        boson_mass=80.379,
        weighting="sigma",
        truth=Truth(
            80.379 + 0.05 * shift,
            {
                "Wplus": replace(
                    generated, sigma=factor * generated.sigma, coefficients=A
                )
            },
        ),
    )


def parameters_of(templates):
    return declare_parameters(
        list(templates.channels.values()), templates.systematics, templates.weighting
    )


def strengths(templates, sigma, coefficients):
    """Parameters of cross sections (n_y, n_qt) and coefficients (8, n_y, n_qt)."""
    channel = templates.channels["Wplus"]
    known = channel.generated
    values = []
    for process in channel.processes.values():
        ratio = sigma[process.cell] / known.sigma[process.cell]
        if process.component != COMPONENTS[0]:
            index = int(process.component[1])
            ratio *= coefficients[index][process.cell]
            if templates.weighting == "sigma_A":
                ratio /= known.coefficients[index][process.cell]
        values.append(ratio)
    return np.array([*values, 0.0])


def neighbours_covariance(templates, size, *, correlation=-0.6, mass=0.3):
    """Errors of strengths, those of neighbours in qT anticorrelated, with the mass."""
    channel = templates.channels["Wplus"]
    cells = [(p.component, *p.cell) for p in channel.processes.values()]
    n = len(cells)
    covariance = np.zeros((n + 1, n + 1))
    for i, (component, y, q) in enumerate(cells):
        for j, (other, v, w) in enumerate(cells):
            if component == other and y == v:
                covariance[i, j] = size**2 * correlation ** abs(q - w)
    rng = np.random.default_rng(1)
    covariance[n, n] = mass**2
    link = size * mass * 0.5 / np.sqrt(n) * rng.standard_normal(n)
    covariance[n, :n] = covariance[:n, n] = link
    return covariance
