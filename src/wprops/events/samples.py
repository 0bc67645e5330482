"""What processors need to know of a sample beyond its events, read once up front."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wprops.catalog import Catalog
from wprops.datasets import Dataset
from wprops.errors import ConfigError
from wprops.events.toy.truth import ToyTruth, coefficients
from wprops.systematics.catalog import MULTIJET, PROMPT, Available, declare
from wprops.systematics.declaration import Systematic

FloatArray = NDArray[np.float64]
Declared = tuple[Systematic, ...]
#: Names of processes that the records name, or of samples that are split into them.
KNOWN_PROCESSES = PROMPT | {"W_mu", MULTIJET}


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """A dataset with the small files that belong to it.

    Attributes
    ----------
    dataset : Dataset
        The catalogue's record.
    hessian : ndarray, shape (n_replicas, n_directions), optional
        Turns PDF replicas into Hessian directions.
    truth : ToyTruth, optional
        The truth that a toy was drawn from.
    """

    dataset: Dataset
    hessian: FloatArray | None = None
    truth: ToyTruth | None = None

    @property
    def n_pdf(self) -> int:
        """Number of PDF directions."""
        return 0 if self.hessian is None else self.hessian.shape[1]

    def coefficients(self, charge: int, qt: ArrayLike, y: ArrayLike) -> FloatArray:
        """A0 … A7 of the simulation at points of (qT [GeV], Y), shape (8, n).

        Raises
        ------
        ConfigError
            If they are not known.
        """
        return coefficients(self.known_truth, charge, qt, y)

    @property
    def known_truth(self) -> ToyTruth:
        """The truth; raises ConfigError if the sample has none."""
        if self.truth is None:
            msg = (
                f"dataset {self.dataset.name!r}: the angular coefficients of its "
                "simulation are needed at each point of (qT, Y), and only a toy's "
                "`truth:` gives them so far; add it, or leave the dataset out of "
                "template production (moments and backgrounds need none)"
            )
            raise ConfigError(msg)
        return self.truth


def read_samples(catalog: Catalog) -> dict[str, Sample]:
    """Read matrices and truths of all datasets, by name.

    Raises
    ------
    ConfigError
        If a matrix does not have a row per replica, or matrices differ in their
        number of directions.
    """
    samples = {dataset.name: _read(dataset) for dataset in catalog.datasets}
    sizes = {s.n_pdf for s in samples.values() if s.hessian is not None}
    if len(sizes) > 1:
        msg = (
            f"catalogue {catalog.name!r}: the matrices `hessian:` have "
            f"{', '.join(map(str, sorted(sizes)))} directions; one number is needed, "
            "since a direction is one nuisance parameter for all samples"
        )
        raise ConfigError(msg)
    return samples


def _read(dataset: Dataset) -> Sample:
    return Sample(
        dataset=dataset,
        hessian=_read_hessian(dataset),
        truth=None
        if dataset.truth is None
        else read_truth(dataset.truth, "data" if dataset.kind == "data" else None),
    )


def declare_for(catalog: Catalog, samples: Mapping[str, Sample]) -> Declared:
    """Declare the uncertainties for which the samples of a catalogue have inputs."""
    datasets = [d for d in catalog.datasets if d.kind == "mc"]
    pdfs = [d.weights.pdf for d in datasets if d.weights.pdf is not None]
    return declare(
        Available(
            n_pdf=max(sample.n_pdf for sample in samples.values()),
            alphas=any(pdf.alphas for pdf in pdfs),
            scale=any(d.weights.scale is not None for d in datasets),
            prefire=any(d.corrections.prefire is not None for d in datasets),
            efficiency=any(d.corrections.efficiency for d in datasets),
            extra=frozenset(d.process for d in datasets) - KNOWN_PROCESSES,
            without=frozenset(catalog.without),
        )
    )


def read_truth(path: Path, which: str | None = None) -> ToyTruth:
    """Read the toy's truth: that of the simulation, or ``which="data"``.

    Raises
    ------
    ConfigError
        If the file is not the truth of this version of the toy.
    """
    try:
        record = json.loads(path.read_text())[which or "simulation"]
    except (ValueError, KeyError, TypeError) as error:
        msg = f"{path} is not the truth file of a toy: {error!r}"
        raise ConfigError(msg) from error
    return ToyTruth.from_dict(record)


def _read_hessian(dataset: Dataset) -> FloatArray | None:
    pdf = dataset.weights.pdf
    if pdf is None or pdf.hessian is None:
        return None
    try:
        matrix = np.loadtxt(pdf.hessian, delimiter=",", ndmin=2)
    except ValueError as error:
        msg = f"{pdf.hessian} is not a matrix of comma-separated numbers: {error}"
        raise ConfigError(msg) from error
    if len(matrix) != pdf.replicas:
        msg = (
            f"dataset {dataset.name!r}: {pdf.hessian} has {len(matrix)} rows for "
            f"{pdf.replicas} replicas; one row per replica is needed"
        )
        raise ConfigError(msg)
    return matrix
