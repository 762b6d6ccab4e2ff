"""The command tree. Each command imports what it needs when it runs."""

from __future__ import annotations

from typing import Annotated

import typer

from dprkit import __version__
from dprkit.cli import project
from dprkit.cli.commands import COMMANDS
from dprkit.cli.stage import add_stage

UsageError: type[Exception] = typer.BadParameter.__bases__[0]
"""What Typer raises for words that it cannot read; Typer itself has no name for it."""

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


for _name in COMMANDS:
    add_stage(app, _name)
app.command("run")(project.run)
app.add_typer(project.config, name="config")
app.command("init")(project.init)
app.command("info")(project.info)
