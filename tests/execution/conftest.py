"""Files and processors that the tests of execution share."""

import pytest

from tests.events.nano import toy_catalog
from tests.execution.small import write_code, write_files


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return write_files(tmp_path_factory.mktemp("small") / "files")


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    return write_code(tmp_path_factory.mktemp("code"), 1)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """Simulation, for the processors of the project."""
    return toy_catalog(
        tmp_path_factory.mktemp("toy"),
        events=1500,
        seed=17,
        samples=["Wplus_mu", "data"],
        data_fraction=1.0,
    )
