"""What the columns of a foreign table or of JSON rows hold, and the item that a row makes.

A column is known by its name (NAMES), or --columns names it. Which columns there are tells what the
rows are: the first of FORMS whose needed columns are there. Tables, JSON rows and parquet files
share this: each gives the names of its columns and then, row by row, their values.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from dprkit.errors import FormatError
from dprkit.imports import row_items
from dprkit.imports.items import Item
from dprkit.settings import ImportSettings

NAMES: Mapping[str, tuple[str, ...]] = {
    "id": (
        "id",
        "_id",
        "docid",
        "doc_id",
        "doc-id",
        "docno",
        "pid",
        "passage_id",
        "psg_id",
        "document_id",
        "chunk_id",
    ),
    "text": (
        "text",
        "contents",
        "content",
        "passage",
        "passage_text",
        "document",
        "document_text",
        "doc",
        "context",
        "body",
        "chunk",
    ),
    "title": ("title", "headline", "heading"),
    "question": ("question", "query", "anchor", "query_text", "question_text", "sentence1"),
    "question_id": ("question_id", "query_id", "qid", "query-id", "queryid"),
    "answers": ("answers", "answer", "short_answers"),
    "positive": (
        "positive",
        "pos",
        "positives",
        "positive_passages",
        "positive_passage",
        "positive_texts",
        "sentence2",
        "response",
    ),
    "positive_id": ("positive_id", "pos_id", "positive_ids", "pos_ids"),
    "positive_title": ("positive_title", "pos_title"),
    "positive_score": ("positive_score", "pos_score", "pos_scores", "positive_scores"),
    "negative": (
        "negative",
        "neg",
        "negatives",
        "negative_passages",
        "hard_negative",
        "hard_negatives",
        "hard_neg",
        "negative_texts",
    ),
    "negative_id": ("negative_id", "neg_id", "negative_ids", "neg_ids"),
    "negative_score": ("negative_score", "neg_score", "neg_scores", "negative_scores"),
    "passages": ("passages", "documents", "docs", "texts", "responses", "candidates"),
    "label": ("label", "labels", "is_selected", "relevance"),
    "score": ("scores", "score", "similarity", "labels", "label"),
    "passage_id": (
        "passage_id",
        "corpus-id",
        "corpus_id",
        "doc-id",
        "doc_id",
        "docid",
        "docno",
        "pid",
    ),
    "grade": ("grade", "score", "relevance", "rel", "label", "judgement", "judgment"),
    "dataset": ("dataset",),
    "tags": ("tags",),
    "pages": ("pages",),
}
"""What a column is called in the files of others; the first name of a kind that is there counts."""
_NUMBERED = re.compile(r"(?:hard_)?neg(?:ative)?s?_?\d+")
"""negative_1, negative_2, ...: each is one more negative."""
ALL_NAMES = frozenset(name for names in NAMES.values() for name in names)


Asked: TypeAlias = Mapping[Any, str | int] | None
"""What --columns says: what a column holds -> its name or its number."""


class Form(NamedTuple):
    """What rows may be."""

    name: str
    needed: tuple[str, ...]
    others: tuple[str, ...]
    make: Callable[[Sequence[Any]], Item]
    """An item from the values of the needed and the other columns; raises Unusable."""
    also: Mapping[str, tuple[str, ...]] = {}
    """More names that a column may have where the rows are this."""
    without: tuple[str, ...] = ()
    """Columns beside which the rows are something else."""


_DOCUMENT = ("docid", "doc_id", "docno", "pid", "passage_id", "psg_id", "document_id", "chunk_id")
_BESIDE = {"positive": NAMES["text"], "positive_id": _DOCUMENT, "positive_title": NAMES["title"]}
"""Beside a question, what else would be a passage is its positive."""

FORMS = (
    Form(
        "judgements",
        ("question_id", "passage_id"),
        ("grade",),
        row_items.judgement,
        without=("question", "text", "positive"),
    ),
    Form(
        "labelled pairs",
        ("question", "positive", "label"),
        ("answers", "positive_id", "positive_title"),
        row_items.labelled_pair,
        also=_BESIDE,
        without=("negative",),
    ),
    Form(
        "examples",
        ("question", "positive"),
        (
            "answers",
            "positive_id",
            "positive_title",
            "positive_score",
            "negative",
            "negative_id",
            "negative_score",
            "score",
        ),
        row_items.example,
        also=_BESIDE,
    ),
    Form("lists", ("question", "passages"), ("label", "score", "answers"), row_items.labelled_list),
    Form(
        "questions",
        ("question",),
        ("question_id", "answers", "passage_id", "dataset", "tags", "pages"),
        row_items.question,
        also={"question_id": ("id", "_id"), "passage_id": ("passage_ids",)},
    ),
    Form("passages", ("text",), ("id", "title"), row_items.passage),
)


# --- understanding --------------------------------------------------------------------------------


class Understood(NamedTuple):
    """What the rows of a source are, and which columns hold it."""

    form: Form
    columns: dict[str, tuple[str, ...]]
    """what a column holds -> the names of the columns, of which negatives may have several."""
    unread: tuple[str, ...] = ()
    """Columns that hold nothing that is needed."""

    @property
    def sentence(self) -> str:
        """As people read it: `examples: question from query, positive from pos`."""
        parts = (
            f"{held} from {names[0]}{' to ' + names[-1] if names[1:] else ''}"
            for held, names in self.columns.items()
        )
        idle = f"; not read: {', '.join(self.unread[:8])}" if self.unread else ""
        return f"{self.form.name}: {', '.join(parts)}{idle}"

    def item(self, row: Mapping[str, Any]) -> Item:
        """The item of a row given as column -> value. Raises Unusable."""
        get = row.get
        return self.form.make(
            [
                (get(names[0]) if len(names) == 1 else [get(name) for name in names])
                if names
                else None
                for names in map(self._named, (*self.form.needed, *self.form.others))
            ]
        )

    def maker(self, names: Sequence[str]) -> Callable[[Sequence[Any]], Item]:
        """What makes the item of a row that is given as the values of the columns `names`."""
        places = [
            tuple(names.index(name) for name in self._named(held))
            for held in (*self.form.needed, *self.form.others)
        ]
        make = self.form.make

        def item(cells: Sequence[Any]) -> Item:
            return make(
                [
                    (cells[at[0]] if len(at) == 1 else [cells[i] for i in at]) if at else None
                    for at in places
                ]
            )

        return item

    def _named(self, held: str) -> tuple[str, ...]:
        return self.columns.get(held, ())


def understand(names: Sequence[str], asked: Asked, path: object) -> Understood:
    """What rows with the columns `names` are. `asked`: what --columns says, held -> name.

    Raises FormatError where columns are missing, named twice, or tell nothing.
    """
    given = {held: str(name) for held, name in (asked or {}).items()}
    lower = {name.lower(): name for name in names}
    _refuse_twice(names, given, path)
    chosen = {held: lower[name.lower()] for held, name in given.items() if name.lower() in lower}
    for held, name in given.items():
        if held not in chosen:
            listed = ", ".join(names) or "none"
            problem = f"there is no column {name}, which --columns gives for {held}; there are "
            raise FormatError(str(path), 1, problem + listed)
    for form in FORMS:
        if found := _fitting(form, lower, chosen):
            read = {name for several in found.values() for name in several}
            return Understood(form, found, tuple(name for name in names if name not in read))
    raise FormatError(str(path), 1, _nothing(names))


def _nothing(names: Sequence[str]) -> str:
    listed = ", ".join(names[:8]) + (", ..." if names[8:] else "")
    return (
        f"the columns ({listed}) do not tell what the rows are; name them, as in --columns "
        "question=NAME,positive=NAME or --columns text=NAME"
    )


def _refuse_twice(names: Sequence[str], given: Mapping[str, str], path: object) -> None:
    """Raise FormatError for a name of a column that counts and occurs twice."""
    lower = [name.lower() for name in names]
    wanted = {name.lower() for name in given.values()} | (ALL_NAMES if not given else frozenset())
    if twice := next((name for name in lower if name in wanted and lower.count(name) > 1), ""):
        problem = f"{lower.count(twice)} columns are called {twice}; rename one of them"
        raise FormatError(str(path), 1, problem)
    values = [name.lower() for name in given.values()]
    if twice := next((name for name in values if values.count(name) > 1), ""):
        held = " and ".join(key for key, name in given.items() if name.lower() == twice)
        raise FormatError(str(path), 1, f"--columns gives the column {twice} for {held}")


def _fitting(
    form: Form, lower: Mapping[str, str], chosen: Mapping[str, str]
) -> dict[str, tuple[str, ...]] | None:
    """The columns of `form` among the names, or None where it lacks one or is not asked for."""
    holds = (*form.needed, *form.others)
    others = (name for held in form.without for name in NAMES[held])
    if not chosen.keys() <= set(holds) or any(map(lower.__contains__, others)):
        return None
    found: dict[str, tuple[str, ...]] = {}
    taken = {name.lower() for name in chosen.values()}
    for held in holds:
        if held in chosen:
            found[held] = (chosen[held],)
            continue
        names = NAMES[held] + form.also.get(held, ())
        name = next((name for name in names if name in lower and name not in taken), None)
        if name is not None:
            found[held] = (lower[name],)
            taken.add(name)
        elif held in form.needed:
            return None
    if form.name == "examples" and "negative" not in found:
        found |= _numbered(lower)
    return found


def _numbered(lower: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """The columns negative_1, negative_2, ..., in the order of the source."""
    names = tuple(own for name, own in lower.items() if _NUMBERED.fullmatch(name))
    return {"negative": names} if names else {}


def asked_of(names: Iterable[str], settings: ImportSettings, alone: bool = True) -> Asked:
    """What --columns says of a file with the columns `names`; all of it, of a single file.

    Of several, each has its own columns, and what is said of others' columns does not count.
    `alone`: whether the file is a whole source.
    """
    if (alone and len(settings.sources) == 1) or not settings.columns:
        return settings.columns
    lower = {name.lower() for name in names}
    return {held: name for held, name in settings.columns.items() if str(name).lower() in lower}


def known(names: Iterable[str], asked: Asked) -> int:
    """How many of the `names` are known ones, or asked for."""
    wanted = {str(name).lower() for name in (asked or {}).values()}
    return sum(
        name in wanted or name in ALL_NAMES or bool(_NUMBERED.fullmatch(name))
        for name in (name.lower() for name in names)
    )
