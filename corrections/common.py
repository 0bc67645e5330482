"""What the builders share: reading histograms, writing correctionlib files."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import uproot
from correctionlib import schemav2 as schema
from numpy.typing import ArrayLike, NDArray

from wprops import __version__
from wprops.errors import ConfigError
from wprops.provenance import file_digest

FloatArray = NDArray[np.float64]
#: Edges of the bins by input.
Edges = Mapping[str, Sequence[float] | FloatArray]

#: Significant digits of the factors in a file.
DIGITS = 9


@dataclass(frozen=True, kw_only=True, slots=True)
class Histogram:
    """A histogram and where it comes from.

    Attributes
    ----------
    values, errors : ndarray, shape (n_1, ...)
        Contents of the bins and their statistical errors.
    edges : tuple of ndarray, shape (n_i + 1,)
        Edges of each axis.
    source : str
        Name for messages.
    """

    values: FloatArray
    errors: FloatArray
    edges: tuple[FloatArray, ...]
    source: str

    @classmethod
    def from_arrays(
        cls,
        values: ArrayLike,
        *edges: ArrayLike,
        errors: ArrayLike | None = None,
        source: str = "arrays",
    ) -> Histogram:
        """Make a histogram of plain arrays; its errors are 0 when omitted.

        Raises
        ------
        ConfigError
            If shapes do not fit together, edges do not increase or a number is not
            finite.
        """
        found = np.asarray(values, dtype=float)
        given = np.zeros_like(found) if errors is None else np.asarray(errors, float)
        axes = tuple(np.asarray(axis, dtype=float) for axis in edges)
        return cls(values=found, errors=given, edges=axes, source=source).checked()

    def checked(self) -> Histogram:
        """Return the histogram after a look at its numbers."""
        shape = tuple(len(axis) - 1 for axis in self.edges)
        if self.values.shape != shape or self.errors.shape != shape:
            msg = (
                f"{self.source}: found values of shape {self.values.shape} and errors "
                f"of shape {self.errors.shape}, expected {shape} from the edges; "
                "give one edge more than bins on each axis"
            )
            raise ConfigError(msg)
        if not all(np.all(np.diff(axis) > 0) for axis in self.edges):
            msg = f"{self.source}: edges do not increase; sort the bins"
            raise ConfigError(msg)
        numbers = (self.values, self.errors, *self.edges)
        if not all(np.all(np.isfinite(array)) for array in numbers):
            msg = f"{self.source}: found NaN or infinity, expected numbers; mend it"
            raise ConfigError(msg)
        return self


def read_histogram(where: str) -> Histogram:
    """Read a histogram of a ROOT file.

    Parameters
    ----------
    where : str
        ``file.root:key``.

    Raises
    ------
    ConfigError
        If there is no such file, no such key in it, or no histogram there.
    """
    path, key = split_source(where)
    if not key:
        msg = f"found {where!r}, expected FILE.root:KEY; name a histogram of the file"
        raise ConfigError(msg)
    if not path.is_file():
        msg = f"there is no file {path}; correct the path"
        raise ConfigError(msg)
    try:
        with uproot.open(path) as file:
            known = file.keys(cycle=False)
            found: Any = file[key] if key in known else None
    except (OSError, ValueError) as error:
        msg = f"cannot read {path} as a ROOT file: {error}; get it again"
        raise ConfigError(msg) from error
    if not hasattr(found, "axes"):
        what = "nothing" if found is None else f"a {type(found).__name__}"
        msg = (
            f"found {what} called {key!r} in {path}, expected a histogram; the file "
            f"has {', '.join(known)}"
        )
        raise ConfigError(msg)
    return Histogram(
        values=np.asarray(found.values(), dtype=np.float64),
        errors=np.asarray(found.errors(), dtype=np.float64),
        # Edges such as -1.9000000000000004 are an accident of the axis.
        edges=tuple(np.round(axis.edges(), 9) for axis in found.axes),
        source=where,
    ).checked()


def split_source(where: str) -> tuple[Path, str]:
    """Split ``file.root:key`` into the file and the key."""
    path, _, key = where.rpartition(":")
    return (Path(path), key) if path else (Path(where), "")


def binned(edges: Edges, values: ArrayLike) -> schema.Binning | schema.MultiBinning:
    """Look-up of numbers in bins; values outside have the factor of the nearest bin.

    Parameters
    ----------
    edges : mapping of str to sequence of float
        Edges by input, in the order of the axes of ``values``.
    values : array_like, shape (n_1, ...)
        They are rounded to `DIGITS`.
    """
    content = [float(f"{value:.{DIGITS}g}") for value in np.ravel(values)]
    if len(edges) > 1:
        return grid(edges, content)
    ((name, axis),) = edges.items()
    return schema.Binning(
        nodetype="binning",
        input=name,
        edges=[float(edge) for edge in axis],
        content=content,
        flow="clamp",
    )


def grid(edges: Edges, content: Sequence[schema.Content]) -> schema.MultiBinning:
    """Look-up of anything in bins, the last input fastest; `binned` is for numbers."""
    return schema.MultiBinning(
        nodetype="multibinning",
        inputs=list(edges),
        edges=[[float(edge) for edge in axis] for axis in edges.values()],
        content=list(content),
        flow="clamp",
    )


def category(name: str, contents: Mapping[Any, schema.Content]) -> schema.Category:
    """Contents by the value of an input."""
    return schema.Category(
        nodetype="category",
        input=name,
        content=[
            schema.CategoryItem(key=key, value=value) for key, value in contents.items()
        ],
    )


def formula(expression: str, *variables: str) -> schema.Formula:
    """Write a formula of some inputs, which it calls x, y in this order."""
    return schema.Formula(
        nodetype="formula",
        expression=expression,
        parser="TFormula",
        variables=list(variables),
    )


def variable(name: str, kind: str, description: str) -> schema.Variable:
    """Declare an input of kind ``real``, ``int`` or ``string``."""
    entries = {"name": name, "type": kind, "description": description}
    return schema.Variable.model_validate(entries)


def correction(
    name: str,
    description: str,
    inputs: Mapping[str, tuple[str, str]],
    data: schema.Content,
    *,
    output: str = "value",
    generic: schema.Formula | None = None,
) -> schema.Correction:
    """Make a correction.

    Parameters
    ----------
    name, description : str
    inputs : mapping of str to (str, str)
        Kind and description of each input, see `variable`.
    data : Content
        Such as `binned`, `category` or `grid` return.
    output : str
        Name of what it evaluates to.
    generic : Formula, optional
        The formula whose parameters are in ``data``.
    """
    return schema.Correction(
        name=name,
        description=description,
        version=1,
        inputs=[variable(key, *entries) for key, entries in inputs.items()],
        output=schema.Variable(name=output, type="real"),
        generic_formulas=[generic] if generic else None,
        data=data,
    )


def write_set(
    path: Path,
    corrections: Sequence[schema.Correction | schema.CompoundCorrection],
    description: str,
    sources: Iterable[Path],
) -> None:
    """Write a correction file; the same inputs give the same bytes.

    Parameters
    ----------
    path : Path
        The file to write, ``.json`` or ``.json.gz``.
    corrections : sequence of Correction or CompoundCorrection
    description : str
        What the file is; name and SHA-256 of the inputs and the version of wprops are
        added.
    sources : iterable of Path
        The inputs.

    Raises
    ------
    ConfigError
        If the name ends otherwise.
    """
    if not path.name.endswith((".json", ".json.gz")):
        msg = f"the output is called {path}; call it .json or .json.gz"
        raise ConfigError(msg)
    unique = dict.fromkeys(sources)
    inputs = "; ".join(f"{file.name}, sha256 {file_digest(file)}" for file in unique)
    compound = [c for c in corrections if isinstance(c, schema.CompoundCorrection)]
    content = schema.CorrectionSet(
        schema_version=2,
        description=f"{description}. Built by wprops {__version__} from {inputs}.",
        corrections=[c for c in corrections if isinstance(c, schema.Correction)],
        compound_corrections=compound or None,
    )
    text = content.model_dump_json(exclude_unset=True, exclude_none=True) + "\n"
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode(), mtime=0))
    else:
        path.write_text(text, encoding="utf-8")
