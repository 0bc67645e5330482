"""Write toy events to one NanoAOD file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import awkward as ak
import numpy as np
import uproot
from numpy.typing import NDArray

from wprops.errors import ConfigError
from wprops.events.toy.nano import Branches, NanoVersion
from wprops.events.toy.nano_gen import TITLES

COMPRESSIONS = {"zstd": uproot.ZSTD(5), "lz4": uproot.LZ4(4)}
#: Name of the JSON string in each file that holds the truth.
TRUTH_KEY = "wprops_truth"


class NanoWriter:
    """A NanoAOD file that grows by chunks of events.

    Each chunk becomes one basket per branch, so chunks of 100 to 200 thousand
    events suit readers. Used as a context manager; leaving it writes the trees
    ``Runs`` and ``LuminosityBlocks`` and the truth.

    Parameters
    ----------
    path : Path
        File to write; it replaces an existing one.
    nano : {"v6", "v9", "v15"}
        Version of NanoAOD.
    truth : mapping
        Plain data stored as JSON under `TRUTH_KEY`.
    compression : {"zstd", "lz4"}
        Compression of all branches.
    """

    def __init__(
        self,
        path: Path,
        *,
        nano: NanoVersion,
        truth: Mapping[str, Any],
        compression: str = "zstd",
    ) -> None:
        if compression not in COMPRESSIONS:
            msg = f"compression {compression!r} is not one of {', '.join(COMPRESSIONS)}"
            raise ConfigError(msg)
        self._path = path
        self._partial = path.with_name(path.name + ".part")
        self._file = uproot.recreate(
            self._partial, compression=COMPRESSIONS[compression]
        )
        self._tree: Any = None
        self._nano = nano
        self._truth = truth
        self._sections: set[tuple[int, int]] = set()
        self._sums = np.zeros(3)
        self._simulated = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Finish the file; after an error only the partial file is removed."""
        if kind is None:
            self._write_runs()
            self._file[TRUTH_KEY] = json.dumps(self._truth)
        self._file.close()
        if kind is None:
            self._partial.replace(self._path)
        else:
            self._partial.unlink()

    def extend(self, branches: Branches) -> None:
        """Append a chunk of events."""
        if self._tree is None:
            self._tree = self._new_tree(branches)
        self._tree.extend(branches)
        self._note_sections(branches["run"], branches["luminosityBlock"])
        weights = branches.get("genWeight")
        if weights is not None:
            self._simulated = True
            wide = weights.astype(np.float64)
            self._sums += len(wide), wide.sum(), (wide**2).sum()

    def _new_tree(self, branches: Branches) -> Any:
        types = {
            name: values.type if isinstance(values, ak.Array) else values.dtype
            for name, values in branches.items()
        }
        tree = self._file.mktree("Events", types, counter_name=_counter)
        # uproot takes no titles per branch: they are set in the header that it is
        # about to write, which is written again for them to reach the file.
        cascade = tree._cascading
        for datum in cascade._branch_data:
            if datum["kind"] != "record" and datum["fName"] in TITLES:
                datum["fTitle"] = TITLES[datum["fName"]]
        cascade._relocate(tree._file, tree._file.sink)
        return tree

    def _note_sections(
        self, run: NDArray[np.uint32], section: NDArray[np.uint32]
    ) -> None:
        # One integer per pair: sorting rows is 20 times slower.
        pairs = np.unique(run.astype(np.uint64) << 32 | section)
        self._sections.update(divmod(int(pair), 1 << 32) for pair in pairs)

    def _write_runs(self) -> None:
        """Write run and section trees; sums of weights only for simulation."""
        sections = np.array(sorted(self._sections), np.uint32).reshape(-1, 2)
        blocks = {"run": sections[:, 0], "luminosityBlock": sections[:, 1]}
        self._file.mktree("LuminosityBlocks", blocks)
        runs: Branches = {"run": np.unique(sections[:, 0])}
        if self._simulated:
            # Central files of v5 and v6 spell these columns with an underscore.
            tail = "_" if self._nano == "v6" else ""
            runs[f"genEventCount{tail}"] = self._sums[:1].astype(np.int64)
            runs[f"genEventSumw{tail}"] = self._sums[1:2]
            runs[f"genEventSumw2{tail}"] = self._sums[2:]
        self._file.mktree("Runs", runs)


def _counter(name: str) -> str:
    """NanoAOD's counter of a collection: nMuon for Muon_pt."""
    return "n" + name.partition("_")[0]
