"""Reports as text for people: data goes to stdout, and the summary of a command to stderr."""

from __future__ import annotations

import resource
import sys
from datetime import timedelta
from typing import Any

import msgspec
from rich.filesize import decimal as size

from dprkit.cli.display import say
from dprkit.cli.tables import Sheet, sheet_of, table
from dprkit.memory import peak_bytes


def as_json(value: Any) -> None:
    """Print one JSON object, in UTF-8 whatever the terminal's encoding."""
    sys.stdout.buffer.write(msgspec.json.encode(value) + b"\n")


def json_of(report: Any, seconds: float) -> dict[str, Any]:
    """A report with what every command's JSON has: seconds and peak memory in MB (2**20 bytes)."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    peak = max(peak_bytes(), children) / 2**20
    measured = {"seconds": round(seconds, 3), "peak_memory_mb": round(peak, 1)}
    shown: dict[str, Any] = msgspec.to_builtins(report)
    return shown | measured


def words(value: Any) -> str:
    """A figure, or several, as people read them: `loss 0.123, accuracy 0.5`."""
    if value in (None, [], {}, (), ""):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, dict):
        return ", ".join(f"{name.replace('_', ' ')} {words(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        shown = [words(one) for one in value]
        return ", ".join([*shown[:5], f"... ({len(shown):,} in all)"] if shown[7:] else shown)
    return str(value)


def counted(number: int, name: str) -> str:
    """A number with what it counts, as in 1 file and 2,000 files."""
    return f"{number:,} {name}{'s' * (number != 1)}"


def outputs(report: Any) -> None:
    """Say where what was made lies."""
    for path in report.outputs:
        if path != "-":
            say(f"  -> {path}")


def selection(report: Any) -> None:
    dropped = "".join(f", {count:,} dropped: {why}" for why, count in report.dropped.items())
    say(f"kept {report.kept:,} of {report.read:,} rows read{dropped}")


def exported_data(report: Any) -> None:
    for name, count in report.rows.items():
        say(f"{name}: {counted(count, 'row')}")
    for why, count in report.dropped.items():
        say(f"  {count:,} left out: {why}")


def training(report: Any) -> None:
    losses = [f"{loss:.4f}" for loss in report.losses]
    course = f", loss {' -> '.join(dict.fromkeys([losses[0], losses[-1]]))}" if losses else ""
    say(f"trained {counted(report.epochs, 'epoch')}, {counted(report.steps, 'step')}{course}")
    if report.valid:
        before = report.valid_before or {}
        width = max(13, *(len(name) + 1 for name in report.valid))
        kept = f"step {report.best_step}" + ", the untrained weights" * report.untrained
        averaged = getattr(report, "valid_averaged", None) or {}  # a reader's are not averaged
        say(f"kept {kept}; validation before -> after{' -> averaged' * bool(averaged)}:")
        for name, value in report.valid.items():
            if name not in ("questions", "pool", "with_answer"):
                mean = f" -> {averaged[name]:.4f}" if averaged else ""
                say(f"  {name:<{width}}{before.get(name, value):9.4f} -> {value:.4f}{mean}")


def conversion(report: Any) -> None:
    files = counted(len(report.files), "file")
    width = "" if "reader" in (report.kind, report.to) else f" {report.dim} dimensions,"
    say(f"{report.kind} -> {report.to},{width} {files}")
    for line in report.mapped:
        say(f"  {line}")


def pushed(report: Any) -> None:
    say(f"{report.name}: {counted(len(report.files), 'file')}, {size(report.bytes)}")


def encoding(report: Any) -> None:
    if hasattr(report, "sample"):
        return _estimate(report)
    shards = counted(report.shards, "shard")
    if report.shards < report.of_shards:
        shards = f"{report.shards} of {report.of_shards} shards whole"
    reused = f", {report.reused:,} of them as they were" if report.reused else ""
    tokens = "" if report.tokens is None else f", {report.tokens:,} token vectors"
    passages = f"{counted(report.passages, 'passage')}{reused}"
    say(f"{passages}{tokens}, {report.dim} dimensions, {shards}")


def _estimate(report: Any) -> None:
    time = timedelta(seconds=round(report.whole_seconds))
    passages = counted(report.passages, "passage")
    say(f"{passages}, {report.dim} dimensions; estimated from {report.sample} of them:")
    say(f"  {report.passages_per_second:,.1f} passages/s, {report.tokens_per_second:,.0f} tokens/s")
    say(f"  time: {time} on this machine alone")
    say(f"  disk: {size(report.disk_bytes)}")
    say(f"  memory: {size(report.memory_bytes)} a process")


def importing(report: Any) -> None:
    files = counted(report.files, "file")
    say(
        f"{report.passages:,} vectors of {report.dim} dimensions from {files} "
        f"({', '.join(report.kinds)}), {counted(report.shards, 'shard')}"
    )
    if report.cosine is not None:
        say(f"the sampled vectors are the retriever's: a cosine of {report.cosine:.4f} or more")


def exporting(report: Any) -> None:
    vectors = report.passages if report.tokens is None else report.tokens
    say(f"{vectors:,} vectors of {report.dim} dimensions -> {report.to}")


def indexing(report: Any) -> None:
    dimensions = f", {report.dim} dimensions" if report.dim else ""
    say(f"{report.type} index of {counted(report.passages, 'passage')}{dimensions}")


def updating(report: Any) -> None:
    say(
        f"{counted(report.passages, 'passage')}: {report.added:,} added, {report.removed:,} removed"
    )


def tuning(report: Any) -> None:
    """The table of types on stdout, the recommended one marked."""
    late = any(row.dtype for row in report.rows)
    names = "  type", "depth", "recall", "p50 ms", "p95 ms", "q/s", "build s", "disk MB", "RAM MB"
    header = (*names, *((f"gold@{report.topk}", "B/passage") if late else ()))
    rows = [
        (
            f"{'* ' if row == report.recommended else '  '}{row.name}",
            _depth(row),
            f"{row.recall:.4f}",
            f"{row.p50_ms:.2f}",
            f"{row.p95_ms:.2f}",
            f"{row.per_second:.0f}",
            f"{row.build_seconds:.1f}",
            f"{row.bytes / 1e6:.1f}",
            f"{row.memory / 1e6:.1f}",
            *(_late_figures(row, report.passages) if late else ()),
        )
        for row in report.rows
    ]
    notes = [f"{'recommended: ' if report.recommended else ''}{note}" for note in report.notes]
    asked = f"{report.passages:,} passages, {report.questions:,} questions, top {report.topk}"
    sys.stdout.writelines(f"{line}\n" for line in (asked, *table(header, rows), *notes))


def tuning_sheet(report: Any) -> Sheet:
    """A row for each type at each depth, for --csv."""
    header, rows = sheet_of(report.rows)
    chosen = [row == report.recommended for row in report.rows]
    return Sheet(
        [*header, "recommended"], [[*row, is_it] for row, is_it in zip(rows, chosen, strict=True)]
    )


def _late_figures(point: Any, passages: int) -> tuple[str, str]:
    found = "-" if point.success is None else f"{point.success:.4f}"
    return found, f"{point.bytes / passages:,.0f}"


def _depth(point: Any) -> str:
    names = {"candidates": point.candidates, "nprobe": point.nprobe, "ef": point.ef_search}
    return ", ".join(f"{name} {depth}" for name, depth in names.items() if depth) or "-"


def searching(report: Any) -> None:
    passages = counted(report.most, "passage")
    if report.fewest < report.most:
        mean = report.passages / report.questions
        passages = f"{report.fewest:,} to {report.most:,} (on average {mean:,.1f}) passages"
    say(f"{counted(report.questions, 'question')}, {passages} each")
    if report.short:
        say(f"  {report.short:,} found fewer than the {report.topk:,} asked for")


def reporting(report: Any) -> None:
    """What is in the page, and how large it is."""
    parts = [
        counted(number, name)
        for number, name in (
            (len(report.systems), "system"),
            (report.questions, "question"),
            (report.trainings, "training"),
            (report.tunings, "tuning"),
            (report.audits, "audit"),
        )
        if number
    ]
    shown = "all ranks" if report.depth is None else f"the best {report.depth}"
    texts = f", texts of {counted(report.texts, 'passage')} ({shown})" if report.texts else ""
    say(f"{', '.join(parts)}{texts}: {size(report.bytes)}")


def converted_results(report: Any) -> None:
    say(
        f"{counted(report.questions, 'ranking')} with {counted(report.passages, 'passage')} "
        f"written as {report.to}"
    )


def explanation(report: Any) -> None:
    """The matches on stdout, unless a page was written: a table, or lines with tabs for a pipe."""
    rows = [(m.question_token, m.passage_token, f"{m.similarity:.4f}") for m in report.matches]
    if sys.stdout.isatty():
        lines = table(("question", "passage", "similarity"), rows)
    else:
        lines = ["\t".join(row) for row in rows]
    if not report.outputs:
        sys.stdout.writelines(f"{line}\n" for line in lines)
    say(f"score {report.score:.4f}, the sum of the similarities of {counted(len(rows), 'token')}")


def explanation_sheet(report: Any) -> Sheet:
    """The matches for --csv."""
    return sheet_of(report.matches)


def downloading(report: Any) -> None:
    for row in report.rows:
        length = size(row.bytes) if row.bytes else "the server tells no size"
        say(f"{row.status}: {row.key} ({length})\n    {row.url}")
    planned = [row.bytes for row in report.rows if row.status == "would fetch"]
    if planned:
        unknown = planned.count(None)
        more = f", and {unknown} of unknown size" if unknown else ""
        say(f"to fetch: {size(sum(filter(None, planned)))}{more}; --yes is needed above 5 GB")
