"""The figure of toys shows the table it is given."""

import numpy as np
import pytest

from wprops.fit.coverage import NOMINAL, coverage
from wprops.fit.toys import Ensemble
from wprops.plots.style import SampleLabel
from wprops.plots.toys import plot_coverage

N_TOYS = 200


def ensemble(n):
    rng = np.random.default_rng(2)
    return Ensemble(
        names=tuple(f"q{i}" for i in range(n)),
        groups=tuple("first" if i < n // 2 else "second" for i in range(n)),
        truth=np.zeros(n),
        index=np.arange(N_TOYS),
        values=rng.normal(size=(N_TOYS, n)),
        errors=np.ones((N_TOYS, n)),
        statistic=rng.chisquare(10, N_TOYS),
        ndf=10,
        failures={},
    )


@pytest.mark.parametrize("n", [6, 120])
def test_points_bands_and_names_are_those_of_the_table(n):
    table = coverage(ensemble(n))
    axes = plot_coverage(table, label=SampleLabel()).axes
    drawn = [ax.containers[0].lines[0].get_ydata() for ax in axes]
    wanted = [table.mean, table.rms, table.covered[:, 0], table.covered[:, 1]]
    for got, expected in zip(drawn, wanted, strict=True):
        np.testing.assert_array_equal(got, expected)
    centres = [ax.lines[0].get_ydata()[0] for ax in axes]
    assert centres == [0.0, 1.0, *NOMINAL]
    # the second patch is the band of one standard error: ± 1/√200 of a mean
    band = axes[0].patches[1]
    assert band.get_height() == pytest.approx(2 / np.sqrt(N_TOYS))
    names = [text.get_text() for text in axes[-1].get_xticklabels()]
    assert names == (list(table.names) if n <= 40 else ["first", "second"])
    # two groups: one line between them beside that of the expectation
    assert [len(ax.lines) for ax in axes] == [3] * 4
