import importlib.util
import sys
from types import SimpleNamespace

import msgspec
import pytest

from dprkit.embeddings.encode import encode_corpus
from dprkit.embeddings.ray_tasks import _share
from dprkit.errors import FormatError, MissingExtra
from dprkit.progress import Run
from dprkit.settings import EncodeSettings
from dprkit.store.manifests import read_manifest


@pytest.mark.parametrize(
    ("nodes", "tasks", "shared"),
    [
        ([{"CPU": 8.0}], 1, (1, {"num_cpus": 8})),
        ([{"CPU": 8.0}], 3, (3, {"num_cpus": 2})),
        ([{"CPU": 8.0}, {"CPU": 4.0}], 1, (2, {"num_cpus": 4})),
        ([{"memory": 1e9}, {"CPU": 8.0}], 1, (1, {"num_cpus": 8})),
        ([{"CPU": 2.0}], 5, (5, {"num_cpus": 1})),
        ([{"CPU": 8.0, "GPU": 4.0}, {"CPU": 8.0}], 1, (4, {"num_gpus": 1})),
    ],
)
def test_tasks_take_their_part_of_the_cluster(nodes, tasks, shared):
    ray = SimpleNamespace(nodes=lambda: [{"Alive": True, "Resources": node} for node in nodes])
    assert _share(ray, tasks) == shared


def wish(retriever, passages, output, **more):
    return EncodeSettings(
        retriever=str(retriever),
        passages=str(passages),
        output_dir=str(output),
        shard_size=50,
        **more,
    )


def test_without_ray_it_says_what_to_install(small_retriever, tiny_passages, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"dprkit\[ray\]"):
        encode_corpus(wish(small_retriever, tiny_passages, tmp_path / "e", engine="ray"))


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("ray"), reason="needs the extra ray")
@pytest.mark.parametrize("kind", ["small_retriever", "small_colbert"])
def test_tasks_of_ray_share_the_shards_out(kind, request, tiny_passages, tmp_path, monkeypatch):
    retriever = request.getfixturevalue(kind)
    monkeypatch.chdir(tmp_path)
    local = wish(retriever, tiny_passages, tmp_path / "local")
    encode_corpus(local)
    there = msgspec.structs.replace(local, output_dir="there", engine="ray", num_processes=2)
    assert encode_corpus(there, Run()).shards == 6
    made, expected = read_manifest("there"), read_manifest("local")
    assert (made.identity, made.counts) == (expected.identity, expected.counts)
    again = encode_corpus(there, Run(command=("dprkit", "again"), restart=True), shard="2/2")
    assert (again.shards, again.of_shards) == (3, 6)
    assert encode_corpus(there, Run(command=("dprkit", "again"))).shards == 6
    assert read_manifest("there").command == ("dprkit", "again")
    broken = tmp_path / "broken.tsv"
    broken.write_text("id\ttext\ttitle\n1\ta\tb\n1\ta\tb\n")
    with pytest.raises(FormatError, match="is that of passage 1 too"):
        encode_corpus(wish(retriever, broken, tmp_path / "no", engine="ray"))
