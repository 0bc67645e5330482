"""From a template set to its diagnosis: what ``wprops diagnose`` calls."""

from __future__ import annotations

from collections.abc import Sequence

from wprops.errors import FitError
from wprops.fit.diagnosis import diagnose, explain_failure
from wprops.fit.findings import Finding, ordered
from wprops.fit.model import build_model
from wprops.fit.preparation import Data, measured
from wprops.fit.run import fit_model, likelihood_at
from wprops.store import TemplateSet


def inspect(
    templates: TemplateSet,
    *,
    data: Data = "observed",
    seed: int = 1,
    barlow_beeston: bool = True,
    channels: Sequence[str] | None = None,
    parabola: bool = True,
) -> tuple[Finding, ...]:
    """Fit a template set and diagnose the fit, or why there is none.

    Parameters
    ----------
    templates : TemplateSet
        Templates, data and declarations.
    data : {"observed", "asimov", "toy"}
        The data of the set, the prediction, or pseudo-data thrown there.
    seed : int
        Of the pseudo-data.
    barlow_beeston : bool
        Whether to count the noise of the templates in the fit.
    channels : sequence of str, optional
        Channels to fit together; all when omitted.
    parabola : bool
        Whether to compare the likelihood with its parabola, see `diagnose`.

    Returns
    -------
    tuple of Finding
        The worst first. Without a valid minimum the first one is its reason, and the
        others describe the generated point.

    Raises
    ------
    TemplateError
        If no model can be made of the set.
    """
    model = build_model(templates, channels=channels)
    target = measured(templates, model, data, seed)
    try:
        minimum = fit_model(
            model,
            target.counts,
            barlow_beeston=barlow_beeston,
            centre=target.centre,
            external=target.external,
        )
    except FitError as error:
        causes = explain_failure(model, target.counts, model.parameters.start)
        message = str(error).splitlines()[0]
        failure = Finding(
            kind="no minimum",
            severity="error",
            where="the fit",
            # the causes have the details
            what=message.split(":")[0] if causes else message,
            remedy="see what follows",
            size=0.0,
        )
        others = diagnose(model, None, templates)
        return ordered(dict.fromkeys((failure, *causes, *others)))
    likelihood = None
    if parabola:
        likelihood = likelihood_at(
            model,
            target.counts,
            minimum.values,
            barlow_beeston=barlow_beeston,
            centre=target.centre,
            external=target.external,
        )
    return diagnose(
        model, minimum, templates, centre=target.centre, likelihood=likelihood
    )
