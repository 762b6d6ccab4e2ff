"""Values of foreign columns as dprkit's: texts, lists of texts, passages, scores, grades."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any

from dprkit.data.ids import content_id
from dprkit.data.written_lists import lacks_comma, written_list
from dprkit.records import Candidate

ID_FIELDS = ("docid", "_id", "id", "passage_id", "psg_id", "doc_id", "pid")
TEXT_FIELDS = ("text", "contents", "content", "passage", "document", "body")


class Unusable(Exception):
    """Why a row makes no item, in words under which it is counted."""


def single(value: Any) -> str:
    """The one text of a value; "" where it is none. A list of one text is that text."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool | int):
        return str(value)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else str(value)
    if isinstance(value, Decimal):
        return str(int(value)) if value == value.to_integral_value() else str(value)
    if isinstance(value, list | tuple) and len(value) == 1:
        return single(value[0])
    raise Unusable("a list or an object where one text is needed")


def texts_of(value: Any) -> tuple[str, ...]:
    """The texts of a value: a list, a text that writes one, a text, or nothing.

    The `answers` of SQuAD's tables are an object with a list `text`.
    """
    if isinstance(value, dict):
        value = value.get("text", value.get("value"))
    if isinstance(value, str):
        value = _listed(value)
    if isinstance(value, list | tuple):
        return tuple(dict.fromkeys(text for text in map(single, value) if text.strip()))
    return (single(value),) if value is not None else ()


def _listed(text: str) -> Sequence[Any]:
    """The list that a text writes in Python or JSON; a text that writes none is alone in one.

    Raises Unusable for a list as numpy prints it, whose texts Python would join.
    """
    if not text.startswith(("[", "(")):
        return [text]
    with suppress(ValueError, RecursionError):
        value = json.loads(text)
        if isinstance(value, list) and all(isinstance(one, str) for one in value):
            return value
    texts = written_list(text)
    if texts is None:
        return [text]
    if lacks_comma(text):
        raise Unusable("a list without commas, as numpy prints it")
    return texts


def candidates_of(value: Any, ids: Any = None, titles: Any = None) -> list[Candidate]:
    """The passages of a value: a text, an object, or a list of them, each with its id and title.

    An id is "" where the source gives none.
    """
    if isinstance(value, str):
        value = _listed(value)
    found = value if isinstance(value, list | tuple) else [] if value is None else [value]
    one_for_all = isinstance(titles, str)
    headed = [titles] * len(found) if one_for_all else _beside(titles, len(found))
    named = _beside(ids, len(found))
    return [
        _candidate(one, id_, title)
        for one, id_, title in zip(found, named, headed, strict=True)
        if one is not None
    ]


def _beside(value: Any, count: int) -> Sequence[Any]:
    """A value for each of `count` passages."""
    if value is None:
        return [None] * count
    values = value if isinstance(value, list | tuple) else [value]
    if len(values) != count:
        raise Unusable("ids or titles that are not as many as the passages")
    return values


def _candidate(value: Any, id_: Any, title: Any) -> Candidate:
    if isinstance(value, dict):
        id_ = next((value[name] for name in ID_FIELDS if value.get(name) is not None), id_)
        title = value.get("title", title)
        value = next((value[name] for name in TEXT_FIELDS if value.get(name) is not None), "")
    text, head = single(value), single(title)
    return Candidate(single(id_) or content_id(head, text), text, head)


def scores_of(value: Any) -> list[float]:
    """The scores of a value: numbers, or texts of them. Raises Unusable for what is no number."""
    if value is None or value == "":
        return []
    values = _numbers(value) if isinstance(value, str) else value
    values = values if isinstance(values, list | tuple) else [values]
    try:
        scores = [float(one) for one in values]
    except (TypeError, ValueError):
        raise Unusable("a score that is no number") from None
    if not all(map(math.isfinite, scores)):
        raise Unusable("a score that is no number")
    return scores


def shared_out(
    scores: list[float], positives: int, negatives: int
) -> tuple[list[float], list[float]]:
    """The scores of a column that has those of all passages of a row, of positives and negatives.

    As many as the negatives of one positive are margins: how far the positive scores above each.
    """
    if positives == 1 and len(scores) == negatives:
        return ([0.0], [-margin for margin in scores]) if negatives else ([], [])
    return scores[:positives], scores[positives:]


def _numbers(text: str) -> Any:
    with suppress(ValueError):
        return json.loads(text)
    return text


def grade_of(value: Any) -> int:
    """The grade of a judgement; 1 where a source gives none."""
    if value is None:
        return 1
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise Unusable("a grade that is no whole number") from None
    if not number.is_integer():
        raise Unusable("a grade that is no whole number")
    return int(number)
