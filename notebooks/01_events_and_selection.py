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
# # Events and selection
#
# **Question:** which events make the signal region, and does the sum of the simulated
# samples describe the data there?
#
# A toy Monte Carlo writes NanoAOD files with known truth, coffea opens them, and the
# selection of the measurement is applied one step at a time. The same cells work on
# any NanoAOD that a catalogue describes.

# %%
# %matplotlib inline
import os
import tempfile
from pathlib import Path

import awkward as ak
import matplotlib.pyplot as plt
import mplhep
import numpy as np
from coffea.lumi_tools import LumiMask
from coffea.nanoevents import NanoEventsFactory
from hist import Hist
from scipy.stats import chi2

from wprops.catalog import Catalog
from wprops.events.runs import genweight_sums
from wprops.events.schema import NanoSchema
from wprops.events.toy.samples import write_toy
from wprops.nominal import nominal_weight
from wprops.plots.style import (
    STYLE,
    SampleLabel,
    add_label,
    new_figure,
    process_style,
)
from wprops.selection.candidates import certified_events, select
from wprops.selection.regions import REGIONS, SIGNAL, Region, cut_flows

plt.style.use(STYLE)
OUTPUT = Path(os.environ.get("WPROPS_OUTPUT") or tempfile.mkdtemp(prefix="wprops_"))

# %% [markdown]
# ## Files
#
# Signal, backgrounds and pseudo-data of a hundred thousand simulated W → μν events,
# and the catalogue that says what they are: cross sections, triggers, luminosity.

# %%
catalogue = write_toy(
    OUTPUT / "toy", events=100_000, seed=1, data_fraction=0.5, workers=1
)
catalog = Catalog.read(catalogue)
print(f"{1000 * catalog.luminosity:.2f} pb⁻¹ of data in {catalogue}")
for dataset in catalog.datasets:
    size = "" if dataset.xsec is None else f"{dataset.xsec:>10.1f} pb"
    print(f"{dataset.name:<12}{dataset.process:<9}{size}")


# %% [markdown]
# ## Events
#
# `NanoSchema` is coffea's schema for NanoAOD. The weight of an event is its expected
# number at the luminosity of the data; a run over a catalogue puts the factor into the
# metadata of the events, and here the cell does.


# %%
def open_events(dataset):
    """Open a dataset; those of a toy this small have one file each."""
    (path,) = dataset.files
    metadata = {"record": dataset, "normalisation": 1.0}
    if dataset.kind == "mc":
        expected = 1000 * dataset.xsec * catalog.luminosity  # pb times pb⁻¹
        metadata["normalisation"] = expected / genweight_sums(dataset.files).sumw
    return NanoEventsFactory.from_root(
        {path: "Events"}, schemaclass=NanoSchema, metadata=metadata
    ).events()


wplus = open_events(catalog.dataset("Wplus_mu"))
print(len(wplus), "events with", ", ".join(wplus.fields[:12]), "…")
print("pT of the first muons [GeV]:", ak.flatten(wplus.Muon.pt)[:5].to_list())

# %% [markdown]
# ## Candidates
#
# `select` identifies muons and electrons and reduces each event to the columns that
# are cut on, so a region is nothing but a list of cuts.

# %%
dataset = catalog.dataset("Wplus_mu")
candidates = select(wplus, dataset, certified_events(wplus, dataset, golden=None))
print(f"one isolated muon in {candidates.isolated.mean():.1%} of the events")
for cut in SIGNAL.cuts:
    print(f"{cut.label:<24}{cut.column:<18}[{cut.low}, {cut.high})")
for region in REGIONS:
    print(f"{region.name:<18}{region.passes(candidates).sum():>8} events")

# %% [markdown]
# ## All samples
#
# The transverse mass of each process before the cut on it, and the cut flow of the
# signal region. A region of your own is a new list of cuts.

# %%
before_mt = Region(name="before_mt", cuts=SIGNAL.cuts[:-1])
golden = LumiMask(str(catalog.golden_json))
histogram = (
    Hist.new.StrCat([], growth=True, name="process")
    .Reg(24, 0, 120, name="mt", label=r"$m_T$ [GeV]")
    .Weight()
)
flows = {}
for dataset in catalog.datasets:
    events = open_events(dataset)
    candidates = select(events, dataset, certified_events(events, dataset, golden))
    weight = nominal_weight(events)
    flow = cut_flows([SIGNAL], candidates, weight)[0, :, 1]
    flows[dataset.process] = flows.get(dataset.process, 0) + flow
    chosen = before_mt.passes(candidates)
    histogram.fill(
        process=dataset.process, mt=candidates.mt[chosen], weight=weight[chosen]
    )

# %%
print(f"{'events passing':<24}" + "".join(f"{name:>10}" for name in flows))
for row, label in enumerate(["all", *(cut.label for cut in SIGNAL.cuts)]):
    print(f"{label:<24}" + "".join(f"{flow[row]:>10.0f}" for flow in flows.values()))

# %% [markdown]
# ## Data and prediction
#
# From 40 GeV on is the signal region; multijet events below 30 GeV are the sideband
# from which their number is estimated.

# %%
data = histogram["data", :]
prediction = {name: histogram[name, :] for name in flows if name != "data"}
prediction = dict(sorted(prediction.items(), key=lambda item: item[1].sum().value))
total = sum(prediction.values())


def plot_mt():
    """Stack the processes below the data, with their ratio."""
    figure = new_figure(7.0, 6.0)
    main, ratio = figure.subplots(
        2, 1, sharex=True, gridspec_kw={"height_ratios": [3, 1], "hspace": 0.06}
    )
    styles = [process_style("signal" if p == "W_mu" else p) for p in prediction]
    edges, x = data.axes[0].edges, data.axes[0].centers
    mplhep.histplot(
        [process.values() for process in prediction.values()],
        bins=edges,
        stack=True,
        histtype="fill",
        label=[text for text, _ in styles],
        color=[colour for _, colour in styles],
        ax=main,
    )
    points = {"fmt": "o", "color": "black", "markersize": 3.5, "linewidth": 1}
    grey = {"fill": True, "color": "black", "alpha": 0.25}
    n, expected = data.values(), total.values()
    for ax, unit in ((main, 1.0), (ratio, expected)):
        centre, band = expected / unit, np.sqrt(total.variances()) / unit
        ax.stairs(
            centre + band, edges, baseline=centre - band, label="MC stat.", **grey
        )
        ax.errorbar(x, n / unit, np.sqrt(n) / unit, label="Data", **points)
        ax.axvline(30, color="grey", linestyle=":")
        ax.axvline(40, color="grey", linestyle="--")
    top = 1.4 * n.max()
    main.text(29, 0.97 * top, "sideband", ha="right", va="top", fontsize=11)
    main.text(41, 0.97 * top, "signal region", va="top", fontsize=11)
    main.set(ylabel="Events / 5 GeV", ylim=(0, top))
    main.legend(loc="upper right", fontsize=11)
    ratio.axhline(1.0, color="black", linewidth=0.8)
    ratio.set(xlabel=data.axes[0].label, xlim=(0, 120))
    ratio.set(ylabel="Data / MC", ylim=(0.68, 1.32))
    add_label(main, SampleLabel(luminosity=catalog.luminosity))
    return figure


plot_mt()

# %% [markdown]
# ## Checked number
#
# χ² of data and prediction over the bins, with the statistical errors of both.

# %%
difference = data.values() - total.values()
statistic = float((difference**2 / (total.values() + total.variances())).sum())
p_value = float(chi2.sf(statistic, len(difference)))
expected = {name: flow[-1] for name, flow in flows.items() if name != "data"}
purity = expected["W_mu"] / sum(expected.values())
print(f"{flows['data'][-1]:.0f} events in the signal region, {purity:.1%} W → μν")
print(f"χ² = {statistic:.1f} in {len(difference)} bins, p = {p_value:.2f}")
assert p_value > 0.001
assert 0.8 < purity < 0.95
