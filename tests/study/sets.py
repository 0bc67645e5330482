"""Template sets of 15 cells whose templates carry the generated A_i."""

from dataclasses import replace

import numpy as np

from tests.fit.cells import shaped_set, toy_maps
from wprops.channels import SharedEvents

GENERATED = toy_maps(absy=(0.0, 0.8, 1.6, 2.4), qt=(0.0, 4.0, 8.0, 14.0, 26.0, 60.0))


def carrying(templates):
    """Multiply templates of coefficients by the generated A_i."""
    channels = {}
    for name, channel in templates.channels.items():
        processes = {}
        for key, process in channel.processes.items():
            A = 1.0
            if process.component != "UL":
                A = channel.generated.coefficients[int(process.component[1])]
                A = A[process.cell]
            processes[key] = replace(
                process,
                nominal=A * process.nominal,
                variations={k: A * v for k, v in process.variations.items()},
            )
        channels[name] = replace(channel, processes=processes, data=None)
    return replace(templates, channels=channels, weighting="sigma_A", truth=None)


def exact_set(**options):
    """Templates without noise, with a free mass."""
    return carrying(shaped_set(GENERATED, **options))


def noisy_set(*, weight=2.0, derivative=None, seed=3):
    """The covariance of simulated events that the templates of a cell share.

    Two kinds of events of some weight fill each bin, with their own shares of the
    components, so that products are sums over them.
    """
    templates = exact_set()
    rng = np.random.default_rng(seed)
    (channel,) = templates.channels.values()
    cells = {}
    for process in channel.processes.values():
        cells.setdefault(process.cell, []).append(process)
    processes, shared = {}, []
    for together in cells.values():
        nominal = np.stack([p.nominal for p in together])
        bulk = nominal[0] / weight  # events
        share = nominal / nominal[0]
        spread = 0.3 * rng.uniform(-1, 1, share.shape)
        spread[0] = 0.0
        kinds = np.stack([share + spread, share - spread])  # means are the shares
        products = 0.5 * weight**2 * np.einsum("kp...,kq...->pq...", kinds, kinds)
        products = products * bulk
        more = {}
        if derivative:
            one = np.stack([p.varied(f"{derivative}_up") for p in together])
            two = np.stack([p.varied(f"{derivative}_down") for p in together])
            slope = (one - two).sum(axis=0) / 2 / nominal.sum(axis=0)
            sums = np.einsum("pq...->p...", products)
            more = {
                "derivative": derivative,
                "derivative_products": np.concatenate(
                    [slope * sums, [slope**2 * sums.sum(axis=0)]]
                ),
            }
        names = tuple(p.name for p in together)
        shared.append(SharedEvents(names, products, **more))
        for i, process in enumerate(together):
            processes[process.name] = replace(process, variance=products[i, i])
    ordered = {name: processes[name] for name in channel.processes}
    channel = replace(channel, processes=ordered, shared=tuple(shared))
    made = replace(templates, channels={channel.name: channel})
    made.validate()
    return made
