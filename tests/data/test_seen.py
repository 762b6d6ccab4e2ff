"""Ids that were there before, compared with a dict."""

from __future__ import annotations

import random

from dprkit.data import seen
from dprkit.data.seen import NEW, OTHER, SAME, Seen


def test_every_id_is_told_as_a_dict_tells_it(monkeypatch):
    monkeypatch.setattr(seen, "RECENT", 300)  # so that keys go on into the buckets
    draw, found, known = random.Random(0), Seen(), {}
    for _ in range(60):
        count = draw.randrange(1, 120)
        ids = [str(draw.randrange(3000)) for _ in range(count)]
        contents = [draw.choice(["a", "b"]) for _ in range(count)]
        expected = [
            NEW
            if known.setdefault(id_, content) is content and id_ not in before
            else SAME
            if known[id_] == content
            else OTHER
            for before, id_, content in _with_known(known, ids, contents)
        ]
        assert found.add(ids, contents) == expected


def test_an_id_keeps_the_mark_that_it_had_first():
    marks = Seen()
    assert marks.first(["a", "b", "a"], [1, 2, 3]) == [1, 2, 1]
    assert marks.first(["c", "b"], [0, 7]) == [0, 2]


def _with_known(known, ids, contents):
    """Each id with those known before it."""
    before = set(known)
    for id_, content in zip(ids, contents, strict=True):
        yield before, id_, content
        before.add(id_)
