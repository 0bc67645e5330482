"""Every number of the toy that is not a formula, with its unit.

The records are named tuples of plain numbers, so compiled kernels take them as
they are and the whole truth fits into the metadata of a file.
"""

from __future__ import annotations

from typing import NamedTuple

REFERENCE_MASS = 80.379  # GeV; the scale of x = qT / mass in the coefficients


class BosonTruth(NamedTuple):
    """Spectrum, coefficients and line shape of one boson.

    Attributes
    ----------
    sigma : float
        Cross section times branching ratio into one lepton flavour over
        |Y| < y_max and qT < qt_max, both signs of Y [pb].
    mass, width, mass_low, mass_high : float
        Fixed-width Breit-Wigner in m² and its window [GeV].
    y_curvature, y_scale, y_power, y_max : float
        dσ/d|Y| ∝ (1 + curvature Y²) exp(−(|Y|/scale)^power) below y_max.
    qt_scale, qt_narrowing, qt_power, qt_max : float
        a = scale (1 − narrowing Y²) [GeV] in the survival function
        (1 + qT²/a²)^−power, cut off at qt_max [GeV].
    qt_reference : float
        x = qT / reference [GeV].
    a0, a1, a1_slope, a2_dip, a3, a3_slope, a4, a4_slope, a4_power, a_odd : float
        Coefficients: A0 = a0 x²/(1 + a0 x²), A2 = A0 (1 − a2_dip x²/(1+x²)),
        A1 = a1 x/(1+x²) tanh(a1_slope |Y|), A3 = a3 x/(1+x²)/(1 + a3_slope Y²),
        A4 = a4 tanh(a4_slope |Y|) (1+x²)^−a4_power, A5 = A6 = A7 = a_odd x².
    """

    sigma: float
    mass: float
    width: float
    y_curvature: float
    y_scale: float
    y_power: float
    a3: float
    a4: float
    a4_slope: float
    a4_power: float = 0.5
    mass_low: float = 50.0
    mass_high: float = 120.0
    y_max: float = 5.0
    qt_scale: float = 7.5
    qt_narrowing: float = 0.015
    qt_power: float = 0.75
    qt_max: float = 200.0
    qt_reference: float = REFERENCE_MASS
    a0: float = 1.6
    a1: float = 0.20
    a1_slope: float = 0.9
    a2_dip: float = 0.15
    a3_slope: float = 0.15
    a_odd: float = 0.0


W_PLUS = BosonTruth(
    sigma=11700.0,
    mass=REFERENCE_MASS,
    width=2.085,
    y_curvature=0.035,
    y_scale=3.55,
    y_power=5.0,
    a3=-0.25,
    a4=-1.60,
    a4_slope=0.55,
)
W_MINUS = BosonTruth(
    sigma=8600.0,
    mass=REFERENCE_MASS,
    width=2.085,
    y_curvature=0.0,
    y_scale=3.15,
    y_power=3.2,
    a3=0.25,
    a4=1.30,
    a4_slope=0.45,
)
#: Coefficients are those of the μ−.
Z_BOSON = BosonTruth(
    sigma=2008.0,
    mass=91.1876,
    width=2.4952,
    y_curvature=0.035,
    y_scale=3.55,
    y_power=5.0,
    a3=-0.05,
    a4=0.13,
    a4_slope=0.6,
    a4_power=0.0,
    qt_scale=7.5 * 1.05,
)


class DetectorTruth(NamedTuple):
    """Response of the toy's detector; deviations act on fields that are zero here.

    Attributes
    ----------
    muon_resolution, muon_resolution_slope, muon_resolution_eta : float
        a, b [1/GeV] and c of the relative Gaussian resolution of the muon's pT,
        √(a² + (b pT)²) (1 + c |eta| / 2.4).
    mu_scale, mu_misalignment : float
        κ of pT → pT (1 + κ), and λ [1/GeV] of q/pT → q/pT + λ sin φ.
    recoil_constant, recoil_slope : float
        Gaussian width per axis, √(constant² + (slope qT)²) [GeV].
    recoil_absy, recoil_pileup : float
        This width times 1 + recoil_absy (|Y| − 1) and times
        1 + recoil_pileup (N / pileup_mean − 1), with N interactions.
    recoil_photon, recoil_photon_fraction : float
        Part of the momentum of a photon that the recoil contains, where the photon
        took more than this fraction of the muon's momentum.
    isolation_mean : float
        Mean of the exponential isolation sum of prompt muons [GeV].
    isolation_recoil : float
        The sum times exp(isolation_recoil u / 20 GeV), where u is the recoil along
        the muon.
    efficiency_plus, efficiency_minus : float
        Trigger times identification per charge, besides isolation.
    id_efficiency : float
        Part of it that is identification: an unidentified muon has
        ``mediumId`` false, the rest of the inefficiency is trigger bits that
        stay false. The muon itself is always in the collection.
    eff_turn_on, eff_charge, eff_eta : float
        Trigger efficiency times 1 + eff_turn_on (erf((pT − 25)/10) − 1),
        1 + charge eff_charge / 2 and 1 − eff_eta (eta/2.4)².
    trigger_pt, muon_pt, muon_eta : float
        Thresholds [GeV] of the trigger and of the muon collection, and the
        collection's acceptance.
    lost_eta, lost_pt, lost_fraction : float
        The second muon of a Z is lost beyond, below, or with this probability.
    jes, unclustered : float
        Relative variations of the recoil in the varied missing momenta.
    pileup_mean, pileup_shift : float
        Mean number of interactions, and its shift.
    prefire_slope, prefire : float
        Probability of a prefire is prefire_slope (|eta| − 2) of the leading
        muon, which stands in for forward jets; ``prefire`` scales the part that
        really removes events (the weights of simulation assume 1).
    electron_fraction, electron_id : float
        Events with an electron, and those of them that pass the veto
        identification.
    flag_failure : float
        Events that fail one of the missing-momentum filters.
    """

    muon_resolution: float = 0.015
    muon_resolution_slope: float = 0.0
    muon_resolution_eta: float = 0.0
    mu_scale: float = 0.0
    mu_misalignment: float = 0.0
    recoil_constant: float = 14.0
    recoil_slope: float = 0.1
    recoil_absy: float = 0.0
    recoil_pileup: float = 0.0
    recoil_photon: float = 0.0
    recoil_photon_fraction: float = 0.1
    isolation_mean: float = 1.6
    isolation_recoil: float = 0.0
    efficiency_plus: float = 0.632
    efficiency_minus: float = 0.671
    id_efficiency: float = 0.95
    eff_turn_on: float = 0.0
    eff_charge: float = 0.0
    eff_eta: float = 0.0
    trigger_pt: float = 24.0
    muon_pt: float = 5.0
    muon_eta: float = 2.5
    lost_eta: float = 2.4
    lost_pt: float = 10.0
    lost_fraction: float = 0.02
    jes: float = 0.03
    unclustered: float = 0.05
    pileup_mean: float = 25.0
    pileup_shift: float = 0.0
    prefire_slope: float = 0.05
    prefire: float = 0.0
    electron_fraction: float = 0.01
    electron_id: float = 0.3
    flag_failure: float = 0.001


DETECTOR = DetectorTruth()


class BackgroundTruth(NamedTuple):
    """Processes whose muon is drawn directly, and rates of the others.

    Attributes
    ----------
    tau_branching : float
        BR(τ → μνν).
    top_slope, diboson_slope, direct_pt : float
        pT ∝ exp(−pT/slope) above direct_pt [GeV].
    eta_curvature : float
        Top and diboson: eta ∝ 1 − curvature (eta/2.4)².
    met_mean, mt_max : float
        Missing momentum falls with this mean, mT is flat up to mt_max [GeV].
    top_plus, diboson_plus, qcd_plus : float
        Fractions of positive muons.
    qcd_pt, qcd_slope, qcd_eta_curvature : float
        QCD: pT ∝ exp(−pT/slope) above qcd_pt [GeV], eta ∝ 1 + curvature (eta/2.4)².
    qcd_met_mean, qcd_angle, qcd_met_noise : float
        Neutrino: exponential magnitude [GeV] within a Gaussian angle [rad] of
        the muon, plus Gaussian noise per axis [GeV].
    fake_base, fake_eta, fake_pt, fake_mt_slope : float
        Probability of an isolated fake,
        (base + eta |eta| + pt (pT − 25)) (1 + mt_slope (mT − 20)/40).
    fake_isolation : float
        Otherwise the relative isolation is 0.15 plus an exponential of this mean.
    fsr_probability, fsr_low, fsr_high : float
        A muon radiates a collinear photon with momentum fraction ∝ 1/x.
    """

    tau_branching: float = 0.174
    top_slope: float = 60.0
    diboson_slope: float = 40.0
    direct_pt: float = 15.0
    eta_curvature: float = 0.25
    met_mean: float = 40.0
    mt_max: float = 140.0
    top_plus: float = 0.77 / 1.49
    diboson_plus: float = 0.12 / 0.23
    qcd_plus: float = 7.27 / 14.13
    qcd_pt: float = 24.0
    qcd_slope: float = 6.0
    qcd_eta_curvature: float = 0.25
    qcd_met_mean: float = 5.0
    qcd_angle: float = 0.35
    qcd_met_noise: float = 14.0
    fake_base: float = 0.22
    fake_eta: float = 0.04
    fake_pt: float = 0.002
    fake_mt_slope: float = 0.0
    fake_isolation: float = 0.3
    fsr_probability: float = 0.1
    fsr_low: float = 0.001
    fsr_high: float = 0.5


BACKGROUND = BackgroundTruth()
