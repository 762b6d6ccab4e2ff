"""The places of written rows in their sources."""

from __future__ import annotations

from dprkit.imports.source_lines import SourceLines


def test_each_row_is_found_in_its_source():
    """Lines that were left out, a source without lines, and one that is read after another."""
    places = [("a", 2), ("a", 3), ("a", 7), ("a", 8), ("b", " item 1"), ("b", " item 2"), ("c", 9)]
    lines = SourceLines()
    for place in places:
        lines.add(place)
    found = [lines.of(row) for row in range(len(places))]
    assert found == ["a:2", "a:3", "a:7", "a:8", "b", "b", "c:9"]
    assert len(lines._runs) == 4
