# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Moments and templates
#
# **Question:** do simulated events give back the angular coefficients they were
# generated with, and are their helicity templates those of the closed formula?
#
# The first part measures A0 … A4 from moments of the decay angles, the second fills
# templates of events reweighted to each harmonic and puts them beside an integral that
# knows no events.

# %%
# %matplotlib inline
import os
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from coffea.processor import ProcessorABC
from scipy.stats import chi2

from wprops.axes import EVEN_COMPONENTS, Binning
from wprops.catalog import Catalog
from wprops.events.generator import hard_leptons
from wprops.events.samples import read_samples
from wprops.events.toy.samples import write_toy
from wprops.events.toy.truth import bin_truth, coefficients, density
from wprops.execution.processors import load_processor
from wprops.execution.run import run
from wprops.moment_maps import MomentMaps
from wprops.nominal import nominal_weight
from wprops.physics.collins_soper import boson_and_angles
from wprops.physics.lepton_spectrum import lepton_template
from wprops.physics.moments import helicity_weights
from wprops.plots.style import (
    COMPONENT_LABELS,
    STYLE,
    SampleLabel,
    add_label,
    channel_label,
    new_figure,
)
from wprops.plots.templates import cell_processes
from wprops.store import TemplateSet
from wprops.systematics.declaration import NOMINAL
from wprops.templates.filling import Cells, bin_index, fill, flat_index
from wprops.templates.parts import boson_cell, event_folds

plt.style.use(STYLE)
OUTPUT = Path(os.environ.get("WPROPS_OUTPUT") or tempfile.mkdtemp(prefix="wprops_"))

catalogue = write_toy(
    OUTPUT / "toy",
    events=300_000,
    seed=2,
    samples=["Wplus_mu", "Wminus_mu"],
    workers=1,
)
catalog = Catalog.read(catalogue)
samples = read_samples(catalog)
truth = samples["Wplus_mu"].known_truth

# %% [markdown]
# ## Moments
#
# A processor is found by its name in `processors/`, or by the path of your own file.
# `run` takes the executors `iterative`, `futures` and `dask`; the result is the same to
# the last bit.

# %%
boson_bins = Binning(
    eta=(), pt=(), qt=(0, 4, 8, 12, 18, 26, 36, 60), absy=(0, 0.8, 1.6, 2.4)
)
moments = load_processor("gen_moments").from_catalog(catalog, boson_bins)
result = run(catalog, moments, executor="iterative", progress=False)
moments.save(result, OUTPUT / "moments.h5")
print(f"{result.performance['events_per_s']:,.0f} events per second")

# %%
maps = MomentMaps.read(OUTPUT / "moments.h5")
charges = {"Wplus": 1, "Wminus": -1}
expected = {
    name: bin_truth(truth, charge, boson_bins.qt, boson_bins.absy)[1]
    for name, charge in charges.items()
}


def plot_coefficients(iabsy):
    """Draw A0 … A4 of one bin in |Y| as a function of qT, beside the truth."""
    figure = new_figure(12.0, 7.0, left=0.8, right=0.2)
    axes = figure.subplots(2, 3, gridspec_kw={"hspace": 0.3, "wspace": 0.28})
    edges = np.array(boson_bins.qt)
    centres = (edges[1:] + edges[:-1]) / 2
    for name, colour, shift in (("Wplus", "#bd1f01", -0.4), ("Wminus", "#3f90da", 0.4)):
        boson = maps.boson(name)
        for i, ax in enumerate(axes.flat[:5]):
            points = boson.coefficients[NOMINAL][i, iabsy], boson.errors[i, iabsy]
            style = {"color": colour, "markersize": 4, "label": channel_label(name)}
            ax.errorbar(centres + shift, *points, fmt="o", **style)
            ax.stairs(expected[name][i, iabsy], edges, baseline=None, color=colour)
            ax.set(xlabel=r"$q_T^W$ [GeV]", xlim=(edges[0], edges[-1]))
            ax.set_ylabel(COMPONENT_LABELS[f"A{i}"])
            ax.margins(y=0.15)
    low, high = boson_bins.absy[iabsy : iabsy + 2]
    title = rf"${low:g} < |Y_W| < {high:g}$" + "\npoints: moments\nlines: truth"
    handles = axes[0, 0].get_legend_handles_labels()
    axes[1, 2].axis("off")
    axes[1, 2].legend(*handles, title=title, loc="center")
    add_label(axes[0, 0], SampleLabel(luminosity=catalog.luminosity))
    return figure


plot_coefficients(iabsy=1)

# %% [markdown]
# **Checked number:** χ² of A0 … A7 in all cells, with the covariance of each cell.

# %%
statistic, ndf = 0.0, 0
for name in charges:
    boson = maps.boson(name)
    difference = boson.coefficients[NOMINAL] - expected[name]
    difference = difference.reshape(8, -1).T[:, :, None]
    covariance = np.moveaxis(boson.covariance.reshape(8, 8, -1), -1, 0)
    statistic += float((difference * np.linalg.solve(covariance, difference)).sum())
    ndf += difference.size
p_value = float(chi2.sf(statistic, ndf))
print(f"χ² = {statistic:.1f} for {ndf} coefficients, p = {p_value:.2f}")
assert p_value > 0.001

# %% [markdown]
# ## Templates
#
# The processor `templates` selects muons and fills the (η, pT) templates of all
# helicity components in cells of the boson's |Y| and qT.

# %%
binning = Binning(
    eta=tuple(np.linspace(-2.4, 2.4, 13).round(1)),
    pt=tuple(range(25, 56, 5)),
    qt=(0, 8, 20, 60),
    absy=(0, 0.8, 1.6, 2.4),
)
processor = load_processor("templates").from_catalog(catalog, binning)
processor.save(run(catalog, processor, progress=False), OUTPUT / "templates.h5")
channel = TemplateSet.read(OUTPUT / "templates.h5").channel("Wplus")
iabsy, iqt = 1, 1
selected = cell_processes(channel, (iabsy, iqt))
for name, process in selected.items():
    print(f"{name:<4}{process.name:<18}{process.nominal.sum():>9.1f} events")


# %% [markdown]
# The closed formula has no detector. Your own processor in a few lines: the same
# templates of all generated muons before the selection, with the same weights.


# %%
class GeneratedTemplates(ProcessorABC):
    """Fill the templates of the generated muons of the positive bosons."""

    def process(self, events):
        dataset = events.metadata["record"]
        leptons = hard_leptons(events)
        boson = boson_and_angles(leptons.lepton, leptons.other)
        A = samples[dataset.name].coefficients(1, boson.qt, boson.y)
        weights = helicity_weights(boson.costheta, boson.phistar, A)
        weights = weights[:, : len(EVEN_COMPONENTS)] * nominal_weight(events)[:, None]
        pt, eta, _ = leptons.lepton
        cell = flat_index(
            [
                boson_cell(boson, binning),
                bin_index(eta, binning.eta),
                bin_index(pt, binning.pt),
            ],
            (binning.n_cells, *binning.shape),
        )
        cells = Cells(
            n_cells=binning.n_cells * int(np.prod(binning.shape)),
            nominal=cell,
            fold=event_folds(events, np.arange(len(events))),
        )
        variations = (NOMINAL,), np.ones((len(events), 1))
        block = fill(cells, (EVEN_COMPONENTS, weights), variations)
        return {dataset.name: block}

    def postprocess(self, accumulator):
        return accumulator


only_plus = catalog.only(["Wplus_mu"])
block = run(only_plus, GeneratedTemplates(), progress=False).outputs["Wplus_mu"]
n_muon = int(np.prod(binning.shape))
section = block.section((3 * iabsy + iqt) * n_muon, n_muon)
generated = section.sums[:, 0].reshape(-1, *binning.shape)
variance = np.einsum("kki->ki", section.products).reshape(generated.shape)


# %% [markdown]
# ## Quadrature
#
# `lepton_template` integrates the decay over the cell: the cross section and the
# coefficients as functions of (qT, |Y|) go in, templates without noise come out.


# %%
def spectrum(qt, absy):
    """Cross section and coefficients of the toy's W⁺."""
    points = np.broadcast_arrays(qt, absy)
    return density(truth, 1, qt, absy), coefficients(truth, 1, *points)


quadrature = (
    1000
    * catalog.luminosity
    * lepton_template(
        spectrum,
        binning.qt[iqt : iqt + 2],
        binning.absy[iabsy : iabsy + 2],
        binning.eta,
        binning.pt,
        pole=truth.wplus.mass,
        width=truth.wplus.width,
    )
)


def plot_components():
    """Draw each component of the cell in the projection that shows it."""
    figure = new_figure(12.0, 7.0, left=0.8, right=0.2)
    axes = figure.subplots(2, 3, gridspec_kw={"hspace": 0.3, "wspace": 0.28})
    along_eta = binning.eta, 1, channel.axes()[0].label
    along_pt = binning.pt, 0, channel.axes()[1].label
    for k, component in enumerate(EVEN_COMPONENTS):
        edges, summed, label = (
            along_pt if component in ("UL", "A2", "A3") else along_eta
        )
        ax, x = axes.flat[k], (np.array(edges)[1:] + np.array(edges)[:-1]) / 2
        values = selected[component].nominal.sum(axis=summed)
        ax.stairs(values, edges, fill=True, color="#92dadd", label="selected")
        values = quadrature[k].sum(axis=summed)
        ax.stairs(values, edges, color="#bd1f01", linewidth=1.4, label="quadrature")
        points = generated[k].sum(axis=summed), np.sqrt(variance[k].sum(axis=summed))
        ax.errorbar(x, *points, fmt="o", color="black", markersize=4, label="generated")
        ax.axhline(0, color="black", linewidth=0.8)
        ax.set(xlabel=label, xlim=(edges[0], edges[-1]))
        ax.set_ylabel(f"{COMPONENT_LABELS[component]}: events / bin")
    axes[0, 0].legend(loc="upper right", fontsize=11)
    add_label(axes[0, 0], SampleLabel(luminosity=catalog.luminosity))
    return figure


plot_components()

# %% [markdown]
# The selection takes away part of each template, and not the same part: the cut on mT
# sees the decay angles.
#
# **Checked number:** χ² of the generated templates and the quadrature in the bins of
# the (η, pT) plane that have events enough for Gaussian errors.

# %%
filled = section.entries.reshape(binning.shape) >= 20
n_bins = int(filled.sum())
difference = (generated - quadrature)[:, filled]
statistics = (difference**2 / variance[:, filled]).sum(axis=1)
for component, statistic in zip(EVEN_COMPONENTS, statistics, strict=True):
    p_value = float(chi2.sf(statistic, n_bins))
    print(f"{component}: χ² = {statistic:.1f} in {n_bins} bins, p = {p_value:.2f}")
    assert p_value > 0.001
