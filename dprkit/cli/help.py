"""The text of --help: plain text that fits the terminal, the same for every command.

Names of options are never cut: on a narrow terminal a sentence goes below its name.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from shutil import get_terminal_size
from textwrap import wrap
from typing import Any

from typer.core import TyperCommand, TyperGroup

WIDEST = 100
NARROW = 70
"""Columns below which a sentence stands below the name of its option."""
NAMES = 30
"""Columns of the names where the sentences stand beside them."""
LONGEST_CHOICE = 30
"""Characters that the words of a choice take beside the name; more of them go to the sentence."""
TIED = "\0"
"""A space at which no line ends."""
SHARED = "Common options"
COMMANDS_OF = {
    "Recipes": "init plan run config",
    "Data and models": (
        "download import-data select-data export-data mine-negatives train train-reader "
        "score-teacher convert push"
    ),
    "Indexes": "encode-corpus import-embeddings export-embeddings index tune-index update-index",
    "Search": "search explain read",
    "Evaluation": "audit evaluate compare report convert-results",
    "Artifacts": "info",
}
"""Headings of `dprkit --help`, and the commands below each."""


class Command(TyperCommand):
    """A command with our help."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        formatter.write("\n".join(_lines(self, ctx)))


class Group(TyperGroup):
    """A group of commands with our help."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        formatter.write("\n".join(_lines(self, ctx)))


def parts(command: Any) -> tuple[str, list[str]]:
    """A command's text and its examples, which are the lines that begin with `Example:`."""
    text = inspect.cleandoc(command.help or "")
    examples = re.findall(r"^Example: (.*(?:\n {4}.*)*)", text, re.MULTILINE)
    body = re.sub(r"^Example: .*(?:\n {4}.*)*\n?", "", text, flags=re.MULTILINE)
    return body.strip(), [" ".join(example.split()) for example in examples]


def usage(command: Any, path: str) -> str:
    """The words of a command, in order."""
    if commands := getattr(command, "commands", None):
        return f"{path} COMMAND [OPTIONS]" if commands else path
    arguments = (shown(p)[0] for p in command.params if p.param_type_name == "argument")
    return " ".join([path, "[OPTIONS]", *arguments])


def shown(parameter: Any) -> tuple[str, str]:
    """The names of an option or argument with what they take, and its sentence."""
    sentence = getattr(parameter, "help", None) or ""
    if parameter.param_type_name == "argument":
        name = parameter.name.upper()
        return str(parameter.metavar or (name if parameter.required else f"[{name}]")), sentence
    names = ", ".join([*sorted(parameter.opts, key=len), *parameter.secondary_opts])
    takes = "" if parameter.is_flag else str(parameter.metavar or "VALUE")
    if "|" in takes and len(takes) > LONGEST_CHOICE:
        body, note, default = sentence.partition(" [default:")
        sentence = f"{body} One of {', '.join(takes.split('|'))}.{note}{default}"
        takes = "NAME"
    return f"{names} {takes}".strip(), sentence


def panels(options: list[Any]) -> dict[str, list[Any]]:
    """The options of a command by the heading they stand under; what every command has is last."""
    found: dict[str, list[Any]] = {"Options": [], SHARED: []}
    shared = any(option.rich_help_panel == SHARED for option in options)
    for option in options:
        own = SHARED if shared and option.name == "help" else "Options"
        found.setdefault(option.rich_help_panel or own, []).append(option)
    found[SHARED] = found.pop(SHARED)
    return {name: options for name, options in found.items() if options}


def _lines(command: Any, ctx: Any) -> Iterator[str]:
    width = min(get_terminal_size().columns, WIDEST)
    body, examples = parts(command)
    yield from wrapped(f"Usage: {usage(command, ctx.command_path)}", width, "    ")
    for paragraph in body.split("\n\n"):
        yield ""
        yield from wrapped(paragraph, width)
    if examples:
        yield from ("", "Examples:" if examples[1:] else "Example:")
        for example in examples:
            yield from _command_line(example, width)
    parameters = command.get_params(ctx)
    arguments = [shown(p) for p in parameters if p.param_type_name == "argument"]
    commands = getattr(command, "commands", {})
    tables = {
        heading: [(name, parts(commands[name])[0].split("\n\n")[0]) for name in names]
        for heading, names in _headings(commands).items()
    }
    tables["Arguments"] = arguments
    for panel, options in panels(
        [p for p in parameters if p.param_type_name != "argument"]
    ).items():
        tables[panel] = [shown(option) for option in options]
    for heading, rows in tables.items():
        if rows:
            yield from ("", f"{heading}:")
            yield from _rows(rows, width)
    yield ""


def _headings(commands: Mapping[str, Any]) -> dict[str, list[str]]:
    """heading -> the commands below it, in their order; small groups have one heading."""
    if len(commands) <= len(COMMANDS_OF):
        return {"Commands": list(commands)}
    headings: dict[str, list[str]] = {heading: [] for heading in COMMANDS_OF}
    for name in commands:
        heading = next((h for h, names in COMMANDS_OF.items() if name in names.split()), "Commands")
        headings.setdefault(heading, []).append(name)
    return headings


def wrapped(text: str, width: int, later: str = "", first: str = "") -> list[str]:
    """`text` in lines of `width`; a word is never cut, also where it has hyphens."""
    lines = wrap(
        text,
        width,
        initial_indent=first,
        subsequent_indent=later,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace(TIED, " ") for line in lines]


def _command_line(command: str, width: int) -> list[str]:
    """A command that can be pasted: the lines of a long one end with a backslash."""
    words: list[str] = []
    for word in re.findall(r"""(?:"[^"]*"|'[^']*'|\S)+""", command):
        word = word.replace(" ", TIED)
        if words and re.fullmatch(r"--?[\w-]+", words[-1]) and word[0] not in "-|":
            word = f"{words.pop()}{TIED}{word}"  # a flag stays with its value
        words.append(word)
    lines = wrapped(" ".join(words), width - 2, "      ", "  ")
    return [*(f"{line} \\" for line in lines[:-1]), *lines[-1:]]


def _rows(rows: list[tuple[str, str]], width: int) -> Iterator[str]:
    """Names with their sentences beside them, or below where there is no room."""
    room = min(max(len(names) for names, _ in rows) + 4, NAMES)
    beside = width >= NARROW
    indent = " " * (room if beside else 6)
    for names, sentence in rows:
        *above, last = wrapped(names, width, "    ", "  ")
        tied = re.sub(r"\[default: [^]]{,24}\]", lambda m: m[0].replace(" ", TIED), sentence)
        lines = wrapped(tied, width, indent, indent)
        if beside and lines and len(last) + 2 <= room:
            lines[0] = last + lines[0][len(last) :]
        else:
            above.append(last)
        yield from above
        yield from lines
