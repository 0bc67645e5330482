"""Pulls and coverage of toys, for each quantity and in a table."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2, kstest, norm

from wprops.errors import FitError
from wprops.fit.toys import Ensemble

Array = NDArray[np.float64]
#: Half widths of the intervals, in errors, with 68.3 % and 95 % of a normal.
INTERVALS = (1.0, float(norm.ppf(0.975)))
#: What the intervals should cover.
NOMINAL = 2 * norm.cdf(INTERVALS) - 1
_N_SHOWN = 5


@dataclass(frozen=True, slots=True, eq=False)
class Coverage:
    """Pulls and coverage of all that is measured.

    Attributes
    ----------
    names, groups : tuple of str
        As in `Ensemble`.
    n : int
        Toys with a valid fit.
    mean, mean_error : ndarray, shape (n_measured,)
        Mean of the pulls.
    rms, rms_error : ndarray, shape (n_measured,)
        Root of the mean square of the pulls.
    covered, covered_error : ndarray, shape (n_measured, 2)
        Fraction of toys whose interval of 1 and of 1.96 errors has the truth, and
        half the width of Wilson's interval of 68 % for it, which is not zero where
        all toys cover.
    """

    names: tuple[str, ...]
    groups: tuple[str, ...]
    n: int
    mean: Array
    mean_error: Array
    rms: Array
    rms_error: Array
    covered: Array
    covered_error: Array

    @property
    def distance(self) -> Array:
        """How far mean and RMS are from 0 and 1, in standard errors of a unit normal.

        The larger of the two, shape (n_measured,).
        """
        mean = abs(self.mean) * np.sqrt(self.n)
        width = abs(self.rms - 1) * np.sqrt(2 * self.n)
        return np.maximum(mean, width)


def coverage(ensemble: Ensemble) -> Coverage:
    """Measure pulls and coverage.

    Parameters
    ----------
    ensemble : Ensemble
        Toys, two valid ones at least.

    Returns
    -------
    Coverage

    Raises
    ------
    FitError
        If fewer than two toys have a valid fit.
    """
    pulls = ensemble.pulls
    n = len(pulls)
    if n < 2:
        reasons = "; ".join(dict.fromkeys(ensemble.failures.values()))
        msg = (
            f"{n} of {n + len(ensemble.failures)} toys have a valid fit, pulls need 2; "
            "fit more toys" + (f", or mend what failed: {reasons}" if reasons else "")
        )
        raise FitError(msg)
    rms = np.sqrt((pulls**2).mean(axis=0))
    covered = np.stack([(abs(pulls) < k).mean(axis=0) for k in INTERVALS], axis=1)
    return Coverage(
        names=ensemble.names,
        groups=ensemble.groups,
        n=n,
        mean=pulls.mean(axis=0),
        mean_error=pulls.std(axis=0, ddof=1) / np.sqrt(n),
        rms=rms,
        rms_error=rms / np.sqrt(2 * n),
        covered=covered,
        covered_error=wilson(covered, n),
    )


def wilson(fraction: Array, n: int) -> Array:
    """Half the width of Wilson's interval of one standard deviation.

    Parameters
    ----------
    fraction : ndarray
        Observed fractions of n trials.
    n : int
        Trials.

    References
    ----------
    E. B. Wilson, J. Am. Stat. Assoc. 22 (1927) 209.

    Examples
    --------
    >>> wilson(np.array([0.5, 1.0]), 100).round(4).tolist()
    [0.0498, 0.005]
    """
    return np.sqrt(fraction * (1 - fraction) / n + 1 / (4 * n**2)) / (1 + 1 / n)


def p_value(ensemble: Ensemble, statistic: float) -> float:
    """Fraction of toys that fit worse than a goodness-of-fit statistic."""
    return float((ensemble.statistic >= statistic).mean())


def coverage_lines(ensemble: Ensemble) -> Iterator[str]:
    """Yield lines for the terminal: goodness of fit, and pulls by group.

    Raises
    ------
    FitError
        If fewer than two toys have a valid fit.
    """
    table = coverage(ensemble)
    yield f"{table.n} toys fitted, {len(ensemble.failures)} without a valid fit"
    for index, reason in list(ensemble.failures.items())[:_N_SHOWN]:
        yield f"  toy {index}: {reason}"
    probability = chi2.sf(ensemble.statistic, ensemble.ndf)
    yield (
        f"goodness of fit: mean {ensemble.statistic.mean():.1f} for {ensemble.ndf} "
        "degrees of freedom, Kolmogorov-Smirnov probability of a χ² "
        f"{kstest(probability, 'uniform').pvalue:.3f}"
    )
    yield (
        f"{'pulls of':<24}{'number':>7}{'mean':>8}{'RMS':>7}{'RMS from … to':>15}"
        f"{'68.3 %':>9}{'95 %':>8}"
    )
    for group in dict.fromkeys(table.groups):
        yield _group_line(table, group)
    spread = 1 / np.sqrt(table.n)
    yield (
        f"expected for one number: mean 0 ± {spread:.3f}, RMS 1 ± "
        f"{spread / np.sqrt(2):.3f}, coverage ± "
        f"{np.sqrt(NOMINAL[0] * (1 - NOMINAL[0])) * spread:.3f} and ± "
        f"{np.sqrt(NOMINAL[1] * (1 - NOMINAL[1])) * spread:.3f}; farthest from it:"
    )
    for i in np.argsort(table.distance)[::-1][:_N_SHOWN]:
        yield (
            f"  {table.names[i]:<22} mean {table.mean[i]:+.3f} ± "
            f"{table.mean_error[i]:.3f}, RMS {table.rms[i]:.3f} ± "
            f"{table.rms_error[i]:.3f} ({table.distance[i]:.1f} standard errors)"
        )


def _group_line(table: Coverage, group: str) -> str:
    members = [i for i, name in enumerate(table.groups) if name == group]
    mean, rms = table.mean[members].mean(), table.rms[members]
    covered = table.covered[members].mean(axis=0)
    return (
        f"{group:<24}{len(members):>7}{mean:>+8.3f}{np.sqrt((rms**2).mean()):>7.3f}"
        f"{rms.min():>8.3f} … {rms.max():.3f}"
        f"{100 * covered[0]:>8.1f}{100 * covered[1]:>8.1f}"
    )


def write_coverage(ensemble: Ensemble, path: Path) -> None:
    """Write one CSV row per quantity: truth, spread, pulls and coverage.

    Raises
    ------
    FitError
        If fewer than two toys have a valid fit.
    """
    table = coverage(ensemble)
    columns = {
        "quantity": table.names,
        "group": table.groups,
        "truth": ensemble.truth,
        "mean": ensemble.values.mean(axis=0),
        "spread": ensemble.values.std(axis=0, ddof=1),
        "mean_error": ensemble.errors.mean(axis=0),
        "pull_mean": table.mean,
        "pull_mean_error": table.mean_error,
        "pull_rms": table.rms,
        "pull_rms_error": table.rms_error,
        "covered_68": table.covered[:, 0],
        "covered_68_error": table.covered_error[:, 0],
        "covered_95": table.covered[:, 1],
        "covered_95_error": table.covered_error[:, 1],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
