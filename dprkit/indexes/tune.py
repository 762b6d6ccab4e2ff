"""tune-index: types of index measured on the user's questions, and the recommended type."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import msgspec

from dprkit.errors import SettingsError
from dprkit.indexes.faiss_types import make, size_of
from dprkit.indexes.kinds import KINDS, UPDATED, kind_of
from dprkit.indexes.tuning_points import Point, draw, recommend, shown
from dprkit.progress import Run
from dprkit.settings import IndexSettings, TuneSettings, required
from dprkit.store.begin_or_resume import draft
from dprkit.store.drafts import Draft
from dprkit.store.manifests import Manifest, read_manifest

SCRATCH = "scratch"
FIGURES, PLOT = "tuning.json", "tuning.svg"
TYPES = {
    "vectors": ("flat", "sq8", "ivf", "ivfsq8", "ivfpq", "hnsw", "binary"),
    "tokens": ("late-exact", "late"),
}
"""What is tried for what embeddings hold, where the user names nothing."""
OF_TOKENS = {"first_stages", "pool_factors", "dtypes"}
"""Settings that count for token vectors alone."""
WIDTHS = {"float32": 4, "float16": 2, "int8": 1}
"""Number types of token vectors, and the bytes of a number."""


class TuneReport(msgspec.Struct):
    """For each type its cheapest depth that finds enough, or its best; and the one to take."""

    passages: int
    questions: int
    topk: int
    rows: list[Point]
    recommended: Point | None
    outputs: list[str]
    notes: list[str] = []


def tune_index(settings: TuneSettings, run: Run = Run()) -> TuneReport:
    """Build, measure and compare `settings.types`; a killed run keeps what it measured."""
    size_of(settings.max_ram, "--max-ram")
    directory = Path(required(settings.output_dir, "--output-dir", "output"))
    questions = required(settings.questions, "--questions", "questions")
    embeddings = required(settings.embeddings, "--embeddings", "encoded corpus")
    encoded = read_manifest(embeddings, "embeddings")
    holds = encoded.counts.get("kind", "vectors")
    if holds == "vectors":
        _tell_idle(settings, run)
    settings = _resolved(settings, encoded, holds)
    _check(settings, encoded, holds)
    unused = OF_TOKENS if holds == "vectors" else set()
    inputs = {"embeddings": embeddings, "questions": questions}
    with draft(directory, "tuning", settings, inputs, run, unused=unused) as work:
        manifest = work.done or _measure_all(work, settings, holds)
    points = msgspec.json.decode((directory / FIGURES).read_bytes(), type=list[Point])
    return _report(settings, manifest, points, encoded)


def _tell_idle(settings: TuneSettings, run: Run) -> None:
    """Say which settings were given that count for token vectors alone."""
    for name in sorted(OF_TOKENS):
        if getattr(settings, name) != getattr(TuneSettings(), name):
            run.progress.note(f"--{name.replace('_', '-')}: without effect on one vector a passage")


def _resolved(settings: TuneSettings, encoded: Manifest, holds: str) -> TuneSettings:
    """The settings with what they leave to the embeddings."""
    types = settings.types or TYPES[holds]
    dtypes = settings.dtypes or (str(encoded.settings["dtype"]),) if holds == "tokens" else ()
    return msgspec.structs.replace(settings, types=types, dtypes=dtypes)


def _check(settings: TuneSettings, encoded: Manifest, holds: str) -> None:
    """Refuse what cannot be tried, before anything is."""
    counts = encoded.counts
    count = min(settings.sample or counts["passages"], counts["passages"])
    what = "vectors" if holds == "vectors" else "token vectors"
    for name in settings.types or ():
        if kind_of(name).reads != holds or name == UPDATED:
            raise SettingsError(
                f"--types: {name}: only indexes of {what} can be compared, for "
                f"{settings.embeddings} holds those; try {','.join(TYPES[holds])}"
            )
        if name not in KINDS:
            make(name, count, counts["dim"], "--types")
    if holds == "tokens":
        _check_tokens(settings, encoded)


def _check_tokens(settings: TuneSettings, encoded: Manifest) -> None:
    kept, pooled = str(encoded.settings["dtype"]), int(encoded.settings.get("pool_factor", 1))
    for dtype in settings.dtypes:
        if WIDTHS[dtype] > WIDTHS[kept]:
            raise SettingsError(
                f"--dtypes: {settings.embeddings} holds {kept}, from which {dtype} cannot be "
                f"made; encode the corpus with --dtype {dtype}"
            )
    if pooled > 1 and settings.pool_factors != (1,):
        raise SettingsError(
            f"--pool-factors: {settings.embeddings} was pooled by {pooled} already; encode the "
            "corpus without --pool-factor to compare factors"
        )
    for stage in settings.first_stages:
        kind_of("late").load_rules().check_settings(IndexSettings(type="late", first_stage=stage))


def _measure_all(work: Draft, settings: TuneSettings, holds: str) -> Manifest:
    work.claim(SCRATCH)
    scratch = work.directory / SCRATCH
    shutil.rmtree(scratch, ignore_errors=True)
    if holds == "tokens":
        from dprkit.indexes.tune_late import measure_late as measure
    else:
        from dprkit.indexes.tune_vectors import measure_vectors as measure
    points, passages, questions = measure(work, settings, scratch)
    with work.file(FIGURES, content=False) as file:
        file.write(msgspec.json.format(msgspec.json.encode(points), indent=1) + b"\n")
    with work.file(PLOT, content=False) as file:
        file.write(draw(points, settings.target_recall))
    return work.finish({"passages": passages, "questions": questions})


# --- recommending -------------------------------------------------------------------------------


def _report(
    settings: TuneSettings, manifest: Manifest, points: list[Point], encoded: Manifest
) -> TuneReport:
    best = recommend(points, settings)
    note = (
        _commands(settings, best, encoded)
        if best
        else "no type that was tried keeps to the limits; allow more, or try other --types"
    )
    counts, directory = manifest.counts, Path(str(settings.output_dir))
    return TuneReport(
        counts["passages"],
        counts["questions"],
        settings.topk,
        shown(points, settings.target_recall),
        best,
        [str(directory / FIGURES), str(directory / PLOT)],
        [note],
    )


def _commands(settings: TuneSettings, best: Point, encoded: Manifest) -> str:
    """The command that builds the recommended index, beside the embeddings.

    Where they are to be others, the command that encodes the corpus so stands before it.
    """
    embeddings = Path(str(settings.embeddings))
    if not best.dtype or (best.pool_factor, best.dtype) == (1, encoded.settings["dtype"]):
        return _index_command(embeddings, best)
    factor = best.pool_factor * int(encoded.settings.get("pool_factor", 1))
    pooled = ["--pool-factor", str(factor)] if factor > 1 else []
    name = "-".join([embeddings.name, *([f"pool{factor}"] if pooled else []), best.dtype])
    other = embeddings.with_name(name)
    words = ["dprkit", "encode-corpus"]
    for name in ("retriever", "passages"):
        words += [f"--{name}", encoded.inputs[name].path]
    words += [*pooled, "--dtype", best.dtype, "--output-dir", str(other)]
    return f"{shlex.join(words)} && {_index_command(other, best)}"


def _index_command(embeddings: Path, best: Point) -> str:
    name = re.sub("[^A-Za-z0-9]+", "-", f"{best.type} {best.first_stage}".strip())
    words = ["dprkit", "index", "--embeddings", str(embeddings), "--type", best.type]
    words += ["--first-stage", best.first_stage] if best.first_stage else []
    words += ["--candidates", str(best.candidates)] if best.candidates else []
    words += ["--nprobe", str(best.nprobe)] if best.nprobe else []
    words += ["--ef-search", str(best.ef_search)] if best.ef_search else []
    return shlex.join([*words, "--output-dir", str(embeddings.with_name(f"index-{name}"))])
