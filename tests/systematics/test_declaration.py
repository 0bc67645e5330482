import pytest

from wprops.errors import ConfigError
from wprops.systematics.declaration import Systematic


def declare(**options):
    plain = {"name": "s", "kind": "weight", "processes": frozenset({"W"}), "group": "g"}
    return Systematic(**plain | options)


def test_plain_data_give_the_record_back():
    record = declare(interpolation_of={"W": "linear", "top": "quadratic"})
    assert Systematic.from_dict(record.to_dict()) == record
    assert record.to_dict()["interpolation_of"]["top"] == "quadratic"


def test_files_without_interpolations_by_process_are_read():
    data = declare().to_dict()
    del data["interpolation_of"]
    assert Systematic.from_dict(data) == declare()


def test_records_can_be_members_of_sets():
    assert len({declare(), declare(), declare(name="t")}) == 2
    assert hash(declare(interpolation_of={"W": "linear"})) == hash(declare())


@pytest.mark.parametrize(
    "options", [{"interpolation": "cubic"}, {"interpolation_of": {"W": "cubic"}}]
)
def test_an_unknown_interpolation_is_refused(options):
    with pytest.raises(ConfigError, match="'s': interpolation cubic is unknown"):
        declare(**options)


def test_a_norm_has_no_interpolation_by_process():
    with pytest.raises(ConfigError, match="a norm is log-normal everywhere"):
        declare(kind="norm", size=1.1, interpolation_of={"W": "linear"})
