"""Which smooth fits are taken, and which refused."""

import numpy as np
import pytest
from scipy.stats import chi2 as chi2_distribution

from wprops.errors import FitError
from wprops.factorised.goodness import p_values, pick_shape, require_fit


def test_p_values_of_fits_without_freedom_or_solution():
    assert p_values([3.0, 3.0, np.nan], [0, 2, 2]) == pytest.approx(
        [1.0, chi2_distribution.sf(3.0, 2), 0.0]
    )


@pytest.mark.parametrize("n_fits", [1, 1000])
def test_good_fits_are_refused_once_in_ten_thousand_however_many_there_are(n_fits):
    ndf = 50
    limit = chi2_distribution.isf(1e-4 / n_fits, ndf)
    chi2 = np.full(n_fits, 40.0)
    for worst, refused in ((limit - 0.1, False), (limit + 0.1, True)):
        chi2[n_fits // 2] = worst
        if refused:
            with pytest.raises(FitError, match=r"^the fit of the thing.*/50.*mend it"):
                require_fit("thing", chi2, ndf, remedy="mend it", accept=False)
        else:
            require_fit("thing", chi2, ndf, remedy="mend it", accept=False)
        require_fit("thing", chi2, ndf, remedy="mend it", accept=True)


@pytest.mark.parametrize("accept", [False, True])
def test_fits_without_solution_are_refused_as_such(accept):
    with pytest.raises(FitError, match=r"worst of 2, number 1.*more events"):
        require_fit("thing", [1.0, np.nan], 5, remedy="mend it", accept=accept)


@pytest.mark.parametrize(
    ("chi2", "chosen"),
    [
        ([100.0, 99.0, 98.0], 0),
        ([100.0, 80.0, 79.0], 1),
        # the middle shape alone would not have shown it
        ([100.0, 99.5, 60.0], 2),
        ([100.0, np.inf, 99.0], 0),
        ([np.inf, 80.0, np.inf], 1),
    ],
)
def test_the_simplest_shape_that_no_richer_one_improves(chi2, chosen):
    assert pick_shape(chi2, [1, 2, 4], significance=0.01) == chosen


def test_richer_shapes_are_taken_by_chance_as_often_as_said():
    rng = np.random.default_rng(1)
    steps = rng.chisquare(1, (20000, 3))
    chi2 = 50 - np.cumsum(np.pad(steps, ((0, 0), (1, 0))), axis=1)
    taken = [pick_shape(row, [1, 2, 3, 4], significance=0.05) > 0 for row in chi2]
    # Three tests that are not independent, at the level of 5 % together.
    assert 0.025 < np.mean(taken) < 0.05
