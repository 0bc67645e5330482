"""Tests of what factorised templates assume of the simulation.

Every ingredient is measured in all events together. `check_sums` holds its moments in
classes of one more variable; here the classes are compared, and a difference is
translated into a change of the templates, because at 1e8 events differences are
significant long before they matter.
"""

from __future__ import annotations

from dataclasses import dataclass

from wprops.factorised import homogeneity
from wprops.factorised.goodness import p_values
from wprops.factorised.homogeneity import Arrays, Outcome
from wprops.factorised.panels import Panels

#: A smaller p-value is significant: once in 200 samples by chance, with five tests.
SIGNIFICANT = 1e-3
#: Relative change of templates that is tolerated. The quadrature is as precise; the
#: bins of the data have statistical errors of 5e-3 and more.
EFFECT_TOLERANCE = 1e-3

#: What to do about each; names are those of `wprops.factorised.remedies`.
REMEDIES = {
    "efficiency and recoil": (
        "take `--remedy recoil_efficiency`: the efficiency by recoil along the muon "
        "goes into the acceptance"
    ),
    "residual and hard FSR": (
        "take `--remedy fsr`: muons that radiated hard have acceptances of their own"
    ),
    "residual and rapidity": (
        "take `--remedy absy`: classes of |Y| have acceptances of their own"
    ),
    "residual and pile-up": (
        "take `--remedy pileup`: classes of pile-up have acceptances and shares of "
        "the efficiency of their own"
    ),
    "response and eta": (
        "use narrower classes of the response (RATIO_ABSETA of factorised.panels)"
    ),
    "mass and boson": (
        "use event-weighted templates, or an uncertainty of the size found"
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumption:
    """Outcome of one test.

    Attributes
    ----------
    name : str
        The two things that should not depend on each other, a key of `REMEDIES`.
    chi2, ndf, p : float, int, float
        Test of the hypothesis that they do not; ndf is 0 without enough events.
    size : float
        Largest difference beyond statistical noise, in ``unit``.
    unit : str
        What the size is.
    effect : float
        Estimated relative change of templates that the difference makes.
    reach : float or None
        Effect that this sample would show; None if untested.
    verdict : {"holds", "small", "fails", "untested"}
        ``small``: significant, but the effect is tolerated.
    remedy : str
        The option to use if it fails.
    """

    name: str
    chi2: float
    ndf: int
    p: float
    size: float
    unit: str
    effect: float
    reach: float | None
    verdict: str
    remedy: str


def check_assumptions(
    sums: Arrays,
    panels: Panels,
    *,
    tolerance: float = EFFECT_TOLERANCE,
) -> tuple[Assumption, ...]:
    """Test all assumptions.

    Parameters
    ----------
    sums : mapping of str to ndarray
        ``ResponseSums.arrays``, of which those by `check_sums.fill_checks` are used.
    panels : Panels
        The grid of the sums.
    tolerance : float
        Relative change of templates above which a significant difference fails.

    Returns
    -------
    tuple of Assumption
        In the order of `REMEDIES`.
    """
    found = (
        homogeneity.efficiency(sums, panels),
        homogeneity.residual(sums, panels, "fsr"),
        homogeneity.residual(sums, panels, "absy"),
        homogeneity.residual(sums, panels, "pileup"),
        homogeneity.response(sums, panels),
        homogeneity.mass(sums),
    )
    return tuple(
        _judge(name, outcome, tolerance)
        for name, outcome in zip(REMEDIES, found, strict=True)
    )


def _judge(name: str, outcome: Outcome, tolerance: float) -> Assumption:
    p = float(p_values(outcome.chi2, outcome.ndf))
    if outcome.ndf == 0:
        verdict = "untested"
    elif p >= SIGNIFICANT:
        verdict = "holds"
    else:
        verdict = "fails" if outcome.effect > tolerance else "small"
    return Assumption(
        name=name,
        chi2=outcome.chi2,
        ndf=outcome.ndf,
        p=p,
        size=outcome.size,
        unit=outcome.unit,
        effect=outcome.effect,
        reach=outcome.reach,
        verdict=verdict,
        remedy=REMEDIES[name],
    )
