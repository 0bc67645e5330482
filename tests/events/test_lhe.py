"""Which entry of a branch of weights is which: by its title, and by its length."""

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.events.nano import dataset, jagged, open_nano, open_sample, toy_catalog
from wprops.datasets import LheWeights, PdfWeights
from wprops.errors import ConfigError, InputError
from wprops.events.lhe import (
    NOMINAL_SCALE,
    SCALE_GRID,
    alphas_weights,
    read_members,
    replica_weights,
    scale_weights,
)
from wprops.events.toy.nano_gen import TITLES
from wprops.events.toy.writer import NanoWriter

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "nano"
real_files = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="needs the CMS files of ../shared/data/nano"
)
PDF_TITLE = "LHE pdf variation weights (w_var / w_nominal) for LHA IDs {} - {}"


def record(replicas=100, *, alphas=True, scale="LHEScaleWeight"):
    pdf = PdfWeights(branch="LHEPdfWeight", replicas=replicas, alphas=alphas)
    return dataset(name="W", weights=LheWeights(pdf=pdf, scale=scale))


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """Write three events with given weights, titled or not, and open them."""

    def write(title=None, **branches):
        for name in branches:
            monkeypatch.delitem(TITLES, name)
            if title is not None:
                monkeypatch.setitem(TITLES, name, title)
        numbers = {
            "run": np.ones(3, np.uint32),
            "luminosityBlock": np.ones(3, np.uint32),
            "event": np.arange(3, dtype=np.uint64),
        }
        path = tmp_path / "events.root"
        with NanoWriter(path, nano="v9", truth={}) as writer:
            columns = {k: jagged(v, np.float32) for k, v in branches.items()}
            writer.extend(numbers | columns)
        return open_nano(path)

    return write


def numbered(*entries):
    """Members that are numbered from 1 on, from 1001 on in the next event."""
    return [np.arange(n) + 1000 * row + 1 for row, n in enumerate(entries)]


def check_split(events, declared, first, entries):
    pick = np.array([2, 0])
    numbers = np.array([2001, 1])[:, None] + np.arange(entries)
    relative = numbers / (numbers[:, :1] if first else 1)
    replicas = replica_weights(events, declared, pick)
    n = declared.weights.pdf.replicas
    assert_allclose(replicas, relative[:, first : first + n], rtol=1e-6)
    alphas = alphas_weights(events, declared, pick)
    assert_allclose(alphas, relative[:, first + n :], rtol=1e-6)
    assert alphas.shape == (2, 2 if declared.weights.pdf.alphas else 0)


@pytest.mark.parametrize(
    ("entries", "alphas", "first"),
    [(102, True, 0), (103, True, 1), (100, False, 0), (101, False, 1)],
)
def test_without_a_title_the_number_of_entries_tells(opened, entries, alphas, first):
    events = opened(LHEPdfWeight=numbered(*[entries] * 3))
    assert read_members(events, "LHEPdfWeight", record()).title.endswith("/F")
    check_split(events, record(alphas=alphas), first, entries)


@pytest.mark.parametrize(
    ("ids", "replicas", "alphas", "first"),
    [
        ((292201, 292302), 100, True, 0),
        ((306000, 306102), 100, True, 1),
        ((91400, 91432), 30, True, 1),
        ((262000, 262100), 100, False, 1),
        ((260001, 260100), 100, False, 0),
        # A set that starts at no round number: its title leaves both open.
        ((13165, 13221), 56, False, 1),
    ],
)
def test_titles_of_real_sets_agree_with_their_lengths(
    opened, ids, replicas, alphas, first
):
    entries = ids[1] - ids[0] + 1
    events = opened(PDF_TITLE.format(*ids), LHEPdfWeight=numbered(*[entries] * 3))
    check_split(events, record(replicas, alphas=alphas), first, entries)


@pytest.mark.parametrize(
    ("ids", "entries", "replicas", "message"),
    [
        ((306000, 306102), 102, 100, r"has 102 entries, but its title names 103: 'LHE"),
        ((292201, 292302), 103, 100, r"has 103 entries, but its title names 102: 'LHE"),
        # By their lengths alone both would be read, one member off.
        (
            (306000, 306102),
            103,
            101,
            r"has 103 entries, and by its title, '.*306000 - 306102', the nominal "
            r"member comes first; 101 replicas and 2 alphaS members make 103, or",
        ),
        (
            (292201, 292302),
            102,
            99,
            r"has 102 entries, and by its title, .*292302', the nominal member is not "
            r"among them; 99 replicas and 2 alphaS members make 101, or one more.*Corr",
        ),
    ],
)
def test_a_title_that_contradicts_is_refused(opened, ids, entries, replicas, message):
    events = opened(PDF_TITLE.format(*ids), LHEPdfWeight=numbered(*[entries] * 3))
    for function in (replica_weights, alphas_weights):
        with pytest.raises(InputError, match=rf"^events\.root: LHEPdfWeight {message}"):
            function(events, record(replicas), np.arange(3))


@pytest.mark.parametrize(
    ("entries", "alphas"),
    [(101, True), (104, True), (102, False), (0, True), (33, True)],
)
def test_another_number_of_members_is_refused(opened, entries, alphas):
    events = opened(LHEPdfWeight=numbered(*[entries] * 3))
    with pytest.raises(
        InputError,
        match=rf"events\.root: LHEPdfWeight has {entries} entries; 100 replicas and "
        rf"{2 * alphas} alphaS members make {100 + 2 * alphas}, or one more",
    ):
        replica_weights(events, record(alphas=alphas), np.arange(3))


def test_the_toy_documents_its_weights(tmp_path):
    catalog = toy_catalog(tmp_path, events=300, seed=3, samples=["Wplus_mu"])
    events, declared = open_sample(catalog, "Wplus_mu"), catalog.dataset("Wplus_mu")
    pick = np.arange(len(events))
    members = read_members(events, "LHEPdfWeight", declared)
    assert members.title == PDF_TITLE.format(292201, 292302)
    # Not the title of the events: a selection of them keeps it.
    assert read_members(events[::3], "LHEPdfWeight", declared).title == members.title
    assert_array_equal(
        replica_weights(events, declared, pick), members.weights[:, :100]
    )
    assert_array_equal(alphas_weights(events, declared, pick), members.weights[:, 100:])
    assert scale_weights(events, declared, pick).shape == (len(events), 9)


@real_files
@pytest.mark.parametrize(
    ("file", "replicas", "alphas", "title"),
    [
        ("nano_dy.root", 30, True, PDF_TITLE.format(91400, 91432)),
        ("nano_tree.root", 100, False, PDF_TITLE.format(262000, 262100)),
        ("nano_tt_v12.root", 100, True, "LHEPdfWeight/F"),
    ],
)
def test_members_of_real_files_follow_a_nominal_one(file, replicas, alphas, title):
    events = open_nano(FOLDER / file)
    declared = record(replicas, alphas=alphas)
    pick = np.arange(len(events))
    members = read_members(events, "LHEPdfWeight", declared)
    assert members.title == title
    nominal = members.weights[:, :1]
    found = replica_weights(events, declared, pick)
    assert_allclose(found, members.weights[:, 1 : replicas + 1] / nominal, rtol=1e-6)
    assert alphas_weights(events, declared, pick).shape[1] == 2 * alphas
    assert_allclose(scale_weights(events, declared, pick)[:, NOMINAL_SCALE], 1.0)


@real_files
def test_a_wrong_number_of_replicas_is_found_in_a_real_file():
    events = open_nano(FOLDER / "nano_dy.root")
    with pytest.raises(
        InputError, match=r"nano_dy\.root.*91432', the nominal member c"
    ):
        replica_weights(events, record(31), np.arange(len(events)))


def test_lengths_that_differ_between_events_are_refused(opened):
    events = opened(LHEPdfWeight=numbered(102, 103, 102))
    with pytest.raises(
        InputError,
        match=r"events\.root: LHEPdfWeight has 102 to 103 entries per event; a fixed",
    ):
        read_members(events, "LHEPdfWeight", record())


def test_any_weight_branch_becomes_a_matrix(opened):
    rows = np.arange(27).reshape(3, 9)
    found = read_members(opened(LHEScaleWeight=rows), "LHEScaleWeight", record())
    assert_array_equal(found.weights, rows)
    assert found.where == "events.root: LHEScaleWeight"


def test_a_missing_weight_branch_names_the_setting(opened):
    events = opened(LHEPdfWeight=numbered(1, 1, 1))
    with pytest.raises(
        InputError,
        match=r"no branch 'LHEScaleWeight'; the catalogue says that dataset 'W' has it"
        r".*`weights:`",
    ):
        scale_weights(events, record(), np.arange(3))


def test_undeclared_weights_are_asked_for(opened):
    events, bare = opened(LHEPdfWeight=numbered(1, 1, 1)), dataset(name="W")
    with pytest.raises(ConfigError, match=r"'W' declares no PDF weights.*`weights: "):
        replica_weights(events, bare, np.arange(3))
    with pytest.raises(ConfigError, match=r"'W' declares no scale weights, but others"):
        scale_weights(events, bare, np.arange(3))


SCALES_AS_WRITTEN = "LHE scale variation weights (w_var / w_nominal); " + " ; ".join(
    f"[{k}] is mur={r:g} muf={f:.5E}" for k, (r, f) in enumerate(SCALE_GRID)
)


@pytest.mark.parametrize("title", [None, SCALES_AS_WRITTEN, SCALES_AS_WRITTEN + " "])
def test_scales_are_relative_to_the_nominal_entry(opened, title):
    rows = np.array([[1, 2, 3, 4, 0.5, 6, 7, 8, 9]] * 3)
    found = scale_weights(opened(title, LHEScaleWeight=rows), record(), np.array([1]))
    assert_allclose(found, rows[:1] / 0.5)
    assert SCALE_GRID[NOMINAL_SCALE] == (1.0, 1.0)


def test_scales_in_another_order_are_refused(opened):
    title = "; ".join(
        f"[{k}] is mur={f:g} muf={r:g}" for k, (r, f) in enumerate(SCALE_GRID)
    )
    events = opened(title, LHEScaleWeight=np.ones((3, 9)))
    with pytest.raises(
        InputError,
        match=r"^events\.root: LHEScaleWeight: by its title the entries are \(muR, "
        r"muF\) = \(\(0\.5, 0\.5\), \(1\.0, 0\.5\).*`without: \[scale_z, scale_w\]`",
    ):
        scale_weights(events, record(), np.arange(3))
