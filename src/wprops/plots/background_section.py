"""The section of the report on backgrounds: yields, and multijet from data."""

from __future__ import annotations

from collections.abc import Iterator

from wprops.backgrounds.estimate import estimate_again
from wprops.backgrounds.tables import (
    event_yields,
    group_table,
    multijet_tables,
    yield_variations,
)
from wprops.plots.backgrounds import plot_classes, plot_unrolled
from wprops.plots.page import KeyNumber, Picture, Section, picture, table_of_records
from wprops.plots.rates import plot_rate_parameters, plot_rates
from wprops.plots.style import SampleLabel
from wprops.store import TemplateSet
from wprops.systematics.catalog import MULTIJET

#: Tables of the estimate that are shown at once, and captions of all.
OPEN = ("checks", "regions")
CAPTIONS = {
    "checks": "does the method hold?",
    "regions": "events of the four regions",
    "rates": "parameters of the fake and the prompt rate",
    "closure": "the method at mT < 30 GeV",
    "mt_dependence": "fake rate in slices of mT",
    "curves": "other shapes of the rates",
    "norms": "sizes of subtracted processes, not varied in the fit",
    "diagnoses": "what looks odd",
}


def background_section(templates: TemplateSet, label: SampleLabel) -> Section:
    """Make the section.

    Parameters
    ----------
    templates : TemplateSet
        The set; without multijet from data there are yields only.
    label : SampleLabel
        Text above the figures.
    """
    found = multijet_tables(templates)
    tables = [
        table_of_records("expected events before the fit", event_yields(templates)),
        table_of_records(
            "uncertainties of the yields by group [%]", group_table(templates)
        ),
        table_of_records(
            "changes of the yields by each systematic [%]",
            yield_variations(templates),
            is_folded=True,
        ),
    ]
    tables += [
        table_of_records(
            f"multijet: {caption}", found[name], is_folded=name not in OPEN
        )
        for name, caption in CAPTIONS.items()
        if found.get(name)
    ]
    text = (
        "Systematics of a process are added in squares. Multijet is taken from data."
        if found
        else "Systematics of a process are added in squares."
    )
    return Section(
        title="Backgrounds",
        key_numbers=list(_key_numbers(templates)) if found else [],
        paragraphs=[text],
        figures=list(_figures(templates, label)) if found else [],
        tables=tables,
    )


def _key_numbers(templates: TemplateSet) -> Iterator[KeyNumber]:
    for row in event_yields(templates):
        if row["process"] == MULTIJET:
            yield KeyNumber(
                name=f"multijet in {row['channel']}",
                value=f"{row['events']:,.0f} events",
                note=f"± {row['statistical']:,.0f} (stat.) ± {row['systematic']:,.0f} "
                f"(syst.), {row['percent_of_signal']:.2f} % of the signal",
            )


def _figures(templates: TemplateSet, label: SampleLabel) -> Iterator[Picture]:
    regions, multijet = estimate_again(templates)
    figure = plot_rate_parameters(regions, multijet, label=label)
    yield picture(figure, "parameters of both rates", is_wide=True)
    n = regions.shape[0]
    chosen = sorted({0, n // 4, n // 2})
    figure = plot_rates(regions, multijet, chosen, label=label)
    yield picture(figure, "both rates against pT, and their fits", is_wide=True)
    for channel in templates.channels.values():
        figure = plot_unrolled(templates, channel, label=label)
        yield picture(figure, f"{channel.name}: all bins in a row", is_wide=True)
        figure = plot_classes(templates, channel, multijet, label=label)
        yield picture(figure, f"{channel.name}: slices of mT", is_wide=True)
