"""The record of one systematic uncertainty and the labels of its variations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from wprops.errors import ConfigError

NOMINAL = "nominal"

Kind = Literal["weight", "kinematic", "norm"]
Interpolation = Literal["lognormal", "linear", "quadratic"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Systematic:
    """One source of uncertainty, as it is written in the uncertainty table.

    Attributes
    ----------
    name : str
        Name of the nuisance parameter.
    kind : {"weight", "kinematic", "norm"}
        ``weight`` scales events, ``kinematic`` moves them between bins, ``norm``
        scales a process by ``size``.
    processes : frozenset of str
        Processes it acts on; processes without the variation stay nominal.
    group : str
        The row it joins in the impact table.
    variations : tuple of str
        ``("up", "down")``, or ``("up",)`` for a one-sided source, whose down
        variation is the mirror image: ``2 nominal − up`` for linear and
        quadratic, ``nominal²/up`` for log-normal interpolation.
    size : float, optional
        Factor at +1σ; only for ``kind="norm"``.
    constrained : bool
        Whether a unit Gaussian constrains the parameter; m_W is free.
    interpolation : {"lognormal", "linear", "quadratic"}
        How yields depend on the parameter for templates of one sign. Templates
        that change sign are linear under ``lognormal`` (its logarithm does not
        exist there).
    interpolation_of : mapping of str to {"lognormal", "linear", "quadratic"}
        Interpolation by process, where it differs; keys are names of processes, or
        one of ``processes`` for all it stands for. The name of a process counts most.
    charge_correlated, era_correlated : bool
        Whether one parameter serves both charges, all eras.
    eta_local : bool
        Whether each eta bin of the muon has a parameter of its own. The templates
        vary in all eta bins at once, and a parameter moves its own row only.
    unit : str
        What one unit of the parameter means, for tables.
    """

    name: str
    kind: Kind
    processes: frozenset[str]
    group: str
    variations: tuple[str, ...] = ("up", "down")
    size: float | None = None
    constrained: bool = True
    interpolation: Interpolation = "lognormal"
    # a mapping has no hash; equal records still have equal hashes without it
    interpolation_of: Mapping[str, Interpolation] = field(
        default_factory=dict, hash=False
    )
    charge_correlated: bool = True
    era_correlated: bool = True
    eta_local: bool = False
    unit: str = "1 sigma"

    def __post_init__(self) -> None:
        if (self.kind == "norm") != (self.size is not None):
            msg = f"systematic {self.name!r}: size goes with kind='norm' and only there"
            raise ConfigError(msg)
        if self.variations not in (("up", "down"), ("up",)):
            msg = (
                f"systematic {self.name!r}: variations are ('up', 'down') or ('up',), "
                f"not {self.variations}"
            )
            raise ConfigError(msg)
        kinds = {self.interpolation, *self.interpolation_of.values()}
        unknown = sorted(kinds - set(get_args(Interpolation)))
        if unknown:
            msg = (
                f"systematic {self.name!r}: interpolation {', '.join(unknown)} is "
                f"unknown; expected one of {', '.join(get_args(Interpolation))}"
            )
            raise ConfigError(msg)
        if self.kind == "norm" and self.interpolation_of:
            msg = (
                f"systematic {self.name!r}: a norm is log-normal everywhere; "
                "interpolation_of goes with the other kinds"
            )
            raise ConfigError(msg)

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the stored variations: none for a norm."""
        if self.kind == "norm":
            return ()
        return tuple(variation_label(self.name, side) for side in self.variations)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for the template file."""
        return asdict(self) | {
            "processes": sorted(self.processes),
            "variations": list(self.variations),
            "interpolation_of": dict(self.interpolation_of),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Systematic:
        """Inverse of `to_dict`; raises ConfigError for unknown fields."""
        unknown = set(data) - set(cls.__dataclass_fields__)
        if unknown:
            msg = (
                f"systematic {data.get('name')!r} has unknown fields {sorted(unknown)}"
            )
            raise ConfigError(msg)
        return cls(
            **data
            | {
                "processes": frozenset(data["processes"]),
                "variations": tuple(data["variations"]),
            }
        )


def variation_label(name: str, side: str) -> str:
    """Label of one variation, the only place where it is put together."""
    return f"{name}_{side}"


def unique(systematics: Iterable[Systematic]) -> tuple[Systematic, ...]:
    """Return the records as a tuple; raises ConfigError for a repeated name."""
    records = tuple(systematics)
    names = [record.name for record in records]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        msg = f"systematics declared twice: {', '.join(repeated)}"
        raise ConfigError(msg)
    return records
