"""The page of a report: the files of dprkit/report/web put into one.

    web/page.html    the shell, with a mark for each part: {{title}}, {{policy}}, {{styles}},
                     {{summary}}, {{scripts}}, {{blocks}}
    web/vendor       libraries as they came, each a script or a style of its own
    web/*.js         modules; joined in the order of web/order.txt

The modules import and export names, so that node can test each by itself. In the page they are one
script, in which every name is known: lines that import are left out, and the word export.
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
_IMPORT = re.compile(r"^import [^\n]*\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (default )?", re.MULTILINE)
_POLICY = "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src {}"


class Frame(NamedTuple):
    """The page round its data: what comes before the summary, between, and after the blocks."""

    head: bytes
    middle: bytes
    tail: bytes


def frame(title: str, web: Path = WEB) -> Frame:
    """The page with `title`; the summary goes before `middle`, the blocks behind it.

    A browser paints the page from the summary while it still reads the blocks.
    """
    scripts = [*_vendored(web, "js"), joined(web)]
    known = " ".join(f"'sha256-{_sha256(script)}'" for script in scripts)
    policy = _POLICY.format(known)
    parts = {
        "title": escape(title),
        "policy": f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        "styles": "".join(f"<style>{style}</style>\n" for style in _styles(web)),
        "scripts": "".join(f"<script>{script}</script>\n" for script in scripts),
    }
    page = (web / "page.html").read_text(encoding="utf-8")
    cut = re.split(r"\{\{(\w+)\}\}\n?", page)
    texts = [parts.get(piece, piece) if at % 2 else piece for at, piece in enumerate(cut)]
    first, second = cut.index("summary"), cut.index("blocks")
    pieces = texts[:first], texts[first + 1 : second], texts[second + 1 :]
    return Frame(*("".join(piece).encode() for piece in pieces))


@cache
def joined(web: Path = WEB) -> str:
    """All modules as one script."""
    names = (web / "order.txt").read_text().split()
    modules = [(web / name).read_text(encoding="utf-8") for name in names]
    bare = (_EXPORT.sub("", _IMPORT.sub("", module)) for module in modules)
    return '(() => {\n"use strict";\n' + "\n".join(bare) + "})();\n"


def _vendored(web: Path, suffix: str) -> list[str]:
    return [path.read_text(encoding="utf-8") for path in sorted(web.glob(f"vendor/*.{suffix}"))]


def _styles(web: Path) -> list[str]:
    own = (path.read_text(encoding="utf-8") for path in sorted(web.glob("*.css")))
    return [*_vendored(web, "css"), *own]


def _sha256(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
