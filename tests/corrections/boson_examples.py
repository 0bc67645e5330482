"""Small spectra of bosons and the weights by their definition, for several tests."""

from bisect import bisect_right

import numpy as np

from corrections.boson_spectra import Spectra
from corrections.build_boson import build_boson
from corrections.common import Histogram, write_set
from wprops.corrections.boson import ABSY, QT, open_boson

QT_EDGES = np.array([0.0, 2.0, 4.0, 8.0, 16.0, 40.0, 100.0])
ABSY_EDGES = np.array([0.0, 0.4, 1.0, 2.4])


def make_spectra(edges, seed):
    """Densities of data, with errors, and of simulation."""
    rng = np.random.default_rng(seed)
    data, simulation = rng.uniform(20.0, 80.0, (2, len(edges) - 1))
    errors = rng.uniform(0.5, 5.0, len(data))
    return Spectra(
        Histogram.from_arrays(data, edges, errors=errors),
        Histogram.from_arrays(simulation, edges),
    )


SPECTRA = {QT: make_spectra(QT_EDGES, 1), ABSY: make_spectra(ABSY_EDGES, 2)}


def write_boson(path, spectra, content="density"):
    built = [build_boson(name, pair, content) for name, pair in spectra.items()]
    write_set(path, built, "A test", [])
    return open_boson(path)


def bosons(n, seed=3):
    """Bosons, some of which are beyond the spectra."""
    rng = np.random.default_rng(seed)
    return rng.uniform(0.0, 150.0, n), rng.uniform(0.0, 3.5, n)


def expected_weight(spectra, value, variation):
    """Weight of one boson by the definition, from sums over bins."""
    data, simulation = spectra
    edges = data.edges[0]
    shift = {"nominal": 0.0, "up": 1.0, "down": -1.0}[variation]
    sum_data = sum_simulation = 0.0
    for i in range(len(edges) - 1):
        width = edges[i + 1] - edges[i]
        sum_data += (data.values[i] + shift * data.errors[i]) * width
        sum_simulation += simulation.values[i] * width
    i = min(bisect_right(list(edges), value) - 1, len(edges) - 2)
    wanted = (data.values[i] + shift * data.errors[i]) / sum_data
    return wanted / (simulation.values[i] / sum_simulation)
