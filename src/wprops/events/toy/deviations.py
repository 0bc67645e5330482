"""Named deviations from the default truth, one record each.

Pseudo-data may have them, or simulation and pseudo-data alike.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from wprops.errors import ConfigError
from wprops.events.toy.parameters import BosonTruth
from wprops.events.toy.truth import ToyTruth


@dataclass(frozen=True, slots=True)
class Deviation:
    """One named deviation.

    Attributes
    ----------
    typical : float
        A realistic size; when it is not asked for, a deviation is 0.
    unit : str
        Unit of the value.
    meaning : str
        What it does, for tables.
    apply : callable
        (truth, value) → truth with the deviation.
    """

    typical: float
    unit: str
    meaning: str
    apply: Callable[[ToyTruth, float], ToyTruth]


def _w_bosons(
    change: Callable[[BosonTruth, float], BosonTruth],
) -> Callable[..., ToyTruth]:
    def apply(truth: ToyTruth, value: float) -> ToyTruth:
        return dataclasses.replace(
            truth,
            wplus=change(truth.wplus, value),
            wminus=change(truth.wminus, value),
        )

    return apply


def _detector(field: str) -> Callable[[ToyTruth, float], ToyTruth]:
    def apply(truth: ToyTruth, value: float) -> ToyTruth:
        return dataclasses.replace(
            truth, detector=truth.detector._replace(**{field: value})
        )

    return apply


def _muon_resolution(truth: ToyTruth, value: float) -> ToyTruth:
    resolution = truth.detector.muon_resolution + value
    detector = truth.detector._replace(muon_resolution=resolution)
    return dataclasses.replace(truth, detector=detector)


def _background(field: str) -> Callable[[ToyTruth, float], ToyTruth]:
    def apply(truth: ToyTruth, value: float) -> ToyTruth:
        return dataclasses.replace(
            truth, background=truth.background._replace(**{field: value})
        )

    return apply


DEVIATIONS: dict[str, Deviation] = {
    "mw_shift": Deviation(
        0.05,
        "GeV",
        "W mass plus the value",
        _w_bosons(lambda boson, value: boson._replace(mass=boson.mass + value)),
    ),
    "qt_tilt": Deviation(
        0.02,
        "relative",
        "scale of the W's qT spectrum times 1 + value",
        _w_bosons(
            lambda boson, value: boson._replace(qt_scale=boson.qt_scale * (1 + value))
        ),
    ),
    "a4_scale": Deviation(
        0.02,
        "relative",
        "A4 of the W times 1 + value",
        _w_bosons(lambda boson, value: boson._replace(a4=boson.a4 * (1 + value))),
    ),
    "mu_scale": Deviation(
        1e-3, "relative", "muon pT times 1 + value", _detector("mu_scale")
    ),
    "mu_misalignment": Deviation(
        1e-5,
        "1/GeV",
        "q/pT of the muon plus value times sin(phi)",
        _detector("mu_misalignment"),
    ),
    "mu_resolution": Deviation(
        -0.005,
        "relative",
        "resolution of the muon's pT plus the value",
        _muon_resolution,
    ),
    "mu_resolution_slope": Deviation(
        1e-4,
        "1/GeV",
        "resolution plus, in quadrature, value times pT",
        _detector("muon_resolution_slope"),
    ),
    "mu_resolution_eta": Deviation(
        0.5,
        "relative",
        "resolution times 1 + value |eta| / 2.4",
        _detector("muon_resolution_eta"),
    ),
    "iso_recoil": Deviation(
        0.1,
        "per 20 GeV",
        "isolation sum times exp(value u / 20 GeV), u the recoil along the muon",
        _detector("isolation_recoil"),
    ),
    "recoil_photon": Deviation(
        0.5,
        "relative",
        "part of the momentum of hard photons that the recoil contains",
        _detector("recoil_photon"),
    ),
    "recoil_absy": Deviation(
        0.05,
        "per unit of rapidity",
        "width of the recoil's residual times 1 + value (|Y| - 1)",
        _detector("recoil_absy"),
    ),
    "recoil_pileup": Deviation(
        0.3,
        "relative",
        "width of the recoil's residual times 1 + value (N / mean - 1)",
        _detector("recoil_pileup"),
    ),
    "eff_turn_on": Deviation(
        0.02,
        "relative",
        "trigger efficiency times 1 + value (erf((pT - 25)/10) - 1)",
        _detector("eff_turn_on"),
    ),
    "eff_charge": Deviation(
        0.005,
        "relative",
        "trigger efficiency times 1 + charge value / 2",
        _detector("eff_charge"),
    ),
    "eff_eta": Deviation(
        0.02,
        "relative",
        "trigger efficiency times 1 - value (eta/2.4)^2",
        _detector("eff_eta"),
    ),
    "pileup": Deviation(
        -2.0,
        "interactions",
        "mean number of interactions plus the value",
        _detector("pileup_shift"),
    ),
    "prefire": Deviation(
        1.0,
        "of the simulated probability",
        "events lost to prefiring; 1 is what the weights of simulation describe",
        _detector("prefire"),
    ),
    "fake_mt_slope": Deviation(
        0.05,
        "relative per 40 GeV",
        "fake rate times 1 + value (mT - 20)/40",
        _background("fake_mt_slope"),
    ),
}

#: A resolution that depends on pT and eta like that of a real detector.
VARYING_RESOLUTION = {
    name: DEVIATIONS[name].typical
    for name in ("mu_resolution", "mu_resolution_slope", "mu_resolution_eta")
}


def deviate(truth: ToyTruth, deviations: Mapping[str, float]) -> ToyTruth:
    """Return the truth with named deviations applied and recorded.

    Raises
    ------
    ConfigError
        If a name is unknown; the message lists the known ones.

    Examples
    --------
    >>> shifted = deviate(ToyTruth(), {"mw_shift": 0.05})
    >>> round(shifted.wplus.mass, 3), dict(shifted.deviations)
    (80.429, {'mw_shift': 0.05})
    """
    unknown = sorted(set(deviations) - set(DEVIATIONS))
    if unknown:
        msg = (
            f"unknown deviation {', '.join(map(repr, unknown))} of the toy; "
            f"known are {', '.join(sorted(DEVIATIONS))}"
        )
        raise ConfigError(msg)
    for name, value in deviations.items():
        truth = DEVIATIONS[name].apply(truth, float(value))
    recorded = {**truth.deviations, **{n: float(v) for n, v in deviations.items()}}
    return dataclasses.replace(truth, deviations=recorded)
