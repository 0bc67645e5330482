"""Decays drawn with NumPy alone, with the shape of real ones and no physics in them."""

import dataclasses

import numpy as np

from wprops.factorised.decays import Decays

THEORY = ("nominal", "pdf_01_up", "alphas_up")
MUON = ("nominal", "muon_scale_up", "muon_scale_down")
KINEMATIC = (*MUON, "jes_up", "jes_down")
SELECTED = ("nominal", "prefire_up", "prefire_down")


def make_decays(n=6000, seed=1):
    """Draw decays of both charges, some of them beyond every axis."""
    rng = np.random.default_rng(seed)
    pt = np.maximum(rng.normal(38.0, 12.0, n), 1.0)
    reco = np.flatnonzero(rng.random(n) < 0.7)
    m = len(reco)
    ratio = rng.normal(1.0, 0.02, m) * np.where(rng.random(m) < 0.1, 0.6, 1.0)
    # Some are far off.
    ratio[:20] = np.linspace(0.2, 1.6, 20)
    nominal = ratio * pt[reco]
    weight = np.where(rng.random(n) < 0.1, -1.0, 1.0) * rng.uniform(0.5, 1.5, n)
    selected = weight[reco] * rng.uniform(0.8, 1.2, m)
    residual = rng.normal(0.0, 20.0, (2, m))
    residual[:, :10] *= 20.0
    return Decays(
        charge=rng.choice([-1, 1], n),
        qt=20.0 * rng.standard_exponential(n) * rng.choice([1.0, 3.0], n),
        y=rng.normal(0.0, 2.0, n),
        mass=80.4 + 2.0 * rng.standard_cauchy(n),
        costheta=rng.uniform(-1.0, 1.0, n),
        phistar=rng.uniform(-np.pi, np.pi, n),
        eta=rng.normal(0.0, 1.5, n),
        pt=pt,
        weight=weight,
        ratios=(THEORY, 1.0 + 0.1 * rng.normal(size=(n, 3)) * [0.0, 1.0, 1.0]),
        fold=rng.integers(0, 20, n),
        reco=reco,
        reco_pt={
            label: nominal * factor
            for label, factor in zip(MUON, (1.0, 1.01, 0.99), strict=True)
        },
        reco_eta=rng.normal(0.0, 1.5, m),
        residual={label: residual + k for k, label in enumerate(KINEMATIC)},
        passes=rng.random(m) < 0.6,
        selected_weight={
            label: selected * factor
            for label, factor in zip(SELECTED, (1.0, 1.02, 0.97), strict=True)
        },
        pileup=rng.uniform(5.0, 45.0, m),
    )


def some_of(decays, index):
    """The decays of some events."""
    chosen = np.zeros(len(decays.qt), bool)
    chosen[index] = True
    kept = chosen[decays.reco]
    columns = {}
    for field in dataclasses.fields(decays):
        values = getattr(decays, field.name)
        if field.name in ("reco_pt", "residual", "selected_weight"):
            values = {label: v[..., kept] for label, v in values.items()}
        elif field.name in ("reco_eta", "passes", "pileup"):
            values = values[kept]
        elif field.name == "reco":
            values = np.cumsum(chosen)[values[kept]] - 1
        elif field.name == "ratios":
            values = values[0], values[1][chosen]
        else:
            values = values[chosen]
        columns[field.name] = values
    return Decays(**columns)
