r"""Templates of the charged lepton in (eta, pT), without noise, by quadrature.

At given boson :math:`q_T` and rapidity :math:`Y`, the lepton's transverse momentum
:math:`p`, pseudorapidity :math:`\eta` and azimuth :math:`\phi` from the boson fix
the boson's mass. The line shape is therefore a factor of the integrand instead of an
integral, sharp bins in pT cost nothing, and what is left is smooth on the scale of
the width. With :math:`u = \eta - Y` and for :math:`Y > 0`,

.. math::

    E_\nu &= \sqrt{p^2\cosh^2 u + q_T^2 - 2 p q_T\cos\phi},\quad
    E_T = p\cosh u + E_\nu,\quad m^2 = E_T^2 - q_T^2, \\
    \frac{d^3 N_k}{d\eta\,d\phi\,dp} &= \frac{3}{16\pi}\, g_k\,
    \frac{d\Omega^*}{d\eta\,d\phi}\, B(m^2)\, \frac{dm^2}{dp},\quad
    \frac{d\Omega^*}{d\eta\,d\phi} = \frac{4p^2}{m^2},\quad
    \frac{dm^2}{dp} = \frac{E_T m^2}{p E_\nu}, \\
    \cos\theta^* &= \frac{2p}{m}\sinh u,\quad
    \sin\theta^*\cos\phi^* = \frac{2p}{m^2}(E_T\cos\phi - q_T\cosh u),\quad
    \sin\theta^*\sin\phi^* = \frac{2p}{m}\sin\phi,

where :math:`B` is the density of :math:`m^2` and :math:`g_k` is
:math:`1 + \cos^2\theta^*` or one of the harmonics. A negative rapidity mirrors eta,
because the Collins-Soper axis follows the boson. Rapidity enters through :math:`u`
alone, so the decay is computed once per :math:`(q_T, u)`, whatever the bins in eta.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Literal

import numba
import numpy as np
from numpy.polynomial import legendre
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

FloatArray = NDArray[np.float64]
#: (qT [GeV], |Y|) → d²σ/dqT d|Y| [pb/GeV] of both signs of Y, and A0 … A7.
Spectrum = Callable[[FloatArray, FloatArray], tuple[FloatArray, FloatArray]]

N_COMPONENTS = 6  # UL, A0 … A4
# Smearing reaches this many standard deviations: 1e-9 of the events lie beyond.
REACH = 6.0
# With a worse resolution the Gaussian would reach negative momenta.
MAX_RESOLUTION = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Nodes:
    """Numbers of quadrature nodes: Gauss-Legendre, and midpoints in azimuth.

    The line shape at a fixed lepton is a Lorentz curve with the width of the boson.
    The defaults resolve it for widths near 2 GeV and pT above 20 GeV; steps shrink in
    proportion to the width.

    Attributes
    ----------
    qt : int
        Nodes per panel in qT.
    absy : int
        Nodes in |Y|; a polynomial through them stands for the spectrum.
    u : int
        Nodes per panel in the pseudorapidity relative to the boson.
    pt : int
        Nodes per panel in the lepton's pT.
    phi : int
        Midpoints in azimuth per half circle, for a boson at rest.
    phi_per_gev : float
        Further midpoints per unit of qT [1/GeV].
    qt_step, u_step, pt_step : float
        Widest panels: [GeV], dimensionless, [GeV].
    """

    qt: int = 6
    absy: int = 12
    u: int = 8
    pt: int = 3
    phi: int = 12
    phi_per_gev: float = 2.0
    qt_step: float = 4.0
    u_step: float = 0.1
    pt_step: float = 0.5

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value <= 0:
                msg = f"nodes.{field.name} is {value!r}, expected a positive number"
                raise ValueError(msg)


def lepton_template(
    spectrum: Spectrum,
    qt_range: tuple[float, float],
    absy_range: tuple[float, float],
    eta_edges: ArrayLike,
    pt_edges: ArrayLike,
    *,
    pole: float,
    width: float,
    mass_window: tuple[float, float] = (50.0, 120.0),
    resolution: float = 0.0,
    weighting: Literal["sigma_A", "sigma"] = "sigma_A",
    nodes: Nodes = Nodes(),
) -> FloatArray:
    r"""Cross section of one (qT, |Y|) cell per helicity component, in (eta, pT) bins.

    The components are UL and A0 to A4. Those of A5 to A7 vanish identically, because
    their harmonics are odd in :math:`\phi^*` while eta and pT are even.

    Parameters
    ----------
    spectrum : callable
        ``spectrum(qt, absy)`` gives, on broadcast arrays of shapes (n, 1) [GeV] and
        (1, m), the density d²σ/dqT d|Y| of both signs of Y together, shape (n, m)
        [pb/GeV], and the coefficients A0 … A7 of the charged lepton, shape (8, n, m).
        It has to be smooth inside the cell.
    qt_range, absy_range : tuple of float
        The cell: boson qT [GeV] and absolute rapidity.
    eta_edges, pt_edges : array_like, shapes (n_eta + 1,), (n_pt + 1,)
        Increasing bin edges of the signed pseudorapidity and of the transverse
        momentum [GeV] of the charged lepton.
    pole, width : float
        Fixed-width Breit-Wigner in m², normalised on the window [GeV].
    mass_window : tuple of float
        Lowest and highest boson mass [GeV].
    resolution : float
        Relative width r of the Gaussian response pT (1 + r g); 0 for none.
    weighting : {"sigma_A", "sigma"}
        Component i has the weight A_i P_i, so that the components add up to the cross
        section, or P_i alone.
    nodes : Nodes
        Quadrature; the defaults leave about 1e-4 of the sum of absolute contents.

    Returns
    -------
    ndarray, shape (6, n_eta, n_pt)
        UL, A0 … A4 [pb].

    Raises
    ------
    ValueError
        If an argument is out of its range or the spectrum has another shape.

    References
    ----------
    J. C. Collins and D. E. Soper, Phys. Rev. D 16 (1977) 2219.
    E. Mirkes and J. Ohnemus, Phys. Rev. D 50 (1994) 5692.

    Examples
    --------
    An unpolarised cell of 8 GeV · 0.4 · 1 pb/GeV = 3.2 pb, of which 70 % decay into
    the acceptance:

    >>> def flat(qt, absy):
    ...     density = np.ones(np.broadcast_shapes(qt.shape, absy.shape))
    ...     return density, np.zeros((8, *density.shape))
    >>> cell = (0.0, 8.0), (0.0, 0.4)
    >>> template = lepton_template(
    ...     flat, *cell, [-2.4, 0.0, 2.4], [25.0, 40.0, 55.0], pole=80.379, width=2.085
    ... )
    >>> template.shape
    (6, 2, 2)
    >>> round(float(template[0].sum()) / 3.2, 2)
    0.7
    """
    eta = _increasing("eta_edges", eta_edges)
    bins = _increasing("pt_edges", pt_edges, above=0.0)
    qt_edges = _increasing("qt_range", qt_range, n=2, minimum=0.0)
    absy_edges = _increasing("absy_range", absy_range, n=2, minimum=0.0)
    low, high = _increasing("mass_window", mass_window, n=2, above=0.0)
    _check(pole, width, resolution, weighting)

    qt, qt_weight = _composite(qt_edges, nodes.qt_step, nodes.qt)
    pt, response = _response(bins, resolution, nodes)
    u, u_weight = _separations(eta, absy_edges, high / (2.0 * pt[0]), nodes)
    absy, overlap = _overlap(eta, absy_edges, u, nodes.absy)
    source = _source(spectrum, qt, absy, weighting) * qt_weight[:, None]

    template = np.zeros((N_COMPONENTS, eta.size - 1, pt.size))
    kernel = np.empty((N_COMPONENTS, u.size, pt.size))
    for i in range(qt.size):
        n_phi = nodes.phi + int(nodes.phi_per_gev * qt[i])
        cosphi = np.cos(np.pi * (np.arange(n_phi) + 0.5) / n_phi)
        _fill_kernel(qt[i], u, pt, cosphi, pole, width, low, high, kernel)
        weight = np.tensordot(source[:, i], overlap, axes=(1, 2)) * u_weight
        template += weight @ kernel
    return template @ response


# Divisions without a check for zero and sums in any order let the inner loop run on
# vector registers, in half the time.
@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc"})
def _fill_kernel(qt, u, pt, cosphi, pole, width, low, high, out):  # type: ignore[no-untyped-def]
    """Set ``out``, shape (6, n_u, n_pt), to dN_k/(deta dp) of one boson [1/GeV]."""
    pg = pole * width
    span = np.arctan((high**2 - pole**2) / pg) - np.arctan((low**2 - pole**2) / pg)
    # The sum over φ covers half a circle, the other half is the same.
    dphi = 2.0 * np.pi / cosphi.size
    scale = dphi * 3.0 / (16.0 * np.pi) * 4.0 * pg / span
    for i in range(u.size):
        cosh, sinh = np.cosh(u[i]), np.sinh(u[i])
        for j in range(pt.size):
            p = pt[j]
            # Sums over φ of the weight times 1, c², c sx, sx² − sy², sx, c, where
            # c = cosθ* and sx, sy = sinθ* (cosφ*, sinφ*).
            s0 = s1 = s2 = s3 = s4 = s5 = 0.0
            for k in range(cosphi.size):
                x = cosphi[k]
                e_nu = np.sqrt((p * cosh) ** 2 + qt * qt - 2.0 * p * qt * x)
                energy = p * cosh + e_nu
                m2 = energy * energy - qt * qt
                off = m2 - pole * pole
                weight = energy / (e_nu * (off * off + pg * pg))
                if m2 < low * low or m2 > high * high:
                    weight = 0.0
                ratio = 2.0 * p / m2
                c = ratio * np.sqrt(m2) * sinh
                sx = ratio * (energy * x - qt * cosh)
                s0 += weight
                s1 += weight * c * c
                s2 += weight * c * sx
                s3 += weight * (sx * sx - 2.0 * p * ratio * (1.0 - x * x))
                s4 += weight * sx
                s5 += weight * c
            out[0, i, j] = scale * p * (s0 + s1)
            out[1, i, j] = scale * p * 0.5 * (s0 - 3.0 * s1)
            out[2, i, j] = scale * p * 2.0 * s2
            out[3, i, j] = scale * p * 0.5 * s3
            out[4, i, j] = scale * p * s4
            out[5, i, j] = scale * p * s5


def _composite(
    edges: FloatArray, step: float, n_nodes: int
) -> tuple[FloatArray, FloatArray]:
    """Gauss-Legendre nodes and weights on panels no wider than ``step``."""
    # The margin keeps rounding from splitting a panel of exactly one step.
    counts = np.ceil(np.diff(edges) / step - 1e-9).astype(int)
    starts = [
        np.linspace(low, high, n, endpoint=False)
        for low, high, n in zip(edges[:-1], edges[1:], counts, strict=True)
    ]
    panels = np.concatenate([*starts, edges[-1:]])
    nodes, weights = legendre.leggauss(n_nodes)
    half = 0.5 * np.diff(panels)[:, None]
    centre = 0.5 * (panels[1:] + panels[:-1])[:, None]
    return (centre + half * nodes).ravel(), (half * weights).ravel()


def _response(
    pt_edges: FloatArray, resolution: float, nodes: Nodes
) -> tuple[FloatArray, FloatArray]:
    """Nodes in generated pT, and their weights in the bins, shape (n_nodes, n_pt)."""
    low = pt_edges[0] / (1.0 + REACH * resolution)
    high = pt_edges[-1] / (1.0 - REACH * resolution)
    # Panels end at the bins' edges, so that sharp bins are integrated exactly.
    panels = np.unique(np.concatenate([[low], pt_edges, [high]]))
    pt, weight = _composite(panels, nodes.pt_step, nodes.pt)
    if resolution > 0.0:
        below = ndtr((pt_edges / pt[:, None] - 1.0) / resolution)
    else:
        below = (pt[:, None] < pt_edges).astype(float)
    return pt, weight[:, None] * np.diff(below, axis=1)


def _separations(
    eta_edges: FloatArray, absy_edges: FloatArray, sinh_max: float, nodes: Nodes
) -> tuple[FloatArray, FloatArray]:
    """Nodes and weights in u, where |cosθ*| ≤ 1 bounds sinh|u| by m/(2 pT)."""
    limit = np.arcsinh(sinh_max)
    # `_overlap` has kinks where a corner of the cell meets an edge of a bin.
    corners = np.subtract.outer(np.concatenate([eta_edges, -eta_edges]), absy_edges)
    # Rounding merges corners that coincide but for the last digits.
    panels = np.unique(np.clip(np.round(corners, 12), -limit, limit))
    return _composite(panels, nodes.u_step, nodes.u)


def _overlap(
    eta_edges: FloatArray, absy_edges: FloatArray, u: FloatArray, n_nodes: int
) -> tuple[FloatArray, FloatArray]:
    """Nodes in |Y|, and weights of their values, shape (n_eta, n_u, n_nodes).

    At fixed u the lepton is in a bin of eta for a range of Y. The weights integrate
    over it the polynomial through the nodes, half for each sign of Y.
    """
    low, high = absy_edges
    half = 0.5 * (high - low)
    t, weight = legendre.leggauss(n_nodes)
    # Values at the nodes → Legendre coefficients → their primitive from the low edge.
    degree = np.arange(n_nodes)
    project = (legendre.legvander(t, n_nodes - 1) * weight[:, None] * (degree + 0.5)).T
    primitive = legendre.legint(project, lbnd=-1.0, scl=half)

    def below(edges: FloatArray) -> FloatArray:
        """Integral over Y up to edge − u, within the cell."""
        end = (np.subtract.outer(edges, u) - low) / half - 1.0
        return legendre.legvander(np.clip(end, -1.0, 1.0), n_nodes) @ primitive

    # For Y < 0 the same decay has eta = −(|Y| + u).
    both = below(eta_edges) - below(-eta_edges)
    return low + half * (t + 1.0), 0.5 * np.diff(both, axis=0)


def _source(
    spectrum: Spectrum, qt: FloatArray, absy: FloatArray, weighting: str
) -> FloatArray:
    """Cross section times coefficient at the nodes, shape (6, n_qt, n_absy)."""
    density, A = spectrum(qt[:, None], absy[None, :])
    shape = (qt.size, absy.size)
    found = np.shape(density), np.shape(A)
    if found != (shape, (8, *shape)):
        msg = (
            f"spectrum returned the shapes {found[0]} and {found[1]}, "
            f"expected {shape} and {(8, *shape)}: the density and A0 to A7"
        )
        raise ValueError(msg)
    source = np.repeat(density[None], N_COMPONENTS, axis=0)
    if weighting == "sigma_A":
        source[1:] *= A[: N_COMPONENTS - 1]
    return source


def _increasing(
    name: str,
    values: ArrayLike,
    *,
    n: int | None = None,
    minimum: float = -np.inf,
    above: float = -np.inf,
) -> FloatArray:
    """Check that ``values`` are finite and increase from an allowed start."""
    edges = np.asarray(values, float)
    expected = f"{n or 'at least two'} finite, increasing numbers"
    if minimum > -np.inf:
        expected += f" from {minimum:g} up"
    if above > -np.inf:
        expected += f" above {above:g}"
    good = edges.ndim == 1 and edges.size >= 2 and n in (None, edges.size)
    good = good and bool(np.isfinite(edges).all() and (np.diff(edges) > 0.0).all())
    if not good or edges[0] < minimum or edges[0] <= above:
        msg = f"{name} is {values!r}, expected {expected}"
        raise ValueError(msg)
    return edges


def _check(pole: float, width: float, resolution: float, weighting: str) -> None:
    for name, value in (("pole", pole), ("width", width)):
        if not 0.0 < value < np.inf:
            msg = f"{name} is {value!r} GeV, expected a positive number"
            raise ValueError(msg)
    if not 0.0 <= resolution <= MAX_RESOLUTION:
        msg = f"resolution is {resolution!r}, expected 0 to {MAX_RESOLUTION:g}"
        raise ValueError(msg)
    if weighting not in ("sigma_A", "sigma"):
        msg = f"weighting is {weighting!r}, expected 'sigma_A' or 'sigma'"
        raise ValueError(msg)
