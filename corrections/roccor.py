"""Read the text files of RoccoR, which hold the Rochester corrections of Run 2."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wprops.errors import ConfigError

#: The lines with which a file opens; what follows is one block per member.
HEADER = ("NSET", "NMEM", "TVAR", "CPHI", "CETA", "RMIN", "RTRK", "RETA")
#: Tables of a member by tag.
Tables = Mapping[str, NDArray[np.float64]]

#: Parameters and what their values must exceed: the factors on the resolution, and
#: width, alpha and power of the Crystal Ball.
LOWEST = {("F", 0): 0.0, ("F", 1): 0.0, ("R", 3): 0.0, ("R", 4): 0.0, ("R", 5): 1.0}


@dataclass(frozen=True, slots=True)
class Layout:
    """What the header says: members per set, bins and the shape of each table."""

    members: tuple[int, ...]
    eta: list[float]
    phi: list[float]
    abseta: list[float]
    layers: list[float]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of a member's tables by tag; a line holds one row of one of them."""
        n_abseta, n_layers = len(self.abseta) - 1, len(self.layers) - 1
        return {
            "C": (2, 2, len(self.eta) - 1, len(self.phi) - 1),
            "F": (2, n_abseta),
            "R": (6, n_abseta, n_layers),
            "T": (2, n_abseta, n_layers + 1),
        }


@dataclass(frozen=True, slots=True)
class RoccoR:
    """Content of a RoccoR text file.

    Attributes
    ----------
    layout : Layout
        Bins and members.
    tables : mapping of (set, member) to mapping of tag to ndarray
        ``C[type, M or A, eta, phi]`` the momentum scale [%, %/GeV],
        ``F[type, abseta]`` the factors on the resolution, and
        ``R[parameter, abseta, layers]`` the resolution and its Crystal Ball,
        where type 0 is simulation and 1 is data. The layer distributions ``T``
        serve only functions that RoccoR itself has retired.
    """

    layout: Layout
    tables: Mapping[tuple[int, int], Tables]


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the text file that knows its place."""

    path: Path
    number: int
    words: list[str]

    def error(self, found: str, expected: str) -> ConfigError:
        """Return the error that says what is wrong with this line."""
        msg = (
            f"{self.path}, line {self.number}: found {found}; expected {expected}. Get "
            "the file again, it is damaged or no RoccoR file"
        )
        return ConfigError(msg)

    def integers(self, start: int, stop: int | None = None) -> list[int]:
        """Return some of the words as integers."""
        words = self.words[start:stop]
        try:
            return [int(word) for word in words]
        except ValueError:
            raise self.error(" ".join(words), "integers") from None

    def count(self) -> int:
        """Return the first number after the tag, which counts something."""
        count = self.integers(1, 2)
        if not count or count[0] < 1:
            found = f"{' '.join(self.words)!r}"
            raise self.error(found, f"{self.words[0]} and a positive number")
        return count[0]

    def numbers(self, start: int, count: int) -> list[float]:
        """Return the words from ``start`` on, ``count`` finite numbers."""
        words = self.words[start:]
        try:
            values = [float(word) for word in words]
        except ValueError:
            raise self.error(" ".join(words), "numbers") from None
        if len(values) != count or not all(map(math.isfinite, values)):
            found = f"{len(values)} values: {' '.join(words)}"
            raise self.error(found, f"{count} finite numbers")
        return values


def read_roccor(path: Path) -> RoccoR:
    """Read a RoccoR text file, plain or gzipped.

    Raises
    ------
    ConfigError
        If the file is damaged; the message names the line.
    """
    header: dict[str, Line] = {}
    body = []
    for line in _lines(path):
        if line.words[0] in HEADER:
            header[line.words[0]] = line
        else:
            body.append(line)
    layout = _layout(path, header)
    return RoccoR(layout, _tables(path, layout, body))


def _lines(path: Path) -> Iterator[Line]:
    """Yield the lines that are not empty."""
    try:
        content = path.read_bytes()
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
        text = content.decode("ascii")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        msg = f"cannot read {path} as text, plain or gzipped: {error}; get it again"
        raise ConfigError(msg) from error
    for number, line in enumerate(text.splitlines(), start=1):
        if words := line.split():
            yield Line(path, number, words)


def _layout(path: Path, header: Mapping[str, Line]) -> Layout:
    """Read the header lines."""
    missing = [tag for tag in HEADER if tag not in header]
    if missing:
        msg = (
            f"{path} has no line {', '.join(missing)}; a RoccoR file opens "
            f"with {', '.join(HEADER)}. Name a RoccoR text file of Run 2"
        )
        raise ConfigError(msg)
    n_sets, members = header["NSET"].count(), header["NMEM"].integers(1)
    if len(members) != n_sets or not all(n > 0 for n in members):
        found = f"members {members}"
        raise header["NMEM"].error(
            found, f"a positive number for each of {n_sets} sets"
        )
    n_phi, first, n_layers = (header[tag].count() for tag in ("CPHI", "RMIN", "RTRK"))
    return Layout(
        members=tuple(members),
        eta=_edges(header["CETA"]),
        phi=[i * 2 * math.pi / n_phi - math.pi for i in range(n_phi + 1)],
        abseta=_edges(header["RETA"]),
        # The first bin takes all smaller, the last all larger numbers of layers.
        layers=[first + i - 0.5 for i in range(n_layers + 1)],
    )


def _edges(line: Line) -> list[float]:
    """Read a number of bins and the edges of these bins."""
    edges = line.numbers(2, line.count() + 1)
    if not all(low < high for low, high in pairwise(edges)):
        raise line.error(str(edges), "increasing edges")
    return edges


def _tables(
    path: Path, layout: Layout, lines: list[Line]
) -> dict[tuple[int, int], Tables]:
    """Sort the rows of all members into their tables."""
    shapes = layout.shapes
    tables: dict[tuple[int, int], Tables] = {
        (set_, member): {tag: np.full(shape, np.nan) for tag, shape in shapes.items()}
        for set_, n_members in enumerate(layout.members)
        for member in range(n_members)
    }
    for line in lines:
        if len(line.words) < 3 or line.words[2] not in shapes:
            found = f"{' '.join(line.words[:3])!r}"
            raise line.error(found, f"set, member and a tag of {', '.join(shapes)}")
        owner, tag = line.integers(0, 2), line.words[2]
        if tuple(owner) not in tables:
            found = f"set {owner[0]}, member {owner[1]}"
            raise line.error(found, f"those of NMEM, {layout.members}")
        _fill_row(tables[owner[0], owner[1]][tag], line)
    for (set_, member), by_tag in tables.items():
        for tag in "CFR":
            empty = np.argwhere(np.isnan(by_tag[tag][..., 0]))
            if empty.size:
                key = " ".join(map(str, (set_, member, tag, *empty[0])))
                msg = f"{path} has no line {key!r}; get the file again, it is damaged"
                raise ConfigError(msg)
    return tables


def _fill_row(table: NDArray[np.float64], line: Line) -> None:
    """Put one line into its table, after a look at its values."""
    tag, n_indices = line.words[2], table.ndim - 1
    index = tuple(line.integers(3, 3 + n_indices))
    limits = table.shape[:-1]
    if len(index) != n_indices or not all(
        0 <= i < n for i, n in zip(index, limits, strict=True)
    ):
        found = f"{tag} with indices {index}"
        raise line.error(found, f"{n_indices} indices below {limits}")
    values = np.array(line.numbers(3 + n_indices, table.shape[-1]))
    lowest = LOWEST.get((tag, index[0]), -math.inf)
    if not (values > lowest).all():
        found = f"{values.min()} in {' '.join(line.words[: 3 + n_indices])!r}"
        raise line.error(found, f"values above {lowest}")
    # RoccoR2018.txt repeats some lines; two truths would be another matter.
    if not (np.isnan(table[index]) | (table[index] == values)).all():
        found = f"{' '.join(line.words[: 3 + n_indices])!r} again, changed"
        raise line.error(found, "each line once")
    table[index] = values
