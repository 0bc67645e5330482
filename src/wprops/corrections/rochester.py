"""Rochester momentum corrections of muons, with their error.

A factor on the transverse momentum is, as in RoccoR,

* for data, ``1 / (M + Q A pt)`` in bins of eta and phi: the momentum scale M and the
  misalignment A, which bends the two charges Q in opposite directions;
* for simulated muons with a generated partner, the same with the M and A of the
  simulation, times a spread: the distance to the generated momentum is stretched by
  the ratio of the resolutions in data and simulation;
* for simulated muons without a partner, the scale times a smearing: the missing
  resolution times a random number from a symmetric Crystal Ball.

Its error compares the factor with the one of every other member of the file: the mean
square over the members of a set (the replicas of the statistical set; one member in
each systematic set), added over the sets.

The parameters come from a correctionlib file that ``corrections/build_rochester.py``
makes. Its corrections ``kScaleDT`` and ``kSpreadMC`` can be evaluated by correctionlib
as well and give the same; this module takes the tables out of the file because an
error needs all members of each muon, so that one look-up and a loop over members is
about 50 times faster than one evaluation per member.

RoccoR writes π as 3.14159. With all its digits, as here and in coffea, bins in phi
move by less than 3e-6 and smeared momenta by a relative 2e-6 at most, far less than
the error.

References
----------
A. Bodek et al., Eur. Phys. J. C 72 (2012) 2194.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from correctionlib.highlevel import open_auto
from numpy.typing import ArrayLike, NDArray

from wprops.corrections.rochester_kernels import fill_scale, fill_spread, smearing
from wprops.corrections.sets import (
    bin_index,
    finite_columns,
    get_correction,
    require,
    require_charge,
)
from wprops.errors import ConfigError

Floats = NDArray[np.float64]

#: The corrections whose tables are used, with their inputs.
INPUTS = {
    "kScaleDT": ("set", "member", "charge", "eta", "phi", "pt"),
    "kScaleMC": ("set", "member", "charge", "eta", "phi", "pt"),
    "kSpread": ("set", "member", "eta", "pt", "gen_pt"),
    "kSmear_width": ("set", "member", "eta", "nTrackerLayers", "pt"),
    "kSmear_alpha": ("set", "member", "eta", "nTrackerLayers"),
    "kSmear_power": ("set", "member", "eta", "nTrackerLayers"),
}


class Factor(NamedTuple):
    """Factors on the transverse momentum and their errors, one per muon.

    The errors are NaN where only the default member is there.
    """

    nominal: Floats
    error: Floats


class CorrectedPt(NamedTuple):
    """Corrected transverse momenta [GeV], and one error up and down."""

    nominal: Floats
    up: Floats
    down: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Rochester:
    """The corrections of one era, over flat columns with one entry per muon.

    Attributes
    ----------
    weights : ndarray, shape (n_members,)
        One over the number of members in the member's set; the first is the default.
    eta, phi, abseta, layers : ndarray
        Bin edges; values outside belong to the first or the last bin.
    data_table, mc_table : ndarray, shape (n_eta n_phi, 2, n_members)
        M - 1 [%] and A [%/GeV].
    ratio_table : ndarray, shape (n_abseta, n_members)
        Resolution in data over that in simulation.
    smear_table : ndarray, shape (n_members, 8, n_abseta n_layers)
        Resolution factors of data and simulation; constant, linear and (times 100)
        quadratic term of the resolution in pt - 45 GeV; width, alpha and power of
        the Crystal Ball.
    """

    weights: Floats
    eta: Floats
    phi: Floats
    abseta: Floats
    layers: Floats
    data_table: Floats
    mc_table: Floats
    ratio_table: Floats
    smear_table: Floats

    @classmethod
    def read(cls, path: Path, *, errors: bool = True) -> Rochester:
        """Read a correctionlib file made by ``corrections/build_rochester.py``.

        Parameters
        ----------
        path : Path
            The file, ``.json`` or ``.json.gz``.
        errors : bool
            Whether to take all members; without, there is the default only, errors
            are NaN and factors are faster (the smearing 40 times).

        Raises
        ------
        ConfigError
            If there is no such file, or it is not one of these.
        """
        for name, inputs in INPUTS.items():
            get_correction(path, name, inputs)
        content = json.loads(open_auto(str(path)))
        try:
            return _from_corrections(content["corrections"], errors)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            msg = (
                f"{path} has {', '.join(INPUTS)}, but not as tables by set and member "
                f"({error!r}); build it with corrections/build_rochester.py"
            )
            raise ConfigError(msg) from error

    def scale_data(
        self, charge: ArrayLike, pt: ArrayLike, eta: ArrayLike, phi: ArrayLike
    ) -> Factor:
        """Return the factors of muons in data (kScaleDT of RoccoR).

        Parameters
        ----------
        charge, pt, eta, phi : array_like, shape (n_muons,)
            Charge (+1 or -1), momentum [GeV] and direction [rad] as measured.

        Raises
        ------
        InputError
            If a column is not flat, as long as the others and of possible values.
        """
        charge, pt, eta, phi = _muons(charge=charge, pt=pt, eta=eta, phi=phi)
        factor = Factor(np.empty_like(pt), np.empty_like(pt))
        cell = self._scale_cell(eta, phi)
        fill_scale(cell, charge * pt, self.data_table, self.weights, *factor)
        return factor

    def spread_mc(
        self,
        charge: ArrayLike,
        pt: ArrayLike,
        eta: ArrayLike,
        phi: ArrayLike,
        gen_pt: ArrayLike,
    ) -> Factor:
        """Return the factors of muons with a generated partner (kSpreadMC).

        As in RoccoR, a partner with less than some 5 % of the momentum can turn the
        factor negative: it is none.

        Parameters
        ----------
        charge, pt, eta, phi : array_like, shape (n_muons,)
            As in `scale_data`.
        gen_pt : array_like, shape (n_muons,)
            Transverse momentum of the generated muon [GeV].

        Raises
        ------
        InputError
            If a column is not flat, as long as the others and of possible values.
        """
        charge, pt, eta, phi, gen_pt = _muons(
            charge=charge, pt=pt, eta=eta, phi=phi, gen_pt=gen_pt
        )
        remedy = "give muons with a generated partner only"
        require("gen_pt", gen_pt, gen_pt > 0, "a momentum above 0", remedy)
        factor = Factor(np.empty_like(pt), np.empty_like(pt))
        fill_spread(
            self._scale_cell(eta, phi),
            bin_index(self.abseta, np.abs(eta)),
            charge * pt,
            gen_pt / pt,
            self.mc_table,
            self.ratio_table,
            self.weights,
            *factor,
        )
        return factor

    def smear_mc(
        self,
        charge: ArrayLike,
        pt: ArrayLike,
        eta: ArrayLike,
        phi: ArrayLike,
        n_layers: ArrayLike,
        u: ArrayLike,
    ) -> Factor:
        """Return the factors of muons without a generated partner (kSmearMC).

        Parameters
        ----------
        charge, pt, eta, phi : array_like, shape (n_muons,)
            As in `scale_data`.
        n_layers : array_like, shape (n_muons,)
            Number of tracker layers with hits.
        u : array_like, shape (n_muons,)
            Random numbers, uniform in (0, 1), such as those of
            `wprops.event_random.event_uniform`.

        Raises
        ------
        InputError
            If a column is not flat, as long as the others and of possible values.
        """
        charge, pt, eta, phi, n_layers, u = _muons(
            charge=charge, pt=pt, eta=eta, phi=phi, n_layers=n_layers, u=u
        )
        remedy = "give random numbers, of event_uniform say"
        require("u", u, (u > 0) & (u < 1), "a number between 0 and 1", remedy)
        charge_pt = charge * pt
        cell = self._scale_cell(eta, phi)
        ring = bin_index(self.abseta, np.abs(eta)) * (self.layers.size - 1)
        place = ring + bin_index(self.layers, n_layers)

        def factor(member: int) -> Floats:
            offset, slope = self.mc_table[cell, :, member].T
            scale = 100 / (100 + offset + slope * charge_pt)
            return scale * smearing(self.smear_table[member][:, place], scale * pt, u)

        nominal = factor(0)
        if self.weights.size == 1:
            return Factor(nominal, np.full_like(nominal, np.nan))
        variance = np.zeros_like(nominal)
        for member in range(1, self.weights.size):
            variance += self.weights[member] * (factor(member) - nominal) ** 2
        return Factor(nominal, np.sqrt(variance))

    def correct_data(
        self, charge: ArrayLike, pt: ArrayLike, eta: ArrayLike, phi: ArrayLike
    ) -> CorrectedPt:
        """Correct the momenta of muons in data; `scale_data` has the parameters."""
        return self._corrected(pt, self.scale_data(charge, pt, eta, phi))

    def correct_mc(
        self,
        charge: ArrayLike,
        pt: ArrayLike,
        eta: ArrayLike,
        phi: ArrayLike,
        gen_pt: ArrayLike,
        n_layers: ArrayLike,
        u: ArrayLike,
    ) -> CorrectedPt:
        """Correct the momenta of simulated muons, by spread where there is a partner.

        Parameters
        ----------
        charge, pt, eta, phi : array_like, shape (n_muons,)
            As in `scale_data`.
        gen_pt : array_like, shape (n_muons,)
            Transverse momentum of the generated muon [GeV]; NaN, zero or a negative
            number where there is none, so that the muon is smeared.
        n_layers, u : array_like, shape (n_muons,)
            As in `smear_mc`, needed for muons without a partner only.
        """
        charge, pt, eta, phi = map(np.asarray, (charge, pt, eta, phi))
        gen_pt, n_layers, u = map(np.asarray, (gen_pt, n_layers, u))
        has = gen_pt > 0
        no = ~has
        spread = self.spread_mc(charge[has], pt[has], eta[has], phi[has], gen_pt[has])
        smear = self.smear_mc(charge[no], pt[no], eta[no], phi[no], n_layers[no], u[no])
        factor = Factor(np.empty(gen_pt.shape), np.empty(gen_pt.shape))
        for part, chosen in ((spread, has), (smear, no)):
            factor.nominal[chosen], factor.error[chosen] = part
        return self._corrected(pt, factor)

    def _corrected(self, pt: ArrayLike, factor: Factor) -> CorrectedPt:
        """Momenta and their variations, which stay above zero."""
        if self.weights.size == 1:
            msg = (
                "only the default member of the Rochester corrections was read, so "
                "there is no error; read a file with error sets, with errors=True, or "
                "use the nominal factors of scale_data, spread_mc and smear_mc"
            )
            raise ConfigError(msg)
        pt = np.asarray(pt, dtype=np.float64)
        nominal, error = pt * factor.nominal, pt * factor.error
        up, down = np.maximum(nominal + error, 0), np.maximum(nominal - error, 0)
        return CorrectedPt(nominal, up, down)

    def _scale_cell(self, eta: Floats, phi: Floats) -> NDArray[np.intp]:
        """Return the number of the bin in eta and phi."""
        return bin_index(self.eta, eta) * (self.phi.size - 1) + bin_index(self.phi, phi)


def _muons(**columns: ArrayLike) -> list[Floats]:
    """Return the columns of muons, the charge first, after a look at their values."""
    arrays = finite_columns(**columns)
    require_charge(arrays[0])
    return arrays


def _from_corrections(corrections: list[dict[str, Any]], errors: bool) -> Rochester:
    """Collect the tables of all members, or of the default only."""
    data = {correction["name"]: correction["data"] for correction in corrections}
    sizes = [len(item["value"]["content"]) for item in data["kScaleDT"]["content"]]
    weights = np.concatenate([np.full(size, 1 / size) for size in sizes])
    n_members = weights.size if errors else 1
    (eta, phi), data_table = _tables(data["kScaleDT"], n_members)
    _, mc_table = _tables(data["kScaleMC"], n_members)
    # The others are looked up at |eta|: one more level.
    (abseta,), resolution = _tables(data["kSpread"]["content"], n_members)
    (_, layers), width = _tables(data["kSmear_width"]["content"], n_members)
    _, alpha = _tables(data["kSmear_alpha"]["content"], n_members)
    _, power = _tables(data["kSmear_power"]["content"], n_members)
    return Rochester(
        weights=weights[:n_members],
        eta=eta,
        phi=phi,
        abseta=abseta,
        layers=layers,
        data_table=np.ascontiguousarray(data_table.transpose(1, 2, 0)),
        mc_table=np.ascontiguousarray(mc_table.transpose(1, 2, 0)),
        ratio_table=np.ascontiguousarray((resolution[..., 0] / resolution[..., 1]).T),
        smear_table=np.ascontiguousarray(
            np.concatenate([width, alpha, power], axis=-1).transpose(0, 2, 1)
        ),
    )


def _tables(
    category: dict[str, Any], n_members: int
) -> tuple[list[Floats], NDArray[np.float64]]:
    """Return the edges of a correction and its parameters by member and bin."""
    nodes = [
        member["value"]
        for set_ in category["content"]
        for member in set_["value"]["content"]
    ][:n_members]
    edges = nodes[0]["edges"]
    if any(node["edges"] != edges for node in nodes):
        msg = "members differ in their bins"
        raise ValueError(msg)
    parameters = [
        [
            content["parameters"] if isinstance(content, dict) else [content]
            for content in node["content"]
        ]
        for node in nodes
    ]
    return [np.array(e, dtype=np.float64) for e in edges], np.array(parameters)
