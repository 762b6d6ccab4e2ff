"""An index in Milvus, here in the engine that runs embedded."""

from __future__ import annotations

import base64
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dprkit.embeddings.shards import Embeddings, write_shard
from dprkit.errors import InputError, LockedError, MismatchError, MissingExtra, SettingsError
from dprkit.indexes import milvus
from dprkit.indexes.index_folder import IndexFolder
from dprkit.indexes.milvus import MilvusIndex, build
from dprkit.progress import Progress, Run
from dprkit.settings import IndexSettings
from dprkit.store.begin_or_resume import draft
from dprkit.store.manifests import Input, Manifest, read_manifest
from tests.conftest import call, environment

pytest.importorskip("pymilvus", reason="the extra milvus is not installed")
pytest.importorskip("milvus_lite", reason="the extra milvus is not installed")

DIM, SHARDS, SHARD = 16, 4, 100
COUNT = SHARDS * SHARD


def make_embeddings(folder: Path, seed: int = 0) -> Path:
    """400 random vectors in 4 shards."""
    vectors = np.random.default_rng(seed).standard_normal((COUNT, DIM)).astype(np.float32)
    inputs: dict[str, str | Input] = {
        "retriever": Input("model", "retriever:one"),
        "passages": Input("corpus.tsv", "sha256:two"),
    }
    with draft(folder, "embeddings", {"seed": seed}, inputs, Run()) as work:
        for number, shard in enumerate(np.split(vectors, SHARDS)):
            ids = [f"passage {number * SHARD + row}" for row in range(SHARD)]
            write_shard(work, number, shard, ids)
        work.finish({"passages": COUNT, "dim": DIM, "shards": SHARDS})
    return folder


def make_index(embeddings: Path, folder: Path, run: Run = Run(), **settings: Any) -> Manifest:
    """As the stage `index` does."""
    asked = IndexSettings(type="milvus", **settings)
    inputs: dict[str, str | Input] = {"embeddings": str(embeddings)}
    inputs |= read_manifest(embeddings, "embeddings").inputs
    with draft(folder, "index", asked, inputs, run) as work:
        return work.done or work.finish(
            {"type": "milvus"} | build(work, Embeddings(embeddings), asked)
        )


@pytest.fixture(scope="module")
def embeddings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_embeddings(tmp_path_factory.mktemp("milvus") / "embeddings")


@pytest.fixture(scope="module")
def built(embeddings: Path) -> Path:
    make_index(embeddings, embeddings.parent / "index")
    return embeddings.parent / "index"


@pytest.fixture
def index(built: Path) -> Iterator[MilvusIndex]:
    opened = MilvusIndex(IndexFolder(built))
    yield opened
    opened.close()


@pytest.fixture
def questions() -> np.ndarray:
    return np.random.default_rng(9).standard_normal((7, DIM)).astype(np.float32)


def corpus(embeddings: Path) -> np.ndarray:
    return np.concatenate(list(Embeddings(embeddings).vectors()))


def brute_force(vectors: np.ndarray, questions: np.ndarray, topk: int) -> tuple[Any, Any]:
    scores = questions @ vectors.T
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :topk]
    return rows, np.take_along_axis(scores, rows, 1)


# --- what is found --------------------------------------------------------------------------------


def test_it_finds_what_brute_force_finds(
    index: MilvusIndex, embeddings: Path, questions: np.ndarray
) -> None:
    rows, scores = brute_force(corpus(embeddings), questions, 50)
    found = index.search(questions, 50)
    np.testing.assert_array_equal(found.rows, rows)
    np.testing.assert_allclose(found.scores, scores, rtol=1e-5)
    assert found.rows.dtype == np.int64 and found.scores.dtype == np.float32


def test_no_more_passages_are_found_than_there_are(
    index: MilvusIndex, questions: np.ndarray
) -> None:
    found = index.search(questions, 10 * COUNT)
    assert index.count == COUNT
    assert found.rows.shape == (7, COUNT)
    assert (np.sort(found.rows, axis=1) == np.arange(COUNT)).all()


def test_only_allowed_rows_are_found_however_many_filters_they_take(
    index: MilvusIndex,
    embeddings: Path,
    questions: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    allowed = np.arange(1, COUNT, 3)
    rows, scores = brute_force(corpus(embeddings)[allowed], questions, 20)
    for piece in (milvus.ALLOWED, 50, 7):
        monkeypatch.setattr(milvus, "ALLOWED", piece)
        found = index.search(questions, 20, allowed)
        np.testing.assert_array_equal(found.rows, allowed[rows])
        np.testing.assert_allclose(found.scores, scores, rtol=1e-5)
    assert index.search(questions, 20, allowed[:3]).rows.shape == (7, 3)
    assert index.search(questions, 20, allowed[:0]).rows.shape == (7, 0)


def test_questions_go_out_in_messages_of_any_size(
    index: MilvusIndex, questions: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = index.search(questions, 10)
    monkeypatch.setattr(milvus, "QUESTIONS", 2)
    pieces = index.search(questions, 10)
    np.testing.assert_array_equal(whole.rows, pieces.rows)
    assert index.search(questions[:0], 10).rows.shape == (0, 10)


def test_passages_that_tie_come_in_the_order_of_the_corpus(tmp_path: Path) -> None:
    with draft(tmp_path / "embeddings", "embeddings", {}, {}, Run()) as work:
        write_shard(work, 0, np.ones((5, 2), np.float16), list("abcde"))
        work.finish({"passages": 5, "dim": 2, "shards": 1})
    make_index(tmp_path / "embeddings", tmp_path / "index")
    index = MilvusIndex(IndexFolder(tmp_path / "index"))
    found = index.search(np.ones((1, 2), np.float32), 5)
    index.close()
    assert found.rows.tolist() == [[0, 1, 2, 3, 4]]
    assert found.scores.tolist() == [[2.0] * 5]


def test_a_depth_beyond_milvus_is_refused(index: MilvusIndex, questions: np.ndarray) -> None:
    index.count = 1_000_000
    with pytest.raises(SettingsError, match="finds at most 16,384"):
        index.search(questions, 20_000)


# --- a server -------------------------------------------------------------------------------------


class Server:
    """The embedded engine behind a port, as a server of its own; it wants to see `token`."""

    def __init__(self, folder: Path, token: str = "", port: int = 0) -> None:
        import grpc
        from milvus_lite import MilvusLite
        from milvus_lite.adapter.grpc.servicer import MilvusServicer
        from pymilvus.grpc_gen import milvus_pb2_grpc

        class Guard(grpc.ServerInterceptor):  # type: ignore[misc]
            def intercept_service(self, continuation: Any, details: Any) -> Any:
                shown = dict(details.invocation_metadata).get("authorization", "")
                if base64.b64decode(shown).decode() == token:
                    return continuation(details)
                return grpc.unary_unary_rpc_method_handler(
                    lambda _, context: context.abort(grpc.StatusCode.UNAUTHENTICATED, "who?")
                )

        self.engine = MilvusLite(str(folder))
        self.server = grpc.server(ThreadPoolExecutor(4), interceptors=[Guard()])
        milvus_pb2_grpc.add_MilvusServiceServicer_to_server(
            MilvusServicer(self.engine), self.server
        )
        self.port = self.server.add_insecure_port(f"127.0.0.1:{port}")
        self.uri = f"http://127.0.0.1:{self.port}"
        self.server.start()

    def stop(self) -> None:
        self.server.stop(grace=0).wait()
        self.engine.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    started = Server(tmp_path / "server", "me:secret")
    yield started
    started.stop()


@pytest.fixture
def token(tmp_path: Path) -> str:
    (tmp_path / "token").write_text("me:secret\n")
    return str(tmp_path / "token")


def test_a_server_holds_one_collection_for_several_indexes(
    server: Server, token: str, embeddings: Path, tmp_path: Path, questions: np.ndarray
) -> None:
    for name in ("first", "second"):
        make_index(embeddings, tmp_path / name, uri=server.uri, token_file=token)
    opened = [MilvusIndex(IndexFolder(tmp_path / name)) for name in ("first", "second")]
    expected = brute_force(corpus(embeddings), questions, 20)[0]
    for index in opened:
        np.testing.assert_array_equal(index.search(questions, 20).rows, expected)
        index.close()
    assert sorted(path.name for path in (tmp_path / "first").iterdir()) == [
        "collection.json",
        "manifest.json",
    ]
    assert "secret" not in (tmp_path / "first/manifest.json").read_text()


def test_a_collection_of_other_embeddings_is_neither_loaded_nor_searched(
    server: Server, token: str, embeddings: Path, tmp_path: Path
) -> None:
    settings = {"uri": server.uri, "token_file": token, "collection": "mine"}
    other = make_embeddings(tmp_path / "other", seed=1)
    make_index(embeddings, tmp_path / "index", **settings)
    refusal = r"'mine' holds the embeddings embeddings:\w+, not embeddings:\w+; name another with"
    with pytest.raises(MismatchError, match=refusal):
        make_index(other, tmp_path / "wrong", **settings)
    index = MilvusIndex(IndexFolder(tmp_path / "index"))
    index.collection.client.drop_collection("mine")
    with pytest.raises(InputError, match="'mine' is gone; run dprkit index again"):
        MilvusIndex(IndexFolder(tmp_path / "index"))
    index.collection.client.create_collection("mine", dimension=DIM)
    with pytest.raises(MismatchError, match="is not made by dprkit"):
        MilvusIndex(IndexFolder(tmp_path / "index"))
    index.close()


def test_a_server_that_does_not_know_the_user_is_asked_once(
    server: Server, embeddings: Path, tmp_path: Path
) -> None:
    (tmp_path / "wrong").write_text("me:else")
    settings = {"uri": server.uri, "token_file": str(tmp_path / "wrong")}
    begun = time.monotonic()
    with pytest.raises(InputError, match=r"not reachable: who\?"):
        make_index(embeddings, tmp_path / "index", **settings)
    assert time.monotonic() - begun < min(milvus.WAITS)


def test_a_server_that_comes_back_is_loaded_further(
    embeddings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(milvus, "MESSAGE", 4 * DIM * 30)
    servers = [Server(tmp_path / "server")]

    class Restart(Progress):
        def advance(self, count: int, facts: Any = None) -> None:
            if len(servers) == 1:
                servers[0].stop()
                start = partial(Server, tmp_path / "server", port=servers[0].port)
                threading.Timer(0.5, lambda: servers.append(start())).start()

    make_index(embeddings, tmp_path / "index", Run(Restart()), uri=servers[0].uri)
    index = MilvusIndex(IndexFolder(tmp_path / "index"))
    assert len(servers) == 2 and index.count == COUNT
    index.close()
    servers[1].stop()


@pytest.mark.parametrize("where", ["embedded", "on a server"])
def test_an_index_made_by_the_command_line_is_searched_by_it(
    where: str, work: Path, server: Server, token: str
) -> None:
    address = ["--uri", server.uri, "--token-file", token] if where == "on a server" else []
    made = call("index", "--type", "milvus", *address, "--output-dir", "kept")
    assert made.exit_code == 0, made.stderr
    asked = ["--questions", "-", "--topk", 5]
    answers = []
    for folder in ("kept", "runs/dprkit/index"):  # the other is an exact one
        result = call("search", "--index", folder, *asked, input="who wrote hamlet\n")
        assert result.exit_code == 0, result.stderr
        answers.append([hit["id"] for hit in json.loads(result.stdout)["ctxs"]])
    assert answers[0] == answers[1]


# --- what is kept ---------------------------------------------------------------------------------


def test_the_collection_keeps_ids_and_what_it_was_made_from(
    index: MilvusIndex, embeddings: Path
) -> None:
    client, name = index.collection.client, index.collection.place.name
    kept = client.describe_collection(name)["properties"]["dprkit"]
    manifest = read_manifest(embeddings)
    made_from = {name: given.identity for name, given in manifest.inputs.items()}
    made_from["embeddings"] = manifest.identity
    assert json.loads(kept) == made_from
    assert sorted(made_from) == ["embeddings", "passages", "retriever"]
    assert client.get(name, [123], output_fields=["id"])[0]["id"] == "passage 123"


def test_the_manifest_counts_the_engines_files_and_searching_leaves_them(
    built: Path, questions: np.ndarray
) -> None:
    manifest = read_manifest(built)
    opened = MilvusIndex(IndexFolder(built))
    opened.search(questions, 5)
    opened.close()
    sizes = {
        str(path.relative_to(built)): path.stat().st_size
        for path in built.rglob("*")
        if path.is_file() and path != built / "manifest.json"
    }
    assert sizes == {name: file.bytes for name, file in manifest.files.items()}
    assert [name for name, file in manifest.files.items() if file.content] == ["collection.json"]


def test_an_index_made_again_has_the_same_identity(embeddings: Path, tmp_path: Path) -> None:
    first = make_index(embeddings, tmp_path / "index")
    (tmp_path / "index/manifest.json").unlink()
    second = make_index(embeddings, tmp_path / "other", collection="named")
    assert first.identity == second.identity
    assert second.counts["collection"] == "named"


def test_an_index_of_other_embeddings_takes_the_place_of_one(
    embeddings: Path, tmp_path: Path, questions: np.ndarray
) -> None:
    make_index(embeddings, tmp_path / "index")
    other = make_embeddings(tmp_path / "other", seed=1)
    (tmp_path / "index/milvus.db/left-by-the-engine").touch()
    make_index(other, tmp_path / "index")
    index = MilvusIndex(IndexFolder(tmp_path / "index"))
    found = index.search(questions, 5)
    index.close()
    np.testing.assert_array_equal(found.rows, brute_force(corpus(other), questions, 5)[0])


def test_a_damaged_index_is_told_in_a_line(embeddings: Path, tmp_path: Path) -> None:
    make_index(embeddings, tmp_path / "index")
    shutil.rmtree(tmp_path / "index/milvus.db/collections")
    with pytest.raises(InputError, match="is gone; run dprkit index again"):
        MilvusIndex(IndexFolder(tmp_path / "index"))
    (tmp_path / "index/collection.json").write_bytes(b"{")
    with pytest.raises(InputError, match=r"collection.json: damaged \(it has 1 bytes"):
        IndexFolder(tmp_path / "index").verify()


def test_a_collection_that_is_not_whole_is_not_searched(embeddings: Path, tmp_path: Path) -> None:
    make_index(embeddings, tmp_path / "index")
    index = MilvusIndex(IndexFolder(tmp_path / "index"))
    index.collection.client.delete(index.collection.place.name, ids=[5])
    index.close()
    with pytest.raises(InputError, match="399 passages instead of 400; run dprkit index again"):
        MilvusIndex(IndexFolder(tmp_path / "index"))


# --- being killed, being in the way ---------------------------------------------------------------


class KillAt(Progress):
    """Dies the moment so many passages are loaded."""

    def __init__(self, count: int) -> None:
        self.left = count

    def advance(self, count: int, facts: Any = None) -> None:
        self.left -= count
        if self.left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)


def load_and_die(embeddings: Path, folder: Path, count: int) -> None:
    milvus.MESSAGE = 4 * DIM * 30  # bytes: four messages a shard
    make_index(embeddings, folder, Run(KillAt(count)))


def test_a_killed_load_goes_on_after_its_last_whole_shard(
    embeddings: Path, tmp_path: Path, questions: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = multiprocessing.get_context("spawn").Process(
        target=load_and_die, args=(embeddings, tmp_path / "index", 250)
    )
    killed.start()
    killed.join(60)
    assert killed.exitcode == -signal.SIGKILL
    loaded = []
    original = milvus.Collection.load

    def load(self: Any, begin: int, ids: list[str], vectors: np.ndarray) -> Iterator[int]:
        loaded.append(begin)
        return original(self, begin, ids, vectors)

    monkeypatch.setattr(milvus.Collection, "load", load)
    make_index(embeddings, tmp_path / "index")
    assert loaded == [200, 300]
    index = MilvusIndex(IndexFolder(tmp_path / "index"))
    found = index.search(questions, 50)
    index.close()
    expected = brute_force(corpus(embeddings), questions, 50)
    np.testing.assert_array_equal(found.rows, expected[0])


HOLD = """
import sys, time
from dprkit.indexes.index_folder import IndexFolder
from dprkit.indexes.milvus import MilvusIndex
index = MilvusIndex(IndexFolder(sys.argv[1]))
print("open", flush=True)
sys.stdin.read()
"""


def test_an_embedded_engine_in_use_is_told_in_a_line(built: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(built)]
    how: Any = {name: subprocess.PIPE for name in ("stdin", "stdout", "stderr")}
    how |= {"text": True, "env": environment(http_proxy="http://127.0.0.1:9")}  # not to be asked
    with subprocess.Popen(command, **how) as holder:
        assert holder.stdout and holder.stdout.readline() == "open\n"
        with pytest.raises(LockedError, match="in use by another process"):
            MilvusIndex(IndexFolder(built))
        _, complaints = holder.communicate(timeout=30)  # it ends although it closes nothing
    assert (holder.returncode, complaints) == (0, "")


def test_an_engine_that_is_not_there_is_tried_a_few_times_and_told_in_a_line(
    embeddings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    monkeypatch.setattr(milvus, "WAITS", (0.05, 0.05, 0.05, 0.05))
    begun = time.monotonic()
    with pytest.raises(InputError) as caught:
        make_index(embeddings, tmp_path / "index", uri="http://127.0.0.1:9")
    assert time.monotonic() - begun < 5
    message = str(caught.value)
    assert "milvus at http://127.0.0.1:9 not reachable" in message
    assert "Connection refused; is it running there?" in message and "\n" not in message
    assert capfd.readouterr().err == ""
    assert not (tmp_path / "index").exists()


def test_the_missing_extra_is_named(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    with pytest.raises(MissingExtra, match=r"pip install 'dprkit\[milvus\]'"):
        MilvusIndex(IndexFolder(built))


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("index/other.db", "expected http://host:19530"),
        ("http://me:secret@host:19530", "name it with --token-file"),
    ],
)
def test_an_address_that_will_not_do_is_refused(
    embeddings: Path, tmp_path: Path, uri: str, told: str
) -> None:
    with pytest.raises(SettingsError, match=told) as caught:
        make_index(embeddings, tmp_path / "index", uri=uri)
    assert "secret" not in str(caught.value)
