"""The catalogue: the datasets of one measurement, read from YAML and found on disk."""

from __future__ import annotations

import os
from collections.abc import Iterable
from glob import glob
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator

from wprops.datasets import (
    BosonPole,
    Corrections,
    Dataset,
    EfficiencyCorrection,
    LheWeights,
    NamedCorrection,
    PdfWeights,
)
from wprops.errors import ConfigError
from wprops.provenance import digest, file_digest
from wprops.records import Record


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
    corrections: Corrections | None = Field(
        default=None, description="corrections of datasets that list none"
    )
    without: tuple[str, ...] = Field(
        default=(), description="list of systematics, or their groups, to leave out"
    )
    also: tuple[str, ...] = Field(
        default=(), description="list of optional systematics to declare: width"
    )
    multijet: Literal["simulation", "data"] = Field(
        default="simulation",
        description="what the multijet background is taken from: simulation or data",
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
        """Hand down triggers, flags and corrections to datasets without their own."""
        defaults = {
            key: info.data[key]
            for key in ("triggers", "flags", "corrections")
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
            a matrix, truth, golden JSON or another named file is missing.
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

    def dataset_digests(self) -> dict[str, str]:
        """Digests of what is said of each dataset, apart from its files."""
        return {
            dataset.name: digest(_content(dataset, self.base) | {"files": None})
            for dataset in self.datasets
        }

    @property
    def digest(self) -> str:
        """SHA-256 of what the catalogue says, wherever its files lie.

        Event files count by their path relative to ``base``; the matrix, truth and
        golden JSON by what they contain.
        """
        # The defaults have been handed down to the datasets.
        elsewhere = {"base", "datasets", "golden_json"}
        elsewhere |= {"triggers", "flags", "corrections"}
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
    "corrections": Corrections,
    "efficiency": EfficiencyCorrection,
    "isolation": NamedCorrection,
    "pileup": NamedCorrection,
}


def _is_remote(entry: str) -> bool:
    return "://" in entry


def _locate(dataset: Dataset, base: Path, where: str) -> Dataset:
    """Return a dataset with absolute paths and expanded patterns."""
    truth = _existing(dataset.truth, base, f"{where}: truth")
    coefficients = _existing(dataset.coefficients, base, f"{where}: coefficients")
    weights, pdf = dataset.weights, dataset.weights.pdf
    if pdf is not None:
        hessian = _existing(pdf.hessian, base, f"{where}: weights.pdf.hessian")
        pdf = pdf.model_copy(update={"hessian": hessian})
        weights = weights.model_copy(update={"pdf": pdf})
    files = tuple(file for entry in dataset.files for file in _expand(entry, base))
    corrections = _locate_corrections(dataset.corrections, base, where)
    return dataset.model_copy(
        update={
            "truth": truth,
            "coefficients": coefficients,
            "weights": weights,
            "files": files,
            "corrections": corrections,
        }
    )


def _locate_corrections(found: Corrections, base: Path, where: str) -> Corrections:
    where = f"{where}: corrections"
    prefire = found.prefire
    if isinstance(prefire, Path):
        prefire = _existing(prefire, base, f"{where}.prefire")

    def locate(named: NamedCorrection | None, key: str) -> NamedCorrection | None:
        if named is None:
            return None
        file = _existing(named.file, base, f"{where}.{key}")
        return named.model_copy(update={"file": file})

    steps = tuple(
        step.model_copy(
            update={
                "file": _existing(step.file, base, f"{where}.efficiency"),
                "isolation": locate(step.isolation, "efficiency.isolation"),
            }
        )
        for step in found.efficiency
    )
    return found.model_copy(
        update={
            "muons": _existing(found.muons, base, f"{where}.muons"),
            "efficiency": steps,
            "pileup": locate(found.pileup, "pileup"),
            "prefire": prefire,
            "boson": _existing(found.boson, base, f"{where}.boson"),
        }
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
    content["coefficients"] = _content_digest(dataset.coefficients)
    content["corrections"] = _with_digests(content["corrections"])
    pdf = dataset.weights.pdf
    if pdf is not None:
        content["weights"]["pdf"]["hessian"] = _content_digest(pdf.hessian)
    return content


def _with_digests(content: Any) -> Any:
    """Replace absolute paths, however deep, by the digest of what they hold."""
    if isinstance(content, dict):
        return {key: _with_digests(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_with_digests(value) for value in content]
    is_path = isinstance(content, str) and Path(content).is_absolute()
    return file_digest(Path(content)) if is_path else content


def _content_digest(path: Path | None) -> str | None:
    return None if path is None else file_digest(path)
