"""What a reader of a page would type: its commands, snippets of Python and recipes, in order."""

from __future__ import annotations

import re
from typing import NamedTuple

PARTS = re.compile(
    r"^```(?P<language>\w+)\n(?P<fenced>.*?)^```$"
    r"|^(?:    |# +)(?P<lines>(?:[^\n]*\\\n)*[^\n]*)$"
    r"|`(?P<inline>dprkit [^`]+)`",
    re.MULTILINE | re.DOTALL,
)
COMMAND = re.compile(r"(^|[|&] |-m |\* )dprkit (?!retriever\b)")


class Part(NamedTuple):
    """Something to try: a line of the shell, or a block of Python or YAML."""

    kind: str
    text: str


def parts(text: str) -> list[Part]:
    """Every command of a page (of a recipe: of its comments), and every fenced block.

    In the text of a page `dprkit train` alone is a name; with a word more it is a command.
    """
    found = []
    for match in PARTS.finditer(text):
        if match["fenced"]:
            found.append(Part(match["language"], match["fenced"]))
        elif match["lines"] and COMMAND.search(match["lines"]):
            found.append(Part("shell", re.sub(r"\\\n#?", "\\\\\n", match["lines"])))
        elif match["inline"] and len(match["inline"].split()) > 2 - ("--" in match["inline"]):
            found.append(Part("shell", " ".join(match["inline"].split())))
    return found
