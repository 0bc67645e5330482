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
# # Dask
#
# **Question:** does a cluster give the same templates as one process, to the last bit?
#
# Sums of floating-point numbers depend on their order, and workers finish in any order.
# Here chunks are added in a fixed tree, so the answer should be yes.
#
# Run this as a notebook: as a script, the workers of a local cluster would start it
# again, each from the top.

# %%
# %matplotlib inline
import os
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from wprops.axes import Binning
from wprops.catalog import Catalog
from wprops.events.toy.samples import write_toy
from wprops.execution.processors import load_processor
from wprops.execution.run import run
from wprops.fit.run import template_digest
from wprops.plots.distributions import plot_distribution
from wprops.plots.style import STYLE, SampleLabel
from wprops.store import TemplateSet

plt.style.use(STYLE)
OUTPUT = Path(os.environ.get("WPROPS_OUTPUT") or tempfile.mkdtemp(prefix="wprops_"))

# %% [markdown]
# ## Where to run
#
# Without an address, `run` starts a cluster of its own on this machine and stops it
# afterwards. On an analysis facility, write the address of your scheduler, which
# `client.scheduler.address` shows. The workers need two things: `wprops` installed, and
# the files of the catalogue under the same paths or URLs (so set `WPROPS_OUTPUT` to a
# folder that they share). The processor travels with the tasks, edited or not.

# %%
ADDRESS = None  # on a facility, its scheduler, such as "tls://localhost:8786"

# %%
catalogue = write_toy(
    OUTPUT / "toy", events=25_000, seed=4, data_fraction=1.0, workers=1
)
catalog = Catalog.read(catalogue)
binning = Binning(
    eta=tuple(np.linspace(-2.4, 2.4, 13).round(1)),
    pt=tuple(range(25, 56, 2)),
    qt=(0, 10, 60),
    absy=(0, 1.2, 2.4),
)
processor = load_processor("templates").from_catalog(catalog, binning)

# %% [markdown]
# ## Twice the same run
#
# Small chunks, so that there is something to add in another order.


# %%
def fill_templates(name, **where):
    """Run the processor somewhere and read what it wrote."""
    result = run(catalog, processor, chunksize=5_000, progress=False, **where)
    processor.save(result, OUTPUT / f"{name}.h5")
    seconds, chunks = (result.performance[key] for key in ("wall_s", "chunks"))
    print(f"{name}: {chunks} chunks in {seconds:.1f} s")
    return TemplateSet.read(OUTPUT / f"{name}.h5")


alone = fill_templates("iterative", executor="iterative")

# %%
together = fill_templates("dask", executor="dask", workers=2, address=ADDRESS)

# %% [markdown]
# The cluster has to start, and each worker to import the libraries: for a toy this
# costs more than it gains, for a billion events it does not.

# %%
plot_distribution(
    together.channel("Wplus"), "pt", label=SampleLabel(luminosity=together.luminosity)
)

# %% [markdown]
# ## Checked numbers
#
# The largest difference of any template, with all its variations, and the digest of
# everything the fit reads.

# %%
n_numbers, largest = 0, 0.0
for name, channel in alone.channels.items():
    for process in channel.processes.values():
        other = together.channel(name).process(process.name)
        for label in ("nominal", *process.variations):
            difference = np.abs(process.varied(label) - other.varied(label))
            n_numbers += difference.size
            largest = max(largest, float(difference.max()))
print(f"{n_numbers:,} bins, largest difference {largest}")
print(template_digest(alone)[:16], template_digest(together)[:16])
assert template_digest(alone) == template_digest(together)
