"""Commands for inputs of other frameworks.

Each imports what it needs, so that fitting works where the event stack is not
installed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from wprops.commands.arguments import (
    EXISTING,
    FILE,
)


@click.command()
@click.argument("templates", type=EXISTING)
@click.argument("output", type=FILE)
@click.option("--format", "form", type=click.Choice(["rabbit", "pyhf"]), required=True)
@click.option("--channel", "channels", multiple=True, help="Only these; repeatable.")
@click.option(
    "--systematic-type",
    type=click.Choice(["log_normal", "normal"]),
    default="log_normal",
    help="Kind of all effects in a file of rabbit.",
)
@click.option(
    "--approximate", is_flag=True, help="Convert what a file of rabbit cannot express."
)
@click.option(
    "--barlow-beeston/--no-barlow-beeston",
    default=True,
    help="Whether a workspace of pyhf has the statistical error of the templates.",
)
def export(
    templates: Path,
    output: Path,
    form: str,
    channels: tuple[str, ...],
    barlow_beeston: bool,
    **options: Any,
) -> None:
    """Write TEMPLATES as an input of another framework, and say what differs."""
    from wprops.interchange.pyhf_export import export_pyhf
    from wprops.interchange.rabbit_export import export_rabbit
    from wprops.store import TemplateSet

    content, only = TemplateSet.read(templates), channels or None
    if form == "pyhf":
        statement = export_pyhf(
            content, output, channels=only, barlow_beeston=barlow_beeston
        )
    else:
        statement = export_rabbit(content, output, channels=only, **options)
    click.echo(statement)
    click.echo(f"wrote {output}")


@click.command("import")
@click.argument("file", type=EXISTING)
@click.option("--output", "-o", type=FILE, required=True, help="Templates to write.")
@click.option(
    "--approximate", is_flag=True, help="Convert what templates cannot express."
)
def import_(file: Path, output: Path, approximate: bool) -> None:
    """Read an input FILE of rabbit, write templates, and say what differs."""
    from wprops.interchange.rabbit_templates import import_rabbit

    templates, statement = import_rabbit(file, approximate=approximate)
    templates.write(output)
    click.echo(statement)
    click.echo(f"wrote {output}")
