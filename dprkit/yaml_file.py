"""YAML: files read with the line of each key, for errors that say path:line; values written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from dprkit.errors import FormatError, reading

TEXT = "tag:yaml.org,2002:str"
MERGE = "tag:yaml.org,2002:merge"

Keys = tuple[str, ...]
"""The way to a value: the key of each mapping that holds it, the outermost first."""


class Document(NamedTuple):
    """What a YAML file holds. The keys of its mappings are texts as the file has them."""

    path: Path
    value: Any
    lines: Mapping[Keys, int]

    def fault(self, problem: str, *keys: str) -> FormatError:
        """The error that names the line of the key at the end of `keys`."""
        return FormatError(self.path, self.lines.get(keys, 1), problem)


def read_yaml(path: Path, same: Callable[[str], str] = str) -> Document:
    """Read the one document of a YAML file. No tag in it can make anything but plain values.

    Raises InputError where the file cannot be read and FormatError where it is no YAML or a
    mapping has two keys for which `same` gives the same text: YAML lets the last one win in
    silence.
    """
    import yaml

    with reading(path):
        data = path.read_bytes()
    try:
        text = data.decode()
        try:
            return _parsed(path, text, getattr(yaml, "CSafeLoader", yaml.SafeLoader), same)
        except yaml.YAMLError:  # the slow loader's messages say more
            return _parsed(path, text, yaml.SafeLoader, same)
    except UnicodeDecodeError:
        raise FormatError(path, 1, "not UTF-8 text; save it as UTF-8") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise FormatError(path, line, f"not YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise FormatError(path, 1, f"not YAML: {error}".splitlines()[0]) from None
    except RecursionError:
        raise FormatError(path, 1, "not YAML: too many brackets in each other") from None


def as_yaml(value: Any) -> str:
    """`value` on one line, as a recipe would have it."""
    import yaml

    text: str = yaml.safe_dump(
        msgspec.to_builtins(value),
        default_flow_style=True,
        sort_keys=False,
        width=10_000,
        allow_unicode=True,
    )
    return text.strip().removesuffix("...").strip()


def _parsed(path: Path, text: str, loader_type: Any, same: Callable[[str], str]) -> Document:
    loader = loader_type(text)
    root = loader.get_single_node()
    lines = _key_lines(path, root, same)
    return Document(path, loader.construct_document(root) if root else None, lines)


def _key_lines(path: Path, root: Any, same: Callable[[str], str]) -> dict[Keys, int]:
    """The line of each key of the mapping `root` and of the mappings in it."""
    import yaml

    lines: dict[Keys, int] = {}
    seen: set[Any] = set()  # an alias may lead to the same mapping again
    nodes: list[tuple[Keys, Any]] = [((), root)]
    for keys, node in nodes:  # which grows
        if not isinstance(node, yaml.MappingNode) or node in seen:
            continue
        seen.add(node)
        first: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == MERGE:
                continue
            key.tag = TEXT  # without it `on:` is the key True
            line, name = key.start_mark.line + 1, same(key.value)
            if name in first:
                twice = f"{key.value!r} is there twice, first in line {first[name]}"
                raise FormatError(path, line, twice)
            lines[(*keys, key.value)] = first[name] = line
            nodes.append(((*keys, key.value), value))
    return lines
