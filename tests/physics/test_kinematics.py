import awkward as ak
import numpy as np
import vector
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from wprops.physics.kinematics import transverse_mass


@given(
    pt=st.floats(1.0, 200.0),
    phi=st.floats(-3.1, 3.1),
    met=st.floats(1.0, 200.0),
    met_phi=st.floats(-3.1, 3.1),
)
def test_is_the_invariant_mass_in_the_transverse_plane(pt, phi, met, met_phi):
    pair = vector.obj(pt=pt, phi=phi, eta=0, mass=0) + vector.obj(
        pt=met, phi=met_phi, eta=0, mass=0
    )
    # The sum of two four-vectors cancels where they are parallel.
    assert_allclose(transverse_mass(pt, phi, met, met_phi), pair.mass, atol=1e-4)
    written_out = np.sqrt(2 * pt * met * (1 - np.cos(phi - met_phi)))
    assert_allclose(transverse_mass(pt, phi, met, met_phi), written_out, atol=1e-4)


def test_acts_on_awkward_arrays():
    pt = ak.Array([[40.0, 30.0], []])
    result = transverse_mass(pt, 0.0 * pt, ak.Array([40.0, 20.0]), np.pi)
    assert ak.num(result).tolist() == [2, 0]
