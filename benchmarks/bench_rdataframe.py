"""The public processor against RDataFrame: same file, selection and weights.

Run from the project's folder with the ``root`` of an installation of ROOT:

    python -m benchmarks.bench_rdataframe /path/to/root

Events per CPU-second of one thread, for 6 helicity components times 75 weights. Tasks
alternate and the table has medians; ratios within one run are what counts. ROOT runs
in a process of its own, compiled with ``-O3 -march=native``, and its time is that of
the second of two loops: neither start, compilation nor just-in-time compilation count.
The sums of all templates have to agree, and the largest difference is printed.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy is imported

import argparse
import itertools
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import uproot
import yaml
from numpy.typing import ArrayLike, NDArray

from benchmarks.bench_events import COMPRESSIONS, SEED, TRUTH, open_chunk, read
from corrections.build_toy import BLOCK, build_toy
from wprops.axes import EVEN_COMPONENTS, FULL
from wprops.catalog import Catalog
from wprops.corrections.efficiency import open_step
from wprops.errors import WpropsError
from wprops.events.runs import genweight_sums
from wprops.events.toy.samples import HESSIAN, write_toy
from wprops.events.toy.theory import N_REPLICAS
from wprops.execution.inputs import PB_IN_FB
from wprops.execution.processors import load_processor
from wprops.execution.run import run
from wprops.physics.breit_wigner import WINDOW
from wprops.systematics.catalog import LOW_ACCEPTANCE, MASS_STEP, SIGNAL
from wprops.systematics.declaration import NOMINAL, variation_label

#: User and kernel time [s].
Cpu = tuple[float, float]
Array = NDArray[np.float64]
#: Rows with content: cells, shape (n,), and sums, shape (n, n_components, n_labels).
Rows = tuple[NDArray[np.int64], Array]

MACRO = Path(__file__).with_name("rdataframe.C")
N_DIRECTIONS = 60
#: Left out of the comparison: kinematic shifts, and scales of the low acceptance.
WITHOUT = ("muon_scale", "met", "scale_z", "scale_w")
#: The weights in the order of rdataframe.C.
LABELS = (
    NOMINAL,
    *(variation_label("mw", side) for side in ("up", "down")),
    *(variation_label(f"pdf_{k + 1:02d}", "up") for k in range(N_DIRECTIONS)),
    *(
        variation_label(name, side)
        for name in (
            "alphas",
            *(f"sf_stat_{k}" for k in range(3)),
            "sf_syst",
            "prefire",
        )
        for side in ("up", "down")
    ),
)
#: Allowed difference of a bin, relative to the largest one of its template: PDF weights
#: and their combinations are in single precision.
TOLERANCE = 1e-6
COEFFICIENTS = (
    "qt_reference",
    *("a0", "a1", "a1_slope", "a2_dip", "a3", "a3_slope"),
    *("a4", "a4_slope", "a4_power", "a_odd"),
)


class Task(NamedTuple):
    """What to measure, and the number of events it handles."""

    call: Callable[[], Cpu]
    events: int


def main() -> None:
    """Write the toy, check that all agree, measure, print the rates and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("root", type=Path, help="the executable of ROOT")
    parser.add_argument("--events", type=int, default=400_000, help="W+ events")
    parser.add_argument(
        "--histogram-events", type=int, default=40_000, help="for one TH2D per template"
    )
    parser.add_argument("--repeat", type=int, default=5, help="rounds for the medians")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root = Root(arguments.root, folder)
        tasks: dict[str, Task] = {}
        for compression in COMPRESSIONS:
            toy = write_inputs(folder / compression, arguments.events, compression)
            n_few = arguments.histogram_events
            tasks |= build_tasks(root, toy, compression, n_few)
            check_agreement(root, toy, n_few)
        print_table(tasks, measure(tasks, arguments.repeat))


class Toy(NamedTuple):
    """One file of W+ events, the catalogues to process it with, tables for C++."""

    weights: Catalog
    everything: Catalog
    tables: Path

    @property
    def path(self) -> str:
        """The file of events."""
        return self.weights.datasets[0].files[0]


class Root:
    """A process of ROOT per measurement, which loads the compiled macro."""

    def __init__(self, executable: Path, folder: Path) -> None:
        found = shutil.which(executable)
        if found is None:
            msg = f"{executable} is no executable; give the `root` of an installation"
            raise WpropsError(msg)
        self.executable = found
        shutil.copy(MACRO.with_suffix(".hpp"), folder)
        macro = shutil.copy(MACRO, folder)  # the compiler leaves files beside it
        self.load = (
            'gSystem->SetFlagsOpt("-O3 -march=native -DNDEBUG");'
            f'if (!gSystem->CompileMacro("{macro}", "kO")) gSystem->Exit(1);'
        )
        self._execute("")

    def loop(
        self, design: str, toy: Toy, events: int = 0, output: Path | None = None
    ) -> Cpu:
        """Measure a design over the first events, all for 0; optionally write sums."""
        where = "" if output is None else output
        call = f'rdataframe("{design}", "{toy.path}", "{toy.tables}", {events}'
        for line in self._execute(f'{call}, "{where}");').splitlines():
            if line.startswith("RESULT "):
                user, kernel = line.split()[1:]
                return float(user), float(kernel)
        msg = f"ROOT printed no result of the design {design!r}"
        raise WpropsError(msg)

    def _execute(self, statement: str) -> str:
        quoted = statement.replace('"', '\\"')
        command = f'{self.load} gROOT->ProcessLine("{quoted}");'
        done = subprocess.run(
            [self.executable, "-l", "-b", "-q", "-e", command],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode or "Error" in done.stderr:
            msg = f"ROOT failed:\n{done.stdout}{done.stderr}"
            raise WpropsError(msg)
        return done.stdout


def write_inputs(folder: Path, n_events: int, compression: str) -> Toy:
    """Write W+ events, corrections, and a matrix with as many directions as real ones.

    The toy's own matrix has nine, as its replicas differ in nine ways only.
    """
    # The number of events that write_toy wants counts both charges.
    n_both = round(n_events * (1.0 + TRUTH.wminus.sigma / TRUTH.wplus.sigma))
    catalogue = write_toy(
        folder,
        events=n_both,
        events_per_file=n_both,
        seed=SEED,
        samples=["Wplus_mu"],
        # Scale factors that are not all 1.
        deviations={"eff_eta": 0.02, "eff_charge": 0.01},
        compression=compression,
        workers=1,
        progress=False,
    )
    build_toy(folder / "truth.json", folder / "corrections")
    matrix = np.random.default_rng(SEED).normal(0.0, 0.1, (N_REPLICAS, N_DIRECTIONS))
    np.savetxt(folder / HESSIAN, matrix, delimiter=",")
    content = yaml.safe_load(catalogue.read_text())
    content["corrections"] = {key: BLOCK[key] for key in ("efficiency", "prefire")}
    catalogue.write_text(yaml.safe_dump(content))
    everything = Catalog.read(catalogue)
    weights = everything.model_copy(update={"without": WITHOUT})
    tables = folder / "tables.txt"
    tables.write_text("".join(_table_lines(everything)))
    return Toy(weights, everything, tables)


def _table_lines(catalog: Catalog) -> Iterator[str]:
    """Numbers that C++ needs: a name, how many, and the numbers."""
    dataset = catalog.datasets[0]
    pole, pdf = dataset.boson, dataset.weights.pdf
    assert pole is not None
    assert pdf is not None
    assert pdf.hessian is not None
    assert dataset.xsec is not None
    used = dataset.corrections.efficiency[0]
    step = open_step(used.file, used.name)
    sumw = genweight_sums(dataset.files).sumw
    tables: dict[str, ArrayLike] = {
        "eta": FULL.eta,
        "pt": FULL.pt,
        "absy": FULL.absy,
        "qt": FULL.qt,
        "truth": [getattr(TRUTH.wplus, name) for name in COEFFICIENTS],
        "pole": [pole.mass, pole.width, *WINDOW, MASS_STEP],
        "hessian": np.loadtxt(pdf.hessian, delimiter=","),
        "sf_eta": step.eta,
        "sf_pt": step.pt,
        "sf_table": step.table,
        "normalisation": [dataset.xsec * PB_IN_FB * catalog.luminosity / sumw],
    }
    for name, values in tables.items():
        flat = np.ravel(values).tolist()
        yield f"{name} {len(flat)} {' '.join(map(repr, flat))}\n"


def build_tasks(root: Root, toy: Toy, compression: str, n_few: int) -> dict[str, Task]:
    """Return what is measured on one file."""
    tree = uproot.open(toy.path)["Events"]
    n = tree.num_entries
    baskets = list(itertools.pairwise(tree.common_entry_offsets()))
    reading = partial(read, toy.path, columns(toy.weights), baskets)
    tasks = {
        "processor, weights": Task(partial(timed, partial(process, toy.weights)), n),
        "processor, all": Task(partial(timed, partial(process, toy.everything)), n),
        "RDataFrame, flat array": Task(partial(root.loop, "flat", toy), n),
        "RDataFrame, TH2Ds": Task(partial(root.loop, "histograms", toy, n_few), n_few),
        "read": Task(partial(timed, reading), n),
    }
    return {f"{name}, {compression}": task for name, task in tasks.items()}


def process(catalog: Catalog) -> Any:
    """Run the public processor; return its sums."""
    processor = load_processor("templates").from_catalog(catalog, FULL)
    return run(catalog, processor, progress=False).outputs


def columns(catalog: Catalog) -> list[str]:
    """Columns that the processor reads."""
    log: list[Any] = []
    processor = load_processor("templates").from_catalog(catalog, FULL)
    processor.process(open_chunk(catalog.datasets[0], log))
    return sorted({item.branch for item in log})


def timed(call: Callable[[], Any]) -> Cpu:
    """CPU time of a call, all threads of this process."""
    start = resource.getrusage(resource.RUSAGE_SELF)
    call()
    stop = resource.getrusage(resource.RUSAGE_SELF)
    return stop.ru_utime - start.ru_utime, stop.ru_stime - start.ru_stime


def check_agreement(root: Root, toy: Toy, n_few: int) -> None:
    """Compare all sums; raise WpropsError if they differ."""
    output = toy.tables.with_name("sums.bin")
    blocks = next(iter(process(toy.weights).values()))["blocks"]
    signal, outside = (blocks[name] for name in (SIGNAL, LOW_ACCEPTANCE))
    if signal.labels != LABELS or outside.labels != LABELS:
        msg = f"the processor has the weights {signal.labels}, C++ has {LABELS}"
        raise WpropsError(msg)
    root.loop("flat", toy, output=output)
    both = [(block.cells, block.sums) for block in (signal, outside)]
    report("flat array and processor", read_rows(output), both)
    root.loop("flat", toy, n_few, output)
    few = read_rows(output)
    root.loop("histograms", toy, n_few, output)
    report(f"TH2Ds and flat array, {n_few} events", read_rows(output), few)


def read_rows(path: Path) -> list[Rows]:
    """Read what C++ has written: signal, then low acceptance."""
    found = []
    with path.open("rb") as file:
        for n_components in (len(EVEN_COMPONENTS), 1):
            size = int(np.fromfile(file, np.int64, 1)[0])
            cells = np.fromfile(file, np.int64, size)
            sums = np.fromfile(file, float, size * n_components * len(LABELS))
            found.append((cells, sums.reshape(size, n_components, len(LABELS))))
    return found


def report(what: str, first: list[Rows], second: list[Rows]) -> None:
    """Print the largest difference; raise WpropsError if it is too large."""
    for name, (cells, one), (others, two) in zip(
        (SIGNAL, LOW_ACCEPTANCE), first, second, strict=True
    ):
        if not np.array_equal(cells, others):
            msg = f"{what}: {len(cells)} and {len(others)} occupied cells of {name}"
            raise WpropsError(msg)
        bins = float((abs(one - two).max(axis=0) / abs(two).max(axis=0)).max())
        total = two[:, :1].sum(axis=0)  # of the unpolarised template
        sums = float((abs((one - two).sum(axis=0)) / total).max())
        print(f"{what}, {name}: {len(cells)} cells, differences {bins:.1e} of the")
        print(f"  largest bin of a template, {sums:.1e} of the sum of one")
        if max(bins, sums) > TOLERANCE:
            msg = f"{what}: templates of {name} differ by more than {TOLERANCE:g}"
            raise WpropsError(msg)


def measure(tasks: dict[str, Task], repeat: int) -> dict[str, Array]:
    """CPU seconds per round, user and kernel, after a round that warms up."""
    seconds: dict[str, list[Cpu]] = {name: [] for name in tasks}
    for _ in range(repeat + 1):
        for name, task in tasks.items():
            seconds[name].append(task.call())
    return {name: np.array(found[1:]) for name, found in seconds.items()}


def print_table(tasks: dict[str, Task], seconds: dict[str, Array]) -> None:
    """Print rates and ratios, also without the noisy time that the kernel takes."""
    total = {n: s.sum(axis=1) / tasks[n].events for n, s in seconds.items()}
    user = {n: s[:, 0] / tasks[n].events for n, s in seconds.items()}
    print(f"\n{'events':32s}{'per CPU-second':>15s}{'per user-second':>16s}")
    for name in seconds:
        rates = [1.0 / np.median(time[name]) for time in (total, user)]
        print(f"{name:32s}{rates[0]:15,.0f}{rates[1]:16,.0f}")
    print(f"\n{'processor over':40s}{'CPU':>6s}  {'rounds':12s}  {'user':>6s}")
    for kind, other, compression in itertools.product(
        ("weights", "all"),
        ("RDataFrame, flat array", "RDataFrame, TH2Ds", "read"),
        COMPRESSIONS,
    ):
        one, two = f"processor, {kind}, {compression}", f"{other}, {compression}"
        ratio, without = total[two] / total[one], user[two] / user[one]
        label = f"{kind} / {other}, {compression}"
        spread = f"{ratio.min():.2f} to {ratio.max():.2f}"
        print(f"{label:40s}{np.median(ratio):6.2f}  {spread:12s}", end="")
        print(f"{np.median(without):8.2f}")


if __name__ == "__main__":
    main()
