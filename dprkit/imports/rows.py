"""The kind `rows`: training rows of other trainers whose columns have no names of their own.

    ["question", "positive", "negative", ...]     sentence-transformers' pairs and triplets, a line
    {"set": ["text", "text", ...]}                its sets of texts that mean the same
    {"query_text": ..., "positive_document_ids": [...], ...}     Tevatron's, passages by their ids

Rows with named columns (Tevatron's with texts, BGE's, sentence-transformers' with names) are tables
(imports/table.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from dprkit.data.json_decoding import decoder
from dprkit.data.json_rows import read_json_rows
from dprkit.data.streams import RawRow, Stream, open_stream, read_lines
from dprkit.errors import InputError
from dprkit.imports.items import Item, Judgement, Tally
from dprkit.imports.table import first_rows
from dprkit.imports.values import Unusable, candidates_of, single, texts_of
from dprkit.records import Example, Question
from dprkit.settings import ImportSettings

_decode_names = decoder(dict[str, msgspec.Raw])
Read = Callable[[RawRow], Iterable[Item]]
_POSITIVE_IDS = ("positive_document_ids", "positive_passage_ids")
_NEGATIVE_IDS = ("negative_document_ids", "negative_passage_ids")


def fits(path: Path) -> bool:
    """Whether a file has such rows, by its first one."""
    if not path.is_file():
        return False
    try:
        return _reader(open_stream(path), path) is not None
    except InputError:  # what is wrong with it is told where it is read
        return False


def items(path: Path, settings: ImportSettings, tally: Tally) -> Iterator[Item]:
    """The items of the rows, in the order of the file."""
    stream = open_stream(path)
    found = _reader(stream, path)
    if found is None:
        raise InputError(f"{path}: no rows of this kind; leave --kind out, and see --dry-run")
    sentence, read = found
    tally.understand(path, sentence)
    rows = read_lines(stream) if is_lists(stream) else read_json_rows(stream)
    return _items(rows, read, path, tally)


def _items(rows: Iterable[RawRow], read: Read, path: Path, tally: Tally) -> Iterator[Item]:
    for row in rows:
        tally.at = (path, row.where)
        try:
            yield from read(row)
        except Unusable as error:
            tally.drop(str(error), f"{path}:{row.where}")


def is_lists(stream: Stream) -> bool:
    """Whether each line of `stream` is a list of texts; the stream stays unread."""
    if stream.first != b"[":
        return False
    begin = next(stream.ahead().chunks, b"").lstrip()[1:].lstrip()
    return begin[:1] == b'"'


def _reader(stream: Stream, path: Path) -> tuple[str, Read] | None:
    """How the rows are read, in words and as a function; the stream stays unread."""
    if is_lists(stream):
        return "lists: a question, its positive, and negatives behind it", partial(_list, path)
    if stream.first not in (b"{", b"["):
        return None
    first = first_rows(stream, 1)
    names = _decode_names(first[0], path) if first else {}
    if set(names) == {"set"}:
        return "sets: the first text as the question, the others as positives", partial(_set, path)
    if any(name in names for name in _POSITIVE_IDS):
        sentence = "questions with the ids of their passages, which are judgements"
        return sentence, partial(_by_ids, path)
    return None


# --- rows -----------------------------------------------------------------------------------------

_decode_list = decoder(list[Any])
_decode = decoder(dict[str, Any])


def _list(path: Path, row: RawRow) -> Iterator[Item]:
    texts = _decode_list(row, path)
    if len(texts) < 2:
        raise Unusable("a list of fewer than two texts")
    question, positive, *negatives = texts
    yield Example(
        single(question), (), tuple(candidates_of(positive)), tuple(candidates_of(negatives))
    )


def _set(path: Path, row: RawRow) -> Iterator[Item]:
    question, *others = _decode(row, path)["set"] or [""]
    yield Example(single(question), (), tuple(candidates_of(others)))


def _by_ids(path: Path, row: RawRow) -> Iterator[Item]:
    """A question, and each of its passages judged: 1 for positives, 0 for negatives."""
    values = _decode(row, path)
    text = single(values.get("query_text", values.get("query")))
    id_ = single(values.get("query_id"))
    positives, negatives = (
        next((texts_of(values[name]) for name in names if values.get(name)), ())
        for names in (_POSITIVE_IDS, _NEGATIVE_IDS)
    )
    yield Question(id_, text, texts_of(values.get("answers", values.get("answer"))), positives)
    for passage in positives:
        yield Judgement(id_, passage, 1)
    for passage in negatives:
        yield Judgement(id_, passage, 0)
