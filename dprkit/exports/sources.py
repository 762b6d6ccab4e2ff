"""Which files of dprkit's data are exported: those of a folder, or single files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from dprkit.errors import InputError, SettingsError, reading
from dprkit.settings import ExportDataSettings

PASSAGES, QUESTIONS, QRELS = "passages.jsonl", "questions.jsonl", "qrels.tsv"
OTHERS = {"audit.jsonl"}
"""Files of mine-negatives' folder that tell about the making."""


class DataFiles(NamedTuple):
    """Files of dprkit's data; questions, examples and judgements are those of a split each."""

    passages: Path | None
    questions: dict[str, Path]
    examples: dict[str, Path]
    qrels: dict[str, Path]
    """That of "" has the judgements of the splits that have none of their own."""

    def judged(self, split: str) -> Path | None:
        """The file with the judgements of a split, if there is one."""
        return self.qrels.get(split) or self.qrels.get("")

    def named(self) -> dict[str, str]:
        """The files by a name each, as a manifest records its inputs."""
        splits = {"questions": self.questions, "examples": self.examples, "qrels": self.qrels}
        return ({"passages": str(self.passages)} if self.passages else {}) | {
            f"{what} {split}".rstrip(): str(path)
            for what, paths in splits.items()
            for split, path in paths.items()
        }


def data_files(settings: ExportDataSettings) -> DataFiles:
    """The files that the settings name. Raises InputError and SettingsError where there is none."""
    found = _of_folder(settings) if settings.data is not None else DataFiles(None, {}, {}, {})
    qrels = _file(settings.qrels, "--qrels")
    given = DataFiles(
        _file(settings.passages, "--passages") or found.passages,
        _by_split(settings.questions, "--questions", settings.split) or found.questions,
        _by_split(settings.examples, "--examples", "") or found.examples,
        {"": qrels} if qrels else found.qrels,
    )
    if not given.named():
        raise SettingsError("no data given; name a folder of import-data, or files: --passages")
    return given


def _file(path: str | None, flag: str) -> Path | None:
    if path == "-":
        raise SettingsError(f"{flag} -: stdin cannot be read again to go on; name a file")
    return None if path is None else Path(path)


def _by_split(paths: Iterable[str], flag: str, only: str) -> dict[str, Path]:
    """Files by what their names begin with; one file alone is the split `only`, if that is set."""
    files = [file for path in paths if (file := _file(path, flag))]
    if len(files) == 1 and only:
        return {only: files[0]}
    splits: dict[str, Path] = {}
    for file in files:
        split = file.name.partition(".")[0]
        if split in splits:
            raise SettingsError(f"{flag}: {splits[split]} and {file} are both the split {split!r}")
        splits[split] = file
    return splits


def _of_folder(settings: ExportDataSettings) -> DataFiles:
    folder = Path(str(settings.data))
    if folder.is_file():
        raise SettingsError(f"{folder}: is a file; name it with --passages, --questions or so")
    with reading(folder):
        names = sorted(path.name for path in folder.iterdir() if path.is_file())
    questions = {split or settings.split: path for split, path in _splits(folder, names, QUESTIONS)}
    examples = {
        name.removesuffix(".jsonl"): folder / name
        for name in names
        if name.endswith(".jsonl") and not name.endswith(QUESTIONS) and name not in OTHERS
    }
    examples.pop(PASSAGES.removesuffix(".jsonl"), None)
    passages = folder / PASSAGES if PASSAGES in names else None
    found = DataFiles(passages, questions, examples, dict(_splits(folder, names, QRELS)))
    if not found.named():
        raise InputError(f"{folder}: no data of dprkit there; name the files: --passages FILE")
    return found


def _splits(folder: Path, names: Iterable[str], kind: str) -> Iterator[tuple[str, Path]]:
    """The files of a kind with their splits: test.qrels.tsv is of test, qrels.tsv of none."""
    for name in names:
        if name == kind or name.endswith(f".{kind}"):
            yield name.removesuffix(kind).removesuffix("."), folder / name
