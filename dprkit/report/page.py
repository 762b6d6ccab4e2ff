"""The page of a report: the files of dprkit/report/web put into one, which asks for nothing else.

    web/page.html           the shell, with the marks {{policy}} {{style}} {{theme}} {{title}}
    web/theme.js            runs before the first paint
    web/vendor              libraries as they came (VENDORED has versions, licences and hashes)
    web/*.mjs               modules, from main.mjs on along their imports
    web/*.css

The modules import and export names, so that node can test each by itself. In the page they are one
script with one scope: imports, and the word export, are left out.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from html import escape
from pathlib import Path
from typing import NamedTuple

WEB = Path(__file__).parent / "web"
LIBRARIES = ("preact.min.js", "preact-hooks.umd.js", "htm.umd.js", "uPlot.iife.min.js")
LICENCES = ("VENDORED", "LICENSE-preact", "LICENSE-htm", "LICENSE-uPlot")
STYLES = ("vendor/uPlot.min.css", "page.css", "overview.css", "questions.css", "print.css")

_IMPORT = re.compile(r'^import\s[^;]*?"\./([\w-]+\.mjs)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export \{[^}]*\};\n|^export (?=\w)", re.MULTILINE)
_SOURCE_MAP = re.compile(r"^//# sourceMappingURL=.*\n?", re.MULTILINE)
_TAIL = b'<i id="end" hidden></i>\n</body>\n</html>\n'


class Frame(NamedTuple):
    """The page round its data. What is shown first (summary, columns, questions) goes between
    `head` and `middle`; `middle` runs as soon as it is read; all other blocks go before `tail`."""

    head: bytes
    middle: bytes
    tail: bytes


def frame(title: str) -> Frame:
    """The page with `title`. Its policy lets no script run but its own, known by their hashes."""
    style = "\n".join(map(_read, STYLES))
    theme, script = _read("theme.js"), f"{_libraries()}{joined()}"
    parts = {
        "policy": f"default-src 'none'; script-src {_hash(theme)} {_hash(script)}; "
        f"style-src {_hash(style)}; img-src data:; base-uri 'none'; form-action 'none'",
        "style": style,
        "theme": theme,
        "title": escape(title),
    }
    head = re.sub(r"\{\{(\w+)\}\}", lambda mark: parts[mark[1]], _read("page.html"))
    return Frame(head.encode(), f"<script>{script}</script>\n".encode(), _TAIL)


@cache
def joined() -> str:
    """All modules as one script, each after those that it imports."""
    modules: dict[str, str] = {}

    def add(name: str) -> None:
        text = _read(name)
        for other in _IMPORT.findall(text):
            if other not in modules:
                add(other)
        modules[name] = _EXPORT.sub("", _IMPORT.sub("", text))

    add("main.mjs")
    return '(() => {\n"use strict";\n' + "\n".join(modules.values()) + "})();\n"


def _libraries() -> str:
    """The libraries, with their licences, which go wherever they go."""
    licences = (f"/*\n{_read(f'vendor/{name}')}*/\n" for name in LICENCES)
    code = (_SOURCE_MAP.sub("", _read(f"vendor/{name}")) + "\n" for name in LIBRARIES)
    return "".join([*licences, *code])


@cache
def _read(name: str) -> str:
    return (WEB / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """This script or style and no other, as a source of a content security policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
