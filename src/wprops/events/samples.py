"""What processors need to know of a sample beyond its events, read once up front."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wprops.axes import Binning
from wprops.catalog import Catalog
from wprops.channels import Generated
from wprops.datasets import RESERVED, Dataset
from wprops.errors import ConfigError
from wprops.events.coefficients import MeasuredCoefficients
from wprops.events.toy.truth import ToyTruth, bin_truth, coefficients
from wprops.systematics.catalog import MULTIJET, PROMPT, Available, declare
from wprops.systematics.declaration import Systematic

FloatArray = NDArray[np.float64]
Declared = tuple[Systematic, ...]
#: Names of processes that the records name, or of samples that are split into them.
KNOWN_PROCESSES = PROMPT | {"W_mu", MULTIJET}
#: Those that a catalogue may give to simulation, which are not names of templates.
NAMED_PROCESSES = KNOWN_PROCESSES - set(RESERVED)
logger = logging.getLogger(__name__)


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
    measured : MeasuredCoefficients, optional
        What was generated, as measured in the simulation; goes before the truth.
    """

    dataset: Dataset
    hessian: FloatArray | None = None
    truth: ToyTruth | None = None
    measured: MeasuredCoefficients | None = None

    @property
    def n_pdf(self) -> int:
        """Number of PDF directions."""
        return 0 if self.hessian is None else self.hessian.shape[1]

    @property
    def generated(self) -> ToyTruth | MeasuredCoefficients:
        """What was generated: two samples with the same one can share templates.

        Raises
        ------
        ConfigError
            If it is not known.
        """
        found = self.measured or self.truth
        if found is None:
            msg = (
                f"dataset {self.dataset.name!r}: the angular coefficients of its "
                "simulation are needed at each point of (qT, Y); measure them with "
                "`wprops run --processor gen_moments` and name the file as "
                "`coefficients:` of the dataset (a toy has its `truth:`), or leave the "
                "dataset out of template production"
            )
            raise ConfigError(msg)
        return found

    def coefficients(self, charge: int, qt: ArrayLike, y: ArrayLike) -> FloatArray:
        """A0 … A7 of the simulation at points of (qT [GeV], Y), shape (8, n).

        Raises
        ------
        ConfigError
            If they are not known.
        """
        generated = self.generated
        if isinstance(generated, MeasuredCoefficients):
            return generated.coefficients(charge, qt, y)
        return coefficients(generated, charge, qt, y)

    def generated_maps(self, binning: Binning) -> dict[int, Generated]:
        """Cross sections and coefficients in the cells of templates, by charge.

        Raises
        ------
        ConfigError
            If they are not known.
        """
        generated = self.generated
        if isinstance(generated, MeasuredCoefficients):
            return generated.generated_maps(binning)
        qt, absy = np.array(binning.qt), np.array(binning.absy)
        return {
            charge: Generated(qt, absy, *bin_truth(generated, charge, qt, absy))
            for charge in (1, -1)
        }

    @property
    def known_truth(self) -> ToyTruth:
        """The truth; raises ConfigError if the sample has none."""
        if self.truth is None:
            msg = f"dataset {self.dataset.name!r} has no `truth:`; only a toy has one"
            raise ConfigError(msg)
        return self.truth


def read_samples(catalog: Catalog) -> dict[str, Sample]:
    """Read matrices and truths of all datasets, by name.

    Raises
    ------
    ConfigError
        If a matrix does not have a row per replica, matrices differ in their
        number of directions, or measured coefficients have no good fit.
    """
    # Datasets with the same file share what is measured there.
    paths = {d.coefficients for d in catalog.datasets}
    measured = {p: None if p is None else MeasuredCoefficients.read(p) for p in paths}
    samples = {
        dataset.name: Sample(
            dataset=dataset,
            hessian=_read_hessian(dataset),
            truth=_read_truth(dataset),
            measured=measured[dataset.coefficients],
        )
        for dataset in catalog.datasets
    }
    sizes = {s.n_pdf for s in samples.values() if s.hessian is not None}
    if len(sizes) > 1:
        msg = (
            f"catalogue {catalog.name!r}: the matrices `hessian:` have "
            f"{', '.join(map(str, sorted(sizes)))} directions; one number is needed, "
            "since a direction is one nuisance parameter for all samples"
        )
        raise ConfigError(msg)
    return samples


def _read_truth(dataset: Dataset) -> ToyTruth | None:
    if dataset.truth is None:
        return None
    return read_truth(dataset.truth, "data" if dataset.kind == "data" else None)


def declare_for(
    catalog: Catalog, samples: Mapping[str, Sample], efficiency_parts: int = 1
) -> Declared:
    """Declare the uncertainties for which the samples of a catalogue have inputs.

    Parameters
    ----------
    catalog : Catalog
        The catalogue.
    samples : mapping of str to Sample
        The small files of its datasets.
    efficiency_parts : int
        Eta bins of the efficiency in one of the templates, see
        `wprops.nominal.efficiency_parts`.
    """
    _name_unknown_processes(catalog)
    _warn_of_isolation(catalog)
    datasets = [d for d in catalog.datasets if d.kind == "mc"]
    pdfs = [d.weights.pdf for d in datasets if d.weights.pdf is not None]
    return declare(
        Available(
            n_pdf=max(sample.n_pdf for sample in samples.values()),
            alphas=any(pdf.alphas for pdf in pdfs),
            scale=any(d.weights.scale is not None for d in datasets),
            prefire=any(d.corrections.prefire is not None for d in datasets),
            efficiency=any(d.corrections.efficiency for d in datasets),
            efficiency_parts=efficiency_parts,
            fakes=catalog.multijet == "data",
            extra=frozenset(d.process for d in datasets) - KNOWN_PROCESSES,
            without=frozenset(catalog.without),
            also=frozenset(catalog.also),
        )
    )


def _warn_of_isolation(catalog: Catalog) -> None:
    """Warn of factors that the prompt rate of the multijet estimate cannot see."""
    steps = {
        d.name: d.corrections.efficiency for d in catalog.datasets if d.kind == "mc"
    }
    blind = [n for n, s in steps.items() if s and not any(x.isolation for x in s)]
    if catalog.multijet == "data" and blind:
        logger.warning(
            "efficiency factors of %s multiply isolated and anti-isolated muons alike: "
            "if one of them corrects the isolation, the prompt rate, to which multijet "
            "from data is sensitive, stays that of the simulation; give its step "
            "`isolation:` then, the efficiency in simulation",
            ", ".join(map(repr, blind)),
        )


def _name_unknown_processes(catalog: Catalog) -> None:
    """Warn of names that no record knows: each may be a process, or a typing error."""
    for dataset in catalog.datasets:
        if dataset.kind == "mc" and dataset.process not in KNOWN_PROCESSES:
            logger.warning(
                "dataset %r: process %r is not known, and gets the uncertainties of "
                "any simulation alone; known are %s",
                *(dataset.name, dataset.process, ", ".join(sorted(NAMED_PROCESSES))),
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
