"""Muons of any isolation and mT, from which the multijet background is estimated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wprops.axes import Binning
from wprops.channels import Sideband, Sidebands
from wprops.selection.regions import ISOLATION_CLASSES, MT_SLICES
from wprops.systematics.catalog import MULTIJET
from wprops.templates.filling import Block, flat_index
from wprops.templates.parts import MuonBins, Part

FloatArray = NDArray[np.float64]
#: Numbers of isolation classes and mT slices.
CLASSES = len(ISOLATION_CLASSES), len(MT_SLICES) - 1
N_CLASSES = CLASSES[0] * CLASSES[1]


def with_classes(
    classes: NDArray[np.int64], muon_bin: NDArray[np.int64], n_bins: int
) -> NDArray[np.int64]:
    """Flat index of class and (eta, pT) bin, −1 where one of them is.

    See `wprops.selection.regions.isolation_and_mt` for the classes.
    """
    return flat_index([classes, muon_bin], (N_CLASSES, n_bins))


@dataclass(frozen=True, slots=True, eq=False)
class ClassSums:
    """Muons of one template in all classes.

    Attributes
    ----------
    block : Block
        Their bins in (eta, pT), with all variations.
    mt_sum : ndarray, shape (2, n_mt, 2)
        Sum of nominal weight times mT [GeV] by isolation, mT slice and charge.
    """

    block: Block
    mt_sum: FloatArray

    def __add__(self, other: ClassSums) -> ClassSums:
        """Add two sums of the same template; raises TemplateError otherwise."""
        return ClassSums(self.block + other.block, self.mt_sum + other.mt_sum)

    def __iadd__(self, other: ClassSums) -> ClassSums:
        """Add in place where the block has all cells of the other."""
        block = self.block
        block += other.block
        return ClassSums(block, self.mt_sum + other.mt_sum)


def fill_classes(part: Part, classes: MuonBins, mt: FloatArray) -> ClassSums:
    """Count the events of a part by class, whatever their boson.

    Parameters
    ----------
    part : Part
        Selected events of one template.
    classes : MuonBins
        Where all selected muons go, see `with_classes`.
    mt : ndarray, shape (n_selected,)
        Their mT [GeV].
    """
    part = part.unpolarised
    ((_, weight), n_bins) = part.components, classes.n_bins // N_CLASSES
    muon_bin = classes.nominal[part.index]
    counted = muon_bin >= 0
    negative = classes.charge[part.index] < 0
    index = 2 * (muon_bin // n_bins) + negative
    mt_sum = np.zeros(2 * N_CLASSES)
    np.add.at(mt_sum, index[counted], (weight[:, 0] * mt[part.index])[counted])
    return ClassSums(part.fill(classes), mt_sum.reshape(*CLASSES, 2))


def build_sidebands(merged: Mapping[str, ClassSums], binning: Binning) -> Sidebands:
    """Turn the sums of all processes into arrays.

    Parameters
    ----------
    merged : mapping of str to ClassSums
        By template, data among them; simulated multijet is left out, since it is
        what the data are to tell.
    binning : Binning
        The binning of the blocks.
    """
    arrays = {name: _sideband(sums, binning) for name, sums in merged.items()}
    data = arrays.pop("data")
    processes = {k: found for k, found in sorted(arrays.items()) if k != MULTIJET}
    return Sidebands(np.array(MT_SLICES), data.nominal, data.mt_sum, processes)


def _sideband(found: ClassSums, binning: Binning) -> Sideband:
    block = found.block
    section = block.section(0, block.n_cells)

    def shaped(values: FloatArray) -> FloatArray:
        by_charge = values.reshape(2, *CLASSES, *binning.shape)
        return np.ascontiguousarray(np.moveaxis(by_charge, 0, 2))

    sums = section.sums[0]
    varied = dict(zip(block.labels[1:], map(shaped, sums[1:]), strict=True))
    variance = shaped(section.products[0, 0])
    return Sideband(shaped(sums[0]), variance, found.mt_sum, varied)
