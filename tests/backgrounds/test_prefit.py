from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.backgrounds.sideband_set import make_set
from wprops.backgrounds.prefit import shift_of, systematic_variance, total_change
from wprops.systematics.declaration import Systematic


@pytest.fixture(scope="module")
def templates():
    return make_set()[0]


@pytest.fixture(scope="module")
def channel(templates):
    return templates.channels["Wplus"]


def named(templates, name):
    return next(record for record in templates.systematics if record.name == name)


def test_processes_move_together(templates, channel):
    processes = list(channel.processes.values())
    shift = shift_of(named(templates, "jes"), processes)
    up = sum(p.varied("jes_up") - p.nominal for p in processes)
    down = sum(p.varied("jes_down") - p.nominal for p in processes)
    assert_allclose(shift.up, up)
    assert_allclose(shift.down, down)
    assert_allclose(shift.half, (up - down) / 2)


def test_a_one_sided_source_and_a_norm_have_their_down_variation(templates, channel):
    z = channel.process("Z")
    scale = shift_of(named(templates, "scale"), [z])
    assert_allclose(scale.up, 0.03 * z.nominal)
    assert_allclose(scale.down, -0.03 * z.nominal)
    lumi = shift_of(named(templates, "lumi"), [z])
    assert_allclose(lumi.up, 0.025 * z.nominal)
    assert_allclose(lumi.down, (1 / 1.025 - 1) * z.nominal)


def test_what_acts_on_nothing_has_no_shift(templates, channel):
    assert shift_of(named(templates, "scale"), [channel.process("W_UL_y0_qt0")]) is None
    # All of the signal answers to the one name of its sample.
    general = Systematic(
        name="w", kind="norm", processes=frozenset({"W"}), group="w", size=1.1
    )
    assert shift_of(general, [channel.process("W_UL_y0_qt0")]) is not None
    assert shift_of(general, [channel.process("Z")]) is None


@pytest.mark.parametrize("kept", ["eta", "pt", None])
def test_the_variance_is_the_spread_of_predictions(templates, channel, kept):
    """Parameters are drawn, one per eta bin where a source is eta-local."""
    rng, n = np.random.default_rng(1), 20_000
    records = [named(templates, name) for name in ("jes", "scale", "eff", "lumi")]
    drawn = np.zeros((n, *channel.shape))
    for record in records:
        shift = shift_of(record, channel.processes.values()).half
        rows = channel.shape[0] if record.eta_local else 1
        drawn += rng.standard_normal((n, rows, 1)) * shift
    if kept is not None:
        drawn = drawn.sum(axis=2 if kept == "eta" else 1)
    found = systematic_variance(records, channel, kept)
    # The relative error of a variance of n draws is sqrt(2 / n).
    assert_allclose(found, drawn.var(axis=0), rtol=5 * np.sqrt(2 / n))


def test_a_free_parameter_has_no_uncertainty_before_the_fit(templates, channel):
    free = replace(named(templates, "jes"), constrained=False)
    assert not systematic_variance([free], channel).any()


def test_changes_of_eta_bins_add_in_squares_where_they_are_independent(templates):
    change = np.array([[1.0, 2.0], [1.0, -5.0]])
    assert total_change(named(templates, "jes"), change) == -1.0
    assert total_change(named(templates, "eff"), change) == 5.0
