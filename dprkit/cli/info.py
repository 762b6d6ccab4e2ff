"""`dprkit info`: what an artifact is and was made from; with --check, whether it is still so."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from dprkit.cli import render
from dprkit.cli.exit_codes import Ending, ending
from dprkit.cli.options import AsJson
from dprkit.errors import GateError, SettingsError
from dprkit.yaml_file import as_yaml

MODELS = {"retriever": "vectors", "reader": "logits"}
"""Artifacts that are checked by their probes, and what they give for them."""


def info(
    path: Annotated[Path, typer.Argument(help="The folder of an artifact.")],
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Read all files of the artifact and compare them with its manifest; encode the "
            "probe texts of a retriever and compare their vectors with the saved vectors (of a "
            "reader, its logits).",
        ),
    ] = False,
    source: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FOLDER",
            help="With --check: compare a model with the folder that it was converted from, "
            "which its own library reads. Of a pair give both folders, the question encoder first.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what an artifact is, which command made it, and from which inputs.

    With --check, the exit code is 3 where a file was changed, or where a retriever or reader gives
    other vectors or logits than when it was saved.

    Example: dprkit info runs/tiny/index
    """
    with ending(as_json) as end:
        if source and not check:
            raise SettingsError("--source is for --check; give both")
        for line in _checked(path, source, end) if check else _described(path, end):
            if not as_json:
                sys.stdout.write(line + "\n")
        if as_json:
            end.print_json(end.report)


def _described(path: Path, end: Ending) -> Iterator[str]:
    """What a manifest says, in lines; and the same as the report of `end`."""
    from dprkit.store.manifests import read_manifest, read_progress

    unfinished = read_progress(path)
    record: Any = unfinished or read_manifest(path)
    end.report = msgspec.to_builtins(record) | {"finished": unfinished is None, "outputs": []}
    yield from _unfinished(record) if unfinished else _finished(record)


def _finished(manifest: Any) -> Iterator[str]:
    yield f"{manifest.kind}  {manifest.identity}"
    yield f"made by dprkit {manifest.dprkit}: {shlex.join(['dprkit', *manifest.command[1:]])}"
    yield "made from"
    yield from _inputs(manifest)
    yield "counts"
    for name, value in manifest.counts.items():
        yield from _count(name, value, "  ")
    yield from _packed(manifest)
    yield from _bytes_a_passage(manifest)
    yield "settings"
    for name, value in manifest.settings.items():
        yield f"  {name}: {as_yaml(value)}"
    yield "files"
    for name, file in manifest.files.items():
        yield f"  {file.bytes:>14,}  {file.sha256[:12]}  {name}"


def _packed(manifest: Any) -> Iterator[str]:
    """What `packed` among the counts of a model means."""
    if manifest.kind in MODELS and "packed" in manifest.counts:
        way = "without padding" if manifest.counts["packed"] else "padded to the longest of a pass"
        yield f"  its texts go through {way}"


def _bytes_a_passage(manifest: Any) -> Iterator[str]:
    """What a passage takes on disk, of the encoded corpus of a ColBERT model."""
    if manifest.kind == "embeddings" and "tokens" in manifest.counts:
        size = sum(file.bytes for file in manifest.files.values())
        yield f"  bytes a passage: {round(size / manifest.counts['passages']):,}"


def _unfinished(record: Any) -> Iterator[str]:
    yield f"{record.kind}, unfinished: run the command that makes it again to go on"
    yield "being made from"
    yield from _inputs(record)
    yield f"files so far: {len(record.files)}"


def _inputs(record: Any) -> Iterator[str]:
    for name, read in record.inputs.items():
        yield f"  {name}: {read.path}  {read.identity}"


def _count(name: str, value: Any, indent: str) -> Iterator[str]:
    """A figure with its name; figures that hold figures of their own get a line each."""
    if isinstance(value, dict) and any(isinstance(part, dict) for part in value.values()):
        yield f"{indent}{name}:"
        for part_name, part in value.items():
            yield from _count(part_name, part, indent + "  ")
    else:
        yield f"{indent}{name}: {render.words(value)}"


def _checked(path: Path, source: list[Path] | None, end: Ending) -> Iterator[str]:
    """What a check finds, line by line. Raises GateError for the first thing that differs."""
    from dprkit.store.integrity import problems_of
    from dprkit.store.manifests import read_manifest

    manifest = read_manifest(path)
    if source and manifest.kind not in MODELS:
        read_manifest(path, "retriever")  # raises, and says what it is
    damaged = problems_of(path, manifest)
    size = sum(record.bytes for record in manifest.files.values())
    end.report = {"files": len(manifest.files), "bytes": size, "damaged": damaged, "outputs": []}
    yield from damaged
    yield f"{render.counted(len(manifest.files), 'file')} read: {size:,} bytes"
    if damaged:
        raise GateError(
            f"{path}: {render.counted(len(damaged), 'damaged file')}: {damaged[0]}; "
            "make it again with --restart"
        )
    if manifest.kind in MODELS:
        yield from _check_probes(path, manifest.kind, end)
    if source:
        from dprkit.interop.compare import against_source

        end.report["difference_from_source"] = difference = against_source(path, source)
        yield f"largest difference from the source: {difference:.3g}"


def _check_probes(path: Path, kind: str, end: Ending) -> Iterator[str]:
    from dprkit.models.probe_texts import PROBE_TOLERANCE, probe_difference
    from dprkit.models.reader_probes import reader_probe_difference

    what, measure = MODELS[kind], probe_difference
    if kind == "reader":
        measure = reader_probe_difference
    difference = measure(path)
    end.report |= {"largest_difference": difference, "allowed": PROBE_TOLERANCE}
    yield f"largest difference of its probes' {what}: {difference:.3g}"
    if not difference <= PROBE_TOLERANCE:
        raise GateError(
            f"{path}: its probes' {what} differ by {difference:.3g} from those it was saved "
            f"with ({PROBE_TOLERANCE:g} is allowed); a library has changed"
        )
