"""What the tests of weights share."""

from tests.events.nano import open_nano, write_nano
from wprops.events.toy.truth import ToyTruth
from wprops.systematics.catalog import Available, declare

TRUTH = ToyTruth()
DECLARED = declare(
    Available(
        n_pdf=9,
        alphas=True,
        scale=True,
        prefire=True,
        efficiency=True,
        also=frozenset({"width"}),
    )
)
#: Widths of the statistical errors within which a mean has to lie.
SIGMAS = 4.0


def open_with(folder, record, **branches):
    path = write_nano(folder / "events.root", branches)
    return open_nano(path, record=record, normalisation=7.0)
