"""The command line: thin commands over the functions of the package."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

import click

from wprops import __version__
from wprops.commands import inference, interchange, production, study
from wprops.errors import WpropsError

# Matrices of a fit and of PDF weights are small: threads of BLAS would only wait for
# each other, and take ten times as long where cores are shared. Before numpy loads.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


class _Group(click.Group):
    """A group that turns the project's errors into messages and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except WpropsError as error:
            if ctx.params.get("debug"):
                raise
            click.echo(f"wprops: error: {error}", err=True)
            sys.exit(1)


@click.group(cls=_Group, context_settings={"show_default": True})
@click.version_option(__version__)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(debug: bool) -> None:
    """W boson cross sections, angular coefficients and mass from NanoAOD."""
    # On the handler, since dask sets the level of its own loggers; and debugging is
    # of the project alone, since compilers log thousands of lines.
    handler = logging.StreamHandler()
    handler.setLevel(logging.DEBUG if debug else logging.WARNING)
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.getLogger("wprops").setLevel(logging.DEBUG if debug else logging.INFO)


for _command in (
    production.toy,
    production.run,
    production.templates,
    production.backgrounds,
    inference.fit,
    inference.toys,
    inference.reveal,
    inference.diagnose,
    inference.regularise,
    inference.report,
    interchange.export,
    interchange.import_,
    study.study,
    production.demo,
):
    main.add_command(_command)

if __name__ == "__main__":
    main()
