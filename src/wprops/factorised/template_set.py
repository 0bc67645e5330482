"""From a response file to the template set that the fit reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wprops.channels import Channel, Generated
from wprops.errors import TemplateError
from wprops.factorised.assemble import (
    Templates,
    all_templates,
    nominal_templates,
    processes_of,
)
from wprops.factorised.assumptions import check_assumptions
from wprops.factorised.closure import fit_simulation
from wprops.factorised.operators import Operators, efficiency_stat, fit_operators
from wprops.factorised.remedies import check_remedies, parts_of
from wprops.factorised.response_file import CHARGES, Response
from wprops.physics.moments import Weighting
from wprops.store import TemplateSet
from wprops.systematics.catalog import LOW_ACCEPTANCE, SIGNAL
from wprops.systematics.declaration import NOMINAL, Systematic, variation_label
from wprops.templates.assemble import CHARGES as CHANNELS
from wprops.templates.assemble import name_processes
from wprops.templates.filling import N_FOLDS

FloatArray = NDArray[np.float64]
#: Group of the nuisance parameters for the statistics of the operators.
STATISTICS = "response"
#: Beginning of the names of those that are replicas.
REPLICA = "response_stat_"


def factorised_set(
    response: Response,
    *,
    plain: TemplateSet | None = None,
    weighting: Weighting = "sigma_A",
    n_replicas: int = 10,
    accept: bool = False,
    remedies: Sequence[str] = (),
) -> TemplateSet:
    """Make factorised templates of the signal and of low acceptance.

    The statistics of the simulation is in all operators at once. That of the
    efficiency becomes nuisance parameters in each bin of eta, from the covariance of
    its fit. For spectrum, response and recoil there is one parameter per replica of a
    jackknife over parts of the events, whose squared effects add up to the covariance
    of the templates (M. H. Quenouille, Biometrika 43 (1956) 353; J. W. Tukey, Ann.
    Math. Statist. 29 (1958) 614); with fewer replicas than numbers in an operator, the
    covariance is an estimate from few samples.

    Parameters
    ----------
    response : Response
        Sums over the events.
    plain : TemplateSet, optional
        Event-weighted templates of the same events, for the closure. The result takes
        over all that is not signal: backgrounds, data, sidebands.
    weighting : {"sigma_A", "sigma"}
        Whether components carry the A_i of the simulation, as those of ``plain`` do.
    n_replicas : int
        Replicas of the jackknife, a divisor of the number of folds; 0 for templates
        without any statistics of the simulation.
    accept : bool
        Whether to go on with operators that do not fit.
    remedies : sequence of str
        Remedies for assumptions that fail, of `wprops.factorised.remedies.REMEDIES`.
        The effects of the replicas are those without.

    Returns
    -------
    TemplateSet
        Its table ``factorised`` holds the goodness of all operators, the tests of the
        assumptions, the remedies and the closure by channel.

    Raises
    ------
    ConfigError
        If remedies are unknown or exclude each other.
    TemplateError
        If the files do not belong together or a variation is missing.
    FitError
        If an operator does not fit and is not accepted.
    """
    if n_replicas and (n_replicas == 1 or N_FOLDS % n_replicas):
        msg = (
            f"the {N_FOLDS} parts of the events do not make {n_replicas} replicas of a "
            "jackknife; take 2, 4, 5, 10 or 20, or 0 for none"
        )
        raise TemplateError(msg)
    check_remedies(remedies)
    if plain is not None:
        _require_same(response, plain, weighting)
    operators = fit_operators(response, accept=accept)
    parts = parts_of(response.sums, operators, remedies)
    statistics = _statistics(operators, n_replicas)
    records = (*response.systematics, *statistics)
    # The replicas are no variations of one response.
    declared = [r for r in records if not r.name.startswith(REPLICA)]
    complete = replace(response, systematics=tuple(declared))
    templates = {
        k: all_templates(complete, operators, k, weighting, parts)
        for k, charge in enumerate(CHARGES)
        if charge in response.generated
    }
    _add_replicas(templates, response, operators, weighting, n_replicas)
    channels = _channels(templates, response, records, plain)
    table: dict[str, Any] = {
        "operators": operators.goodness(),
        "assumptions": [
            asdict(test)
            for test in check_assumptions(response.sums.arrays, response.panels)
        ],
        "remedies": sorted(set(remedies)),
    }
    if plain is not None:
        table["closure"] = {
            name: fit_simulation(plain.channel(name), channel).to_dict()
            for name, channel in channels.items()
        }
    provenance = {"templates": "factorised", "response": response.provenance}
    if plain is None:
        return TemplateSet(
            channels=channels,
            systematics=name_processes(records, channels),
            luminosity=response.luminosity,
            boson_mass=response.mass,
            weighting=weighting,
            provenance=provenance,
            tables={"factorised": table},
        )
    statistics = name_processes(statistics, channels)
    return replace(
        plain,
        channels=channels,
        systematics=(*plain.systematics, *statistics),
        provenance=plain.provenance | provenance,
        tables=plain.tables | {"factorised": table},
    )


def _replica(index: int) -> str:
    return f"{REPLICA}{index + 1:02d}"


def _statistics(operators: Operators, n_replicas: int) -> tuple[Systematic, ...]:
    """Declare the statistics of the operators."""
    if not n_replicas:
        return ()
    n_efficiency = operators.efficiency.parameters.shape[-1]
    common: dict[str, Any] = {
        "kind": "weight",
        "processes": frozenset({SIGNAL, LOW_ACCEPTANCE}),
        "group": STATISTICS,
        "variations": ("up",),
        "interpolation": "linear",
    }
    return (
        *(
            Systematic(
                name=efficiency_stat(k),
                eta_local=True,
                charge_correlated=False,
                **common,
            )
            for k in range(n_efficiency)
        ),
        # Both charges share the recoil, and replicas are those of all events.
        *(Systematic(name=_replica(k), **common) for k in range(n_replicas)),
    )


def _add_replicas(
    templates: Mapping[int, Templates],
    response: Response,
    operators: Operators,
    weighting: Weighting,
    n_replicas: int,
) -> None:
    """Add the effects of the replicas, whose squares add up to the covariance."""
    size = N_FOLDS // n_replicas if n_replicas else 0
    replicas: dict[int, list[FloatArray]] = {k: [] for k in templates}
    for replica in range(n_replicas):
        left_out = range(replica * size, (replica + 1) * size)
        part = replace(response, sums=response.sums.leave_out(*left_out))
        # The nominal fit was accepted; parts of its events have the same shapes.
        fitted = fit_operators(part, nominal=operators, accept=True)
        for k, found in replicas.items():
            found.append(nominal_templates(part, fitted, k, weighting))
    for k, found in replicas.items():
        mean = sum(found) / max(n_replicas, 1)
        scale = np.sqrt((n_replicas - 1) / n_replicas) if n_replicas else 0.0
        for replica, values in enumerate(found):
            label = variation_label(_replica(replica), "up")
            templates[k][label] = templates[k][NOMINAL] + scale * (values - mean)


def _channels(
    templates: Mapping[int, Templates],
    response: Response,
    records: Iterable[Systematic],
    plain: TemplateSet | None,
) -> dict[str, Channel]:
    """Put the signal into the channels of event-weighted templates, or new ones."""
    binning = response.panels.binning
    channels = {}
    for name, charge in CHANNELS.items():
        k = CHARGES.index(charge)
        if k not in templates:
            continue
        processes = processes_of(templates[k], response.panels, tuple(records))
        generated = response.generated[charge]
        if plain is None:
            channels[name] = Channel(
                name=name,
                charge=charge,
                eta_edges=np.array(binning.eta),
                pt_edges=np.array(binning.pt),
                processes=processes,
                generated=generated,
            )
            continue
        old = plain.channel(name)
        kept = {n: p for n, p in old.processes.items() if n not in processes}
        channels[name] = replace(
            old,
            processes=processes | kept,
            shared=tuple(g for g in old.shared if set(g.processes) <= set(kept)),
            generated=generated,
        )
    return channels


def _require_same(response: Response, plain: TemplateSet, weighting: str) -> None:
    """Check that event-weighted templates are of the same simulation and binning."""
    binning = response.panels.binning
    names = {r.name for r in response.systematics if r.kind != "norm"}
    differences = list(_differences(response, plain, weighting))
    for channel in plain.channels.values():
        edges = channel.eta_edges, channel.pt_edges
        if not all(map(np.array_equal, edges, (binning.eta, binning.pt))):
            differences.append(f"bins of (eta, pT) in channel {channel.name!r}")
        signal = {p.name for p in channel.processes.values() if p.role == "signal"}
        declared = {
            r.name
            for r in plain.systematics
            if r.kind != "norm" and r.processes & (signal | {LOW_ACCEPTANCE})
        }
        if declared - names:
            odd = ", ".join(sorted(declared - names)[:3])
            differences.append(f"systematics, such as {odd}")
        generated = response.generated.get(channel.charge)
        if generated is not None and not _same_cells(channel.generated, generated):
            differences.append(
                f"cells of (qT, |Y|) or their cross sections in {channel.name!r}"
            )
    if differences:
        msg = (
            "the response and the event-weighted templates differ in: "
            f"{'; '.join(dict.fromkeys(differences))}. Produce both of one catalogue "
            "with the same `--binning`"
        )
        raise TemplateError(msg)


def _same_cells(one: Generated | None, two: Generated) -> bool:
    """Whether both are of the same cells and the same simulation."""
    return one is not None and all(
        np.shape(a) == np.shape(b) and np.allclose(a, b, rtol=1e-9)
        for a, b in (
            (one.qt_edges, two.qt_edges),
            (one.absy_edges, two.absy_edges),
            (one.sigma, two.sigma),
        )
    )


def _differences(
    response: Response, plain: TemplateSet, weighting: str
) -> Iterator[str]:
    for what, one, two in (
        ("luminosity", response.luminosity, plain.luminosity),
        ("boson mass", response.mass, plain.boson_mass),
        ("weighting by A_i", weighting, plain.weighting),
        (
            "channels",
            sorted(n for n, c in CHANNELS.items() if c in response.generated),
            sorted(plain.channels),
        ),
    ):
        if one != two:
            yield f"{what} ({one} and {two})"
