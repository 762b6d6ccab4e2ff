"""The report of `compare`: tables for a terminal, for Markdown and for LaTeX, and a sheet.

A block is a title with a table below it; all forms are drawn from the same blocks.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from string import ascii_lowercase
from typing import Any, NamedTuple

from dprkit.cli.render import counted
from dprkit.cli.tables import GAP, Sheet, columns, table

DIFFERENT = 0.05
"""p, corrected, below which systems are called different."""
VISIBLE = (
    "Visible: the smallest true difference that a test finds on such questions four times of five."
)
MOST_ROWS = 60
"""Rows of pairs that are shown to people."""
LESS_NEEDED = ("effect", "95 %", "p", "visible")
"""Columns that a narrow terminal goes without, the first one first."""


class Block(NamedTuple):
    """A table with what stands above it; the first `words` columns are words."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int = 1


def comparison_tables(report: Any) -> None:
    """The comparison in the form that was asked for; on stderr where stdout has --flips."""
    draw = {"table": _drawn, "markdown": _markdown, "latex": _latex}[report.format]
    out = sys.stderr if "-" in report.outputs else sys.stdout
    out.writelines(f"{line}\n" for line in draw(report))


def _blocks(report: Any) -> Iterator[Block]:
    questions, tests = f"{report.questions:,} questions", counted(report.tests, "test")
    names = report.systems
    if len(names) == 2:
        title = f"{questions}; difference: {names[1]} less {names[0]}; Holm: p for {tests}"
        yield Block(title, *_of_two(report, report.metrics))
    else:
        beats = "a letter: better than that system, p < .05 by Holm"
        yield Block(f"{questions}; {beats} for {tests}", *_of_systems(report, report.metrics))
        if not _too_many(report):
            yield Block("difference: the second less the first", *_of_pairs(report))
    for by, slices in report.slices.items():
        yield _of_slices(report, by, slices)


_PAIR = ("difference", "95 %", "p", "Holm", "won/lost/same", "effect", "visible")


def _of_two(report: Any, metrics: Mapping[str, Any]) -> tuple[list[str], list[list[str]], int]:
    """Measures with the figures of both systems, and those of their difference."""
    rows = []
    for measure, found in metrics.items():
        values = [_value(*both) for both in zip(found.values, found.spreads, strict=True)]
        rows.append([measure, *values, *_pair_cells(found.pairs[0])])
    return ["metric", *report.systems, *_PAIR], rows, 1


def _of_systems(report: Any, metrics: Mapping[str, Any]) -> tuple[list[str], list[list[str]], int]:
    """Measures with the figure of each system, and the letters of those that it beats."""
    letters = _letters(report)
    header = [f"{letter} {name}" for letter, name in zip(letters, report.systems, strict=True)]
    rows = [[measure, *_lettered(found, letters)] for measure, found in metrics.items()]
    return ["metric", *header], rows, 1


def _lettered(found: Any, letters: Sequence[str]) -> list[str]:
    """The figure of each system with the letters, padded so that the figures stay in a column."""
    beaten = ["".join(letters[other] for other in others) for others in _beaten(found)]
    width = max(map(len, beaten))
    values = map(_value, found.values, found.spreads)
    return [f"{value} {which:<{width}}" for value, which in zip(values, beaten, strict=True)]


def _beaten(found: Any) -> list[list[int]]:
    """For each system, those that it is better than, by p_holm."""
    beaten: list[list[int]] = [[] for _ in found.values]
    for pair in found.pairs:
        if _is_different(pair):
            better, worse = (pair.b, pair.a) if pair.difference > 0 else (pair.a, pair.b)
            beaten[better].append(worse)
    return [sorted(others) for others in beaten]


def _is_different(pair: Any) -> bool:
    return pair.p_holm is not None and pair.p_holm < DIFFERENT


def _letters(report: Any) -> list[str]:
    """a, b, c, ..., and from the 27th system on their numbers in brackets."""
    count = len(report.systems)
    return [*ascii_lowercase[:count], *(f"({n})" for n in range(27, count + 1))]


def _pairs_of(metrics: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for measure, found in metrics.items():
        for pair in found.pairs:
            yield measure, pair


def _of_pairs(report: Any) -> tuple[list[str], list[list[str]], int]:
    """A row for each pair of systems by each measure."""
    letters = _letters(report)
    rows = [
        [measure, f"{letters[pair.a]} {letters[pair.b]}", *_pair_cells(pair)]
        for measure, pair in _pairs_of(report.metrics)
    ]
    return ["metric", "pair", *_PAIR], rows, 2


def _too_many(report: Any) -> bool:
    """Whether there are more pairs than anybody reads."""
    return len([*_pairs_of(report.metrics)]) > MOST_ROWS


def _of_slices(report: Any, by: str, slices: Mapping[str, Any]) -> Block:
    """The comparison by slices, those of a measure below each other."""
    own = _of_two if len(report.systems) == 2 else _of_systems
    tables = {value: own(report, one.metrics) for value, one in slices.items()}
    rows = []
    for place, measure in enumerate(report.metrics):
        for value, (_, of_slice, _) in tables.items():
            n = slices[value].metrics[measure].questions
            rows.append([measure, value, f"{n:,}", *of_slice[place][1:]])
    names = next(iter(tables.values()))[0][1:]
    return Block(f"by {by}", ["metric", by, "n", *names], rows, 2)


# --- cells ----------------------------------------------------------------------------------------


def _value(value: float | None, spread: float | None) -> str:
    """A mean, with the standard deviation over trainings where there are several."""
    if value is None:
        return "-"
    return f"{value:.4f}" if spread is None else f"{value:.4f} ±{spread:.4f}"


def _pair_cells(pair: Any) -> list[str]:
    if pair.difference is None:
        return ["-"] * len(_PAIR)
    return [
        f"{pair.difference:+.4f}",
        "[{:+.4f}, {:+.4f}]".format(*pair.interval) if pair.interval else "-",
        _p(pair.p),
        f"{_p(pair.p_holm)}{'*' if _is_different(pair) else ' '}",
        f"{pair.wins:,}/{pair.losses:,}/{pair.ties:,}",
        "-" if pair.effect is None else f"{pair.effect:+.2f}",
        "-" if pair.smallest_visible is None else f"{pair.smallest_visible:.4f}",
    ]


def _p(p: float | None) -> str:
    return "-" if p is None else "<0.0001" if p < 0.0001 else f"{p:.4f}"


# --- words ----------------------------------------------------------------------------------------


def _words(report: Any) -> Iterator[str]:
    """What the tables say, in sentences."""
    if len(report.systems) == 2:
        yield from _verdict(report)
    if _too_many(report):
        yield f"--csv and --json have all {report.tests:,} tests."
    yield f"{report.meaning[0].upper()}{report.meaning[1:]}."


def _verdict(report: Any) -> Iterator[str]:
    """By which measures the second of two systems is better or worse than the first."""
    first, second = report.systems
    sides: dict[str, list[str]] = {"better": [], "worse": [], "": []}
    for measure, pair in _pairs_of(report.metrics):
        side = "better" if (pair.difference or 0) > 0 else "worse"
        sides[side if _is_different(pair) else ""].append(measure)
    for side in ("better", "worse"):
        if sides[side]:
            yield f"{second} is {side} than {first} by {', '.join(sides[side])}."
    if sides[""]:
        yield f"No difference is shown by {', '.join(sides[''])}."


# --- forms ----------------------------------------------------------------------------------------


def _drawn(report: Any) -> Iterator[str]:
    from textwrap import wrap

    blocks = [_narrowed(block) for block in _blocks(report)]
    for block in blocks:
        yield from wrap(block.title, max(40, columns()))
        yield from table(block.header, block.rows, words=block.words)
        yield ""
    sentences = [*_words(report)]
    if any("visible" in block.header for block in blocks):
        sentences.insert(-1, VISIBLE)
    for sentence in sentences:
        yield from wrap(sentence, max(40, min(columns(), 100)), break_on_hyphens=False)


def _narrowed(block: Block) -> Block:
    """The block without columns that the terminal has no room for, and that are less needed."""
    header, rows = list(block.header), [list(row) for row in block.rows]
    for name in LESS_NEEDED:
        widths = [max(map(len, cells)) for cells in zip(header, *rows, strict=True)]
        if sum(widths) + GAP * (len(widths) - 1) <= columns():
            break
        if name in header:
            at = header.index(name)
            header, rows = header[:at] + header[at + 1 :], [r[:at] + r[at + 1 :] for r in rows]
    return block._replace(header=header, rows=rows)


def _markdown(report: Any) -> Iterator[str]:
    for block in _blocks(report):
        yield from (f"{block.title}:", "")
        yield _markdown_row(block.header)
        yield _markdown_row(
            ["---" if n < block.words else "---:" for n in range(len(block.header))]
        )
        yield from map(_markdown_row, block.rows)
        yield ""
    yield from _words(report)
    yield VISIBLE


def _markdown_row(cells: Iterable[str]) -> str:
    escaped = (re.sub(r"([|*_<\\])", r"\\\1", cell.strip()) for cell in cells)
    return f"| {' | '.join(escaped)} |"


def _latex(report: Any) -> Iterator[str]:
    """Systems by measures, the best in bold, and their pairs, for the package booktabs."""
    letters = _letters(report)
    yield f"% {report.questions:,} questions; a letter: better than that system, p < .05 by Holm"
    yield f"% for {counted(report.tests, 'test')}; {report.meaning}"
    rows = [
        [f"${letters[place]}$", _tex(name)]
        + [_latex_cell(found, place, letters) for found in report.metrics.values()]
        for place, name in enumerate(report.systems)
    ]
    yield from _tabular(["", "system", *map(_tex, report.metrics)], rows)
    if not _too_many(report):
        header, pairs, words = _of_pairs(report)
        yield ""
        yield "% difference: the second less the first; * p < .05 by Holm"
        shown = [[_tex(cell.strip()).replace("<", "$<$") for cell in row] for row in pairs]
        yield from _tabular([*map(_tex, header)], shown, words)


def _tabular(header: Sequence[str], rows: Sequence[Sequence[str]], words: int = 2) -> Iterator[str]:
    yield rf"\begin{{tabular}}{{{'l' * words}{'r' * (len(header) - words)}}}"
    yield r"\toprule"
    yield " & ".join(header) + r" \\"
    yield r"\midrule"
    for row in rows:
        yield " & ".join(row) + r" \\"
    yield r"\bottomrule"
    yield r"\end{tabular}"


def _latex_cell(found: Any, place: int, letters: Sequence[str]) -> str:
    value, spread = found.values[place], found.spreads[place]
    if value is None:
        return "--"
    best = value == max(found.values)
    shown = rf"\textbf{{{value:.4f}}}" if best else f"{value:.4f}"
    shown += "" if spread is None else rf" $\pm$ {spread:.4f}"
    beaten = "".join(letters[other] for other in _beaten(found)[place])
    return f"{shown}$^{{{beaten}}}$" if beaten else shown


def _tex(text: str) -> str:
    """Text as LaTeX has it."""
    words = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return re.sub(r"[\\~^&%$#_{}]", lambda m: words.get(m[0], "\\" + m[0]), text)


# --- for programs ---------------------------------------------------------------------------------

_SYSTEM = ("value", "low", "high", "spread")
_DIFFERENCE = ("difference", "low", "high", "p", "p_holm", "test", "wins", "losses", "ties")


def comparison_sheet(report: Any) -> Sheet:
    """A row for each pair by each measure, and for each slice; by and slice are empty for all."""
    rows = [*_sheet_rows(report, "", "", report.metrics)]
    for by, slices in report.slices.items():
        for value, one in slices.items():
            rows += _sheet_rows(report, by, value, one.metrics)
    of_systems = [f"{name}_{side}" for side in "ab" for name in _SYSTEM]
    header = ["by", "slice", "metric", "n", "a", "b", *of_systems, *_DIFFERENCE]
    first = 0 if report.slices else 2
    return Sheet([*header, "effect", "smallest_visible"][first:], [row[first:] for row in rows])


def _sheet_rows(
    report: Any, by: str, value: str, metrics: Mapping[str, Any]
) -> Iterator[list[Any]]:
    for measure, pair in _pairs_of(metrics):
        found = metrics[measure]
        row = [by, value, measure, found.questions, *(report.systems[n] for n in (pair.a, pair.b))]
        for place in (pair.a, pair.b):
            ends = found.intervals[place] or (None, None)
            row += [found.values[place], *ends, found.spreads[place]]
        row += [pair.difference, *(pair.interval or (None, None)), pair.p, pair.p_holm, pair.test]
        yield [*row, pair.wins, pair.losses, pair.ties, pair.effect, pair.smallest_visible]
