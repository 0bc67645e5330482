"""The statistical uncertainty of the multijet estimate as nuisances of the fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wprops.backgrounds.counts import CHARGES
from wprops.backgrounds.template import QcdTemplate
from wprops.channels import Process
from wprops.systematics.catalog import MULTIJET
from wprops.systematics.declaration import Systematic

Array = NDArray[np.float64]

#: Name of the k-th variation in each (charge, eta), and group of all.
NAME, GROUP = "fake_stat_{}", "fakes"
#: Part of the variance, summed over pT, that the kept variations have to hold.
KEPT_FRACTION = 0.999


@dataclass(frozen=True, slots=True, eq=False)
class Variations:
    """Principal variations of the estimate; each acts in one (charge, eta).

    Attributes
    ----------
    deviations : ndarray, shape (n, 2, n_eta, n_pt)
        Changes by one standard deviation, largest first; the largest change in pT is
        positive. They hold for all (charge, eta) at once, as the template file wants
        it, and are independent between them.
    variance : ndarray, shape (2, n_eta, n_pt)
        What is uncorrelated: the counts, and the diagonal of what was left out.
    """

    deviations: Array
    variance: Array


def principal_variations(
    template: QcdTemplate, fraction: float = KEPT_FRACTION
) -> Variations:
    """Principal axes of the covariance that the fits of both rates induce.

    Parameters
    ----------
    template : QcdTemplate
        Without leading axes.
    fraction : float
        As many variations are kept as are needed to hold this part of the trace in
        every (charge, eta); of a linear fake rate and an error function there are
        five at most.

    Returns
    -------
    Variations
        Σ over deviations of d dᵀ, plus the diagonal ``variance``, is
        ``template.covariance()`` but for correlations of what is left out.

    Raises
    ------
    ValueError
        If ``fraction`` is not between 0 and 1.
    """
    if not 0 < fraction <= 1:
        msg = f"the fraction of the variance to keep is {fraction}, expected 0 to 1."
        raise ValueError(msg)
    axes, size, _ = np.linalg.svd(template.factor, full_matrices=False)
    held = np.cumsum(size**2, axis=-1)
    enough = held >= fraction * held[..., -1:] * (1 - 1e-12)
    n = int(enough.argmax(axis=-1).max()) + 1
    deviations = np.moveaxis(axes * size[..., None, :], -1, 0)
    largest = np.abs(deviations).argmax(axis=-1)[..., None]
    deviations = deviations * np.sign(np.take_along_axis(deviations, largest, axis=-1))
    return Variations(
        deviations=deviations[:n],
        variance=template.counting + np.sum(deviations[n:] ** 2, axis=0),
    )


def fake_systematics(n: int) -> tuple[Systematic, ...]:
    """Declare ``n`` variations, each with a parameter per charge and eta bin.

    Examples
    --------
    >>> [record.labels for record in fake_systematics(2)]
    [('fake_stat_0_up',), ('fake_stat_1_up',)]
    """
    return tuple(
        Systematic(
            name=NAME.format(k),
            kind="weight",
            processes=frozenset({MULTIJET}),
            group=GROUP,
            variations=("up",),
            interpolation="linear",
            charge_correlated=False,
            eta_local=True,
        )
        for k in range(n)
    )


def multijet_processes(
    template: QcdTemplate,
    variations: Variations,
    varied: Mapping[str, Array],
) -> dict[int, Process]:
    """Build the process of each charge for the template file.

    Parameters
    ----------
    template : QcdTemplate
        The nominal estimate, without leading axes.
    variations : Variations
        Its statistical uncertainty, to be declared with `fake_systematics`.
    varied : mapping of str to ndarray, shape (2, n_eta, n_pt)
        Estimates by label of the systematic variations.

    Returns
    -------
    dict of int to Process
        By charge.
    """
    records = fake_systematics(len(variations.deviations))
    up = {
        record.labels[0]: template.nominal + deviation
        for record, deviation in zip(records, variations.deviations, strict=True)
    }
    return {
        charge: Process(
            name=MULTIJET,
            role="background",
            nominal=template.nominal[index],
            variance=variations.variance[index],
            variations={
                label: values[index] for label, values in {**varied, **up}.items()
            },
        )
        for index, charge in enumerate(CHARGES)
    }
