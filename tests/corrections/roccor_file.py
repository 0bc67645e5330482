"""A small RoccoR text file and its factors by the definition, for several tests."""

import math

import numpy as np

from wprops.physics.crystal_ball import crystal_ball_quantile

# A small RoccoR file: 2 eta x 2 phi bins, 2 |eta| bins, 3 numbers of layers.
ETA, ABSETA, N_PHI, FIRST_LAYERS, N_LAYERS = (-2.4, 0.0, 2.4), (0.0, 1.2, 2.4), 2, 6, 3
MEMBERS = (1, 2, 1)


def parameters(set_, member):
    """Parameters of one member of the small file, all different."""
    shift = 0.01 * (3 * set_ + member)
    grid = np.arange(4.0).reshape(2, 2)
    layers = np.arange(3.0)
    rings = np.array([[0.0], [1.0]])
    return {
        "C": np.array(
            [
                [0.1 * grid - 0.2 + shift, 0.002 * grid + 0.001 + 0.1 * shift],
                [-0.1 * grid - 0.1 + 2 * shift, 0.003 * grid - 0.002 - 0.1 * shift],
            ]
        ),
        # In the second ring the simulation is the worse one: nothing to smear.
        "F": np.array([[0.95 + shift, 1.05], [1.05 - shift, 1.0 - shift]]),
        "R": np.array(
            [
                0.01 * (1 + rings) - 0.001 * layers + shift * 0.01,
                0.0001 + 0 * rings + 0 * layers,
                0.0002 * (1 + rings) + 0 * layers,
                0.98 + 0.01 * rings + 0.02 * layers,
                1.5 + 0.2 * rings + 0.1 * layers + shift,
                3.0 + rings + layers,
            ]
        ),
        "T": np.zeros((2, 2, 4)),
    }


def small_file():
    """Lines of the small file."""
    lines = [
        f"NSET {len(MEMBERS)}",
        f"NMEM {' '.join(map(str, MEMBERS))}",
        "TVAR 0   1 2",
        f"CPHI {N_PHI} ",
        f"CETA {len(ETA) - 1} {' '.join(map(str, ETA))}",
        f"RMIN  {FIRST_LAYERS} ",
        f"RTRK {N_LAYERS} ",
        f"RETA  {len(ABSETA) - 1} {' '.join(map(str, ABSETA))}",
    ]
    for set_, n_members in enumerate(MEMBERS):
        for member in range(n_members):
            for tag, table in parameters(set_, member).items():
                for index in np.ndindex(table.shape[:-1]):
                    key = " ".join(map(str, index))
                    values = "  ".join(map(repr, table[index].tolist()))
                    lines.append(f"{set_}   {member} {tag} {key}   {values}")
    return lines


def slow_factor(kind, muon, set_=0, member=0):
    """RoccoR's definition for one muon of the small file, step by step."""
    table = parameters(set_, member)
    h = 0 if muon["eta"] < 0 else 1
    f = 0 if muon["phi"] < 0 else 1
    ring = 0 if abs(muon["eta"]) < 1.2 else 1
    m, a = table["C"][1 if kind == "data" else 0][:, h, f] / 100
    k = 1 / (1 + m + muon["charge"] * a * muon["pt"])
    mc, data = table["F"][:, ring]
    if kind == "spread":
        x = muon["gen_pt"] / (k * muon["pt"])
        k *= x / (1 + (x - 1) * data / mc)
    if kind == "smear":
        layer = min(max(muon["n_layers"] - FIRST_LAYERS, 0), N_LAYERS - 1)
        p0, p1, p2, width, alpha, power = table["R"][:, ring, layer]
        distance = k * muon["pt"] - 45
        sigma = p0 + p1 * distance + p2 / 100 * distance**2
        x = 0.0
        if data > mc:
            ball = crystal_ball_quantile(muon["u"], alpha, power).item()
            x = math.sqrt(data**2 - mc**2) * sigma * width * ball
        k *= 1 / (1 + x) if x > -1 else 1
    return k


def slow_error(kind, muon):
    """RoccoR's error: mean square in each set, added over sets."""
    nominal = slow_factor(kind, muon)
    return math.sqrt(
        sum(
            (slow_factor(kind, muon, set_, member) - nominal) ** 2 / n_members
            for set_, n_members in enumerate(MEMBERS)
            for member in range(n_members)
        )
    )
