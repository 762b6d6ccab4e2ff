"""The command tree: all commands of dprkit. Each command imports its libraries when it runs."""

from __future__ import annotations

from typing import Annotated

import typer

from dprkit import __version__
from dprkit.cli import config, info, init, plan, run
from dprkit.cli.commands import COMMANDS
from dprkit.cli.help import Command, Group
from dprkit.cli.stage import add_stage

UsageError: type[Exception] = typer.BadParameter.__bases__[0]
"""What Typer raises for words that it cannot read; Typer itself has no name for it."""

HELP = """Train, index and evaluate dense passage retrievers from the shell.

Begin with the two examples. The first runs all stages on a small data set, in about a minute.
The second searches the index that the first has built. `dprkit init my-experiment` writes a recipe
that you edit for your own data.

Example: dprkit run --recipe tiny
Example: echo "who wrote hamlet" | dprkit search --index runs/tiny/index --questions - --topk 3
"""

app = typer.Typer(
    name="dprkit",
    help=HELP,
    cls=Group,
    no_args_is_help=True,
    rich_markup_mode=None,
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
app.command("init", cls=Command)(init.init)
app.command("plan", cls=Command)(plan.plan)
app.command("run", cls=Command)(run.run)
app.add_typer(config.config, name="config")
app.command("info", cls=Command)(info.info)
