"""A template set with sidebands whose multijet is known, made without events."""

import numpy as np

from tests.backgrounds.region_counts import truth
from wprops.channels import Channel, Process, Sideband, Sidebands
from wprops.store import TemplateSet
from wprops.systematics.declaration import Systematic

NAMES = {1: "Wplus", -1: "Wminus"}
SIGNAL_NAME = "W_UL_y0_qt0"
MT_EDGES = np.array([0.0, 15.0, 30.0, 40.0, np.inf])
#: Shares of the slices of mT in the sideband, and the gap relative to it.
SHARES, GAP = (0.45, 0.55), 0.3
#: Mean mT [GeV] in the slices, of multijet and of prompt muons.
MEAN_MT = {"qcd": (9.0, 22.0, 34.0, 48.0), "prompt": (8.0, 23.0, 35.5, 67.0)}
#: Part of prompt muons that are W, and changes of processes by label in the regions.
FRACTIONS = {"W": 0.8, "Z": 0.2}
CHANGES = {
    "jes_up": {"W": (1.02, 1.0, 0.9, 0.95), "Z": (1.01, 1.0, 0.9, 0.95)},
    "jes_down": {"W": (0.98, 1.0, 1.1, 1.05), "Z": (0.99, 1.0, 1.1, 1.05)},
    "scale_up": {"Z": (1.03, 1.03, 1.05, 1.05)},
    "eff_up": {"W": (1.01, 0.8, 1.01, 0.8), "Z": (1.01, 0.8, 1.01, 0.8)},
}
ALL = frozenset({SIGNAL_NAME, "Z", "qcd"})


def records():
    shape = {"kind": "weight", "group": "shapes"}
    return (
        Systematic(name="jes", processes=ALL, **shape),
        Systematic(
            name="scale", processes=frozenset({"Z", "qcd"}), variations=("up",), **shape
        ),
        Systematic(
            name="eff", processes=ALL, variations=("up",), eta_local=True, **shape
        ),
        Systematic(
            name="lumi", kind="norm", processes=ALL - {"qcd"}, group="lumi", size=1.025
        ),
        Systematic(
            name="fake_lumi", kind="weight", processes=frozenset({"qcd"}), group="lumi"
        ),
        Systematic(
            name="qcd_norm",
            kind="norm",
            processes=frozenset({"qcd"}),
            group="qcd",
            size=1.05,
        ),
    )


def in_classes(regions):
    """Put counts of the four regions (4, ...) into isolation and slices of mT."""
    signal, antiiso, low, low_anti = regions
    return np.stack(
        [
            np.stack([SHARES[0] * c, SHARES[1] * c, GAP * c, high])
            for c, high in ((low, signal), (low_anti, antiiso))
        ]
    )


def mt_sum(counts, kind):
    """Sum of mT by class of counts in classes."""
    return counts.sum(axis=(-2, -1)) * np.array(MEAN_MT[kind])[:, None]


def make_set(rng=None, weight=0.3, n_eta=2, n_pt=10, **sizes):
    """The set and the expectations it was made from.

    Without ``rng`` data are as expected; simulation always is.
    """
    expected = truth(n_eta=n_eta, n_pt=n_pt, **({"qcd": 1e5, "prompt": 2e5} | sizes))
    sidebands = {}
    for name, share in FRACTIONS.items():
        nominal = share * expected.prompt
        varied = {
            label: in_classes(nominal * np.reshape(change[name], (4, 1, 1, 1)))
            for label, change in CHANGES.items()
            if name in change
        }
        counts = in_classes(nominal)
        sums = mt_sum(counts, "prompt")
        sidebands[name] = Sideband(counts, weight * counts, sums, varied)
    qcd, prompt = in_classes(expected.qcd), in_classes(expected.prompt)
    data, data_mt_sum = qcd + prompt, mt_sum(qcd, "qcd") + mt_sum(prompt, "prompt")
    if rng is not None:
        expectation = data.sum(axis=(-2, -1))
        data = rng.poisson(data).astype(float)
        data_mt_sum = data_mt_sum * data.sum(axis=(-2, -1)) / expectation
    channels = {}
    for index, (charge, name) in enumerate(NAMES.items()):
        processes = {
            key: Process(
                key,
                role,
                found.nominal[0, -1, index],
                found.variance[0, -1, index],
                {k: v[0, -1, index] for k, v in found.variations.items()},
                *(("UL", (0, 0)) if role == "signal" else ()),
            )
            for key, role, found in (
                (SIGNAL_NAME, "signal", sidebands["W"]),
                ("Z", "background", sidebands["Z"]),
            )
        }
        channels[name] = Channel(
            name=name,
            charge=charge,
            eta_edges=expected.eta_edges,
            pt_edges=expected.pt_edges,
            processes=processes,
            data=data[0, -1, index],
        )
    templates = TemplateSet(
        channels=channels,
        systematics=records(),
        luminosity=1.0,
        boson_mass=80.4,
        sidebands=Sidebands(MT_EDGES, data, data_mt_sum, sidebands),
    )
    return templates, expected
