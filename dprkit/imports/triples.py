"""MS MARCO's triples: a question, a passage that answers it, one that does not; of ids or of texts.

    qidpidtriples.train.tsv     question id <tab> passage id <tab> passage id
    triples.train.small.tsv     question <tab> text <tab> text

Triples of ids are judgements: 1 for the passage that answers, 0 for the other one, which examples
take for a hard negative. Triples of texts are examples; ids are made of the texts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from dprkit.data.ids import content_id
from dprkit.data.streams import Stream, open_stream, read_text_lines
from dprkit.errors import FormatError
from dprkit.imports.columns import known
from dprkit.imports.items import Item, Judgement, Tally
from dprkit.imports.looking import first_lines
from dprkit.records import Candidate, Example
from dprkit.settings import ImportSettings

_ID = re.compile(r"\S*\d\S*")
_GRADE = re.compile(r"-?\d")
_FORM = "a triple is a question, a passage and another passage, separated by tabs"


def fits(path: Path) -> bool:
    """Whether the first lines are three ids, of which the last is no grade, or three texts.

    Most texts have a space; how many need one is told by the name of the file.
    """
    rows = [line.split("\t") for line in first_lines(path)]
    if not rows or any(len(row) != 3 for row in rows):
        return False
    if all(_is_of_ids(row) for row in rows):
        return not all(_GRADE.fullmatch(row[2].strip()) for row in rows)
    if known(rows[0], None) > 1:
        return False  # a header
    needed = len(rows) * (0.5 if "triple" in path.name.lower() else 0.9)
    columns = zip(*rows, strict=True)
    return all(sum(" " in cell.strip() for cell in column) >= needed for column in columns)


def _is_of_ids(row: list[str]) -> bool:
    return all(_ID.fullmatch(cell.strip()) for cell in row)


def items(path: Path, settings: ImportSettings, tally: Tally) -> Iterator[Item]:
    """Judgements or examples. Raises FormatError for a line that is no triple."""
    rows = _rows(open_stream(path), tally)
    of_ids = _is_of_ids(next(_rows(open_stream(path), tally)))
    return _judgements(rows) if of_ids else map(_example, rows)


def _rows(stream: Stream, tally: Tally) -> Iterator[list[str]]:
    for number, line in read_text_lines(stream):
        cells = [cell.strip() for cell in line.split("\t")]
        if len(cells) != 3 or not all(cells):
            problem = f"{len(cells)} columns" if len(cells) != 3 else "an empty cell"
            raise FormatError(stream.path, number, f"{problem}; {_FORM}")
        tally.at = (stream.path, number)
        yield cells


def _judgements(rows: Iterator[list[str]]) -> Iterator[Judgement]:
    for question, positive, negative in rows:
        yield Judgement(question, positive, 1)
        yield Judgement(question, negative, 0)


def _example(row: list[str]) -> Example:
    question, *texts = row
    positive, negative = (Candidate(content_id("", text), text) for text in texts)
    return Example(question, (), (positive,), (negative,))
