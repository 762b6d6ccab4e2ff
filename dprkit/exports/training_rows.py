"""The rows that sentence-transformers trains on: pairs, triplets and n-tuples of plain texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import chain

from dprkit.data.examples import read_examples
from dprkit.errors import SettingsError
from dprkit.exports.sources import DataFiles
from dprkit.exports.tables import Kind, Row, Table
from dprkit.records import Example, Passage
from dprkit.settings import ExportDataSettings


def training_tables(files: DataFiles, settings: ExportDataSettings) -> list[Table]:
    """A table for each file of examples. Raises SettingsError where there is none."""
    if not files.examples:
        raise SettingsError(
            "no examples for sentence-transformers' rows; name them with --examples (import-data "
            "makes them of questions, judgements and passages)"
        )
    columns = _columns(settings)
    return [
        Table(
            split,
            settings.form,
            columns,
            partial(read_examples, path),
            partial(_rows, settings=settings),
            needed=False,
        )
        for split, path in files.examples.items()
    ]


def _columns(settings: ExportDataSettings) -> Mapping[str, Kind]:
    """The columns as sentence-transformers' mine_hard_negatives names them."""
    negatives = {
        "pairs": [],
        "triplets": ["negative"],
        "n-tuples": [f"negative_{number}" for number in range(1, settings.negatives + 1)],
    }
    return dict.fromkeys(("anchor", "positive", *negatives[settings.rows]), "text")


def _rows(example: Example, dropped: Counter[str], settings: ExportDataSettings) -> Iterable[Row]:
    positives = example.positives if settings.positives == "all" else example.positives[:1]
    least = {"pairs": 0, "triplets": 1, "n-tuples": settings.negatives}[settings.rows]
    negatives = [*chain(example.hard_negatives, example.negatives)][: settings.negatives]
    if not positives:
        dropped["no positive"] += 1
    elif len(negatives) < least:
        dropped["no negative" if least == 1 else f"fewer than {least} negatives"] += 1
    else:
        for positive in positives:
            yield from _rows_of(example.question, positive, negatives, settings)


def _rows_of(
    question: str, positive: Passage, negatives: Sequence[Passage], settings: ExportDataSettings
) -> Iterable[Row]:
    """The rows of one positive."""
    row = {"anchor": question, "positive": _text(positive, settings)}
    texts = [_text(negative, settings) for negative in negatives]
    if settings.rows == "pairs":
        yield row
    elif settings.rows == "triplets":
        yield from (row | {"negative": text} for text in texts)
    else:
        yield row | {f"negative_{number}": text for number, text in enumerate(texts, 1)}


def _text(passage: Passage, settings: ExportDataSettings) -> str:
    return f"{passage.title} {passage.text}" if settings.titles and passage.title else passage.text
