"""The record of a dataset: which files there are, what they hold, their cross section.

A catalogue (`wprops.catalog`) is a YAML file of them; from there on only the records
travel, to the workers too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from wprops.errors import ConfigError
from wprops.records import Record

#: Single-muon triggers of 2016; an event needs one of them.
TRIGGERS = ("HLT_IsoMu24", "HLT_IsoTkMu24")
#: Event filters of 2016; an event needs all of them.
FLAGS = (
    "Flag_goodVertices",
    "Flag_globalTightHalo2016Filter",
    "Flag_HBHENoiseFilter",
    "Flag_HBHENoiseIsoFilter",
    "Flag_EcalDeadCellTriggerPrimitiveFilter",
)
#: Names of templates that are made of the samples of W bosons.
RESERVED = ("W_lowacc", "W_odd")


class PdfWeights(Record):
    """Weights of the parton densities that a sample carries."""

    branch: str = Field(description="branch with one weight per member")
    replicas: int = Field(gt=0, description="number of replicas")
    alphas: bool = Field(description="whether alphaS down and up follow the replicas")
    hessian: Path | None = Field(
        default=None,
        description="CSV matrix (replicas x directions) from replicas to Hessian "
        "directions",
    )


class LheWeights(Record):
    """Theory weights that a sample carries."""

    pdf: PdfWeights | None = Field(default=None, description="parton density weights")
    scale: str | None = Field(default=None, description="branch with the scale weights")


class BosonPole(Record):
    """Line shape that a sample of bosons was generated with."""

    mass: float = Field(gt=0, description="pole mass [GeV]")
    width: float = Field(gt=0, description="width [GeV], not running")


class NamedCorrection(Record):
    """One correction in a correctionlib file."""

    file: Path = Field(description="correctionlib file")
    name: str = Field(description="name of the correction in it")


class EfficiencyCorrection(NamedCorrection):
    """Factors of one efficiency step."""

    isolation: NamedCorrection | None = Field(
        default=None,
        description="for factors that correct the isolation, its efficiency in the "
        "simulation: anti-isolated muons get the complement",
    )


class Corrections(Record):
    """Corrections that are applied to a dataset; none by default."""

    muons: Path | None = Field(
        default=None, description="file of build_rochester: scale and resolution"
    )
    propagate_muons: bool = Field(
        default=False,
        description="whether the missing momentum takes up the correction of the muon, "
        "and its variation",
    )
    efficiency: tuple[EfficiencyCorrection, ...] = Field(
        default=(), description="list of efficiency steps whose factors multiply"
    )
    pileup: NamedCorrection | None = Field(
        default=None, description="weights in the number of true interactions"
    )
    prefire: Literal["branches"] | Path | None = Field(
        default=None, description="`branches` of the file, or a file of maps"
    )
    boson: Path | None = Field(
        default=None, description="file of build_boson: weights in qT and |Y|"
    )

    @field_validator("prefire", mode="before")
    @classmethod
    def _prefire_is_no_switch(cls, prefire: Any) -> Any:
        if isinstance(prefire, bool):
            msg = (
                f"found {'yes' if prefire else 'no'}, a YAML boolean; write `branches` "
                "to take the weights of the files, name a file of maps, or leave the "
                "key out to have no prefire weights"
            )
            raise ConfigError(msg)
        return prefire


class Dataset(Record):
    """A set of files of one kind, and what is known about it."""

    name: str = Field(min_length=1, description="name, unique in the catalogue")
    process: str = Field(min_length=1, description="the process it models, or data")
    kind: Literal["data", "mc"] = Field(description="collision data or simulation")
    era: str = Field(description="data-taking period")
    nano: str = Field(description="version of NanoAOD, for the reader's information")
    generator: str | None = Field(default=None, description="event generator")
    xsec: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="cross section [pb] of the whole sample; simulation only",
    )
    files: tuple[str, ...] = Field(
        min_length=1,
        description="list of paths and patterns, relative to `base`, and of URLs",
    )
    weights: LheWeights = Field(default=LheWeights(), description="theory weights")
    truth: Path | None = Field(default=None, description="JSON with the truth of a toy")
    coefficients: Path | None = Field(
        default=None,
        description="file of the processor gen_moments, from which the angular "
        "coefficients of the simulated W bosons are taken",
    )
    boson: BosonPole | None = Field(
        default=None, description="mass and width of the generated boson"
    )
    corrections: Corrections = Field(
        default=Corrections(), description="corrections of muons, weights, recoil"
    )
    sum_of_weights: Literal["runs", "events"] = Field(
        default="runs",
        description="where the sum of generator weights comes from: the Runs trees, "
        "or the events of files that hold all that were generated",
    )
    triggers: tuple[str, ...] = Field(
        default=TRIGGERS,
        description="list of triggers, one has to fire; empty asks for none",
    )
    flags: tuple[str, ...] = Field(
        default=FLAGS,
        description="list of filters, all have to pass; empty asks for none",
    )
    met: str | None = Field(
        default=None,
        description="prefix of the missing-momentum branches; else by the file",
    )

    @model_validator(mode="after")
    def _kind_process_and_cross_section_fit_together(self) -> Self:
        if (self.kind == "data") != (self.process == "data"):
            msg = (
                f"process: found {self.process!r} with kind {self.kind!r}; collision "
                "data, and they alone, have `process: data`"
            )
            raise ConfigError(msg)
        if self.process in RESERVED:
            msg = (
                f"process: found {self.process!r}, a name of templates; choose another"
            )
            raise ConfigError(msg)
        if self.kind == "mc" and self.xsec is None:
            msg = "xsec: found nothing; simulation needs a cross section [pb]: add it"
            raise ConfigError(msg)
        if self.kind == "data" and self.xsec is not None:
            msg = (
                f"xsec: found {self.xsec:g}, but data have no cross section; remove "
                "it, or set `kind: mc`"
            )
            raise ConfigError(msg)
        return self
