"""convert: a foreign retriever or reader -> an artifact of dprkit's, and back."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from dprkit.errors import InputError, OutputError, SettingsError
from dprkit.models.config import CONFIG, PASSAGE, QUESTION, READER
from dprkit.models.reader_config import is_reader
from dprkit.progress import Run
from dprkit.settings import ConvertSettings, record_of, required
from dprkit.store.begin_or_resume import draft
from dprkit.store.drafts import Draft
from dprkit.store.manifests import Manifest, read_manifest, read_progress

CARD = "README.md"
COPY = "onnx-copy"
KINDS = ("retriever", "reader")
"""The artifacts that are made of a foreign source."""
USES = {
    "retriever": """These commands encode a corpus with it and check its files and vectors:

    dprkit encode-corpus --retriever THIS_FOLDER --passages passages.tsv --output-dir embeddings""",
    "reader": """These commands rank passages with it and check its files and logits:

    dprkit search --index INDEX --rerank THIS_FOLDER --questions questions.txt""",
}
"""What the card says of each."""
EXPORTS = ("source", "output_dir", "to", "truncate_dim")
"""The settings of an export; the others say how a foreign source is read."""


class ConvertReport(msgspec.Struct, kw_only=True):
    """What was converted from what to what, and the width of its vectors (of a reader, 3)."""

    kind: str
    """What the source is."""
    to: str
    dim: int
    mapped: list[str]
    """What became what, a sentence each."""
    packed: bool | None = None
    """Whether its texts go through without padding; None of what is no model of dprkit's."""
    passed_over: list[str] = []
    """Weights of heads that have no part in the vectors."""
    largest_difference: float | None = None
    """Of a number of a few vectors from the source library's; None where it was not compared."""
    files: list[str]
    identity: str
    outputs: list[str]
    notes: list[str] = []


def convert(settings: ConvertSettings, run: Run = Run()) -> ConvertReport:
    """Convert a foreign model to a retriever or reader, or one of these to what `to` names.

    Left alone when it is up to date. Raises SettingsError for flags that do not go together,
    InputError and MismatchError for a source that is not what it should be, MissingExtra.
    """
    _check(settings)
    if settings.to == COPY:
        return _keep_copy(settings, run)
    directory = Path(required(settings.output_dir, "--output-dir", "output"))
    kind = _kind_made(directory, settings)
    with draft(directory, kind, _record(settings), _inputs(settings), run) as work:
        manifest = work.done or (_export if settings.to else _import)(work, settings)
    return _report(directory, manifest)


def _kind_made(directory: Path, settings: ConvertSettings) -> str:
    """The kind of the artifact: that of what is there, or of the source, looked into."""
    if settings.to:
        source = str(settings.source)
        read_manifest(source, "reader" if is_reader(source) else "retriever")
        return "export"
    with suppress(InputError):
        before = read_progress(directory) or read_manifest(directory)
        if before.kind in KINDS:
            return before.kind
    from dprkit.interop.sources import READERS, kind_of, sources_of

    kind = settings.kind or kind_of(sources_of(settings))
    return "reader" if kind in READERS else "retriever"


def _check(settings: ConvertSettings) -> None:
    """Refuse flags that do not go together."""
    pair = settings.question_encoder, settings.passage_encoder
    if settings.to:
        for name in settings.__struct_fields__:
            if name not in EXPORTS and getattr(settings, name) is not None:
                flag = name.replace("_", "-")
                raise SettingsError(
                    f"--{flag} is about reading a foreign source; --to has no use for it"
                )
        required(settings.source, "SOURCE", "retriever")
        if settings.to == COPY and settings.truncate_dim:
            raise SettingsError(f"--to {COPY}: it gives whole vectors; leave --truncate-dim out")
        if settings.to == COPY and settings.output_dir:
            raise SettingsError(
                f"--to {COPY}: it is kept with its retriever; leave --output-dir out"
            )
    elif settings.source and any(pair):
        raise SettingsError("SOURCE and the encoders of a pair both name what to read; give one")
    elif any(pair) and not all(pair):
        missing = "--passage-encoder" if pair[0] else "--question-encoder"
        raise SettingsError(f"half a pair was given; name the other encoder with {missing}")
    elif not settings.source and not any(pair):
        raise SettingsError(
            "no source given; name a folder or file, or a pair with --question-encoder and "
            "--passage-encoder"
        )


def _inputs(settings: ConvertSettings) -> dict[str, str]:
    """The files that are read: what does not exist here is a name on the hub."""
    return {name: path for name, path in _named(settings).items() if Path(path).exists()}


def _named(settings: ConvertSettings) -> dict[str, str]:
    names = ("source", "question_encoder", "passage_encoder", "backbone")
    return {name: path for name in names if (path := getattr(settings, name)) is not None}


def _record(settings: ConvertSettings) -> dict[str, Any]:
    hub = {name: p for name, p in _named(settings).items() if not Path(p).exists()}
    for name, path in hub.items():
        if path.startswith((".", "/", "~")) or path.count("/") > 1:
            raise InputError(f"{path}: no such file or folder ({name}); check the path")
    return record_of(settings) | hub


def _import(work: Draft, settings: ConvertSettings) -> Manifest:
    from dprkit.interop.foreign_reader import ForeignReader
    from dprkit.interop.sources import read_foreign
    from dprkit.models.probe_texts import PROBES
    from dprkit.models.reading import ENCODER, HEADS

    folders = {"reader": (ENCODER, HEADS, READER), "retriever": (QUESTION, PASSAGE, CONFIG)}
    for name in (*folders[work.record.kind], PROBES, CARD):
        work.claim(name)  # what stands in the way is better found before reading than after
    kind, foreign = read_foreign(settings, work.run.progress.note)
    made = "reader" if isinstance(foreign, ForeignReader) else "retriever"
    if made != work.record.kind:
        raise OutputError(
            f"{work.directory}: holds {work.record.kind}; choose another output for {made}"
        )
    keep = _keep_reader if made == "reader" else _keep_retriever
    kept = keep(work, kind, foreign, settings)
    for name in foreign.idle:
        work.run.progress.detail(f"passed over: {name}")
    with work.file(CARD, content=False) as card:
        card.write(_card(made, kind, settings, kept.mapped).encode())
    counts = {"kind": kind, "to": made, "passed_over": foreign.idle} | kept._asdict()
    return work.finish(counts)


class Kept(NamedTuple):
    """The width of a model's vectors, whether its texts are packed, and what became what.

    And how far the source's library differs.
    """

    dim: int
    packed: bool
    mapped: list[str]
    largest_difference: float | None


def _keep_retriever(work: Draft, kind: str, foreign: Any, settings: ConvertSettings) -> Kept:
    """Write a retriever."""
    from dprkit.interop.compare import compare
    from dprkit.interop.sources import assembled_foreign, sources_of
    from dprkit.models.probe_texts import save_probes
    from dprkit.models.retriever_folder import save_retriever

    model, tokens = assembled_foreign(foreign, settings)
    compared = compare(kind, sources_of(settings), model, tokens, msgspec.to_builtins(settings))
    compared.check(_UNLIKE.format(_source(settings)))
    save_retriever(work, model, tokens)
    save_probes(work, model, tokens)
    mapped = [*foreign.mapped, compared.told]
    return Kept(model.dim, not model.padded, mapped, compared.difference)


def _keep_reader(work: Draft, kind: str, foreign: Any, settings: ConvertSettings) -> Kept:
    """As `_keep_retriever`, of a reader."""
    from dprkit.interop.compare import compare_reader
    from dprkit.interop.foreign_reader import assembled_reader
    from dprkit.interop.sources import sources_of
    from dprkit.models.reader_probes import save_reader_probes
    from dprkit.models.reading import save_reader

    model, tokens = assembled_reader(foreign, settings)
    compared = compare_reader(kind, sources_of(settings).question, model, tokens)
    compared.check(_UNLIKE.format(_source(settings)))
    save_reader(work, model, tokens)
    save_reader_probes(work, model, tokens)
    mapped = [*foreign.mapped, compared.told]
    return Kept(model.dim, not model.padded, mapped, compared.difference)


_UNLIKE = "{}: dprkit does not read this model as it is meant"


def _source(settings: ConvertSettings) -> str:
    return next(iter(_named(settings).values()))


def _card(made: str, kind: str, settings: ConvertSettings, mapped: list[str]) -> str:
    """README.md of a retriever or reader that was converted."""
    names = [Path(path).name for path in _named(settings).values()]
    lines = "\n".join(f"- {line}" for line in mapped)
    use = USES[made]
    return f"""# A dprkit {made}

This {made} was converted from {" and ".join(names)} ({kind}):

{lines}

{use}
    dprkit info --check THIS_FOLDER
"""


def _export(work: Draft, settings: ConvertSettings) -> Manifest:
    from dprkit.interop.export import export

    made = "reader" if is_reader(str(settings.source)) else "retriever"
    size = settings.truncate_dim or None
    dim, mapped = export(work, str(settings.source), str(settings.to), size)
    return work.finish({"kind": made, "to": settings.to, "dim": dim, "mapped": mapped})


def _keep_copy(settings: ConvertSettings, run: Run) -> ConvertReport:
    """Keep an ONNX copy of a retriever's question encoder with it."""
    from dprkit.models.onnx_copies import keep_copy
    from dprkit.models.onnx_encoder import OnnxEncoder

    copy = keep_copy(str(settings.source), "question", run=run)
    folder = copy.path.parents[1]
    return ConvertReport(
        kind="retriever",
        to=COPY,
        dim=OnnxEncoder(copy.path, copy.padding).dim,
        mapped=[f"onnxruntime's vectors of the probes differ by at most {copy.agreement:.1g}"],
        largest_difference=copy.agreement,
        files=[str(copy.path.relative_to(folder))],
        identity=read_manifest(folder).identity,
        outputs=[str(folder)],
    )


def _report(directory: Path, manifest: Manifest) -> ConvertReport:
    return ConvertReport(
        **manifest.counts,
        files=list(manifest.files),
        identity=manifest.identity,
        outputs=[str(directory)],
    )
