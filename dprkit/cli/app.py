"""The command tree. Each command imports what it needs when it runs."""

from __future__ import annotations

from typing import Annotated

import typer

from dprkit import __version__
from dprkit.cli import project, render
from dprkit.cli.download import DOWNLOAD_OPTIONS, list_catalog
from dprkit.cli.stage import add_stage

app = typer.Typer(
    name="dprkit",
    help="Train, index and evaluate dense passage retrievers from the shell.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=True,
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"dprkit {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


add_stage(app, "download", render.downloading, DOWNLOAD_OPTIONS, list_catalog)
add_stage(app, "select-data", render.selection)
add_stage(app, "train", render.training)
add_stage(app, "convert", render.conversion)
add_stage(app, "encode-corpus", render.encoding)
add_stage(app, "index", render.indexing)
add_stage(app, "search", render.searching)
add_stage(app, "evaluate", render.evaluation)
app.command("run")(project.run)
app.add_typer(project.config, name="config")
app.command("init")(project.init)
app.command("info")(project.info)
