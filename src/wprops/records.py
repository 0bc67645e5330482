"""Records that are read from YAML: strict parsing, and errors that name the place.

A file is parsed once into a record that forbids unknown keys and describes each
field; from there on only the record travels.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from wprops.errors import ConfigError


class Record(BaseModel):
    """Immutable, with no other keys than the declared ones."""

    # `era: 2016` without quotes is an integer in YAML.
    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    @classmethod
    def from_yaml(cls, path: Path, nested: Mapping[str, type[Record]]) -> Self:
        """Read one record from a file.

        Parameters
        ----------
        path : Path
            The YAML file.
        nested : mapping of str to type
            The records inside of this one, by the key that holds them; with them
            errors name the known keys and the meaning of a field.

        Raises
        ------
        ConfigError
            Naming the file and every field that is wrong, one per line.
        """
        content = _read_yaml(path, cls)
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            problems = _problems(cls, nested, content, error.errors())
            raise ConfigError("\n".join(f"{path}: {p}" for p in problems)) from error


class _Loader(yaml.SafeLoader):
    """YAML without repeated keys, of which PyYAML would keep the last."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                msg = f"key {key.value!r} is written twice; keep one"
                raise yaml.MarkedYAMLError(problem=msg, problem_mark=key.start_mark)
            seen.add(key.value)
        return node


def _read_yaml(path: Path, record: type[Record]) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = yaml.load(file, _Loader)
    except OSError as error:
        msg = f"{path}: cannot read the file: {error.strerror}; check the path"
        raise ConfigError(msg) from error
    except yaml.YAMLError as error:
        msg = f"{path}: not a valid YAML file: {error}"
        raise ConfigError(msg) from error
    if not isinstance(content, dict):
        found = "an empty file" if content is None else _shown(content)
        required = [k for k, f in record.model_fields.items() if f.is_required()]
        msg = (
            f"{path}: found {found}, expected a mapping with at least "
            f"the keys {', '.join(required)}"
        )
        raise ConfigError(msg)
    return content


#: Words for what pydantic says in terms of Python.
_EXPECTED = {
    "tuple_type": "expected a list",
    "too_short": "expected at least one entry",
    "model_type": "expected a mapping of keys to values",
    "string_too_short": "expected some text",
}


def _problems(
    record: type[Record],
    nested: Mapping[str, type[Record]],
    content: dict[str, Any],
    details: list[ErrorDetails],
) -> list[str]:
    # Pydantic does not count wrong entries, and so calls their list short too.
    return [
        _problem(_holder(record, nested, detail), content, detail)
        for detail in details
        if not (detail["type"] == "too_short" and detail["input"])
    ]


def _holder(
    record: type[Record], nested: Mapping[str, type[Record]], detail: ErrorDetails
) -> type[Record]:
    """Return the innermost record that a location lies in."""
    for key in detail["loc"][:-1]:
        record = nested.get(str(key), record)
    return record


def _problem(
    record: type[Record], content: dict[str, Any], detail: ErrorDetails
) -> str:
    """Say where a field is wrong, what was found and what was expected."""
    location, kind = detail["loc"], detail["type"]
    where = _where(content, location)
    if kind == "value_error":
        return f"{where}{detail['ctx']['error']}"
    if kind == "extra_forbidden":
        known = ", ".join(record.model_fields)
        return f"{where}unknown key, known are {known}; correct or remove it"
    field = record.model_fields.get(str(location[-1]))
    meaning = f" ({field.description})" if field else ""
    if kind == "missing":
        return f"{where}found nothing, expected a value{meaning}; add it"
    expected = detail["msg"].replace("Input should be", "expected")
    expected = _EXPECTED.get(kind, expected)
    return f"{where}found {_shown(detail['input'])}, {expected}{meaning}"


def _where(content: dict[str, Any], location: tuple[int | str, ...]) -> str:
    """Name a location, such as ``dataset 'top': weights.pdf.branch:``."""
    parts = []
    if len(location) > 1 and isinstance(location[1], int):
        kind, position = str(location[0]), location[1]
        entry = content[kind][position]
        name = entry.get("name") if isinstance(entry, dict) else None
        number = f"number {position + 1}" if name is None else repr(name)
        parts.append(f"{kind.removesuffix('s')} {number}: ")
        location = location[2:]
    if location:
        keys = (f"[{key}]" if isinstance(key, int) else f".{key}" for key in location)
        parts.append("".join(keys).removeprefix(".") + ": ")
    return "".join(parts)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
