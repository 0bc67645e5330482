r"""Blind fits: results of data that nobody can read before they are revealed.

Each blind parameter is reported as its fitted value less an offset,

.. math:: δ_j = w_j \, (2u_j - 1), \qquad u_j = \mathrm{HMAC}_{SHA-256}(secret, name_j),

uniform within a width w of at least five expected errors. The secret is in a key file;
the result has only the SHA-256 of it. Offsets hide values, but errors would tell them:
covariance, yields, scans and impacts of a fit to data depend on the counts, and with
the templates at hand can be solved for the strengths. A blind result therefore is the
*expected* result, that of the nominal prediction (scans and intervals moved to the
reported values), in all but

- the values of the parameters, shifted, and derived quantities that follow from them;
- the values of the other parameters, which do not depend on the strengths where the
  model describes the data;
- the goodness of fit, one number.

Parameters that are frozen are not blind: a series of fits would be a scan.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from wprops.errors import ConfigError, FitError, TemplateError
from wprops.fit.blinding_key import SECRET_BYTES, Key, blind_parameters
from wprops.fit.derived import derive
from wprops.fit.intervals import Interval
from wprops.fit.results import BLINDING, FitResult
from wprops.fit.run import run_fit, template_digest
from wprops.fit.scans import Scan
from wprops.store import TemplateSet

#: Smallest width of an offset, in expected errors; widths are powers of two times it.
N_ERRORS = 5.0
#: How well a second fit has to find the same values, in errors.
_AGREEMENT = 1e-3


@dataclass(frozen=True, slots=True)
class Blinding:
    """What a blind result says about itself.

    Attributes
    ----------
    commitment : str
        SHA-256 of the key.
    widths : mapping of str to float
        Half of the range of the offset, by blind parameter.
    options : dict
        Options of the fit to repeat it with, as plain data.
    """

    commitment: str
    widths: Mapping[str, float]
    options: dict[str, Any]


def blinding(result: FitResult) -> Blinding | None:
    """Return how a result is blind; None if it is not."""
    entry = result.provenance.get(BLINDING)
    return None if entry is None else Blinding(**entry)


def require_revealed(result: FitResult, what: str) -> None:
    """Raise ConfigError if ``what`` is asked for of a blind result."""
    if result.is_blind:
        msg = (
            f"there are no {what} of a blind result, whose values are shifted; "
            "`wprops reveal` it first"
        )
        raise ConfigError(msg)


def new_key(expected: FitResult, patterns: Sequence[str] | None = None) -> Key:
    """Make a random key for fits like an expected one.

    Parameters
    ----------
    expected : FitResult
        Fit of the nominal prediction; its errors set the widths.
    patterns : sequence of str, optional
        Blind parameters, with wildcards; all strengths and the mass when omitted.

    Raises
    ------
    ConfigError
        If a pattern has no parameter, or a blind parameter is frozen.
    """
    chosen = blind_parameters(expected.parameters, patterns)
    _require_free(expected, chosen)
    powers = 2.0 ** np.ceil(np.log2(expected.errors[chosen]))
    return Key(
        secret=secrets.token_hex(SECRET_BYTES),
        patterns=None if patterns is None else tuple(patterns),
        widths={
            expected.names[i]: N_ERRORS * float(power)
            for i, power in zip(chosen, powers, strict=True)
        },
    )


def blind_fit(
    templates: TemplateSet,
    key_file: Path,
    *,
    patterns: Sequence[str] | None = None,
    **options: Any,
) -> FitResult:
    """Fit data without showing what was measured.

    Parameters
    ----------
    templates : TemplateSet
        Templates, data and declarations.
    key_file : Path
        Key; made when missing. Whoever has it can reveal the result, so it is for
        somebody else to keep. Fits with one key have the same offsets and can be
        compared.
    patterns : sequence of str, optional
        Blind parameters of a new key, with wildcards; all strengths and the mass when
        omitted.
    **options
        See `wprops.fit.run.run_fit`.

    Returns
    -------
    FitResult
        Expected in all but values, derived quantities, goodness of fit and the numbers
        of the minimiser.

    Raises
    ------
    ConfigError
        If the key cannot be read, is of other parameters or exists although patterns
        are given; if a blind parameter is frozen; if the data are not the observed.
    TemplateError, FitError
        As `wprops.fit.run.run_fit`.
    """
    if options.get("data", "observed") != "observed":
        msg = f"a fit of data={options['data']!r} knows no data; fit it without a key"
        raise ConfigError(msg)
    expected = run_fit(templates, **options | {"data": "asimov"})
    if not key_file.exists():
        key = new_key(expected, patterns)
        key.write(key_file)
    elif patterns is not None:
        msg = f"the key {key_file} says what is blind; give no parameters beside it"
        raise ConfigError(msg)
    else:
        key = Key.read(key_file)
    offsets = key.offsets(expected.parameters)
    chosen = blind_parameters(expected.parameters, key.patterns)
    _require_free(expected, chosen)
    observed = run_fit(templates, **options | {"data": "observed"})
    values = observed.values - offsets
    record = Blinding(
        commitment=key.commitment,
        widths={expected.names[i]: key.widths[expected.names[i]] for i in chosen},
        options=_plain(options, expected.provenance["fit"]["frozen"]),
    )
    options_shown = expected.provenance["fit"] | {"data": "observed"}
    derived = derive(templates, expected.parameters, values, expected.covariance)
    measured = dict(zip(expected.names, values, strict=True)) | {
        name: quantity.values[0] for name, quantity in derived.items()
    }
    return replace(
        expected,
        values=values,
        nll=observed.nll,
        edm=observed.edm,
        iterations=observed.iterations,
        gof=observed.gof,
        derived=derived,
        corrected=None,
        scans={name: _moved(scan, measured) for name, scan in expected.scans.items()},
        intervals={
            name: _moved_interval(interval, measured[name])
            for name, interval in expected.intervals.items()
        },
        finite_mc=replace(expected.finite_mc, values=None, covariance=None),
        provenance=expected.provenance
        | {"fit": options_shown, BLINDING: asdict(record)},
    )


def reveal(result: FitResult, templates: TemplateSet, key: Key) -> FitResult:
    """Repeat a blind fit in the open.

    Parameters
    ----------
    result : FitResult
        Result of `blind_fit`.
    templates : TemplateSet
        The templates and data of that fit.
    key : Key
        The key of that fit.

    Returns
    -------
    FitResult
        With all that belongs to it, and the commitment of the key in its provenance.

    Raises
    ------
    ConfigError
        If the result is not blind, or the key is another.
    TemplateError
        If templates or data are others.
    FitError
        If the fit gives other values than the blind result has with the offsets of the
        key: the result or the code was changed in between.
    """
    record = blinding(result)
    if record is None:
        msg = "the result is not blind; there is nothing to reveal"
        raise ConfigError(msg)
    if not hmac.compare_digest(record.commitment, key.commitment):
        msg = (
            f"the key is another, or was changed: its SHA-256 is {key.commitment}, the "
            f"result was made with {record.commitment}; give the key of this fit"
        )
        raise ConfigError(msg)
    if result.provenance["template_digest"] != template_digest(templates):
        msg = (
            "the blind fit was made with other templates or data; give the template "
            "file of this fit, unchanged"
        )
        raise TemplateError(msg)
    revealed = run_fit(templates, **record.options)
    expected = result.values + key.offsets(result.parameters)
    wrong = abs(revealed.values - expected) > _AGREEMENT * revealed.errors + 1e-9
    if revealed.names != result.names or wrong.any():
        names = [n for n, w in zip(result.names, wrong, strict=True) if w]
        msg = (
            f"the fit gives other values of {', '.join(names[:5])} than the blind "
            "result with the offsets of the key; the result was changed, or made by "
            "another version (see its provenance)"
        )
        raise FitError(msg)
    note = {"revealed": {"commitment": record.commitment}}
    return replace(revealed, provenance=revealed.provenance | note)


def _moved(scan: Scan, measured: Mapping[str, float]) -> Scan:
    """Move an expected scan to the reported values."""
    best = np.array([measured[name] for name in scan.names])
    return replace(scan, points=scan.points + (best - scan.best), best=best)


def _moved_interval(expected: Interval, best: float) -> Interval:
    move = best - expected.best
    return replace(
        expected, best=best, low=expected.low + move, high=expected.high + move
    )


def _plain(options: Mapping[str, Any], frozen: Mapping[str, float]) -> dict[str, Any]:
    """Options for the same fit once more, wherever it began."""
    plain = {k: v for k, v in options.items() if k not in ("data", "start", "freeze")}
    plain["freeze"] = dict(frozen)
    plain["scans"] = [
        {name: np.asarray(grid).tolist() for name, grid in grids.items()}
        for grids in options.get("scans", ())
    ]
    return plain


def _require_free(result: FitResult, chosen: Sequence[int]) -> None:
    frozen = [
        name for name in map(result.names.__getitem__, chosen) if name in result.frozen
    ]
    if frozen:
        msg = (
            f"{', '.join(frozen[:5])} cannot be blind and frozen: fits with other "
            "values would be a scan of the data; leave it free"
        )
        raise ConfigError(msg)
