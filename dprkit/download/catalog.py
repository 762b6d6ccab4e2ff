"""The catalog of downloads: the resources, their addresses, and the local files they become.

catalog.yaml holds the field's public resources and a user's own file may add to it. No URL is
written anywhere else. Names are dotted; a name stands for the resource it is and for all below it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta
from rich.filesize import decimal

from dprkit.errors import SettingsError, nearest
from dprkit.yaml_file import Document, read_yaml

CATALOG = Path(__file__).with_name("catalog.yaml")

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")

Key = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\Z")]
Extension = Annotated[str, Meta(pattern=r"^(\.[A-Za-z0-9]+)*\Z")]
Url = Annotated[str, Meta(pattern=r"^https?://[^/]+/.*[^/]\Z")]
Length = Annotated[int, Meta(ge=1)]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]

_FORMS = {
    "key": "letters, digits, - and _ between single dots",
    "url": "https://HOST/PATH",
    "ext": "an extension such as .json",
    "sha256": "64 digits 0-9 and a-f",
    "with_files": "https://HOST/PATH",
}


class Resource(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry of the catalog: a file, or several files that belong together."""

    key: Key
    url: Url
    """`{0..49}` in it stands for fifty files."""
    ext: Extension = ""
    compressed: bool = False
    """The server's file is gzip data, and .gz is added to the local name."""
    content: str = ""
    licence: str = ""
    bytes: Length | None = None
    """Exact length of the server's file."""
    about_bytes: Length | None = None
    """Rough length of all its files together; trusted only to ask for --yes sooner."""
    sha256: Sha256 | None = None
    with_files: tuple[Url, ...] = ()
    """URLs of texts that belong beside it, such as a licence."""

    @property
    def urls(self) -> tuple[str, ...]:
        found = _RANGE.search(self.url)
        if not found:
            return (self.url,)
        first, last = map(int, found.groups())
        return tuple(_RANGE.sub(str(i), self.url, count=1) for i in range(first, last + 1))

    @property
    def size(self) -> str:
        """Its size in words, for people."""
        if self.bytes:
            return decimal(self.bytes)
        about = f"about {decimal(self.about_bytes)}" if self.about_bytes else "unknown"
        return f"{about}, {len(self.urls)} files" if len(self.urls) > 1 else about


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One file to fetch. `path` and `unpacked` are relative to the output folder."""

    key: str
    url: str
    path: str
    unpacked: str | None = None
    """The file that `path` is unpacked to and replaced by."""
    bytes: int | None = None
    about_bytes: int | None = None
    sha256: str | None = None
    notice: bool = False
    """A text beside the data: where it cannot be had, the data is still fetched."""

    @property
    def result(self) -> str:
        return self.unpacked or self.path


# --- reading ------------------------------------------------------------------------------------


def load_catalog(extra: str | None = None) -> dict[str, Resource]:
    """key -> resource of the built-in catalog and of the file `extra`, whose entries win.

    Raises InputError where `extra` cannot be read and FormatError, with path, line and key, where
    an entry is wrong.
    """
    catalog = {resource.key: resource for resource in _read_catalog(CATALOG)}
    if extra is not None:
        catalog.update({resource.key: resource for resource in _read_catalog(Path(extra))})
    return catalog


def _read_catalog(path: Path) -> Iterator[Resource]:
    document = read_yaml(path)
    if not isinstance(document.value, dict):
        raise document.fault("a catalog is a mapping of names to url, ext, ...")
    for key, fields in document.value.items():
        yield _resource(document, key, fields)


def _resource(document: Document, key: str, fields: Any) -> Resource:
    if not isinstance(fields, dict):
        raise document.fault(f"{key}: holds no url; write url: https://...", key)
    known = [name for name in Resource.__struct_fields__ if name != "key"]
    for name in fields:
        if name not in known:
            raise document.fault(f"{key}: unknown field {name!r}{nearest(name, known)}", key, name)
    try:
        resource = msgspec.convert({**fields, "key": key}, Resource)
    except msgspec.ValidationError as error:
        raise document.fault(f"{key}: {_explain(str(error))}", key) from None
    if not resource.urls:
        raise document.fault(f"{key}: the range in {resource.url} is empty", key)
    if len(resource.urls) > 1 and (resource.bytes or resource.sha256):
        raise document.fault(f"{key}: bytes and sha256 are those of one file, not of many", key)
    return resource


def _explain(problem: str) -> str:
    """msgspec's message, with words in the place of regular expressions."""
    problem, _, field = problem.replace("`", "").partition(" - at $.")
    name = field.partition("[")[0]
    if "regex" in problem and name in _FORMS:
        problem = f"expected {_FORMS[name]}"
    return f"{field}: {problem}".removeprefix(": ").replace("Expected", "expected", 1)


# --- names --------------------------------------------------------------------------------------


def match_resources(names: Iterable[str], catalog: Mapping[str, Resource]) -> list[Resource]:
    """The resources that `names` stand for, each once, in order of the names.

    A name is a whole key, or the first segments of keys: data.retriever stands for
    data.retriever.nq-dev and never for data.retriever_results. Raises SettingsError, with the
    nearest name, where nothing is called so.
    """
    found: dict[str, Resource] = {}
    for name in names:
        keys = [name] if name in catalog else [k for k in catalog if k.startswith(f"{name}.")]
        if not keys:
            hint = _nearest_name(name, catalog) or "; --list shows all names"
            raise SettingsError(f"nothing in the catalog is called {name!r}{hint}")
        found.update({key: catalog[key] for key in keys})
    return list(found.values())


def _nearest_name(name: str, catalog: Mapping[str, Resource]) -> str:
    """A key that ends as `name` does, so that nq-dev finds data.retriever.nq-dev; else the most
    alike of all keys and their first segments."""
    for key in catalog:
        if f".{key}".endswith(f".{name}"):
            return f"; did you mean {key!r}?"
    known = dict.fromkeys(
        key.rsplit(".", depth)[0] for key in catalog for depth in range(key.count(".") + 1)
    )
    return nearest(name, known)


# --- files --------------------------------------------------------------------------------------


def targets_of(resources: Iterable[Resource], decompress: bool) -> list[Target]:
    """The files of `resources`, each once, with the texts that belong beside them.

    Raises SettingsError where two resources would become one file.
    """
    found: dict[str, Target] = {}
    for resource in resources:
        for target in (*_parts(resource, decompress), *_notices(resource)):
            other = found.setdefault(target.result, target)
            if other.url != target.url:
                raise SettingsError(
                    f"{other.key} and {target.key} would both become {target.result}; "
                    "fetch them into different folders with --output-dir"
                )
    return list(found.values())


def _parts(resource: Resource, decompress: bool) -> Iterator[Target]:
    urls = resource.urls
    about = resource.about_bytes and resource.about_bytes // len(urls)
    for number, url in enumerate(urls):
        suffix = f"_{number}" if _RANGE.search(resource.url) else ""
        plain = f"{resource.key.replace('.', '/')}{suffix}{resource.ext}"
        yield Target(
            key=resource.key,
            url=url,
            path=f"{plain}.gz" if resource.compressed else plain,
            unpacked=plain if resource.compressed and decompress else None,
            bytes=resource.bytes,
            about_bytes=about,
            sha256=resource.sha256,
        )


def _notices(resource: Resource) -> Iterator[Target]:
    folder = "/".join(resource.key.split(".")[:-1])
    for url in resource.with_files:
        path = f"{folder}/{urlsplit(url).path.rsplit('/', 1)[-1]}".lstrip("/")
        yield Target(key=resource.key, url=url, path=path, notice=True)
