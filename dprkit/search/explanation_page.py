"""An explanation as a page: one HTML file without scripts that loads nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from html import escape
from typing import NamedTuple

import numpy as np

from dprkit.models.explanation import Explanation, TokensInText

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.6 system-ui, sans-serif; }
body { max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.3rem; } h2 { font-size: 1rem; margin-bottom: .3rem; }
p { overflow-wrap: anywhere; white-space: pre-wrap; margin-top: 0; }
mark { color: inherit; border-radius: .2em; }
mark.chosen { text-decoration: underline; text-underline-offset: .2em; }
.put { font-size: .7em; margin: 0 .2em; padding: 0 .2em; border: 1px solid #8888; }
.cut { opacity: .5; }
table { border-collapse: collapse; } td, th { text-align: left; padding: 0 1.5em 0 0; }
td:last-child, th:last-child { text-align: right; font-variant-numeric: tabular-nums; }
"""


class _Mark(NamedTuple):
    """How a token is shown."""

    share: float
    """From 0 to 1, the depth of its colour."""
    told: str
    """What appears when one points at it."""
    chosen: bool = False


def page(explained: Explanation, retriever: str) -> str:
    """The page: both texts with their tokens in colour, and the table of matches."""
    best, strongest = explained.similarities.max(axis=1), explained.similarities.max(axis=0)
    share = _shares(np.concatenate([best, strongest]))
    asked = [
        _Mark(share(match.similarity), f"{match.passage_token} {match.similarity:.3f}")
        for match in explained.matches
    ]
    chosen: dict[int, list[str]] = {}
    for match in explained.matches:
        told = f"{match.question_token} {match.similarity:.3f}"
        chosen.setdefault(match.passage_place, []).append(told)
    read: list[_Mark | None] = [None] * len(explained.passage.tokens)
    for place, value in zip(explained.counted, strongest.tolist(), strict=True):
        told = ", ".join(chosen.get(place, [f"{value:.3f}"]))
        read[place] = _Mark(share(value), told, place in chosen)
    rows = "".join(
        f"<tr><td>{escape(match.question_token)}<td>{escape(match.passage_token)}"
        f"<td>{match.similarity:.4f}\n"
        for match in explained.matches
    )
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{escape(explained.question.text)}</title>
<style>{_STYLE}</style>
<h1>Score {explained.score:.4f}</h1>
<p>The sum of the similarities of {len(rows.splitlines())} tokens of the question, by the retriever
{escape(retriever)}. The stronger the colour, the more similar the token is to one of the other
text. Underlined tokens of the passage are those that a token of the question chose. Tokens in a
frame are not in the text: the model puts them there.</p>
<h2>Question</h2>
<p>{"".join(_shown(explained.question, asked))}</p>
<h2>Passage</h2>
<p>{"".join(_shown(explained.passage, read))}</p>
<table><tr><th>question<th>passage<th>similarity
{rows}<tr><th>sum<th><th>{explained.score:.4f}
</table>
</html>
"""


def _shares(values: np.ndarray) -> Callable[[float], float]:
    """What makes of a similarity a share from 0, for the lowest of `values`, to 1."""
    low, high = float(values.min()), float(values.max())
    return lambda value: (value - low) / (high - low) if high > low else 1.0


def _shown(text: TokensInText, marks: list[_Mark] | list[_Mark | None]) -> Iterator[str]:
    """The pieces of a text, escaped: tokens in their marks, and what lies between them."""
    end = 0
    for word, place, mark in zip(text.tokens, text.places, marks, strict=True):
        piece = word
        if place:
            yield escape(text.text[end : place[0]])
            piece = text.text[max(place[0], end) : place[1]]  # one sign may have several tokens
            end = max(place[1], end)
        if piece:
            yield _marked(piece, mark, put=not place) if mark else escape(piece)
    if end < len(text.text):
        yield f'<span class="cut">{escape(text.text[end:])}</span>'


def _marked(text: str, mark: _Mark, put: bool) -> str:
    names = " ".join(["chosen"] * mark.chosen + ["put"] * put)
    kind = f' class="{names}"' if names else ""
    how = f'style="background:rgb(255 160 0 / {mark.share:.2f})" title="{escape(mark.told)}"'
    return f"<mark{kind} {how}>{escape(text)}</mark>"
