"""The key of blind fits: a secret, and the offsets that follow from it."""

from __future__ import annotations

import hmac
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wprops.errors import ConfigError
from wprops.fit.derived import MASS
from wprops.fit.parameters import Parameters
from wprops.provenance import digest

Array = NDArray[np.float64]
#: Bytes of a secret, as many as a SHA-256 has.
SECRET_BYTES = 32


def blind_parameters(
    parameters: Parameters, patterns: Sequence[str] | None
) -> list[int]:
    """Positions of the parameters that are blind.

    Raises
    ------
    ConfigError
        If a pattern has no parameter.
    """
    if patterns is None:
        names = {*parameters.names[: parameters.n_poi], MASS}
        return [i for i, name in enumerate(parameters.names) if name in names]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in parameters.names):
            msg = (
                f"no parameter is called {pattern!r} and could be blind; the nuisance "
                f"parameters are {', '.join(parameters.names[parameters.n_poi :])}"
            )
            raise ConfigError(msg)
    return [
        index
        for index, name in enumerate(parameters.names)
        if any(fnmatchcase(name, pattern) for pattern in patterns)
    ]


@dataclass(frozen=True, slots=True)
class Key:
    """What reveals blind fits.

    Attributes
    ----------
    secret : str
        64 hexadecimal digits.
    patterns : tuple of str, optional
        Blind parameters, with wildcards; all strengths and the mass when None.
    widths : mapping of str to float
        Half of the range of the offset by parameter.
    """

    secret: str
    patterns: tuple[str, ...] | None
    widths: Mapping[str, float]

    @property
    def commitment(self) -> str:
        """SHA-256 of the secret and all that the offsets depend on."""
        return digest([self.secret, self.patterns, dict(self.widths)])

    def offsets(self, parameters: Parameters) -> Array:
        """Fitted less reported value by parameter, 0 where it is not blind, (n_par,).

        Raises
        ------
        ConfigError
            If a parameter should be blind and the key was not made for it.
        """
        offsets = np.zeros(len(parameters))
        for index in blind_parameters(parameters, self.patterns):
            name = parameters.names[index]
            if name not in self.widths:
                msg = (
                    f"the key was made for other parameters than {name!r}; name a new "
                    "file for a key of this fit"
                )
                raise ConfigError(msg)
            offsets[index] = self.widths[name] * (2 * self._uniform(name) - 1)
        return offsets

    def _uniform(self, name: str) -> float:
        code = hmac.digest(bytes.fromhex(self.secret), name.encode(), "sha256")
        return int.from_bytes(code[:8], "big") / 2**64

    def write(self, path: Path) -> None:
        """Write a new file that its owner alone can read.

        Raises
        ------
        ConfigError
            If there is a file already.
        """
        content = {
            "secret": self.secret,
            "patterns": self.patterns,
            "widths": dict(self.widths),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError as error:
            msg = f"there is a file {path}; name another for a new key"
            raise ConfigError(msg) from error
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(content, file)

    @classmethod
    def read(cls, path: Path) -> Key:
        """Read what `write` wrote.

        Raises
        ------
        ConfigError
            If the file is missing or no key.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            patterns = content["patterns"]
            key = cls(
                secret=content["secret"],
                patterns=None if patterns is None else tuple(patterns),
                widths={name: float(w) for name, w in content["widths"].items()},
            )
            is_secret = len(bytes.fromhex(key.secret)) == SECRET_BYTES
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            msg = (
                f"{path} cannot be read as the key of a blind fit: {error!r}; give the "
                "file that the fit wrote"
            )
            raise ConfigError(msg) from error
        if not is_secret:
            msg = f"{path}: the secret is not 64 hexadecimal digits; it was changed"
            raise ConfigError(msg)
        return key
