"""Small scale factors and toy counts of efficiencies, for several tests."""

from bisect import bisect_right

import numpy as np
from scipy.special import erf

from corrections.build_efficiency import StepFactors, build_step
from corrections.common import write_set
from corrections.efficiency_counts import Counts
from wprops.corrections.efficiency import open_step

ETA = np.array([-2.4, -1.2, 0.0, 1.2, 2.4])
PT = np.array([25.0, 30.0, 40.0, 55.0])
STAT_PT = np.array([25.0, 35.0, 45.0, 55.0])
SELECTION_ETA = np.linspace(-2.4, 2.4, 7)


def make_steps():
    rng = np.random.default_rng(1)
    return {
        "selection": StepFactors(
            nominal=rng.normal(0.98, 0.02, (2, 6, 1)),
            edges=(SELECTION_ETA, np.array([25.0, 55.0])),
        ),
        "trigger": StepFactors(
            nominal=rng.normal(0.95, 0.02, (2, 4, 3)),
            edges=(ETA, PT),
            stat=rng.normal(0.0, 0.01, (2, 3, 4, 3)),
            stat_edges=(ETA, STAT_PT),
        ),
    }


def write_steps(path, steps, **options):
    built = [build_step(name, step, **options) for name, step in steps.items()]
    write_set(path, built, "A test", [])
    return [open_step(path, name) for name in steps]


def muons(n, seed=2):
    """Muons, some of which are beyond the range of the factors."""
    rng = np.random.default_rng(seed)
    charge = rng.choice([-1, 1], n)
    return charge, rng.uniform(-2.6, 2.6, n), rng.uniform(20.0, 70.0, n)


def bin_of(edges, value):
    """Half-open bin, the nearest one outside."""
    return min(max(bisect_right(list(edges), value) - 1, 0), len(edges) - 2)


def look_up(values, edges, c, eta, pt):
    return values[c][..., bin_of(edges[0], eta), bin_of(edges[1], pt)]


FIT_PT = np.array([25.0, 27, 29, 31, 33, 36, 39, 42, 45, 48, 51, 55])


def mean_efficiency(edges, parameters):
    """Average of the model over bins: the integral of erf in closed form."""
    p0, p1, p2 = parameters
    u = (edges - p1) / p2
    integral = p0 * p2 * (u * erf(u) + np.exp(-(u**2)) / np.sqrt(np.pi))
    return np.diff(integral) / np.diff(edges)


def throw(rng, parameters, scale):
    """Probes per pT bin, with a spectrum like that of Z decays."""
    centre = (FIT_PT[1:] + FIT_PT[:-1]) / 2
    total = np.round(scale * np.exp(-(((centre - 42) / 14) ** 2)) * np.diff(FIT_PT))
    passing = rng.binomial(total.astype(int), mean_efficiency(FIT_PT, parameters))
    return passing.astype(float), total


TOY_ETA = np.round(np.linspace(-2.4, 2.4, 49), 10)


def true_parameters():
    """Parameters of data and simulation, shape (2, 48, 3) each."""
    rng = np.random.default_rng(8)
    shape = (2, len(TOY_ETA) - 1)
    data = [rng.uniform(*r, shape) for r in ((0.86, 0.95), (12.0, 18.0), (8.0, 14.0))]
    data = np.stack(data, axis=-1)
    return data, data * (1 + rng.normal(0.0, [0.004, 0.02, 0.02], data.shape))


def toy_counts(rng, truth, scale):
    pairs = [[throw(rng, parameters, scale) for parameters in row] for row in truth]
    k, n = np.moveaxis(np.array(pairs), 2, 0)
    return Counts(passing=k, total=n, eta=TOY_ETA, pt=FIT_PT, source="toy")
