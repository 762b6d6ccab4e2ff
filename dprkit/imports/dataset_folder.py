"""The files of a data set in a folder, by configs and splits, as Hugging Face's datasets has them.

Three sorts of folders: one that save_to_disk wrote (state.json, dataset_dict.json), one whose
README.md names its configs (docs/hub/datasets-manual-configuration), and files whose names and
folders tell (corpus/train-00000-of-00001.parquet).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from dprkit.errors import InputError, SettingsError, nearest, reading
from dprkit.imports.names import split_name

SAVED, SAVED_DICT, README = "state.json", "dataset_dict.json", "README.md"
ENDINGS = ("*.parquet", "*.arrow")
SNAPSHOTS = "snapshots"
"""The folder of the hub's cache in which a fetched data set lies."""
TEXTS = tuple(f"*{kind}{packed}" for kind in (".jsonl", ".csv", ".tsv") for packed in ("", ".gz"))
ROLES = {
    **dict.fromkeys(("corpus", "passages", "documents", "docs", "collection"), "passages"),
    **dict.fromkeys(("queries", "questions", "topics"), "questions"),
    **dict.fromkeys(("qrels", "judgements", "judgments"), "judgements"),
    "examples": "examples",
}
"""The name of a config -> what its rows are, where it tells that."""
_SPLITS = "train(?:ing)?|valid(?:ation)?|val|dev(?:elopment)?|test(?:ing)?|eval(?:uation)?"
_SPLIT = re.compile(rf"(?:^|[._/-])({_SPLITS})(?=[._/-]|$)")
_NO_CONFIG = re.compile(f"data|default|{_SPLITS}|")


class DataFile(NamedTuple):
    """A file of a data set; the split is "" where nothing names one."""

    path: Path
    config: str
    split: str


def is_data_set(folder: Path) -> bool:
    """Whether a folder is one of datasets: saved, fetched, with configs, or with parquet in it."""
    if not folder.is_dir():
        return False
    return (
        (folder / SAVED).is_file()
        or (folder / SAVED_DICT).is_file()
        or bool(_configs(folder))
        or folder.parent.name == SNAPSHOTS
        or next(_found(folder), None) is not None
    )


def data_files(folder: Path, subset: tuple[str, ...] = ()) -> list[DataFile]:
    """The files to read: those of the configs in `subset`, or else of all that belong together.

    Raises InputError for a folder without files, and SettingsError for a config that is not there,
    or where there are several and nothing tells which one is wanted.
    """
    files = _saved(folder) or list(_of_readme(folder, subset)) or _by_names(folder)
    if not files:
        raise InputError(f"{folder}: no parquet or Arrow file there; name the files")
    configs = list(dict.fromkeys(file.config for file in files))
    for name in subset:
        if name not in configs:
            listed = ", ".join(filter(None, configs)) or "none"
            raise SettingsError(f"--subset {name}: {folder} has {listed}{nearest(name, configs)}")
    wanted = subset or _together(folder, configs)
    return [file for file in files if file.config in wanted]


def _together(folder: Path, configs: list[str]) -> list[str]:
    """The configs that are read where nobody names one."""
    if len(configs) < 2 or all(config in ROLES or config == "default" for config in configs):
        return configs
    default = [c["config_name"] for c in _configs(folder) if c.get("default") is True]
    if default or "default" in configs:
        return default or ["default"]
    raise SettingsError(
        f"{folder}: has several subsets: {', '.join(sorted(configs))}; name one with --subset"
    )


# --- save_to_disk ---------------------------------------------------------------------------------


class _State(msgspec.Struct, rename={"files": "_data_files", "split": "_split"}):
    files: list[dict[str, str]]
    split: str | None = None


class _Splits(msgspec.Struct):
    splits: list[str]


def _saved(folder: Path) -> list[DataFile]:
    if (folder / SAVED_DICT).is_file():
        splits = _json(folder / SAVED_DICT, _Splits).splits
        return [
            DataFile(path, "default", split if splits[1:] else "")
            for split in splits
            for path in _of_state(folder / split)
        ]
    return [DataFile(path, "default", "") for path in _of_state(folder)]


def _of_state(folder: Path) -> list[Path]:
    if not (folder / SAVED).is_file():
        return []
    named = _json(folder / SAVED, _State).files
    return [_inside(folder, file.get("filename", "")) for file in named]


def _json(path: Path, kind: Any) -> Any:
    with reading(path):
        content = path.read_bytes()
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.MsgspecError as error:
        raise InputError(f"{path}: not as datasets' save_to_disk writes it: {error}") from None


def _inside(folder: Path, name: str) -> Path:
    """A path in the folder. Raises InputError for one that leads out of it."""
    parts = Path(name).parts
    if not parts or Path(name).is_absolute() or ".." in parts:
        raise InputError(f"{folder}: names the file {name!r}, which is not in the folder")
    return folder / name


# --- a README with configs ------------------------------------------------------------------------


def _configs(folder: Path) -> list[dict[str, Any]]:
    """The configs in the head of README.md that name files; a head without any need be no YAML."""
    import yaml

    path = folder / README
    if not path.is_file():
        return []
    with reading(path):
        text = path.read_text(errors="replace")
    head = re.match(r"---\r?\n(.*?)\r?\n---\s", text, re.S)
    if not head or "configs:" not in head[1]:
        return []
    try:
        card = yaml.safe_load(head[1])
    except yaml.YAMLError:
        raise InputError(f"{path}: the head between the lines --- is no YAML; mend it") from None
    found = card.get("configs") if isinstance(card, dict) else None
    return [
        {"config_name": "default"} | config
        for config in found or ()
        if isinstance(config, dict) and "data_files" in config
    ]


def _of_readme(folder: Path, subset: tuple[str, ...]) -> Iterator[DataFile]:
    """What a README names. Only the files of the configs that are read have to be there."""
    configs = _configs(folder)
    names = [str(config["config_name"]) for config in configs]
    for config, name in zip(configs, names, strict=True):
        below = _inside(folder, str(config["data_dir"])) if config.get("data_dir") else folder
        for split, pattern in _patterns(config["data_files"]):
            _inside(folder, pattern)
            paths = sorted(path for path in below.glob(pattern) if path.is_file())
            if not paths and name in (subset or _together(folder, names)):
                raise InputError(
                    f"{folder / README}: the config {name} names {pattern}, and there is no such "
                    "file; fetch it"
                )
            for path in paths:
                yield DataFile(path, name, split)


def _patterns(given: Any) -> Iterator[tuple[str, str]]:
    """Splits with the patterns of their files, in each form that the head may have."""
    if isinstance(given, dict):
        given = [{"split": split, "path": path} for split, path in given.items()]
    for one in given if isinstance(given, list) else [given]:
        if not isinstance(one, dict):
            yield "", str(one)
            continue
        paths = one.get("path", [])
        for path in paths if isinstance(paths, list) else [paths]:
            yield str(one.get("split", "")), str(path)


def patterns_of(folder: Path, subset: tuple[str, ...]) -> tuple[str, ...]:
    """The patterns of the files that README.md names for what is to be read; none: it names none.

    Raises SettingsError as `data_files` does.
    """
    configs = _configs(folder)
    wanted = subset or _together(folder, [config["config_name"] for config in configs])
    return tuple(
        f"{config['data_dir']}/{pattern}" if config.get("data_dir") else pattern
        for config in configs
        if config["config_name"] in wanted
        for _, pattern in _patterns(config["data_files"])
    )


# --- names ----------------------------------------------------------------------------------------


def _found(folder: Path) -> Iterator[Path]:
    """The parquet files in a folder, or else its Arrow files; hidden ones are passed over."""
    found = (_all(folder, (ending,)) for ending in ENDINGS)
    yield from next(filter(None, found), [])


def _all(folder: Path, endings: Sequence[str]) -> list[Path]:
    return sorted(
        path
        for ending in endings
        for path in folder.rglob(ending)
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def _by_names(folder: Path) -> list[DataFile]:
    files = []
    for path in list(_found(folder)) or _all(folder, TEXTS):
        name = path.relative_to(folder)
        above = next((part for part in name.parts[:-1] if not _NO_CONFIG.fullmatch(part)), "")
        config = above or _role_of(name.stem) or "default"
        files.append(DataFile(path, config, _split_in(name.as_posix().removeprefix(f"{above}/"))))
    return files


def _split_in(name: str) -> str:
    """The split that the path of a file names, or ""."""
    split = _SPLIT.search(name)
    return split[1] if split else ""


def sets_by_names(names: Sequence[str]) -> list[str]:
    """The set that each file of some is of, as its path says; "" unless two sets or more are named.

    A single one says nothing: questions of a dev set beside a corpus are just questions.
    """
    sets = [split_name(_split_in(name)) for name in names]
    return sets if len({*sets} - {""}) > 1 else [""] * len(sets)


def _role_of(stem: str) -> str:
    """A file corpus.parquet or queries-00000.parquet is a config of that name."""
    first = re.split(r"[._-]", stem)[0].lower()
    return first if first in ROLES else ""
