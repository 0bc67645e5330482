"""Every uncertainty of the measurement, one record each."""

from __future__ import annotations

from wprops.systematics.declaration import Systematic, unique

#: The W → μν signal inside the measured (qT, |Y|) range, all components.
SIGNAL = "W"
#: W → μν outside of that range, and W → τν.
LOW_ACCEPTANCE, TAUS = "W_lowacc", "W_tau"
#: Processes simulated with a W boson, and those with any boson.
W_BOSON = frozenset({SIGNAL, LOW_ACCEPTANCE, TAUS})
BOSON = W_BOSON | {"Z"}
#: Everything taken from simulation except multijet.
PROMPT = BOSON | {"top", "diboson"}

#: Half-distance of the m_W templates [GeV].
MASS_STEP = 0.05
#: Relative shift of the muon momentum at one standard deviation.
MUON_SCALE = 5e-4


def pdf_systematics(n_directions: int) -> tuple[Systematic, ...]:
    """One record per Hessian direction of the parton densities."""
    return tuple(
        Systematic(
            name=f"pdf_{direction:02d}",
            kind="weight",
            processes=BOSON,
            group="pdf",
            variations=("up",),
        )
        for direction in range(1, n_directions + 1)
    )


def declare(n_pdf: int, *, alphas: bool) -> tuple[Systematic, ...]:
    """Declare all uncertainties.

    Parameters
    ----------
    n_pdf : int
        Number of PDF directions of the samples.
    alphas : bool
        Whether the samples carry alphaS variations.
    """
    theory = pdf_systematics(n_pdf)
    if alphas:
        theory += (
            Systematic(name="alphas", kind="weight", processes=BOSON, group="pdf"),
        )
    return unique(
        [
            Systematic(
                name="mw",
                kind="weight",
                processes=frozenset({SIGNAL, LOW_ACCEPTANCE}),
                group="mass",
                constrained=False,
                interpolation="quadratic",
                unit=f"{1000 * MASS_STEP:g} MeV",
            ),
            *theory,
            Systematic(
                name="muon_scale",
                kind="kinematic",
                processes=PROMPT,
                group="muon_calibration",
                interpolation="linear",
                unit=f"{MUON_SCALE:g} of pT",
            ),
            Systematic(
                name="lumi",
                kind="norm",
                processes=PROMPT,
                group="luminosity",
                size=1.025,
            ),
            Systematic(
                name="tau_xsec",
                kind="norm",
                processes=frozenset({TAUS}),
                group="cross_sections",
                size=1.04,
            ),
            Systematic(
                name="top_xsec",
                kind="norm",
                processes=frozenset({"top"}),
                group="cross_sections",
                size=1.06,
            ),
            Systematic(
                name="diboson_xsec",
                kind="norm",
                processes=frozenset({"diboson"}),
                group="cross_sections",
                size=1.16,
            ),
            Systematic(
                name="lepton_veto",
                kind="norm",
                processes=frozenset({"Z"}),
                group="lepton_veto",
                size=1.02,
            ),
            Systematic(
                name="qcd_norm",
                kind="norm",
                processes=frozenset({"qcd"}),
                group="qcd",
                size=1.05,
            ),
        ]
    )
