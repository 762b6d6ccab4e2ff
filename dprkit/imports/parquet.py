"""The kind `parquet`: parquet and Arrow files, and folders of them as Hugging Face's datasets has.

What a row is its columns tell (imports/columns.py), and the name of its config: a column `text` of
a config `queries` is a question. Lists of texts and of structs with a text are understood; a column
that is needed and holds something else is refused by name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from dprkit.data.examples import parse_example
from dprkit.data.streams import RawRow
from dprkit.errors import FormatError, InputError
from dprkit.imports.arrow_rows import ArrowFile, is_arrow
from dprkit.imports.columns import NAMES, Asked, Understood, asked_of, understand
from dprkit.imports.dataset_folder import ROLES, DataFile, data_files, is_data_set
from dprkit.imports.items import Item, Tally, in_split
from dprkit.imports.kinds import kind_of_file
from dprkit.imports.names import split_name
from dprkit.imports.table import grouped, made_of
from dprkit.imports.values import ID_FIELDS, TEXT_FIELDS, Unusable
from dprkit.settings import ImportSettings

DPR = ("question", "positive_ctxs")
"""Columns of DPR's own examples, whose lists hold structs as its JSON has them."""
DPR_OTHERS = ("answers", "hard_negative_ctxs", "negative_ctxs")
STRUCTS = {
    "answers": ("text", "value"),
    "positive": TEXT_FIELDS,
    "negative": TEXT_FIELDS,
    "passages": (*TEXT_FIELDS, "passage_text"),
}
"""What may be structs -> the fields of which one has the text."""
NUMBERS = ("score", "positive_score", "negative_score", "label", "grade")
"""What is a number, or a text that writes one."""
SETS = "pages"
"""What may be lists of lists."""


def fits(path: Path) -> bool:
    """Whether it is a parquet or Arrow file, or a folder of datasets."""
    return is_arrow(path) or is_data_set(path)


def items(path: Path, settings: ImportSettings, tally: Tally) -> Iterator[Item]:
    """The items of a file's rows, or of the files of a folder, one file after another.

    The columns of all files are looked at before the first row is read.
    """
    if path.is_file():
        files = [DataFile(path, "default", "")]
    else:
        files = list(_with_splits(data_files(path, settings.subset)))
    alone = len(files) == 1
    read = [_understood(file, settings, alone) if is_arrow(file.path) else None for file in files]
    if any(read):
        tally.understand(path, _sentence(files, read))
    for file, known in zip(files, read, strict=True):
        read_items = _items(known, tally) if known else _by_content(file.path, settings, tally)
        for item in read_items:
            yield in_split(item, split_name(file.split))


def _by_content(path: Path, settings: ImportSettings, tally: Tally) -> Iterator[Item]:
    return kind_of_file(path, settings).items(path, settings, tally)


def _sentence(files: Sequence[DataFile], read: Sequence[_Understood | None]) -> str:
    """How the files are read; those of one config are alike."""
    of_config = {f.config: known.sentence for f, known in zip(files, read, strict=True) if known}
    if len(of_config) == 1:
        return next(iter(of_config.values()))
    return "; ".join(f"{config} has {sentence}" for config, sentence in of_config.items())


def _with_splits(files: list[DataFile]) -> Iterator[DataFile]:
    """The files, without the name of a split that is the only one of its config."""
    splits = {(file.config, file.split) for file in files}
    count = Counter(config for config, _ in splits)
    for file in files:
        yield file if count[file.config] > 1 else file._replace(split="")


# --- one file -------------------------------------------------------------------------------------


class _Understood(NamedTuple):
    """A file whose columns are understood."""

    source: ArrowFile
    names: list[str]
    """Of the columns that are needed."""
    make: Callable[[Sequence[Any]], Item]
    """An item of their values."""
    sentence: str
    pairs: bool = False
    """Whether a question has a row for each of its passages."""


def _items(file: _Understood, tally: Tally) -> Iterator[Item]:
    rows = ((f"row {number}", cells) for number, cells in file.source.rows(file.names))
    made = made_of(file.make, rows, file.source.path, tally)
    return grouped(made, tally) if file.pairs else made


def _understood(file: DataFile, settings: ImportSettings, alone: bool) -> _Understood:
    """How a file is read; `alone`: its source has no other.

    Raises as `understand` does, and InputError for a nested column.
    """
    source = ArrowFile(file.path)
    names: list[str] = source.schema.names
    if set(DPR) <= set(names) and not settings.columns:
        used = [name for name in names if name in DPR + DPR_OTHERS]
        sentence = f"examples in DPR's columns: {', '.join(used)}"
        return _Understood(source, used, _dpr_maker(used, file.path), sentence)
    asked = asked_of(names, settings, alone) or _asked(names, ROLES.get(file.config, ""))
    understood = understand(names, asked, file.path)
    _refuse_nested(source, understood)
    used = [name for named in understood.columns.values() for name in named]
    pairs = understood.form.name == "labelled pairs"
    return _Understood(source, used, understood.maker(used), understood.sentence, pairs)


def _asked(names: Sequence[str], role: str) -> Asked:
    """What --columns would say of a config whose name tells what its rows are."""
    lower = {name.lower(): name for name in names}
    held = {"questions": "question", "passages": "text"}.get(role)
    known = (*NAMES[held], "text") if held else ()
    found = next((lower[name] for name in known if name in lower), None)
    return {held: found} if held and found else None


def _dpr_maker(names: Sequence[str], path: Path) -> Callable[[Sequence[Any]], Item]:
    def make(cells: Sequence[Any]) -> Item:
        given = {name: value for name, value in zip(names, cells, strict=True) if value is not None}
        try:
            return parse_example(RawRow(msgspec.json.encode(given), ""), path)
        except FormatError as error:
            raise Unusable(error.problem) from None

    return make


# --- types of columns -----------------------------------------------------------------------------


def _refuse_nested(source: ArrowFile, understood: Understood) -> None:
    """Raise InputError for a column that is needed and holds what no text can be made of."""
    for held, names in understood.columns.items():
        for name in names:
            type_ = source.schema.field(name).type
            if not _usable(type_, held):
                wanted = "text, a list of it, or structs with it" if held in STRUCTS else "text"
                wanted = "a number" if held in NUMBERS else wanted
                raise InputError(
                    f"{source.path}: the column {name} holds {type_}; {held} has to be {wanted}: "
                    f"name another column, as in --columns {held}=NAME"
                )


def _usable(type_: Any, held: str, depth: int = 0) -> bool:
    from pyarrow import types

    if types.is_dictionary(type_):
        return _usable(type_.value_type, held, depth)
    if types.is_list(type_) or types.is_large_list(type_) or types.is_fixed_size_list(type_):
        return depth < (2 if held == SETS else 1) and _usable(type_.value_type, held, depth + 1)
    if types.is_struct(type_):
        fields = {
            type_.field(number).name: type_.field(number).type for number in range(len(type_))
        }
        texts = [name for name in STRUCTS.get(held, ()) if name in fields]
        used = [name for name in (*texts, *ID_FIELDS, "title") if name in fields]
        return bool(texts) and all(_usable(fields[name], "", 0) for name in used)
    return any(
        test(type_)
        for test in (
            types.is_string,
            types.is_large_string,
            types.is_string_view,
            types.is_integer,
            types.is_floating,
            types.is_decimal,
            types.is_boolean,
            types.is_null,
        )
    )
