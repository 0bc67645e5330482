"""Evaluate or fit an input file with rabbit, in a process of its own.

It needs rabbit-fit, tf_keras and nothing of wprops, so that it runs with the
interpreter of another environment. The result is a line of JSON at the end of the
output.
"""

from __future__ import annotations

import argparse
import json
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np

OPTIONS = {
    "globalImpactsDisableJVP": True,
    "binByBinStatMode": "lite",
    "binByBinStatType": "gamma",
    "covarianceFit": False,
    "chisqFit": False,
    "diagnostics": False,
    "prefitUnconstrainedNuisanceUncertainty": 0.0,
    "POIMode": "mu",
    "expectSignal": 1.0,
    "freezeParameters": [],
    "allowNegativePOI": True,
    "unblind": [".*"],
}


def main() -> None:
    """Do what the arguments say and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", help="input file of rabbit")
    parser.add_argument("--points", help="JSON list of points to evaluate, else fit")
    parser.add_argument("--barlow-beeston", action="store_true")
    # with exact Hessians rabbit gets to the minimum; its default, trust-krylov, is
    # still far away after twenty times as long
    parser.add_argument("--minimizer", default="trust-exact")
    arguments = parser.parse_args()
    begin = time.perf_counter()
    from rabbit.fitter import Fitter
    from rabbit.inputdata import FitInputData

    imported = time.perf_counter()
    options = Namespace(
        noBinByBinStat=not arguments.barlow_beeston,
        minimizerMethod=arguments.minimizer,
        **OPTIONS,
    )
    content = FitInputData(arguments.file)
    fitter = Fitter(content, options)
    fitter.set_nobs(content.data_obs)
    loaded = time.perf_counter()
    if arguments.points:
        result = evaluate(fitter, json.loads(arguments.points))
    else:
        result = fit(fitter)
    result["names"] = fitter.parms.astype(str).tolist()
    result["import_s"], result["load_s"] = imported - begin, loaded - imported
    result["peak_gb"] = peak_gb()
    print(json.dumps(result))


def peak_gb() -> float:
    """Peak memory of this process, without that of the one which started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(line for line in lines if line.startswith("VmHWM"))
    return int(peak.split()[1]) / 1e6


def evaluate(fitter: Any, points: list[list[float]]) -> dict[str, Any]:
    """Negative log-likelihood and expected events at each point."""
    nll, expected = [], []
    for point in points:
        fitter.x.assign(np.array(point))
        nll.append(float(fitter.loss_val()))
        expected.append(fitter.expected_yield(full=True).numpy().tolist())
    return {"nll": nll, "expected": expected}


def fit(fitter: Any) -> dict[str, Any]:
    """Minimum, exact Hessian and errors, as rabbit's own command gets them."""
    from rabbit.tfhelpers import edmval_cov

    cold = time.perf_counter()
    # traces and compiles
    fitter.loss_val_grad()
    fitter.loss_val_grad_hess()
    begin = time.perf_counter()
    fitter.minimize()
    value, gradient, hessian = fitter.loss_val_grad_hess()
    edm, covariance = edmval_cov(gradient, hessian)
    errors = np.sqrt(np.diag(np.array(covariance)))
    end = time.perf_counter()
    return {
        "fit_s": end - begin,
        "cold_fit_s": end - cold,
        "nll": float(value),
        "edm": float(edm),
        "values": fitter.x.numpy().tolist(),
        "errors": errors.tolist(),
    }


if __name__ == "__main__":
    main()
