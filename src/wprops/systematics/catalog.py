"""Every uncertainty of the measurement, one record each.

With 60 PDF directions and all inputs there are 242 nuisance parameters per charge, as
in the 2021 analysis (`declare`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product

from wprops.errors import ConfigError
from wprops.systematics.declaration import Systematic, unique

#: The W → μν signal inside the measured (qT, |Y|) range, all components.
SIGNAL = "W"
#: W → μν outside of that range, and W → τν.
LOW_ACCEPTANCE, TAUS = "W_lowacc", "W_tau"
#: The multijet background.
MULTIJET = "qcd"
#: Processes simulated with a W boson, and those with any boson.
W_BOSON = frozenset({SIGNAL, LOW_ACCEPTANCE, TAUS})
BOSON = W_BOSON | {"Z"}
#: Everything taken from simulation except multijet.
PROMPT = BOSON | {"top", "diboson"}

#: Half-distance of the m_W templates [GeV].
MASS_STEP = 0.05
#: Uncertainty of the W width [GeV] (S. Navas et al., Particle Data Group, Phys. Rev. D
#: 110 (2024) 030001: 2.085 ± 0.042, the average of direct measurements).
WIDTH_STEP = 0.042
#: Relative shift of the muon momentum at one standard deviation.
MUON_SCALE = 5e-4
#: Entries of the nine (muR, muF) weights that vary one or both scales by a factor 2
#: in the same direction; 4 is nominal, 2 and 6 are left out.
SCALES = (0, 1, 3, 5, 7, 8)
#: Ranges in qT [GeV] in which the scales of the W vary independently.
SCALE_SLICES = {"low": (0.0, 5.0), "mid": (5.0, 15.0), "high": (15.0, float("inf"))}
#: Statistical variations of the muon efficiency, independent in each eta bin.
N_EFFICIENCY = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Available:
    """What the samples of a catalogue carry, and so which records apply.

    Attributes
    ----------
    n_pdf : int
        Number of PDF directions.
    alphas, scale : bool
        Whether there are alphaS and scale weights.
    prefire, efficiency : bool
        Whether prefire weights and efficiency scale factors are applied.
    efficiency_parts : int
        Number of eta bins of the efficiency factors in one eta bin of the templates.
    fakes : bool
        Whether multijet is estimated from data, and so varies with everything that
        is subtracted there.
    extra : frozenset of str
        Simulated processes beyond `PROMPT`, which share the uncertainties of detector
        and luminosity.
    without : frozenset of str
        Names or groups of records that the catalogue leaves out.
    also : frozenset of str
        Names or groups of records that the catalogue asks for, and that are not
        declared otherwise: `OPTIONAL_NAMES`.
    """

    n_pdf: int = 0
    alphas: bool = False
    scale: bool = False
    prefire: bool = False
    efficiency: bool = False
    efficiency_parts: int = 1
    fakes: bool = False
    extra: frozenset[str] = frozenset()
    without: frozenset[str] = frozenset()
    also: frozenset[str] = frozenset()


def declare(available: Available) -> tuple[Systematic, ...]:
    """Declare all uncertainties for which there are inputs.

    Parameters
    ----------
    available : Available
        What the samples carry.

    Raises
    ------
    ConfigError
        If ``without`` names something that is not declared, or ``also`` something
        that is no optional record.
    """
    unknown = sorted(available.also - OPTIONAL_NAMES)
    if unknown:
        msg = (
            f"`also:` asks for {', '.join(unknown)}, which is no optional systematic; "
            f"those are {', '.join(sorted(OPTIONAL_NAMES))}"
        )
        raise ConfigError(msg)
    records = [
        *_records(available),
        *(r for r in _optional() if available.also & {r.name, r.group}),
    ]
    records = [
        replace(record, processes=PROMPT | available.extra)
        if record.processes == PROMPT
        else record
        for record in records
    ]
    if available.fakes:
        records = [_on_fakes(record) for record in records]
        records.append(
            Systematic(
                name="fake_lumi",
                kind="weight",
                processes=frozenset({MULTIJET}),
                group="luminosity",
            )
        )
    known = _names(records) | ALL_NAMES
    unknown = sorted(available.without - known)
    if unknown:
        msg = (
            f"`without:` leaves out {', '.join(unknown)}, which is not declared; "
            f"known are {', '.join(sorted(known))}"
        )
        raise ConfigError(msg)
    return unique(
        record
        for record in records
        if not available.without & {record.name, record.group}
    )


def _records(available: Available) -> list[Systematic]:
    return [
        *_boson_shape(),
        *_pdf(available.n_pdf),
        *(_alphas() if available.alphas else ()),
        *(_scales() if available.scale else ()),
        *_muons(),
        *(_efficiency(available.efficiency_parts) if available.efficiency else ()),
        *(_prefire() if available.prefire else ()),
        *_missing_momentum(),
        *_normalisations(),
    ]


def _names(records: Iterable[Systematic]) -> set[str]:
    return {name for record in records for name in (record.name, record.group)}


def _boson_shape() -> Iterable[Systematic]:
    yield Systematic(
        name="mw",
        kind="weight",
        processes=frozenset({SIGNAL, LOW_ACCEPTANCE}),
        group="mass",
        constrained=False,
        interpolation="quadratic",
        unit=f"{1000 * MASS_STEP:g} MeV",
    )


def _optional() -> Iterable[Systematic]:
    """Declare what goes beyond the 2021 analysis, and a catalogue can ask for."""
    yield Systematic(
        name="width",
        kind="weight",
        processes=frozenset({SIGNAL, LOW_ACCEPTANCE}),
        group="width",
        interpolation="quadratic",
        unit=f"{1000 * WIDTH_STEP:g} MeV",
    )


def _pdf(n_directions: int) -> Iterable[Systematic]:
    """One record per Hessian direction of the parton densities."""
    for direction in range(1, n_directions + 1):
        yield Systematic(
            name=f"pdf_{direction:02d}",
            kind="weight",
            processes=BOSON,
            group="pdf",
            variations=("up",),
        )


def _alphas() -> Iterable[Systematic]:
    yield Systematic(name="alphas", kind="weight", processes=BOSON, group="alphas")


def _scales() -> Iterable[Systematic]:
    """Scales of the Z, and of the W in slices of qT; not of the floating signal."""
    for index in SCALES:
        yield Systematic(
            name=scale_name(index),
            kind="weight",
            processes=frozenset({"Z"}),
            group="scale_z",
            variations=("up",),
        )
    for part in SCALE_SLICES:
        for index in SCALES:
            yield Systematic(
                name=scale_name(index, part),
                kind="weight",
                processes=frozenset({LOW_ACCEPTANCE, TAUS}),
                group="scale_w",
                variations=("up",),
            )


def _on_fakes(record: Systematic) -> Systematic:
    """Let a shape act on the multijet estimate, except for the scales of the Z."""
    if record.kind == "norm" or record.group == "scale_z":
        return record
    return replace(record, processes=record.processes | {MULTIJET})


def scale_name(index: int, part: str | None = None) -> str:
    """Name of the systematic of one (muR, muF) weight, whole or in a slice of qT.

    Examples
    --------
    >>> scale_name(0), scale_name(5, "low")
    ('scale_0', 'scale_5_low')
    """
    return f"scale_{index}" if part is None else f"scale_{index}_{part}"


def _muons() -> Iterable[Systematic]:
    yield Systematic(
        name="muon_scale",
        kind="kinematic",
        processes=PROMPT,
        group="muon_scale",
        interpolation="linear",
        charge_correlated=False,
        unit=f"{MUON_SCALE:g} of pT",
    )


def stat_name(index: int, part: int, n_parts: int) -> str:
    """Name of a statistical variation of the efficiency.

    Examples
    --------
    >>> stat_name(2, 0, 1), stat_name(2, 1, 2)
    ('sf_stat_2', 'sf_stat_2_1')
    """
    return f"sf_stat_{index}" if n_parts == 1 else f"sf_stat_{index}_{part}"


def _efficiency(n_parts: int) -> Iterable[Systematic]:
    """Statistical variations of each eta bin of the efficiency, and a systematic one.

    Where a bin of the templates has several bins of the efficiency, each of them has
    parameters of its own: they were measured independently.
    """
    for index, part in product(range(N_EFFICIENCY), range(n_parts)):
        yield Systematic(
            name=stat_name(index, part, n_parts),
            kind="weight",
            processes=PROMPT,
            group="sf_stat",
            charge_correlated=False,
            eta_local=True,
        )
    yield Systematic(
        name="sf_syst",
        kind="weight",
        processes=PROMPT,
        group="sf_syst",
        charge_correlated=False,
    )


def _prefire() -> Iterable[Systematic]:
    yield Systematic(
        name="prefire",
        kind="weight",
        processes=PROMPT,
        group="prefire",
        charge_correlated=False,
    )


def _missing_momentum() -> Iterable[Systematic]:
    for source in ("jes", "unclustered"):
        yield Systematic(
            name=source,
            kind="kinematic",
            processes=PROMPT,
            group="met",
            interpolation="linear",
            charge_correlated=False,
        )


def _normalisations() -> Iterable[Systematic]:
    for name, processes, group, size in (
        ("lumi", PROMPT, "luminosity", 1.025),
        ("tau_xsec", {TAUS}, "cross_sections", 1.04),
        ("top_xsec", {"top"}, "cross_sections", 1.06),
        ("diboson_xsec", {"diboson"}, "cross_sections", 1.16),
        ("lepton_veto", {"Z"}, "lepton_veto", 1.02),
        ("qcd_norm", {MULTIJET}, "qcd", 1.05),
    ):
        yield Systematic(
            name=name,
            kind="norm",
            processes=frozenset(processes),
            group=group,
            size=size,
        )


#: Names and groups of the records that are declared on demand.
OPTIONAL_NAMES = frozenset(_names(_optional()))
#: Names and groups of all other records, whatever inputs there are.
ALL_NAMES = _names(
    _records(Available(n_pdf=1, alphas=True, scale=True, prefire=True, efficiency=True))
)
