"""milvus: the vectors in an engine of their own, within this process or on a cluster.

    collection.json     what the index was made from: the same text that the collection keeps
    milvus.db/          the embedded engine's own files, where no --uri names a cluster

A collection has the passage's row in the corpus as its key, its id, and its vector; the metric is
the inner product. The embedded engine looks through every vector (FLAT: exact); a cluster chooses
its own index (AUTOINDEX: approximate). Its property "dprkit" says what it was made from, which is
checked before anything is loaded into it or asked of it.

The embedded engine keeps all vectors in memory, takes some 10 ms of processor for a question over
20,000 passages, serves one process at a time, and while it is open listens on a port of 127.0.0.1.
It is for a corpus of that order; a larger one wants a server.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import numpy as np

from dprkit.embeddings.quantized import Vectors
from dprkit.embeddings.shards import Embeddings
from dprkit.errors import (
    InputError,
    LockedError,
    MismatchError,
    SettingsError,
    need_extra,
    reading,
)
from dprkit.indexes.hits_and_tie_order import Hits, best
from dprkit.indexes.index_folder import IndexFolder
from dprkit.indexes.made_from import identities, write_made_from
from dprkit.settings import IndexSettings
from dprkit.store.atomic_files import delete
from dprkit.store.drafts import Draft
from dprkit.store.manifests import PREVIOUS

FOLDER = "milvus.db"
IDENTITIES = "collection.json"
PROPERTY = "dprkit"

DEEPEST = 16_384
"""Milvus answers a question with no more passages than this."""
MESSAGE = 2 << 20
"""Bytes of vectors in a message; a server takes 64 MB."""
ANSWERS = 200_000
"""Passages in an answer to many questions: each costs the client about 500 bytes."""
QUESTIONS = 256
"""Questions in a message: the embedded engine makes a matrix of them by the passages."""
ALLOWED = 16_384
"""Rows in a filter; more are looked through a piece at a time."""

WAITS = (1.0, 2.0, 4.0, 8.0)
"""Seconds between the tries to reach an engine, which are one more."""
PATIENCE = 60.0
"""Seconds that an answer may take."""
TRIES = 3
"""Times that a message is sent, where the engine is reached again in between."""
CONNECT_FAILED = 2
"""What pymilvus calls an engine that it does not reach."""


# --- building -------------------------------------------------------------------------------------


def check_settings(settings: IndexSettings) -> None:
    """Raise MissingExtra where no client is installed, SettingsError for a URI that is none."""
    _need_client(embedded=not settings.uri)
    check_uri(settings.uri)


def _need_client(embedded: bool) -> None:
    need_extra("milvus", "pymilvus", *(["milvus_lite"] if embedded else []))


def build(work: Draft, embeddings: Embeddings, settings: IndexSettings) -> dict[str, Any]:
    """Load the embeddings into a collection, shard by shard, and count what is in it.

    A run that was killed goes on after its last whole shard; the batches of a shard begun are
    sent again and take their own places. Raises MismatchError for a collection of something
    else, InputError for an engine that cannot be reached, LockedError for one in use.
    """
    made_from = write_made_from(work, IDENTITIES)
    place = Place(work.directory, settings.uri, settings.collection, settings.token_file, made_from)
    if place.embedded:
        if (work.directory / PREVIOUS / FOLDER).exists() and FOLDER not in work.record.claimed:
            delete(
                work.directory / FOLDER
            )  # the files that Milvus wrote after the index was finished
        work.claim(FOLDER)
    with closing(Collection(place)) as collection:
        if not collection.exists():
            work.state.clear()
            collection.create(embeddings.dim)
        collection.check()
        _load(work, embeddings, collection)
    for path in sorted(place.folder.rglob("*")):
        if path.is_file():  # the engine's own; others come from the same vectors another time
            work.include(str(path.relative_to(work.directory)))
    counts = {"passages": embeddings.count, "dim": embeddings.dim, "collection": place.name}
    if place.token_file:  # the settings in a manifest leave out what names a file
        counts["token_file"] = os.path.abspath(place.token_file)
    return counts


def _load(work: Draft, embeddings: Embeddings, collection: Collection) -> None:
    progress = work.run.progress
    progress.start("loading", embeddings.count, "passages")
    for number, begin, vectors in embeddings.left_of(work):
        for count in collection.load(begin, embeddings.ids_of(number), vectors):
            progress.advance(count)
    progress.finish()
    if (held := collection.settled()) != embeddings.count:
        work.state.clear()  # what was noted as loaded is not there: the next run loads it all
        work.save()
        raise InputError(
            f"{collection.place}: holds {held} passages instead of {embeddings.count}; run again, "
            "or drop the collection first where others write into it"
        )


# --- searching ------------------------------------------------------------------------------------


class MilvusIndex:
    """A collection that `build` loaded. Inner product; rows are the corpus's rows."""

    def __init__(self, folder: IndexFolder) -> None:
        """Raises as `build` does, and InputError where the collection is gone or not whole."""
        settings = folder.manifest.settings
        place = Place(
            folder.path,
            settings.get("uri"),
            settings.get("collection"),
            folder.counts.get("token_file"),
            identities(folder.inputs),
        )
        self.count = int(folder.counts["passages"])
        self.dim = int(folder.counts["dim"])
        self.collection = Collection(place)
        self.collection.open(self.count)

    def search(self, vectors: np.ndarray, topk: int, allowed: np.ndarray | None = None) -> Hits:
        """The best K = min(topk, count) rows for (Q, D) question vectors.

        `allowed`: (A,) rows that may be found, K being at most A; every 16,384 of them are a
        search of their own. Which of the passages that tie at the last place are there is the
        engine's choice. Raises SettingsError for K above 16,384, Milvus's limit.
        """
        depth = min(topk, self.count if allowed is None else len(allowed))
        if depth > DEEPEST:
            raise SettingsError(f"--topk: {topk} is not valid: Milvus finds at most {DEEPEST:,}")
        if not depth or not len(vectors):
            return Hits.none(len(vectors), depth)
        filters = [""] if allowed is None else list(_filters(allowed))
        hits = [self.collection.search(vectors, depth, words) for words in filters]
        rows, scores = zip(*hits, strict=True)
        return best(np.concatenate(rows, axis=1), np.concatenate(scores, axis=1), depth)

    def close(self) -> None:
        """Let go of the engine; the embedded one can then be opened by another process."""
        self.collection.close()


def open_folder(folder: IndexFolder, _depths: Mapping[str, int]) -> MilvusIndex:
    """The collection that an index names."""
    return MilvusIndex(folder)


def _filters(allowed: np.ndarray) -> Iterator[str]:
    for begin in range(0, len(allowed), ALLOWED):
        rows = ",".join(map(str, allowed[begin : begin + ALLOWED].tolist()))
        yield f"row in [{rows}]"


# --- the engine -----------------------------------------------------------------------------------


class Place:
    """Where a collection is, and what it has to be made from."""

    def __init__(
        self,
        directory: Path,
        uri: str | None,
        collection: str | None,
        token_file: str | None,
        made_from: Mapping[str, str],
    ) -> None:
        """Raises SettingsError for a URI that is none, or that holds a password."""
        self.embedded = uri is None
        self.folder = directory / FOLDER
        self.uri = check_uri(uri) or str(self.folder)
        self.made_from = dict(made_from)
        self.name = collection or f"dprkit_{made_from['embeddings'].rpartition(':')[2][:16]}"
        self.token_file = token_file

    def __str__(self) -> str:
        return f"{self.uri}: the collection {self.name!r}"

    def token(self) -> str:
        """`user:password`, or a key, from the first line of the token file."""
        if not self.token_file:
            return ""
        with reading(self.token_file):
            lines = Path(self.token_file).read_text().split("\n")
        return lines[0].strip()


def check_uri(uri: str | None) -> str | None:
    """`uri`; raises SettingsError for one that is none, or that holds a password."""
    if uri is None:
        return None
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https", "tcp", "unix"):
        raise SettingsError(
            f"--uri: {uri!r} is not valid: expected http://host:19530; "
            f"without --uri the collection lies in {FOLDER} inside the index"
        )
    if parts.username or parts.password:
        raise SettingsError(
            f"--uri: {parts.hostname}: a password here would be kept in the manifest; "
            "write user:password into a file and name it with --token-file"
        )
    return uri


class Collection:
    """A collection at its place, and the connection to the engine that has it."""

    def __init__(self, place: Place) -> None:
        """Raises MissingExtra, InputError after some 15 seconds of trying, LockedError."""
        self.place = place
        self.client = _connect(place)

    def close(self) -> None:
        self.client.close()
        if self.place.embedded:
            from milvus_lite.server_manager import server_manager_instance

            server_manager_instance.release_server(self.place.uri)

    def exists(self) -> bool:
        return bool(self._ask("has_collection"))

    def create(self, dim: int) -> None:
        from pymilvus import DataType

        schema = self.client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("row", DataType.INT64, is_primary=True)
        schema.add_field("id", DataType.VARCHAR, max_length=65_535)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dim)
        kind = "FLAT" if self.place.embedded else "AUTOINDEX"
        index = self.client.prepare_index_params()
        index.add_index("vector", index_type=kind, metric_type="IP")
        properties = {PROPERTY: msgspec.json.encode(self.place.made_from).decode()}
        self._ask("create_collection", schema=schema, index_params=index, properties=properties)

    def check(self) -> None:
        """Raise MismatchError where the collection is made from something else."""
        described = self._ask("describe_collection")
        text = described.get("properties", {}).get(PROPERTY)
        if text is None:
            raise MismatchError(
                f"{self.place} is not made by dprkit; name another with --collection"
            )
        theirs = msgspec.json.decode(text, type=dict[str, str])
        for what, ours in self.place.made_from.items():
            if theirs.get(what) != ours:
                other = theirs.get(what, "none")
                raise MismatchError(
                    f"{self.place} holds the {what} {other[:23]}, not {ours[:23]}; "
                    "name another with --collection"
                )

    def load(self, begin: int, ids: list[str], vectors: Vectors) -> Iterator[int]:
        """Put (N, D) vectors and their N ids at the rows from `begin` on; counts as they go."""
        step = max(1, MESSAGE // (4 * vectors.shape[1]))
        for first in range(0, len(ids), step):
            batch = np.asarray(vectors[first : first + step], np.float32)
            pairs = zip(ids[first : first + step], batch, strict=True)
            data = [
                {"row": row, "id": id_, "vector": vector}
                for row, (id_, vector) in enumerate(pairs, start=begin + first)
            ]
            self._ask("upsert", data)
            yield len(batch)

    def settled(self) -> int:
        """Have everything written and ready to be searched; how many passages there are."""
        self._ask("flush", timeout=None)
        return self._ready()

    def open(self, count: int) -> None:
        """Make ready to be searched. Raises InputError unless there are `count` passages."""
        if not self.exists():
            raise InputError(f"{self.place} is gone; run dprkit index again")
        self.check()
        if (held := self._ready()) != count:
            raise InputError(
                f"{self.place} holds {held} passages instead of {count}; run dprkit index again"
            )

    def _ready(self) -> int:
        self._ask("load_collection", timeout=None)
        wanted = ["count(*)"]
        (answer,) = self._ask("query", output_fields=wanted, consistency_level="Strong")
        return int(answer["count(*)"])

    def search(self, vectors: np.ndarray, depth: int, words: str) -> Hits:
        """The best K = `depth` rows for vectors (Q, D), where the filter `words` allows them."""
        hits = Hits.none(len(vectors), depth)
        step = max(1, min(QUESTIONS, ANSWERS // depth))
        for begin in range(0, len(vectors), step):
            batch = np.asarray(vectors[begin : begin + step], np.float32)
            answers = self._ask(
                "search",
                data=list(batch),
                limit=depth,
                filter=words,
                anns_field="vector",
                search_params={"metric_type": "IP"},
            )
            for line, answer in enumerate(answers, start=begin):
                hits.rows[line, : len(answer.ids)] = answer.ids
                hits.scores[line, : len(answer.ids)] = answer.distances
        return hits

    def _ask(self, what: str, *words: Any, **options: Any) -> Any:
        """Send one request, and again where the engine was away; none does harm twice."""
        from grpc import RpcError
        from pymilvus.exceptions import MilvusException

        options.setdefault("timeout", PATIENCE)
        for left in reversed(range(TRIES)):
            try:
                return getattr(self.client, what)(self.place.name, *words, **options)
            except (MilvusException, RpcError) as error:
                if not left or not _away(error):
                    raise InputError(f"{self.place}: {_reason(error)}") from None
            self.client.close()
            self.client = _connect(self.place)


def _connect(place: Place) -> Any:
    """A client of the engine, tried a few times."""
    _need_client(place.embedded)
    from pymilvus import MilvusClient
    from pymilvus.exceptions import MilvusException

    for name in ("pymilvus", "milvus_lite", "grpc"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)  # what they log, they raise too
    options: dict[str, Any] = {"token": place.token(), "timeout": 5, "dedicated": True}
    if place.embedded:  # its port is on this machine, where no proxy leads
        options["grpc_options"] = {"grpc.enable_http_proxy": 0}
    for wait in (*WAITS, None):
        try:
            return MilvusClient(place.uri, **options)
        except MilvusException as error:
            if place.embedded:
                raise _unopened(place) from None
            if wait is None or not _away(error):
                raise InputError(
                    f"milvus at {place.uri} not reachable: {_reason(error)}; is it running there?"
                ) from None
            time.sleep(wait)


def _away(error: Exception) -> bool:
    """Whether a try a little later may do: nobody answered, rather than refused."""
    from grpc import RpcError, StatusCode

    cause = _cause(error)
    code = cause.code() if isinstance(cause, RpcError) else getattr(cause, "code", None)
    return code in (StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED, CONNECT_FAILED)


def _reason(error: Exception) -> str:
    """The first line of what the engine or the network says of an error."""
    from grpc import RpcError

    cause = _cause(error)
    said = cause.details() if isinstance(cause, RpcError) else getattr(cause, "message", "")
    return str(said or error).split("\n")[0].rstrip(".; ")


def _cause(error: Exception) -> Any:
    """What the network said, where pymilvus passes it on, else the error itself."""
    from grpc import RpcError

    return error.__cause__ if isinstance(error.__cause__, RpcError) else error


def _unopened(place: Place) -> Exception:
    """Why the embedded engine does not open its folder: it tells its log only."""
    try:
        with (place.folder / "LOCK").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return LockedError(
            f"{place.folder}: in use by another process, and the embedded Milvus serves one at a "
            "time; try again later, or share a Milvus server by --uri"
        )
    except OSError as error:
        return InputError(f"{place.folder}: {error.strerror}; check its permissions")
    return InputError(f"{place.folder}: damaged or of another version; run dprkit index --restart")
