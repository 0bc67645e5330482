"""Muons of any isolation and mT, from which the multijet background is estimated."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from wprops.axes import Binning
from wprops.channels import Sideband, Sidebands
from wprops.selection.regions import ISOLATION_CLASSES, MT_SLICES
from wprops.systematics.catalog import MULTIJET
from wprops.templates.filling import Block, flat_index

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


def build_sidebands(merged: Mapping[str, Block], binning: Binning) -> Sidebands:
    """Turn the blocks of all processes into arrays.

    Parameters
    ----------
    merged : mapping of str to Block
        By template, data among them; simulated multijet is left out, since it is
        what the data are to tell.
    binning : Binning
        The binning of the blocks.
    """
    arrays = {name: _arrays(block, binning) for name, block in merged.items()}
    processes = {
        name: Sideband(nominal, variance, variations)
        for name, (nominal, variance, variations) in sorted(arrays.items())
        if name not in ("data", MULTIJET)
    }
    return Sidebands(np.array(MT_SLICES), arrays["data"][0], processes)


def _arrays(
    block: Block, binning: Binning
) -> tuple[NDArray[np.float64], NDArray[np.float64], dict[str, NDArray[np.float64]]]:
    section = block.section(0, block.n_cells)

    def shaped(values: NDArray[np.float64]) -> NDArray[np.float64]:
        by_charge = values.reshape(2, *CLASSES, *binning.shape)
        return np.ascontiguousarray(np.moveaxis(by_charge, 0, 2))

    sums = section.sums[0]
    varied = dict(zip(block.labels[1:], map(shaped, sums[1:]), strict=True))
    return shaped(sums[0]), shaped(section.products[0, 0]), varied
