"""What an audit will cost, by auditing the questions with two parts of the corpus."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from dprkit.audit.audit import audit
from dprkit.data.corpus_by_row import PassageFile
from dprkit.memory import peak_bytes, reset_peak
from dprkit.pipeline.cost_of_encoding import write_few
from dprkit.pipeline.costs import Cost, Range, about, exactly
from dprkit.pipeline.trial import Trial, bytes_below, clock
from dprkit.settings import AuditSettings

FEW, MANY = 2_000, 10_000
"""Passages of the two parts; a corpus that is no larger is audited as a whole."""


def cost_of_audit(settings: AuditSettings, trial: Trial) -> Cost:
    """All questions, with as many passages as there are."""
    moved: dict[str, Any] = {"train_file": tuple(map(trial.path, settings.train_file))}
    for name in ("questions", "qrels", "retriever"):
        if path := getattr(settings, name):
            moved[name] = trial.path(path)
    found = trial.find(str(settings.passages))
    there = replace(settings, passages=found.path, fail_if=(), **moved)
    count = found.rows or exactly(len(PassageFile(found.path)))
    reset_peak()
    if count.likely <= MANY:
        seconds, bytes_ = _audited(there, trial)
        spent = about(seconds)
    else:
        first, _ = _audited(_with(there, FEW, trial), trial)
        last, bytes_ = _audited(_with(there, MANY, trial), trial)
        slope = max(0.0, last - first) / (MANY - FEW)
        more = Range(*(max(0.0, number - MANY) for number in count))
        spent = about(last).plus(about(slope).times(more))
    return Cost(
        work=f"{count.likely:,.0f} passages",
        seconds=spent,
        disk=about(bytes_),
        memory=Range(0.9, 1, 1.5).times(peak_bytes()),
    )


def _with(settings: AuditSettings, size: int, trial: Trial) -> AuditSettings:
    few = write_few(str(settings.passages), trial.folder("passages.tsv"), size)
    return replace(settings, passages=str(few))


def _audited(settings: AuditSettings, trial: Trial) -> tuple[float, int]:
    """Seconds that it takes, and bytes that it writes."""
    folder = trial.folder("audit")
    with clock() as seconds:
        audit(replace(settings, output_dir=str(folder)))
    return seconds(), bytes_below(folder)
