"""KILT's questions, with provenance as gold passages, and its knowledge source.

    questions            {"id", "input", "output": [{"answer", "provenance": [{"wikipedia_id",
                         "start_paragraph_id", "end_paragraph_id"}]}]}
    knowledge source     {"wikipedia_id", "wikipedia_title", "text": [paragraphs]}

A paragraph is a passage: 12-3 is paragraph 3 of page 12, counted from 0, as `evaluate --pages`
takes it apart again. (Petroni et al. 2021)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from dprkit.data.ids import first_id
from dprkit.data.json_decoding import decoder
from dprkit.data.json_rows import read_json_rows
from dprkit.data.streams import RawRow, open_stream
from dprkit.imports.items import Item, Tally
from dprkit.imports.looking import first_object
from dprkit.imports.names import stem
from dprkit.records import Passage, Question
from dprkit.settings import ImportSettings


class _Provenance(msgspec.Struct, frozen=True):
    wikipedia_id: str | int | None = None
    start_paragraph_id: int | None = None
    end_paragraph_id: int | None = None


class _Output(msgspec.Struct, frozen=True):
    answer: str | None = None
    provenance: list[_Provenance] | None = None


class _Row(msgspec.Struct, frozen=True):
    """A question or a page."""

    id: str | int | None = None
    input: str | None = None
    output: list[_Output] | None = None
    wikipedia_id: str | int | None = None
    wikipedia_title: str = ""
    text: list[str] | None = None


_decode_row = decoder(_Row)
_HEADING = "Section::::"


def fits(path: Path) -> bool:
    """Whether the first row is a question or a page of KILT."""
    row = first_object(path)
    page = "wikipedia_id" in row and isinstance(row.get("text"), list)
    return page or (isinstance(row.get("input"), str) and isinstance(row.get("output", []), list))


def items(path: Path, settings: ImportSettings, tally: Tally) -> Iterator[Item]:
    """The questions of a file, or the paragraphs of the pages of the knowledge source."""
    for number, raw in enumerate(read_json_rows(open_stream(path))):
        tally.at = (path, raw.where)
        row = _decode_row(raw, path)
        if row.text is not None:
            yield from _paragraphs(row, raw, path, tally)
        else:
            yield _question(row, first_id(row.id) or f"{stem(path)}:{number}")


def _paragraphs(row: _Row, raw: RawRow, path: Path, tally: Tally) -> Iterator[Passage]:
    page = first_id(row.wikipedia_id)
    for number, paragraph in enumerate(row.text or ()):
        text = paragraph.strip()
        if not text or text.startswith(_HEADING):
            reason = "heading of a section" if text else "empty paragraph"
            tally.drop(reason, f"{path}:{raw.where}")
        else:
            yield Passage(f"{page}-{number}", text, row.wikipedia_title)


def _question(row: _Row, id_: str) -> Question:
    outputs = row.output or []
    answers = dict.fromkeys(output.answer for output in outputs if output.answer)
    named = [[p for p in output.provenance or () if p.wikipedia_id] for output in outputs]
    gold = dict.fromkeys(passage for provenance in named for passage in _passages(provenance))
    pages = [tuple(str(p.wikipedia_id).strip() for p in provenance) for provenance in named]
    return Question(
        id_, row.input or "", tuple(answers), tuple(gold), pages=tuple(filter(None, pages))
    )


def _passages(provenance: Iterable[_Provenance]) -> Iterator[str]:
    """The paragraphs that a provenance names, from its first to its last."""
    for part in provenance:
        start, end = part.start_paragraph_id, part.end_paragraph_id
        if start is not None and start >= 0:
            for number in range(start, max(start, start if end is None else end) + 1):
                yield f"{str(part.wikipedia_id).strip()}-{number}"
