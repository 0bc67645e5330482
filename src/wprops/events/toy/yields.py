"""Reference yields, and the factors that scale the toy to them."""

from __future__ import annotations

#: Selected events in the signal region at 35.9 fb⁻¹ [1e6], for positive and
#: negative muons: 25 < pT < 55 GeV, |eta| < 2.4, mT > 40 GeV, isolation ≤ 0.15.
REFERENCE_YIELDS = {
    "W_mu": (117.94, 90.13),
    "W_tau": (3.32, 2.75),
    "Z": (5.75, 5.13),
    "top": (0.77, 0.72),
    "diboson": (0.12, 0.11),
    "qcd": (7.27, 6.86),
}
REFERENCE_LUMINOSITY = 35.9  # fb^-1

#: Cross section of each sample: a factor on the boson's for W and Z, the effective
#: cross section [pb] for directly drawn muons. W → μν is the model's own. Values of
#:   python -c "from wprops.events.toy.calibration import measure_scales; \
#:              print(measure_scales(4_000_000, seed=1))"
CROSS_SECTION_SCALES = {
    "Wplus_mu": 1.0,
    "Wminus_mu": 1.0,
    "Wplus_tau": 1.261,
    "Wminus_tau": 1.274,
    "Z_mumu": 1.161,
    "top": 278.7,
    "diboson": 34.98,
    "qcd": 13860.0,
}
