"""The evaluator of muon efficiencies, on files of the project and of the POG."""

import json

import correctionlib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from corrections.build_efficiency import INFLATION, StepFactors
from corrections.common import binned, category
from tests.corrections.efficiency_toys import (
    ETA,
    PT,
    STAT_PT,
    bin_of,
    look_up,
    make_steps,
    muons,
    write_steps,
)
from tests.corrections.shared_data import DATA, needs_data
from wprops.corrections.efficiency import STAT, muon_factors, open_step
from wprops.errors import ConfigError, InputError

needs_files = needs_data("pog")


@pytest.fixture
def own_steps(tmp_path):
    return write_steps(tmp_path / "own.json", make_steps())


def test_evaluator_agrees_with_a_loop(own_steps):
    charge, eta, pt = muons(1000)
    found = muon_factors(own_steps, charge, eta, pt)
    selection, trigger = make_steps().values()
    for i, (q, e, p) in enumerate(zip(charge, eta, pt, strict=True)):
        c = int(q > 0)
        nominal = [look_up(s.nominal, s.edges, c, e, p) for s in (selection, trigger)]
        stat = look_up(trigger.stat, trigger.stat_edges, c, e, p)
        flat = 0.002 if abs(e) < 1 else 0.004 if abs(e) < 1.5 else 0.014
        assert_allclose(found.nominal[i], np.prod(nominal), rtol=1e-8)
        assert_allclose(found.stat[i], stat, rtol=1e-8)
        assert_allclose(found.systematic[i], flat, rtol=1e-8)
        assert found.eta_bin[i] == bin_of(ETA, e)
    assert found.stat.shape == (1000, 3)
    assert found.eta_bin.dtype == np.int64


def test_muons_outside_have_the_factor_of_the_nearest_bin(own_steps):
    outside = muon_factors(own_steps, [1, 1, -1], [0.5, 3.0, -9.0], [10.0, 54.0, 900.0])
    inside = muon_factors(own_steps, [1, 1, -1], [0.5, 2.3, -2.3], [25.1, 54.0, 54.9])
    assert_array_equal(outside.nominal, inside.nominal)
    assert_array_equal(outside.stat, inside.stat)
    assert_array_equal(outside.eta_bin, [2, 3, 0])


def test_steps_multiply_and_can_be_used_alone(own_steps):
    columns = muons(100)
    both = muon_factors(own_steps, *columns)
    selection, trigger = (muon_factors([step], *columns) for step in own_steps)
    assert_allclose(both.nominal, selection.nominal * trigger.nominal)
    assert selection.stat.shape == (100, 0)
    assert_array_equal(selection.systematic, 0.0)
    assert_array_equal(muon_factors([], *columns).nominal, 1.0)


def test_single_precision_columns_of_nanoaod_are_taken(own_steps):
    charge, eta, pt = (column.astype(np.float32) for column in muons(100))
    found = muon_factors(own_steps, charge.astype(np.int32), eta, pt)
    expected = muon_factors(own_steps, charge, eta.astype(float), pt.astype(float))
    assert_array_equal(found.nominal, expected.nominal)


def test_no_muons_have_no_factors(own_steps):
    assert muon_factors(own_steps, [], [], []).stat.shape == (0, 3)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (([1, 0], [0.1, 0.1], [30, 30]), r"charge\[1\] is 0, expected \+1 or -1"),
        (([1, 1], [0.1, np.nan], [30, 30]), r"eta\[1\] is nan"),
        (([1, 1], [0.1, 0.1], [30, np.inf]), r"pt\[1\] is inf"),
        (([1], [0.1, 0.1], [30, 30]), r"charge \(1,\), eta \(2,\), pt \(2,\)"),
    ],
)
def test_impossible_muons_are_named(own_steps, columns, message):
    with pytest.raises(InputError, match=message):
        muon_factors(own_steps, *columns)


def test_two_steps_with_variations_are_refused(own_steps):
    with pytest.raises(ConfigError, match=r"trigger, trigger all have statistical"):
        muon_factors([own_steps[1]] * 2, *muons(3))


def test_inflation_scales_the_variations_only(tmp_path, own_steps):
    inflated = write_steps(tmp_path / "two.json", make_steps(), inflation=INFLATION)
    columns = muons(50)
    plain, large = (muon_factors(s, *columns) for s in (own_steps, inflated))
    assert_allclose(large.stat, np.sqrt(2) * plain.stat, rtol=1e-8)
    assert_array_equal(large.nominal, plain.nominal)
    assert_array_equal(large.systematic, plain.systematic)


def write_isolation(path, factor, efficiency, **variations):
    """A step of the isolation with numbers by eta and pT, for both charges alike."""
    nominal = np.broadcast_to(np.asarray(factor, float), (2, len(ETA) - 1, len(PT) - 1))
    step = StepFactors(nominal=nominal, edges=(ETA, PT), **variations)
    simulated = StepFactors(
        nominal=np.broadcast_to(efficiency, (2, 1, 2)),
        edges=(ETA[[0, -1]], np.array([25.0, 35.0, 55.0])),
    )
    write_steps(path, {"isolation": step, "simulated": simulated})
    return path


def open_isolation(path):
    return open_step(path, "isolation", (path, "simulated"))


#: Efficiency of the isolation below and above 35 GeV.
SIMULATED = np.array([0.9, 0.97])


def test_anti_isolated_muons_have_the_complement_of_the_isolation(tmp_path):
    """Muons only change class: none is lost, and the isolated fraction is s ε."""
    rng = np.random.default_rng(5)
    factor = rng.uniform(0.95, 1.02, (len(ETA) - 1, len(PT) - 1))
    step = open_isolation(write_isolation(tmp_path / "i.json", factor, SIMULATED))
    columns = muons(500)
    isolated, anti = (
        muon_factors([step], *columns, np.full(500, passes)).nominal
        for passes in (True, False)
    )
    mc = np.where(columns[2] < 35.0, *SIMULATED)
    fraction = mc * isolated / (mc * isolated + (1 - mc) * anti)
    assert_allclose(mc * isolated + (1 - mc) * anti, 1.0, rtol=1e-12)
    expected = [
        factor[bin_of(ETA, e), bin_of(PT, p)] * m
        for e, p, m in zip(*columns[1:], mc, strict=True)
    ]
    assert_allclose(fraction, expected, rtol=1e-8)
    assert_array_equal(muon_factors([step], *columns).nominal, isolated)


def test_variations_of_the_isolation_move_muons_between_the_classes(tmp_path):
    """As factors of another file do that are larger by the variation."""
    shape = (2, 3, len(ETA) - 1, len(STAT_PT) - 1)
    stat = np.random.default_rng(6).uniform(-0.01, 0.01, shape)
    varied = {"stat": stat, "stat_edges": (ETA, STAT_PT)}
    path = write_isolation(tmp_path / "i.json", 0.99, SIMULATED, **varied)
    step = open_isolation(path)
    q, eta, pt = muons(400)
    passes = np.random.default_rng(7).random(400) < 0.5
    found = muon_factors([step], q, eta, pt, passes)
    mc = np.where(pt < 35.0, *SIMULATED)

    def weight(change):
        factor = 0.99 * (1 + change)
        return np.where(passes, factor, (1 - factor * mc) / (1 - mc))

    assert_allclose(found.nominal, weight(0.0), rtol=1e-12)
    for k in range(3):
        change = [
            look_up(stat[:, k], (ETA, STAT_PT), int(a > 0), b, c)
            for a, b, c in zip(q, eta, pt, strict=True)
        ]
        for sign in (1, -1):
            shifted = found.nominal * (1 + sign * found.stat[:, k])
            assert_allclose(shifted, weight(sign * np.array(change)), rtol=1e-7)
    flat = np.array([0.002 if e < 1 else 0.004 if e < 1.5 else 0.014 for e in abs(eta)])
    shifted = found.nominal * (1 + found.systematic)
    assert_allclose(shifted, weight(flat), rtol=1e-7)


def test_other_steps_are_the_same_for_both_classes(tmp_path, own_steps):
    path = write_isolation(tmp_path / "i.json", 0.99, SIMULATED)
    q, eta, pt = muons(200)
    anti = np.zeros(200, bool)
    alone = muon_factors([open_isolation(path)], q, eta, pt, anti)
    others = muon_factors(own_steps, q, eta, pt)
    assert_array_equal(
        muon_factors(own_steps, q, eta, pt, anti).nominal, others.nominal
    )
    both = muon_factors(
        [own_steps[0], open_isolation(path), own_steps[1]], q, eta, pt, anti
    )
    assert_allclose(both.nominal, alone.nominal * others.nominal, rtol=1e-12)
    assert_array_equal(both.stat, others.stat)
    assert_array_equal(both.systematic, others.systematic)


@pytest.mark.parametrize(
    ("factor", "efficiency"),
    [(1.0, (0.9, 1.0)), (1.0, (0.0, 0.9)), (1.04, SIMULATED), (-1.0, SIMULATED)],
)
def test_an_isolation_that_is_no_probability_is_refused(tmp_path, factor, efficiency):
    path = write_isolation(tmp_path / "i.json", factor, efficiency)
    with pytest.raises(
        ConfigError,
        match=rf"'isolation' has the factor {factor:g} for charge -1, eta .* the "
        r"efficiency .* \('simulated' of .*i.json\).* between 0 and 1",
    ):
        open_isolation(path)


def test_two_steps_of_isolation_are_refused(tmp_path):
    step = open_isolation(write_isolation(tmp_path / "i.json", 0.99, SIMULATED))
    with pytest.raises(
        ConfigError, match=r"isolation, isolation all have `isolation:`"
    ):
        muon_factors([step, step], *muons(3))


def change(path, edit):
    """Edit the first correction of a file."""
    content = json.loads(path.read_text())
    edit(content["corrections"][0])
    changed = path.with_name("changed.json")
    changed.write_text(json.dumps(content))
    return changed


def drop(key):
    def edit(correction):
        content = correction["data"]["content"]
        content[:] = [item for item in content if item["key"] != key]

    return edit


def rebin(correction):
    item = next(i for i in correction["data"]["content"] if i["key"] == STAT[1])
    axes = {"eta": [-2.4, 0.0, 2.4], "pt": [25.0, 55.0]}
    item["value"] = binned(axes, [0.1, 0.2]).model_dump(exclude_unset=True)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (drop("nominal"), "lacks nominal; it has stat_0"),
        (drop("stat_2"), "lacks stat_2; it has nominal, stat_0, stat_1, systematic"),
        (rebin, "2 different binnings in eta"),
    ],
)
def test_files_without_all_parts_are_refused(tmp_path, edit, message):
    path = tmp_path / "own.json"
    write_steps(path, {"trigger": make_steps()["trigger"]})
    with pytest.raises(ConfigError, match=message):
        open_step(change(path, edit), "trigger")


def test_other_inputs_and_unknown_names_are_refused(tmp_path):
    path = tmp_path / "own.json"
    write_steps(path, make_steps())
    changed = tmp_path / "changed.json"
    changed.write_text(path.read_text().replace('"eta"', '"abseta"'))
    with pytest.raises(ConfigError, match="inputs charge, abseta, pt, variation"):
        open_step(changed, "trigger")
    with pytest.raises(ConfigError, match="no correction 'id'; it has selection, tri"):
        open_step(path, "id")


FORMULA = {
    "nodetype": "formula",
    "expression": "1 + 0.01 * x",
    "parser": "TFormula",
    "variables": ["eta"],
}


def test_factors_that_are_not_in_bins_are_refused(tmp_path):
    path = tmp_path / "own.json"
    write_steps(path, {"trigger": make_steps()["trigger"]})

    def smooth(correction):
        correction["data"]["content"][0]["value"] = FORMULA

    with pytest.raises(ConfigError, match=r"content of type formula, but .* in bins"):
        open_step(change(path, smooth), "trigger")


def test_a_constant_correction_is_refused(tmp_path):
    """correctionlib takes a number for all muons, which has no variation of them."""
    path = tmp_path / "own.json"
    write_steps(path, make_steps())

    def constant(correction):
        correction["data"] = 1.0

    changed = change(path, constant)
    found = correctionlib.CorrectionSet.from_file(str(changed))
    assert found["selection"].evaluate(1, 0.0, 30.0, "nominal") == 1.0
    with pytest.raises(ConfigError, match="'selection' lacks nominal; it has none as"):
        open_step(changed, "selection")
    assert open_step(changed, "trigger").has_stat


def test_gaps_are_named(tmp_path):
    path = tmp_path / "own.json"
    write_steps(path, {"trigger": make_steps()["trigger"]})

    def remove_negative(correction):
        del correction["data"]["content"][0]["value"]["content"][0]

    with pytest.raises(ConfigError, match="no nominal for all of charge -1 and"):
        open_step(change(path, remove_negative), "trigger")


def write_pog_like(path):
    """A file of the structure of muon_Z, in bins of abs(eta)."""

    def options(i, j):
        value = 0.9 + 0.02 * i + 0.01 * j
        kinds = {"nominal": value, "stat": 0.003, "syst": 0.004}
        kinds["systup"] = value + 0.005
        return category("scale_factors", kinds).model_dump(exclude_unset=True)

    def bins(name, edges, content):
        return {
            "nodetype": "binning",
            "input": name,
            "edges": edges,
            "content": content,
            "flow": "error",
        }

    in_pt = [
        bins("pt", [26.0, 40.0, float("inf")], [options(i, j) for j in range(2)])
        for i in range(3)
    ]
    content = {
        "nodetype": "transform",
        "input": "eta",
        "rule": FORMULA | {"expression": "abs(x)"},
        "content": bins("eta", [0.0, 1.0, 1.5, 2.4], in_pt),
    }
    inputs = [("eta", "real"), ("pt", "real"), ("scale_factors", "string")]
    correction = {
        "name": "NUM_A_DEN_B",
        "version": 1,
        "inputs": [{"name": name, "type": kind} for name, kind in inputs],
        "output": {"name": "weight", "type": "real"},
        "data": content,
    }
    path.write_text(json.dumps({"schema_version": 2, "corrections": [correction]}))
    return open_step(path, "NUM_A_DEN_B")


def test_files_of_the_pog_layout_are_looked_up_in_absolute_eta(tmp_path):
    path = tmp_path / "pog.json"
    step = write_pog_like(path)
    direct = correctionlib.CorrectionSet.from_file(str(path))["NUM_A_DEN_B"]
    rng = np.random.default_rng(12)
    eta = np.append(rng.uniform(-2.4, 2.4, 300), [-1.5, -1.0, 0.0, 1.0, 1.5])
    pt = rng.uniform(26.0, 300.0, len(eta))
    found = muon_factors([step], np.ones(len(eta)), eta, pt)
    nominal = direct.evaluate(eta, pt, "nominal")
    assert_allclose(found.nominal, nominal, rtol=1e-14)
    assert_allclose(found.systematic, 0.005 / nominal, rtol=1e-10)
    outside = muon_factors([step], [1, -1], [-2.5, 7.0], [20.0, 1e4])
    assert_allclose(outside.nominal, [0.94, 0.95])


#: At eta 1.1 and pT 40 GeV, before and after the change of the tracker's readout; from
#: ../shared/data/README.md.
POG_VALUES = {
    "NUM_MediumID_DEN_TrackerMuons": (0.994765, 0.995849),
    "NUM_TightRelIso_DEN_MediumID": (0.997037, 0.997945),
    "NUM_IsoMu24_or_IsoTkMu24_DEN_CutBasedIdTight_and_PFIsoTight": (0.970892, 0.963106),
}


@needs_files
@pytest.mark.parametrize(("i", "era"), [(0, "pre"), (1, "post")])
def test_pog_factors_multiply(i, era):
    path = DATA / f"pog/2016{era}VFP_UL_muon_Z.json.gz"
    steps = [open_step(path, name) for name in POG_VALUES]
    values = [both[i] for both in POG_VALUES.values()]
    for step, value in zip(steps, values, strict=True):
        alone = muon_factors([step], [1], [1.1], [40.0])
        assert_allclose(alone.nominal, value, atol=6e-7)
    found = muon_factors(steps, [1, -1], [1.1, 1.1], [40.0, 40.0])
    assert_allclose(found.nominal, np.prod(values), atol=2e-6)
    assert found.stat.shape == (2, 0)
    corrections = correctionlib.CorrectionSet.from_file(str(path))
    squares = [
        corrections[name].evaluate(1.1, 40.0, kind) ** 2
        / corrections[name].evaluate(1.1, 40.0, "nominal") ** 2
        for name in POG_VALUES
        for kind in ("stat", "syst")
    ]
    assert_allclose(found.systematic, np.sqrt(np.sum(squares)), rtol=1e-5)


@needs_files
@pytest.mark.parametrize("name", POG_VALUES)
def test_pog_factors_are_those_of_correctionlib(name):
    path = DATA / "pog/2016postVFP_UL_muon_Z.json.gz"
    direct = correctionlib.CorrectionSet.from_file(str(path))[name]
    _, eta, pt = muons(2000)
    found = muon_factors([open_step(path, name)], np.ones(2000), eta, pt)
    # Trigger factors start at 26 GeV, the others at 15 GeV.
    place = np.clip(eta, -2.399, 2.399), np.maximum(pt, 26.1 if "Mu24" in name else 0)
    assert_array_equal(found.nominal, direct.evaluate(*place, "nominal"))
    up = direct.evaluate(*place, "systup")
    assert_allclose(found.nominal * (1 + found.systematic), up, rtol=1e-12)


@needs_files
def test_pog_selection_goes_with_an_own_trigger(own_steps):
    path = DATA / "pog/2016postVFP_UL_muon_Z.json.gz"
    selection = open_step(path, "NUM_MediumID_DEN_TrackerMuons")
    columns = [1], [1.1], [40.0]
    found = muon_factors([selection, own_steps[1]], *columns)
    alone = [muon_factors([step], *columns) for step in (selection, own_steps[1])]
    assert_allclose(found.nominal, alone[0].nominal * alone[1].nominal)
    assert_array_equal(found.stat, alone[1].stat)
    expected = np.hypot(alone[0].systematic, alone[1].systematic)
    assert_allclose(found.systematic, expected)
