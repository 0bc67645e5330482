"""Pseudo-experiments: thrown, fitted and measured like data.

Toys from the same templates that are fitted test the likelihood and its errors. They
know nothing of the effect of finite simulation on the result, which is drawn to the
generated values (`wprops.fit.finite_mc`): with Barlow-Beeston the expectation of each
toy differs from the templates by their noise, but its response does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wprops.errors import FitError
from wprops.fit.derived import Quantity, quantities
from wprops.fit.kernels import threads
from wprops.fit.model import Model, build_model
from wprops.fit.pseudo_data import Thrower, thrower
from wprops.fit.run import fit_model, goodness_of_fit
from wprops.store import TemplateSet

Array = NDArray[np.float64]
#: A pull needs its minimum to 1e-3 of an error, no better.
TOY_TOLERANCE = 1e-6
#: What a fit of one toy may raise: no minimum, or arithmetic that breaks down.
_FAILURES = (FitError, ArithmeticError, np.linalg.LinAlgError)


@dataclass(frozen=True, slots=True, eq=False)
class Ensemble:
    """Fits of pseudo-experiments.

    Attributes
    ----------
    names : tuple of str
        Parameters, then derived quantities such as ``"m_W"`` or
        ``"Wplus/A4/y0_qt2"``.
    groups : tuple of str
        Row of the table of pulls: the group of a parameter, or the name of the map
        that a derived quantity is part of.
    truth : ndarray, shape (n_measured,)
        What the toys were thrown with.
    index : ndarray of int, shape (n_valid,)
        Number of each toy that has a valid fit, ascending.
    values, errors : ndarray, shape (n_valid, n_measured)
        Results and their errors.
    statistic : ndarray, shape (n_valid,)
        Goodness of fit, twice the NLL above that of the saturated model.
    ndf : int
        Its degrees of freedom.
    failures : mapping of int to str
        Reason by number of the toy, of each fit that has no valid result.
    """

    names: tuple[str, ...]
    groups: tuple[str, ...]
    truth: Array
    index: NDArray[np.int64]
    values: Array
    errors: Array
    statistic: Array
    ndf: int
    failures: Mapping[int, str]

    @property
    def pulls(self) -> Array:
        """(fitted − true)/error, shape (n_valid, n_measured)."""
        return (self.values - self.truth) / self.errors


@dataclass(frozen=True, slots=True, eq=False)
class Experiment:
    """What a toy is: thrown from a truth, fitted with the model, and measured.

    Attributes
    ----------
    thrower : Thrower
        Draws the pseudo-data.
    barlow_beeston : bool
        Whether the fits count the noise of the templates. The pseudo-data should
        have it then too; see `wprops.fit.pseudo_data.thrower`.
    derived : mapping of str to Quantity
        What follows from the parameters, see `wprops.fit.derived.quantities`.
    """

    thrower: Thrower
    barlow_beeston: bool = False
    derived: Mapping[str, Quantity] = field(default_factory=dict)

    @property
    def model(self) -> Model:
        """The model that is fitted."""
        return self.thrower.model

    @property
    def labels(self) -> tuple[tuple[str, str], ...]:
        """Name and group of all that is measured: parameters, then what follows."""
        parameters = self.model.parameters
        return (
            *zip(parameters.names, parameters.groups, strict=True),
            *(
                (label if label == name else f"{name}/{label}", name)
                for name, quantity in self.derived.items()
                for label in quantity.labels
            ),
        )

    def measure(self, values: Array) -> Array:
        """Value of all that is measured for parameters (n_par,)."""
        own = [quantity.function(values) for quantity in self.derived.values()]
        return np.concatenate([values, *own])

    def errors(self, values: Array, covariance: Array) -> Array:
        """Error of all that is measured, to first order."""
        jacobians = [quantity.jacobian(values) for quantity in self.derived.values()]
        variances = [((J @ covariance) * J).sum(axis=1) for J in jacobians]
        return np.sqrt(np.concatenate([np.diag(covariance), *variances]))

    def fit(self, index: int) -> tuple[Array, Array, float, int]:
        """Throw and fit one toy.

        Returns
        -------
        values, errors : ndarray, shape (n_measured,)
        statistic, ndf : float, int
            Goodness of fit.

        Raises
        ------
        FitError
            If there is no valid minimum.
        """
        data = self.thrower.throw(index)
        minimum = fit_model(
            self.model,
            data.counts,
            barlow_beeston=self.barlow_beeston,
            centre=data.centre,
            external=data.external,
            start=self.thrower.truth,
            tolerance=TOY_TOLERANCE,
        )
        covariance = minimum.covariance(self.model.parameters.names)
        gof = goodness_of_fit(self.model, minimum)
        return (
            self.measure(minimum.values),
            self.errors(minimum.values, covariance),
            gof.statistic,
            gof.ndf,
        )


def plan_toys(
    templates: TemplateSet,
    *,
    seed: int,
    truth: Mapping[str, float] | None = None,
    channels: Sequence[str] | None = None,
    barlow_beeston: bool = True,
) -> Experiment:
    """Prepare toys of a template set.

    Parameters
    ----------
    templates : TemplateSet
        Its data are not used.
    seed : int
        Of all toys together, 0 or more.
    truth : mapping of str to float, optional
        True parameters that differ from the generated ones.
    channels : sequence of str, optional
        Channels to fit together; all when omitted.
    barlow_beeston : bool
        Whether the statistical error of the templates counts, in the pseudo-data and
        in the fits.

    Returns
    -------
    Experiment

    Raises
    ------
    TemplateError
        If no model can be made of the set, or it has no parameter of a name.
    FitError
        If a bin expects no events at the truth.
    """
    model = build_model(templates, channels=channels)
    values = model.parameters.start.copy()
    for name, value in (truth or {}).items():
        values[model.parameters.index(name)] = value
    return Experiment(
        thrower=thrower(model, values, seed, template_noise=barlow_beeston),
        barlow_beeston=barlow_beeston,
        derived=quantities(templates, model.parameters),
    )


def run_ensemble(
    experiment: Experiment, indices: Sequence[int], *, n_workers: int = 1
) -> Ensemble:
    """Throw and fit toys in memory; `wprops.fit.toy_store.run_toys` keeps them.

    Parameters
    ----------
    experiment : Experiment
        What a toy is.
    indices : sequence of int
        Numbers of the toys, ascending.
    n_workers : int
        Toys that are fitted at the same time, each by one thread; results do not
        depend on it. BLAS has to be limited to one thread then
        (``OPENBLAS_NUM_THREADS=1``), as ``wprops`` does.

    Returns
    -------
    Ensemble
        A toy whose fit fails is kept with its reason.
    """

    def attempt(index: int) -> tuple[Array, Array, float, int] | str:
        try:
            with threads(1):
                return experiment.fit(index)
        except _FAILURES as error:
            return f"{type(error).__name__}: {error}"

    with worker_threads(n_workers) as pool:
        toys = dict(zip(indices, pool.map(attempt, indices), strict=True))
    valid = {i: toy for i, toy in toys.items() if not isinstance(toy, str)}
    names, groups = zip(*experiment.labels, strict=True)
    truth = experiment.measure(experiment.thrower.truth)
    shape = (len(valid), len(truth))
    return Ensemble(
        names=names,
        groups=groups,
        truth=truth,
        index=np.array(list(valid), dtype=np.int64),
        values=np.reshape([toy[0] for toy in valid.values()], shape),
        errors=np.reshape([toy[1] for toy in valid.values()], shape),
        statistic=np.array([toy[2] for toy in valid.values()]),
        ndf=next((toy[3] for toy in valid.values()), 0),
        failures={i: toy for i, toy in toys.items() if isinstance(toy, str)},
    )


@contextmanager
def worker_threads(n: int) -> Iterator[ThreadPoolExecutor]:
    """Open a pool that forgets what has not begun once something goes wrong."""
    pool = ThreadPoolExecutor(n)
    try:
        yield pool
    except BaseException:  # an interruption too must not wait for all other toys
        pool.shutdown(cancel_futures=True)
        raise
    pool.shutdown()
