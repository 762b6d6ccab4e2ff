"""import-data of a name on the Hugging Face hub, which a local server stands for."""

from __future__ import annotations

import io
import json

import pytest

from tests.conftest import environment, shell
from tests.hub_server import serving

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")

CARD = """---
configs:
- config_name: pair
  data_files:
  - split: train
    path: pair/train-*
- config_name: triplet
  data_files: triplet/*.parquet
---
"""


def parquet(rows):
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file.getvalue()


@pytest.mark.slow
def test_a_name_is_fetched_once_and_only_the_subset_that_is_read(tmp_path):
    row = {"anchor": "q", "positive": "p"}
    with serving() as hub:
        hub.repos["datasets/me/pairs"] = {
            "README.md": CARD.encode(),
            "pair/train-00000-of-00001.parquet": parquet([row]),
            "triplet/x.parquet": parquet([row | {"negative": "n"}]),
        }
        hub.repos["datasets/me/beir"] = {
            "corpus.jsonl": b'{"_id": "1", "title": "T", "text": "t"}\n',
            "model.bin": b"0" * 1000,
        }
        here = {"env": environment(**hub.environment(tmp_path / "hf")), "cwd": tmp_path}
        refused = shell("import-data", "me/pairs", "--output-dir", "out", **here)
        assert refused.returncode == 1
        assert "has several subsets: pair, triplet; name one with --subset" in refused.stderr
        words = ["import-data", "me/pairs", "--subset", "triplet", "--output-dir", "out", "--json"]
        made = shell(*words, **here)
        assert made.returncode == 0, made.stderr
        assert json.loads(made.stdout)["written"]["examples"] == 1
        (line,) = (tmp_path / "out/train.jsonl").read_text().splitlines()
        assert json.loads(line)["hard_negative_ctxs"][0]["text"] == "n"
        again = shell(*words, **here)
        assert json.loads(again.stdout)["up_to_date"]
        whole = shell("import-data", "me/beir", "--output-dir", "beir", **here)
        assert whole.returncode == 0, whole.stderr
        assert (tmp_path / "beir/passages.jsonl").read_text().count("\n") == 1
        assert sorted(hub.asked) == ["README.md", "corpus.jsonl", "triplet/x.parquet"]
        absent = shell("import-data", "me/nothing", "--dry-run", **here)
        assert absent.returncode == 1
        assert "me/nothing: no such folder here, nor given by the hub" in absent.stderr
        assert absent.stderr.count("\n") == 2  # that the hub is asked, and the error
    offline = shell(*words, "--restart", **here)  # from the cache
    assert offline.returncode == 0, offline.stderr
    unknown = shell("import-data", "me/other", "--output-dir", "other", **here)
    assert "cannot be asked: " in unknown.stderr
    assert "check the name, or name the file or folder" in unknown.stderr
