import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import stats

from wprops.errors import InputError
from wprops.event_random import event_hash, event_uniform


def identities(n):
    """Consecutive events as a sample has them, two muons each."""
    event = np.repeat(np.arange(1, n // 2 + 1, dtype=np.uint64), 2)
    return {
        "run": np.full(n, 273158, dtype=np.uint32),
        "luminosity_block": (event // 100).astype(np.uint32),
        "event": event,
        "stream": np.tile([0, 1], n // 2),
    }


def test_random_numbers_are_uniform_and_independent():
    n = 1_000_000
    u = event_uniform(**identities(n))
    assert 0 < u.min() < u.max() < 1
    assert stats.kstest(u, "uniform").pvalue > 1e-3
    # Two muons of an event, and two neighbouring events.
    for other in (u[1::2], np.roll(u[::2], 1)):
        table, _, _ = np.histogram2d(u[::2], other, bins=20, range=[[0, 1]] * 2)
        assert stats.chisquare(table.ravel()).pvalue > 1e-3


@pytest.mark.parametrize("changed", ["run", "luminosity_block", "event", "stream"])
def test_every_part_of_the_key_counts(changed):
    keys = identities(100_000)
    u = event_uniform(**keys)
    other = event_uniform(
        **keys | {changed: keys[changed] + keys[changed].dtype.type(1)}
    )
    assert (u != other).all()
    assert abs(np.corrcoef(u, other)[0, 1]) < 4 / np.sqrt(u.size)


def test_random_numbers_do_not_depend_on_chunks_or_order():
    keys = identities(1000)
    u = event_uniform(**keys)
    pieces = [
        event_uniform(**{k: column[i : i + 170] for k, column in keys.items()})
        for i in range(0, 1000, 170)
    ]
    assert_array_equal(np.concatenate(pieces), u)
    order = np.random.default_rng(0).permutation(1000)
    assert_array_equal(
        event_uniform(**{k: c[order] for k, c in keys.items()}), u[order]
    )
    as_signed = {k: c.astype(np.int64) for k, c in keys.items()}
    assert_array_equal(event_uniform(**as_signed), u)
    assert_array_equal(event_uniform(**keys | {"run": 273158}), u)


def test_random_numbers_stay_what_they_are():
    # A change of these numbers changes results: it belongs into the changelog.
    u = event_uniform(
        [1, 2**32 - 1], [1, 7], np.array([1, 2**64 - 1], np.uint64), [0, 3]
    )
    assert u.tolist() == [0.7962947126367129, 0.28469551476418087]


FOLDS = 20


def test_folds_are_balanced():
    n = 1_000_000
    keys = {k: c[::2] for k, c in identities(2 * n).items()}
    fold = event_hash(**keys) % FOLDS
    counts = np.bincount(fold.astype(int), minlength=FOLDS)
    assert counts.size == FOLDS
    assert stats.chisquare(counts).pvalue > 1e-3
    # Also at given fold of the event before, or of the one before that.
    for step in (1, 2):
        table, _, _ = np.histogram2d(fold[step:], fold[:-step], bins=FOLDS)
        assert stats.chisquare(table.ravel()).pvalue > 1e-3
    # A fold takes its share of each luminosity block, of 100 events.
    per_block = np.bincount(keys["luminosity_block"].astype(int), fold == 3)[1:]
    assert stats.chisquare(per_block[:-1]).pvalue > 1e-3


def test_fold_and_random_number_are_independent():
    # The muon with index 0 has the hash that assigns the fold.
    keys = {k: c[::2] for k, c in identities(2_000_000).items()}
    fold, u = event_hash(**keys) % FOLDS, event_uniform(**keys)
    table, _, _ = np.histogram2d(fold, u, bins=(FOLDS, 50), range=[(0, FOLDS), (0, 1)])
    assert stats.chisquare(table.ravel()).pvalue > 1e-3


def test_folds_do_not_depend_on_the_order_of_events():
    keys = {k: c[::2] for k, c in identities(2000).items()}
    order = np.random.default_rng(1).permutation(1000)
    shuffled = event_hash(**{k: c[order] for k, c in keys.items()})
    assert_array_equal(shuffled, event_hash(**keys)[order])
    one_by_one = [
        event_hash(*(c[i : i + 1] for c in keys.values())).item() for i in range(1000)
    ]
    assert_array_equal(np.array(one_by_one, np.uint64), event_hash(**keys))


def test_hashes_stay_what_they_are():
    # A change moves events between folds: it belongs into the changelog.
    run = [1, 273158, 2**32 - 1]
    event = np.array([1, 123456789, 2**64 - 1], np.uint64)
    found = event_hash(run, [1, 42, 7], event)
    assert found.dtype == np.uint64
    assert found.tolist() == [
        14689044771257534257,
        17037377488872083602,
        7846866653482871061,
    ]
    assert (found % FOLDS).tolist() == [17, 2, 1]


def test_hashes_are_those_of_splitmix64_in_plain_integers():
    mask = 2**64 - 1

    def mix(word):
        word = (word + 0x9E3779B97F4A7C15) & mask
        word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & mask
        word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & mask
        return word ^ (word >> 31)

    keys = {k: c[-100:] for k, c in identities(1000).items()}
    state = [0x526F63636F520001] * 100
    for column in keys.values():
        state = [mix((s + int(c)) & mask) for s, c in zip(state, column, strict=True)]
    assert event_hash(**keys).tolist() == state
    assert event_uniform(**keys).tolist() == [((s >> 12) + 0.5) / 2**52 for s in state]


def test_no_events_have_no_hashes():
    none = np.array([], dtype=np.uint64)
    assert event_hash(1, none, none).shape == event_uniform(1, none, none).shape == (0,)


def test_event_numbers_as_floats_are_refused():
    with pytest.raises(InputError, match="event has the type float64"):
        event_uniform(1, 1, np.array([1.0]), 0)
