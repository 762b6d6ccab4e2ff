"""Run dicts: {question id: {passage id: score}}, as ir_measures, ranx, BEIR and MTEB have them.

MTEB writes {"mteb_model_meta": ..., subset: {split: run dict}}. Neither has texts.
sentence-transformers writes its predictions as rankings (rankings.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from dprkit.data.json_decoding import decoder, finite_score
from dprkit.data.json_rows import STRING, head, is_keyed, keyed_rows
from dprkit.data.streams import RawRow, Stream
from dprkit.data.trec import in_trec_order
from dprkit.errors import FormatError
from dprkit.records import Hit, Question, Ranking

_META = "mteb_model_meta"
_KEY = rb"\s*\{\s*" + STRING + rb"\s*:"
_NESTED = re.compile(_KEY + _KEY + rb"\s*\{|\s*\{\s*\"" + _META.encode() + rb'"', re.DOTALL)
"""The beginning of an object of objects of objects."""

_Scores = dict[str, float | str | None]


def is_run_dict(stream: Stream) -> bool:
    """Whether `stream` is an object of objects, or of nothing."""
    return is_keyed(stream) or re.fullmatch(rb"\s*\{\s*\}\s*", head(stream)) is not None


def read_run_dict(stream: Stream) -> Iterator[tuple[Ranking, int | str]]:
    """The rankings of a run dict, in its order, with the place of each; questions have no text.

    Each is ordered as trec_eval orders it: by its scores as float32, falling, and equal ones by the
    passages' ids, falling. Memory: a ranking, or in MTEB's file the bytes of a subset. Raises
    FormatError for a file of MTEB with several runs.
    """
    decode = decoder(_Scores)
    rows = _nested_rows(stream) if _NESTED.match(head(stream)) else keyed_rows(stream)
    for question, row in rows:
        scores = decode(row, stream.path)
        yield _ranking(question, scores, row, stream.path), row.where


def _ranking(question: str, scores: _Scores, row: RawRow, path: Path | str) -> Ranking:
    hits = []
    for passage, score in scores.items():
        place = f" of passage {passage!r} for question {question!r}"
        if score is None:
            raise FormatError(path, row.where, f"the score{place} is null; give each passage one")
        hits.append(Hit(passage, finite_score(score, row, path, place)))
    return Ranking(Question(question, ""), in_trec_order(hits))


def _nested_rows(stream: Stream) -> Iterator[tuple[str, RawRow]]:
    """The question ids and scores of the one run dict that lies deeper in an object."""
    decode = decoder(dict[str, msgspec.Raw])
    found: list[str] = []
    for name, row in keyed_rows(stream):
        for keys, run in _runs([name], row, decode, stream.path) if name != _META else ():
            if found:
                places = " and ".join("/".join(place) for place in (found, keys))
                choice = "".join(f'."{key}"' for key in keys)
                problem = f"two runs, {places}; take one out: jq '{choice}' FILE > run.json"
                raise FormatError(stream.path, row.where, problem)
            found = keys
            yield from run.items()


def _runs(
    keys: list[str], row: RawRow, decode: Callable[..., dict[str, msgspec.Raw]], path: Path | str
) -> Iterator[tuple[list[str], dict[str, RawRow]]]:
    """The run dicts in an object, each with the keys that lead to it."""
    values = {key: row._replace(raw=bytes(raw)) for key, raw in decode(row, path).items()}
    if not _NESTED.match(row.raw):
        yield keys, values
        return
    for key, value in values.items():
        yield from _runs([*keys, key], value, decode, path)
