"""The toy's own multijet is found again, from events through the cuts."""

import numpy as np
import pytest

from benchmarks.closure_multijet import candidates_of, close
from tests.events.nano import dataset, open_nano, write_nano
from wprops.axes import Binning
from wprops.events.toy.events import SAMPLES
from wprops.events.toy.generate import generate
from wprops.events.toy.nano import Identity, detector_branches
from wprops.events.toy.truth import ToyTruth
from wprops.selection.candidates import select
from wprops.selection.regions import ANY, isolation_and_mt

BINNING = Binning(
    eta=tuple(np.linspace(-2.4, 2.4, 5).tolist()),
    pt=tuple(np.linspace(25.0, 55.0, 16).tolist()),
    qt=(),
    absy=(),
)


@pytest.fixture(scope="module")
def closures():
    """0.05 fb⁻¹ of data, and a quarter of that in simulation."""
    return dict(close(0.0015, (0.0, 0.1), BINNING, seed=1, simulated=10.0))


def test_predicted_multijet_is_what_is_there(closures):
    result = closures[0.0]
    assert (result.true > 10_000).all()
    assert (result.error < 0.02 * result.true).all()
    assert (np.abs(result.pulls) < 3.5).all()
    assert abs(result.slope.significance) < 3.5


def test_a_fake_rate_that_depends_on_mt_is_noticed(closures):
    """And the estimate is below what is there by what the extrapolation says."""
    result = closures[0.1]
    assert result.slope.significance > 4
    missed = result.true.sum() / result.predicted.sum() - 1
    error = np.sqrt(np.sum(result.error**2) + result.true.sum()) / result.true.sum()
    assert abs(result.shift.value - missed) < 3.5 * np.hypot(error, result.shift.error)
    assert result.true.sum() > closures[0.0].true.sum()


@pytest.mark.parametrize("sample", ["qcd", "Wplus_mu", "Z_mumu"])
def test_candidates_without_files_are_those_of_the_analysis(sample, tmp_path):
    truth, rng, n = ToyTruth(), np.random.default_rng(1), 20_000
    events = generate(SAMPLES[sample], n, rng, truth).reconstructed
    identity = Identity(
        run=np.ones(n, np.uint32),
        luminosity_block=np.ones(n, np.uint32),
        event=np.arange(1, n + 1, dtype=np.uint64),
    )
    branches = detector_branches(events, identity, "v9", truth.detector, rng)
    path = write_nano(tmp_path / "events.root", branches)
    written = select(open_nano(path), dataset(), np.ones(n, bool))
    direct = candidates_of(events)
    kept = ANY.passes(direct)
    assert kept.sum() > 1000
    # Files have single precision: an event at the edge of a cut may fall out.
    assert (kept != ANY.passes(written)).sum() <= 2
    assert (isolation_and_mt(direct) != isolation_and_mt(written))[kept].sum() <= 2
    np.testing.assert_array_equal(direct.charge[kept], written.charge[kept])
    np.testing.assert_allclose(direct.mt[kept], written.mt[kept], atol=1e-2)
