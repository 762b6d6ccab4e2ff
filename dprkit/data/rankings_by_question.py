"""Random access to the rankings of a file by their questions, each decoded when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from dprkit.data.ids import text_key
from dprkit.data.json_decoding import decoder
from dprkit.data.json_rows import read_json_rows
from dprkit.data.rankings import is_results, parse_ranking, results_file
from dprkit.data.row_index import IndexedFile, RowKind
from dprkit.data.streams import Place, Stream
from dprkit.errors import FormatError, InputError
from dprkit.progress import Note, silent
from dprkit.records import Ranking, same_question


class _Question(msgspec.Struct, frozen=True):
    """As much of a row as it takes to find it."""

    question: str


class RankingsByQuestion:
    """The rankings of results.jsonl or DPR's array. Memory is 16 bytes a ranking."""

    def __init__(self, path: Path | str, note: Note = silent) -> None:
        """Raises FormatError for another form, and InputError for a file without rankings."""
        import numpy as np

        self.path = results_file(path)
        self._file = IndexedFile(self.path, RANKINGS, note)
        if not len(self._file):
            raise InputError(f"{self.path}: holds no ranking; name the file of the results")
        keys = self._file.table[:]["key"]
        self._order = np.argsort(keys, kind="stable")
        self._keys = keys[self._order]

    def ranking(self, question: str) -> Ranking | None:
        """The first ranking of a question; letter case and white space do not count."""
        import numpy as np

        asked = same_question(question)
        key = np.uint64(text_key(asked))
        begin, end = (int(np.searchsorted(self._keys, key, side)) for side in ("left", "right"))
        for row in self._order[begin:end].tolist():
            found = parse_ranking(self._file.row(row), row, self.path)
            if same_question(found.question.question) == asked:
                return found
        return None


_decode_question = decoder(_Question)


def _ranking_rows(stream: Stream) -> Iterator[tuple[Place, int]]:
    if not is_results(stream):
        problem = "no file of results.jsonl's form; dprkit convert-results writes rankings so"
        raise FormatError(stream.path, 1, problem)
    for row in read_json_rows(stream):
        yield row.place, text_key(same_question(_decode_question(row, stream.path).question))


RANKINGS = RowKind("rankings", _ranking_rows)
