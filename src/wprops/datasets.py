"""Datasets and catalogues: which files there are, what they hold, their cross section.

A catalogue is a YAML file that `Catalog.read` turns into records; from there on
only the records travel, to the workers too.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from glob import glob
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from wprops.errors import ConfigError
from wprops.provenance import digest, file_digest
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
    boson: BosonPole | None = Field(
        default=None, description="mass and width of the generated boson"
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
    def _only_simulation_has_a_cross_section(self) -> Self:
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


class Catalog(Record):
    """The datasets of one measurement and the luminosity of its data."""

    name: str = Field(min_length=1, description="name of the catalogue")
    luminosity: float = Field(
        gt=0, allow_inf_nan=False, description="luminosity of the data [fb^-1]"
    )
    base: Path | None = Field(
        default=None, description="folder where paths start; else that of the catalogue"
    )
    golden_json: Path | None = Field(
        default=None,
        description="JSON with the certified luminosity sections of the data",
    )
    triggers: tuple[str, ...] | None = Field(
        default=None, description="list of triggers of datasets that list none"
    )
    flags: tuple[str, ...] | None = Field(
        default=None, description="list of filters of datasets that list none"
    )
    # Last, because validators see only the fields above their own.
    datasets: tuple[Dataset, ...] = Field(
        min_length=1, description="list of datasets; their order is kept"
    )

    @field_validator("base", mode="before")
    @classmethod
    def _base_is_a_folder(cls, base: Any) -> Any:
        if isinstance(base, str) and "://" in base:
            msg = f"found {base!r}, expected a folder; write whole URLs in `files:`"
            raise ConfigError(msg)
        return base

    @field_validator("datasets")
    @classmethod
    def _names_are_unique(cls, datasets: tuple[Dataset, ...]) -> tuple[Dataset, ...]:
        names = [dataset.name for dataset in datasets]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            msg = f"found {', '.join(twice)} more than once; names must be unique"
            raise ConfigError(msg)
        return datasets

    @field_validator("datasets")
    @classmethod
    def _inherit(
        cls, datasets: tuple[Dataset, ...], info: ValidationInfo
    ) -> tuple[Dataset, ...]:
        """Hand down triggers and flags to datasets that do not set their own."""
        defaults = {
            key: info.data[key]
            for key in ("triggers", "flags")
            if info.data.get(key) is not None
        }
        return tuple(
            dataset.model_copy(
                update={
                    key: value
                    for key, value in defaults.items()
                    if key not in dataset.model_fields_set
                }
            )
            for dataset in datasets
        )

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Self:
        """Read a catalogue and find its files.

        Paths become absolute and patterns the sorted list of what they match. A
        pattern without a match stays, so that a catalogue can be checked where
        its files are not; `require_files` asks for them.

        Parameters
        ----------
        path : path-like
            The YAML file.

        Returns
        -------
        Catalog

        Raises
        ------
        ConfigError
            If the file cannot be read, a field is wrong, a file is listed twice, or
            a matrix, truth or golden JSON is missing.
        """
        path = Path(path)
        catalog = cls.from_yaml(path, _NESTED)
        base = _absolute(path.absolute().parent, catalog.base or "")
        datasets = tuple(
            _locate(dataset, base, f"{path}: dataset {dataset.name!r}")
            for dataset in catalog.datasets
        )
        _refuse_twice(datasets, path)
        golden = _existing(catalog.golden_json, base, f"{path}: golden_json")
        return catalog.model_copy(
            update={"base": base, "golden_json": golden, "datasets": datasets}
        )

    def dataset(self, name: str) -> Dataset:
        """Return one dataset; raises ConfigError listing the known ones."""
        for dataset in self.datasets:
            if dataset.name == name:
                return dataset
        known = ", ".join(dataset.name for dataset in self.datasets)
        msg = f"catalogue {self.name!r} has no dataset {name!r}; it has {known}"
        raise ConfigError(msg)

    def only(self, names: Iterable[str]) -> Self:
        """Return the catalogue with some of its datasets, in its own order.

        Raises
        ------
        ConfigError
            If a name is unknown, or there is none.
        """
        wanted = {self.dataset(name).name for name in names}
        if not wanted:
            msg = f"no dataset of catalogue {self.name!r} was named; name at least one"
            raise ConfigError(msg)
        chosen = tuple(d for d in self.datasets if d.name in wanted)
        return self.model_copy(update={"datasets": chosen})

    def require_files(self) -> None:
        """Ask for every file; URLs are left to whoever opens them.

        Raises
        ------
        ConfigError
            Naming each dataset and pattern without a file.
        """
        base = self.base or Path()
        missing = [
            f"  dataset {dataset.name!r}: {entry}"
            for dataset in self.datasets
            for entry in dataset.files
            if not (_is_remote(entry) or (base / entry).is_file())
        ]
        if missing:
            lines = "\n".join(missing)
            msg = (
                f"catalogue {self.name!r}: no file in {base} for\n{lines}\n"
                "Set `base:` in the catalogue to the folder that holds them, or "
                "correct `files:`"
            )
            raise ConfigError(msg)

    @property
    def digest(self) -> str:
        """SHA-256 of what the catalogue says, wherever its files lie.

        Event files count by their path relative to ``base``; the matrix, truth and
        golden JSON by what they contain.
        """
        # The defaults have been handed down to the datasets.
        elsewhere = {"base", "datasets", "golden_json", "triggers", "flags"}
        content = self.model_dump(mode="json", exclude=elsewhere)
        content["golden_json"] = _content_digest(self.golden_json)
        content["datasets"] = [_content(d, self.base) for d in self.datasets]
        return digest(content)


#: The records of a catalogue by the key that holds them.
_NESTED: dict[str, type[Record]] = {
    "datasets": Dataset,
    "weights": LheWeights,
    "pdf": PdfWeights,
    "boson": BosonPole,
}


def _is_remote(entry: str) -> bool:
    return "://" in entry


def _locate(dataset: Dataset, base: Path, where: str) -> Dataset:
    """Return a dataset with absolute paths and expanded patterns."""
    truth = _existing(dataset.truth, base, f"{where}: truth")
    weights, pdf = dataset.weights, dataset.weights.pdf
    if pdf is not None:
        hessian = _existing(pdf.hessian, base, f"{where}: weights.pdf.hessian")
        pdf = pdf.model_copy(update={"hessian": hessian})
        weights = weights.model_copy(update={"pdf": pdf})
    files = tuple(file for entry in dataset.files for file in _expand(entry, base))
    return dataset.model_copy(
        update={"truth": truth, "weights": weights, "files": files}
    )


def _existing(path: Path | None, base: Path, where: str) -> Path | None:
    if path is None:
        return None
    found = _absolute(base, path)
    if not found.is_file():
        msg = (
            f"{where}: no file {found}; relative paths start from {base}. Correct the "
            "path or remove the key"
        )
        raise ConfigError(msg)
    return found


def _absolute(base: Path, path: str | Path) -> Path:
    # Not Path.resolve: links stay, since data often lie behind them.
    return Path(os.path.normpath(base / path))


def _expand(entry: str, base: Path) -> list[str]:
    if _is_remote(entry):
        return [entry]
    if (base / entry).is_file():  # first, since a name may contain brackets
        return [str(_absolute(base, entry))]
    # pathlib would match hidden files too.
    matches = glob(entry, root_dir=base, recursive=True)  # noqa: PTH207
    return sorted(str(_absolute(base, match)) for match in matches) or [entry]


def _refuse_twice(datasets: Iterable[Dataset], path: Path) -> None:
    owners: dict[str, str] = {}
    for dataset in datasets:
        for file in dataset.files:
            if file in owners:
                msg = (
                    f"{path}: dataset {dataset.name!r}: files: {file} is listed "
                    f"twice, first in dataset {owners[file]!r}; its events would count "
                    "double. List it once"
                )
                raise ConfigError(msg)
            owners[file] = dataset.name


def _content(dataset: Dataset, base: Path | None) -> dict[str, Any]:
    """Return a dataset as plain data, without the place where its files lie."""
    content = dataset.model_dump(mode="json")
    content["files"] = [file.removeprefix(f"{base}/") for file in dataset.files]
    content["truth"] = _content_digest(dataset.truth)
    pdf = dataset.weights.pdf
    if pdf is not None:
        content["weights"]["pdf"]["hessian"] = _content_digest(pdf.hessian)
    return content


def _content_digest(path: Path | None) -> str | None:
    return None if path is None else file_digest(path)
