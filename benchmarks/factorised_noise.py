"""What noise in the templates does to the errors of a fit, plain and factorised.

``python -m benchmarks.factorised_noise FOLDER... [--fsr] [--varying-resolution]``

Each folder is an output of ``benchmarks.response_ensemble`` with the same options. The
exact templates are those of `benchmarks.exact_response`. Apparent errors are those of a
linear fit at 35.9/fb with the templates as they are, true ones with the exact
templates; shifts are what the noise of the templates does to a fit of the exact
prediction, in units of the apparent errors.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.exact_response import exact_set
from benchmarks.factorised_bias import merged, solve
from wprops.axes import EVEN_COMPONENTS, FULL
from wprops.channels import Channel
from wprops.events.toy.deviations import VARYING_RESOLUTION, deviate
from wprops.events.toy.truth import ToyTruth
from wprops.factorised.response_file import Response
from wprops.factorised.template_set import factorised_set
from wprops.factorised.toy_decays import ToyEnsemble
from wprops.store import TemplateSet
from wprops.systematics.catalog import LOW_ACCEPTANCE
from wprops.templates.assemble import CHARGES, signal_name

FloatArray = NDArray[np.float64]


def stacked(channel: Channel) -> FloatArray:
    """Templates of a channel in the shape of `true_templates`, (cell, 6, eta, pT).

    Low acceptance, which has no components, stands in the first one.
    """
    n_qt = len(FULL.qt) - 1
    out = np.zeros((FULL.n_cells + 1, len(EVEN_COMPONENTS), *FULL.shape))
    for cell in range(FULL.n_cells):
        for k, component in enumerate(EVEN_COMPONENTS):
            name = signal_name(component, *divmod(cell, n_qt))
            out[cell, k] = channel.process(name).nominal
    out[-1, 0] = channel.process(LOW_ACCEPTANCE).nominal
    return out


def compare(kind: str, noisy: FloatArray, exact: FloatArray) -> None:
    """Print errors and shifts of a fit with noisy templates."""
    target = exact.sum(axis=(0, 1)).ravel()
    residual = target - noisy.sum(axis=(0, 1)).ravel()
    pairs = zip(merged(noisy, FULL).items(), merged(exact, FULL).values(), strict=True)
    for (n, columns), true_columns in pairs:
        errors, gain = solve(columns, 1 / target)
        ratio = errors / solve(true_columns, 1 / target)[0]
        shift = gain @ residual / errors
        print(
            f"  {kind:10s} {n} strengths: apparent/true error median "
            f"{np.median(ratio):.3f}, smallest {ratio.min():.3f}, largest "
            f"{ratio.max():.3f}; shifts RMS {np.sqrt(np.mean(shift**2)):.2f} errors, "
            f"largest {np.abs(shift).max():.2f}"
        )


def common_factors(exact: FloatArray) -> None:
    """Multiply by random factors of 1 %, shared by all templates or by none."""
    rng = np.random.default_rng(4)
    shared = 1 + 0.01 * rng.standard_normal(exact.shape[-2:])
    own = 1 + 0.01 * rng.standard_normal(exact.shape)
    compare("shared 1 %", exact * shared, exact)
    compare("own 1 %", exact * own, exact)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", type=Path, help="of response_ensemble")
    parser.add_argument("--fsr", action="store_true", help="muons radiate")
    parser.add_argument("--varying-resolution", action="store_true", help="in pT, eta")
    parser.add_argument("--exact", type=Path, help="file to keep the exact templates")
    options = parser.parse_args()
    deviations = VARYING_RESOLUTION if options.varying_resolution else {}
    truth = deviate(ToyTruth(), deviations)
    ensemble = ToyEnsemble(n_events=10**8, seed=1, truth=truth, fsr=options.fsr)
    exact = exact_set(ensemble, options.exact)
    for name in CHARGES:
        print(name)
        common_factors(exact[name])
    for folder in options.folders:
        plain = TemplateSet.read(folder / "plain.h5")
        start = time.perf_counter()
        made = factorised_set(
            Response.read(folder / "response.h5"), plain=plain, n_replicas=0
        )
        seconds = time.perf_counter() - start
        print(f"{folder.name}: factorised templates in {seconds:.0f} s")
        for row in made.tables["factorised"]["assumptions"]:
            print(f"  {row['name']}: {row['verdict']}, p = {row['p']:.2g}")
        for name in CHARGES:
            closure = made.tables["factorised"]["closure"][name]
            print(
                f" {name}: closure p = {closure['p']:.3f}, pulls RMS "
                f"{closure['pull_rms']:.2f}"
            )
            for kind, templates in (("plain", plain), ("factorised", made)):
                compare(kind, stacked(templates.channel(name)), exact[name])


if __name__ == "__main__":
    main()
