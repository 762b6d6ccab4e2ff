"""open_index: every manifest is read once, whatever is opened."""

from __future__ import annotations

from collections import Counter

import pytest

from dprkit.evaluation.evaluate import evaluate
from dprkit.indexes.build import index
from dprkit.indexes.index_folder import IndexFolder
from dprkit.indexes.update import update_index
from dprkit.search.open_index import open_index
from dprkit.settings import EvaluateSettings, IndexSettings, UpdateSettings
from dprkit.store import manifests


@pytest.fixture
def reads(monkeypatch):
    """How often each manifest was read."""
    counts, decode = Counter(), manifests._decoded

    def counted(path, kind):
        counts["/".join(path.parts[-2:])] += 1
        return decode(path, kind)

    monkeypatch.setattr(manifests, "_decoded", counted)
    return counts


def made(small_index, folder, kind):
    vectors = str(small_index.parent / "embeddings")
    index(IndexSettings(embeddings=vectors, output_dir=str(folder), type=kind))
    return str(folder)


def test_a_search_reads_each_manifest_once(small_index, tmp_path, reads):
    exact, words = (made(small_index, tmp_path / kind, kind) for kind in ("exact", "bm25"))
    (tmp_path / "gone.txt").write_text("1\n")
    gone, up = str(tmp_path / "gone.txt"), str(tmp_path / "up")
    update_index(UpdateSettings(index=exact, remove=gone, output_dir=up))
    for folder, other, artifacts in (
        (str(small_index), None, {small_index.name, "model"}),
        (exact, words, {"exact", "bm25", "embeddings", "model"}),
        (up, None, {"up", "exact", "embeddings", "model"}),
    ):
        reads.clear()
        searcher = open_index(folder, hybrid=other)
        assert searcher.search(["who painted the mona lisa"], 3)[0].hits
        graph = {"question/manifest.json"} & reads.keys()  # where onnxruntime is installed
        assert reads == dict.fromkeys({f"{name}/manifest.json" for name in artifacts} | graph, 1)


def test_an_evaluation_verifies_its_index_once(small_index, tmp_path, monkeypatch):
    verified, verify = [], IndexFolder.verify
    monkeypatch.setattr(
        IndexFolder, "verify", lambda folder: (verified.append(folder.path), verify(folder))
    )
    questions = tmp_path / "q.jsonl"
    questions.write_text('{"question": "who painted the mona lisa", "answers": ["leonardo"]}\n')
    for output in (None, str(tmp_path / "results")):
        verified.clear()
        wish = {"index": str(small_index), "questions": str(questions), "output_dir": output}
        assert evaluate(EvaluateSettings(**wish, topk=(1,))).questions == 1
        assert verified == [small_index]
