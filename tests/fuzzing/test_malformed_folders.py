"""Vectors, recipes, artifacts and model folders that went wrong: refused in one line, or right."""

from __future__ import annotations

import io
import json
import pickle
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.conftest import call
from tests.fuzzing.endings import remove, told, wrong_end
from tests.fuzzing.mutations import BYTES, JSON, mutated
from tests.interop import foreign

pytestmark = pytest.mark.slow

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The one that dprkit reads with: they differ on a tab within brackets."""
SEED = 20261126


def _draw(name: str) -> random.Random:
    return random.Random(f"{SEED} {name}")


# --- vectors --------------------------------------------------------------------------------------

IDS = ["a", "b", "c"]
VECTORS = np.arange(24, dtype=np.float32).reshape(3, 8)


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


WHOLE_VECTORS = {
    "v.npy": _npy(VECTORS),
    "dpr.pkl": pickle.dumps(list(zip(IDS, VECTORS, strict=True))),
    "tevatron.pkl": pickle.dumps((VECTORS, IDS)),
    "old.pkl": pickle.dumps(list(zip(IDS, VECTORS, strict=True)), protocol=2),
}


class _Harmless(pickle.Unpickler):
    """Python's own unpickler, for arrays and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        allowed = {"_reconstruct", "ndarray", "dtype", "_frombuffer", "encode"}
        if module.split(".")[0] not in ("numpy", "_codecs") or name not in allowed:
            raise pickle.UnpicklingError(f"{module}.{name}")
        return super().find_class(module, name)


def _right_vectors(name: str, data: bytes) -> dict[str, np.ndarray]:
    if name.endswith(".npy"):
        return dict(zip(IDS, np.load(io.BytesIO(data), allow_pickle=False), strict=True))
    value = _Harmless(io.BytesIO(data)).load()
    pairs = zip(value[1], value[0], strict=True) if isinstance(value, tuple) else value
    return {str(id_): np.asarray(vector) for id_, vector, *_ in pairs}


def test_malformed_vectors_are_refused_or_read_as_numpy_and_pickle_read_them(
    tmp_path: Path, small_retriever: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("p.jsonl").write_text("".join(f'{{"id": "{i}", "text": "text {i}"}}\n' for i in IDS))
    Path("v.ids.txt").write_text("\n".join(IDS) + "\n")
    draw, out = _draw("vectors"), tmp_path / "out"

    def faults() -> Iterator[str]:
        for number in range(300):
            name = draw.choice(sorted(WHOLE_VECTORS))
            data = mutated(WHOLE_VECTORS[name], BYTES, draw)
            Path(name).write_bytes(data)
            given = ["--retriever", small_retriever, "--passages", "p.jsonl", "--output-dir", out]
            result = call("import-embeddings", name, *given, "--no-check", "-q")
            wrong = wrong_end(result.exit_code, result.stdout, result.stderr, out)
            wrong = wrong or (result.exit_code == 0 and _other_vectors(out, name, data))
            if wrong:
                yield f"{number} {name} {data[:200]!r}: {wrong}"
            remove(out)

    told(faults())


def _other_vectors(out: Path, name: str, data: bytes) -> str:
    found = np.load(out / "vectors-00000.npy")
    try:
        right = _right_vectors(name, data)
    except Exception as error:
        return f"taken, where Python finds {error!r}"
    wanted = np.stack([right[id_] for id_ in IDS])
    return "" if np.array_equal(found, wanted.astype(found.dtype)) else "other vectors"


# --- recipes --------------------------------------------------------------------------------------

RECIPE = b"""\
name: mine  # a comment
select-data:
  sources: [a.jsonl, 'b "c".jsonl']
  split: {train: 100, valid: 10}
  seed: 3
train:
  max_epochs: 4
  lr: 2.0e-5
  similarity: cosine
  shared: true
encode-corpus: {passages: p.tsv, shard_size: 1000}
index: {type: ivf}
evaluate: {topk: [1, 5, 20], match: string}
"""


def test_a_malformed_recipe_is_refused_or_holds_what_yaml_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    draw, path = _draw("recipes"), tmp_path / "r.yaml"

    def faults() -> Iterator[str]:
        for number in range(300):
            data = mutated(RECIPE, BYTES, draw)
            path.write_bytes(data)
            result = call("config", "show", "--config", path, "--json")
            wrong = wrong_end(result.exit_code, result.stdout, result.stderr, tmp_path / "none")
            wrong = wrong or (result.exit_code == 0 and _other_settings(result.stdout, data))
            if wrong:
                yield f"{number} {data!r:.500}: {wrong}"

    told(faults())


def _other_settings(stdout: str, data: bytes) -> str:
    shown = json.loads(stdout)["stages"]
    for stage, settings in (yaml.load(data, LOADER) or {}).items():
        if stage in ("name", "description"):
            continue
        for key, value in (settings or {}).items():
            found = shown[stage.replace("_", "-")][key.replace("-", "_")]["value"]
            if not _same_setting(found, value):
                return f"{stage}.{key} is {found!r}, not {value!r}"
    return ""


def _same_setting(found: Any, written: Any) -> bool:
    """Equal, or the same text, as numbers written as text are; paths may have got a folder."""
    if isinstance(found, list) and not isinstance(written, list | dict):
        written = str(written).split(",")
    if isinstance(found, list | dict) and len(found) == len(written):
        pairs = zip(found, written, strict=True)
        return isinstance(found, dict) or all(_same_setting(a, b) for a, b in pairs)
    text = str(written)
    return (
        found == written
        or str(found) == text
        or str(found).endswith(f"/{text}")
        or (isinstance(found, int | float) and float(found) == float(written))
    )


# --- artifacts ------------------------------------------------------------------------------------


def test_a_malformed_artifact_is_refused_in_one_line(work: Path) -> None:
    """Whatever was changed in it is told, or harmless."""
    Path("q.txt").write_text("how tall is mount kilimanjaro\n")
    runs = work / "runs" / "dprkit"
    files = [
        *(runs / name / "manifest.json" for name in ("embeddings", "index", "model", "results")),
        runs / "model" / "retriever.yaml",
        runs / "model" / "question_encoder" / "config.json",
        runs / "model" / "question_encoder" / "tokenizer.json",
        runs / "embeddings" / "ids-00000.txt",
    ]
    commands: list[list[object]] = [
        ["info", runs / "model"],
        ["info", runs / "index"],
        ["search", "--questions", "q.txt", "-o", "out"],
        ["index", "--output-dir", "out", "-q"],
        ["evaluate", "--output-dir", "out", "-q"],
    ]
    draw, out = _draw("artifacts"), work / "out"

    def faults() -> Iterator[str]:
        for number in range(160):
            path, command = draw.choice(files), draw.choice(commands)
            before = path.read_bytes()
            data = mutated(before, JSON if path.suffix == ".json" else BYTES, draw)
            path.write_bytes(data)
            result = call(*command)
            if wrong := wrong_end(result.exit_code, result.stdout, result.stderr, out):
                yield f"{number} {path.relative_to(runs)} {command[0]} {data[:200]!r}: {wrong}"
            path.write_bytes(before)
            remove(out)

    told(faults())


# --- model folders --------------------------------------------------------------------------------

TEXTS = ["who wrote hamlet", "Where is the NILE?", "a river in été " * 3]


@pytest.fixture(scope="module")
def sentence_transformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source") / "model"
    pooling = {"word_embedding_dimension": 16, "pooling_mode_mean_tokens": True}
    foreign.save_sentence_transformer(
        folder, modules=[("Pooling", pooling), ("Normalize", {})], similarity_fn_name="cosine"
    )
    return folder


def test_a_malformed_model_folder_is_refused_or_gives_the_vectors_of_its_library(
    sentence_transformer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model, out, draw = tmp_path / "model", tmp_path / "out", _draw("models")
    shutil.copytree(sentence_transformer, model)
    files = sorted(path for path in model.rglob("*") if path.suffix in (".json", ".txt"))

    def faults() -> Iterator[str]:
        for number in range(240):
            path = draw.choice(files)
            before = path.read_bytes()
            data = mutated(before, [JSON[-1]] if draw.random() < 0.7 else BYTES, draw)
            path.write_bytes(data)
            result = call("convert", model, "--output-dir", out, "-q")
            wrong = wrong_end(result.exit_code, result.stdout, result.stderr, out)
            wrong = wrong or (result.exit_code == 0 and _other_model(out, model))
            if wrong:
                yield f"{number} {path.relative_to(model)} {_change(before, data)}: {wrong}"
            path.write_bytes(before)
            remove(out)

    told(faults())


def _change(before: bytes, data: bytes) -> str:
    """Where the first difference is."""
    at = next((i for i, (a, b) in enumerate(zip(before, data, strict=False)) if a != b), len(data))
    return f"{before[max(at - 30, 0) : at + 40]!r} -> {data[max(at - 30, 0) : at + 40]!r}"


def _other_model(out: Path, model: Path) -> str:
    from sentence_transformers import SentenceTransformer

    import dprkit

    found = dprkit.load_retriever(out).encode_passages([("", text) for text in TEXTS])
    try:
        library: Callable[..., Any] = SentenceTransformer(str(model), device="cpu").encode
        right = library(TEXTS)
    except Exception as error:
        if "Asking to pad" in str(error):  # dprkit needs no token for that
            return ""
        return f"taken, where sentence-transformers finds {error!r:.200}"
    if found.shape != right.shape:
        return f"vectors {found.shape}, not {right.shape}"
    if "similarity: cosine" in (out / "retriever.yaml").read_text():
        right = right / np.linalg.norm(right, axis=1, keepdims=True)
    far = float(np.abs(found - right).max())
    return "" if far < 1e-4 else f"vectors differ by {far}"
