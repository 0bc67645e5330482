"""The declared uncertainties against the table of the 2021 analysis."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from wprops.axes import FULL
from wprops.errors import ConfigError
from wprops.fit.parameters import nuisance_names
from wprops.store import Channel
from wprops.systematics.catalog import Available, declare
from wprops.systematics.declaration import Systematic, unique

EVERYTHING = Available(
    n_pdf=60, alphas=True, scale=True, prefire=True, efficiency=True, fakes=True
)
#: Nuisance parameters per charge, by group; m_W among them.
TABLE = {
    "mass": 1,
    "pdf": 60,
    "alphas": 1,
    "scale_z": 6,
    "scale_w": 18,
    "sf_stat": 144,
    "sf_syst": 1,
    "met": 2,
    "muon_scale": 1,
    "prefire": 1,
    "luminosity": 2,
    "cross_sections": 3,
    "lepton_veto": 1,
    "qcd": 1,
}


def channel(name):
    return Channel(name, 1, np.array(FULL.eta), np.array(FULL.pt), {})


def parameters(record, *names):
    found = [nuisance_names(record, channel(name)) for name in names]
    return set().union(*found)


def test_the_groups_have_the_numbers_of_the_table():
    counts = Counter()
    for record in declare(EVERYTHING):
        counts[record.group] += len(parameters(record, "Wplus"))
    assert counts == TABLE
    assert sum(TABLE.values()) == 242


def test_detector_uncertainties_are_not_shared_between_charges():
    alone = {"sf_stat", "sf_syst", "met", "muon_scale", "prefire"}
    for record in declare(EVERYTHING):
        both = parameters(record, "Wplus", "Wminus")
        one = parameters(record, "Wplus")
        factor = 2 if record.group in alone else 1
        assert len(both) == factor * len(one), record.name


def test_the_signal_floats_and_so_has_no_scale_uncertainty():
    for record in declare(EVERYTHING):
        if record.group in ("scale_z", "scale_w"):
            assert "W" not in record.processes


def test_one_sided_sources_are_those_without_a_down_variation():
    sided = {r.group for r in declare(EVERYTHING) if r.variations == ("up",)}
    assert sided == {"pdf", "scale_z", "scale_w"}


def test_multijet_from_data_varies_with_what_is_subtracted():
    with_fakes = {r.name: r for r in declare(EVERYTHING)}
    for name in ("pdf_01", "sf_stat_0", "jes", "muon_scale", "mw", "scale_0_low"):
        assert "qcd" in with_fakes[name].processes
    assert with_fakes["lumi"].processes.isdisjoint({"qcd"})
    without = declare(Available(n_pdf=60, alphas=True, scale=True))
    assert all("qcd" not in r.processes for r in without if r.kind != "norm")


def test_what_has_no_input_is_not_declared():
    groups = {record.group for record in declare(Available())}
    absent = {"pdf", "alphas", "scale_z", "scale_w", "sf_stat", "sf_syst", "prefire"}
    assert groups.isdisjoint(absent)


def test_names_and_groups_can_be_left_out():
    available = Available(n_pdf=2, without=frozenset({"jes", "pdf"}))
    names = {record.name for record in declare(available)}
    assert "unclustered" in names
    assert names.isdisjoint({"jes", "pdf_01", "pdf_02"})


def test_an_unknown_name_is_not_left_out_in_silence():
    with pytest.raises(ConfigError, match=r"leaves out jet, which is not declared"):
        declare(Available(without=frozenset({"jet"})))


def test_the_width_is_declared_where_it_is_asked_for():
    names = {record.name for record in declare(EVERYTHING)}
    assert "width" not in names
    asked = declare(replace(EVERYTHING, also=frozenset({"width"})))
    (added,) = [record for record in asked if record.name not in names]
    assert (added.name, added.group, added.unit) == ("width", "width", "42 MeV")
    assert added.processes == {"W", "W_lowacc", "qcd"}
    # The mass is what is measured, the width is known.
    assert added.constrained
    assert len(asked) == len(names) + 1


@pytest.mark.parametrize("name", ["mw", "widht", "pdf"])
def test_only_optional_records_are_asked_for(name):
    with pytest.raises(
        ConfigError, match=rf"`also:` asks for {name}, which is no optional .* width"
    ):
        declare(Available(also=frozenset({name})))


@pytest.mark.parametrize(("n_eta", "parts"), [(48, 1), (24, 2), (12, 4)])
def test_every_eta_bin_of_the_efficiency_has_its_parameters(n_eta, parts):
    """Wider bins of the templates leave as many parameters as were measured."""
    axis = Channel("Wplus", 1, np.linspace(-2.4, 2.4, n_eta + 1), np.array(FULL.pt), {})
    records = declare(Available(efficiency=True, efficiency_parts=parts))
    local = [record for record in records if record.group == "sf_stat"]
    assert len(local) == 3 * parts
    names = {name for record in local for name in nuisance_names(record, axis)}
    assert len(names) == 144


def test_records_survive_a_file():
    for record in declare(EVERYTHING):
        assert Systematic.from_dict(record.to_dict()) == record


def test_a_name_can_be_declared_once_only():
    records = declare(Available())
    with pytest.raises(ConfigError, match="declared twice: mw"):
        unique([*records, records[0]])


def test_multijet_from_data_takes_nothing_from_other_processes():
    """Processes that a user names have the same uncertainties with it and without."""
    names = [
        {
            record.name
            for record in declare(
                Available(extra=frozenset({"ttW"}), efficiency=True, fakes=fakes)
            )
            if "ttW" in record.processes
        }
        for fakes in (False, True)
    ]
    assert names[0] == names[1] >= {"muon_scale", "sf_syst", "jes", "lumi"}
