"""A text, a page of Markdown or of HTML -> sections: what stands below a heading, in paragraphs.

Markdown is read by markdown-it-py (CommonMark, with tables), HTML by selectolax (lexbor, which
parses as browsers do). What a page has for its readers' orientation (menus, footers, scripts) is
left out, and what it hides; where a page marks its main part, nothing else counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple


class Part(NamedTuple):
    """A paragraph; or a heading, whose level is above 0."""

    text: str
    level: int = 0
    anchor: str = ""
    """What a link to the heading has behind #."""


class Page(NamedTuple):
    """What is in a page."""

    title: str
    """What the page calls itself as a whole; "" where it has none but headings."""
    parts: Iterable[Part]


def text_parts(lines: Iterable[str]) -> Iterator[Part]:
    """The paragraphs of a plain text, which are parted by blank lines; a long line is one, too."""
    held: list[str] = []
    size = 0
    for line in lines:
        if held and (not line.strip() or size > PARAGRAPH):
            yield Part(" ".join(held))
            held, size = [], 0
        if line.strip():
            held.append(line)
            size += len(line)
    if held:
        yield Part(" ".join(held))


PARAGRAPH = 1 << 20
"""Characters of a paragraph above which it is given in pieces."""


# --- Markdown -------------------------------------------------------------------------------------

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*\n", re.DOTALL)
_TITLE = re.compile(r"^title:[ \t]*[\"']?(.*?)[\"']?[ \t]*$", re.MULTILINE)


def markdown_page(text: str) -> Page:
    """A page of Markdown; the title of its front matter, if it has one."""
    front = _FRONT_MATTER.match(text)
    title = _TITLE.search(front[1]) if front else None
    return Page(title[1] if title else "", _markdown_parts(text[front.end() if front else 0 :]))


def _markdown_parts(text: str) -> Iterator[Part]:
    from markdown_it import MarkdownIt

    level = 0
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        if token.type == "heading_open":
            level = int(token.tag[1:])
        elif token.type == "inline":
            inline = _inline(token.children or ())
            yield Part(inline, level, slug(inline) if level else "")
            level = 0
        elif token.type in ("fence", "code_block"):
            yield Part(token.content)
        elif token.type == "html_block":
            yield from (part._replace(level=0) for part in html_page(token.content).parts)


def _inline(tokens: Iterable[Any]) -> str:
    """The words of a line of Markdown: links and emphasis without their signs."""
    return "".join(
        " " if token.type in ("softbreak", "hardbreak") else token.content
        for token in tokens
        if token.type != "html_inline"
    )


def slug(heading: str) -> str:
    """What GitHub makes of a heading for links to it."""
    return re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", heading.strip().lower()))


# --- HTML -----------------------------------------------------------------------------------------

_LEFT_OUT = ["script", "style", "noscript", "template", "svg", "iframe", "object", "head"]
_LEFT_OUT += ["nav", "footer", "aside", "form", "button", "select"]
_NOT_SHOWN = re.compile(r"(?:^|;)\s*display\s*:\s*none\s*(?:!|;|$)", re.IGNORECASE)
_ENDS = (
    "h1,h2,h3,h4,h5,h6,p,div,section,article,ul,ol,li,dl,dt,dd,table,caption,tr,pre,blockquote,"
    "figure,figcaption,details,summary,hr,address,main,header"
)
"""What begins and ends a paragraph."""
_MAIN = "main, [role=main], article"
_MARK, _HEADING = "\x1e", "\x1f"
"""Signs that part paragraphs, and that begin a heading; a page has none of its own."""
_SIGNS = re.compile(f"[{_MARK}{_HEADING}]")
_HEADING_LINK = re.compile(r"\s*[¶#§🔗]\s*$")


def html_page(text: str) -> Page:
    """A page of HTML."""
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(_SIGNS.sub(" ", text))
    title = tree.css_first("title")
    name = _spaced(title.text()) if title else ""
    tree.strip_tags(_LEFT_OUT)
    _leave_out_hidden(tree)
    found = tree.css(_MAIN) if tree.body else []
    root = found[0] if len(found) == 1 or (found and found[0].tag == "main") else tree.body
    return Page(name, _html_parts(root) if root else ())


def _leave_out_hidden(tree: Any) -> None:
    """Take out what is not shown; the body may be hidden until a script shows it."""
    for node in reversed(tree.css("body [hidden]")):  # what is inside of another one first
        node.decompose()
    for node in reversed(tree.css("body [style]")):
        if _NOT_SHOWN.search(node.attributes["style"] or ""):
            node.decompose()


def _html_parts(root: Any) -> Iterator[Part]:
    headings: list[tuple[int, str]] = []
    for node in root.css(_ENDS):
        if node.tag[0] == "h" and node.tag[1:].isdecimal():
            headings.append((int(node.tag[1:]), _anchor(node)))
            node.insert_before(_MARK + _HEADING)
        else:
            node.insert_before(_MARK)
        node.insert_after(_MARK)
    for node in root.css("br,td,th"):
        node.insert_before(" ")
    following = iter(headings)
    for piece in root.text(deep=True).split(_MARK):
        is_heading = piece.startswith(_HEADING)
        level, anchor = next(following) if is_heading else (0, "")
        words = _spaced(piece.removeprefix(_HEADING))
        if level:
            words = _HEADING_LINK.sub("", words)
        if words:
            yield Part(words, level, anchor or (slug(words) if level else ""))


def _anchor(heading: Any) -> str:
    """The id by which a link finds a heading: its own, or that of the section it begins."""
    own = heading.attributes.get("id")
    if own or heading.parent is None or heading.parent.tag not in ("section", "div"):
        return own or ""
    return heading.parent.attributes.get("id") or ""


def _spaced(text: str) -> str:
    return " ".join(text.split())
