"""What many tests share: a small real retriever, a small workspace, and ways to run dprkit."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis.configuration import set_hypothesis_home_dir
from typer import testing as typer_testing
from typer.testing import CliRunner

from dprkit.embeddings.encode import encode_corpus
from dprkit.embeddings.shards import write_shard
from dprkit.indexes.build import index
from dprkit.progress import Run
from dprkit.settings import EncodeSettings, IndexSettings, TrainSettings, bundled
from dprkit.store.begin_or_resume import draft

# Before torch is imported: for models as small as these more threads only get in the way.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# What is written in tests need not outlive a power cut, and in this process is not tested for it.
os.fsync = lambda fd: None
# The libraries' many objects stay: looking through them again and again took a fifth of the time.
gc.set_threshold(50_000, 20, 50)
# All commands are made once, not anew for each call, which took longest of it.
typer_testing._get_command = functools.cache(typer_testing._get_command)
# Nothing is fetched: a hub that cannot be reached is asked again and again.
os.environ["HF_HUB_OFFLINE"] = "1"

# Commands heed signals only where these are not ignored from the start, as they are for the
# background job of a script or after nohup; what tests start inherits this.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, signal.SIG_DFL)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
# What dprkit remembers of files is nothing for the user's own folders.
CACHE = tempfile.TemporaryDirectory(prefix="dprkit-tests-")
os.environ["XDG_CACHE_HOME"] = CACHE.name
os.environ.pop("DPRKIT_CACHE", None)

set_hypothesis_home_dir(Path(__file__).parents[1] / ".venv/cache/hypothesis")
# How slow a busy machine is says nothing of the code.
hypothesis_settings.register_profile(
    "here", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("here")

SMALL = {
    "scratch_hidden_size": 16,
    "scratch_vocab_size": 600,
    "projection": 8,
    "batch_size": 16,
}


@pytest.fixture(scope="session")
def tiny_examples() -> Path:
    """The shipped examples: 240 rows in DPR's form."""
    return bundled("bundled:tiny/examples.json")


@pytest.fixture(scope="session")
def tiny_passages() -> Path:
    return bundled("bundled:tiny/passages.tsv")


@pytest.fixture(scope="session")
def small_retriever(tmp_path_factory: pytest.TempPathFactory, tiny_examples: Path) -> Path:
    """A retriever with random weights, 8 dimensions wide."""
    from dprkit.training.train import train

    folder = tmp_path_factory.mktemp("small") / "model"
    train(
        TrainSettings(
            train_file=(str(tiny_examples),), max_epochs=0, output_dir=str(folder), **SMALL
        )
    )
    return folder


@pytest.fixture(scope="session")
def small_colbert(tmp_path_factory: pytest.TempPathFactory, tiny_examples: Path) -> Path:
    """A ColBERT model with random weights: 8 numbers a token, questions of 12 tokens."""
    return write_colbert(tmp_path_factory.mktemp("late") / "model", tiny_examples)


def write_colbert(folder: Path, examples: Path, **config: Any) -> Path:
    """A small ColBERT model with random weights; `config`: fields of its ColbertConfig."""
    import torch

    from dprkit.data.examples import read_examples
    from dprkit.models.config import ColbertConfig
    from dprkit.models.from_scratch import learn_tokenizer, tiny_roberta
    from dprkit.models.late_interaction import Colbert
    from dprkit.models.late_tokens import LateTokens
    from dprkit.models.probe_texts import save_probes
    from dprkit.models.retriever_folder import save_retriever
    from dprkit.progress import Run
    from dprkit.store.begin_or_resume import draft

    texts = (p.text for example in read_examples(examples) for p in example.positives)
    tokenizer = learn_tokenizer(texts, 600)
    use = {"embedding_size": 8, "question_max_length": 12, "passage_max_length": 40, **config}
    use.setdefault("expansion_length", 12)
    tokens = LateTokens((tokenizer, {}), ColbertConfig(**use))
    torch.manual_seed(0)
    size = TrainSettings(scratch_hidden_size=16, scratch_dropout=0.0)
    model = Colbert(tiny_roberta(size, tokenizer.get_vocab_size()), tokens).eval()
    with draft(folder, "retriever", {}, {}, Run()) as work:
        save_retriever(work, model, tokens)
        save_probes(work, model, tokens)
        work.finish({"untrained": True})
    return folder


def write_reader(folder: Path, examples: Path, **config: Any) -> Path:
    """A small reader with random weights, large ones in its heads; `config`: of ReaderConfig."""
    import torch

    from dprkit.data.examples import read_examples
    from dprkit.models.from_scratch import learn_tokenizer, tiny_roberta
    from dprkit.models.reader_probes import save_reader_probes
    from dprkit.models.reading import save_reader
    from dprkit.training.initial_reader import Start, reader_from

    texts = (p.text for example in read_examples(examples) for p in example.positives)
    tokenizer = learn_tokenizer(texts, 600)
    torch.manual_seed(0)
    size = TrainSettings(scratch_hidden_size=16, scratch_dropout=0.0)
    backbone = tiny_roberta(size, tokenizer.get_vocab_size())
    start = Start(backbone, (tokenizer, {}), folder, {})
    model, tokens = reader_from(start, {"passage_max_length": 120, **config})
    for head in model.heads.values():
        torch.nn.init.normal_(head.weight)
    with draft(folder, "reader", {}, {}, Run()) as work:
        save_reader(work, model, tokens)
        save_reader_probes(work, model, tokens)
        work.finish({})
    return folder


def remade(directory: Path) -> Path:
    """Write a manifest for the files of an artifact as they are now: one that was made so."""
    from dprkit.store.integrity import record_file
    from dprkit.store.manifests import MANIFEST, identity_of, read_manifest, with_checksum

    made = read_manifest(directory)
    files = {
        name: record_file(directory / name, record.content) for name, record in made.files.items()
    }
    identity = identity_of(made.kind, files)
    now = with_checksum(msgspec.structs.replace(made, files=files, identity=identity))
    (directory / MANIFEST).write_bytes(msgspec.json.encode(now))
    return directory


def killed_at_the_end(monkeypatch: pytest.MonkeyPatch, make: Callable[[], object]) -> None:
    """Make an artifact in a run that is killed when only its manifest is lacking."""
    from dprkit.store.drafts import Draft

    def kill(work: Draft, counts: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Draft, "finish", kill)
        with pytest.raises(KeyboardInterrupt):
            make()


# --- the command line -----------------------------------------------------------------------------

RECIPE = """\
select-data: {sources: [bundled:tiny/examples.json], split: {train: 16, valid: 8, test: 8}}
train: {max_epochs: 2, batch_size: 8, projection: 8, scratch_hidden_size: 16, \
scratch_vocab_size: 400, valid_hard_negatives: 1, valid_negatives: 1}
encode-corpus: {passages: bundled:tiny/passages.tsv, shard_size: 100}
index: {}
evaluate: {topk: [1, 5]}
"""
FOLDERS = {
    "select-data": "data",
    "train": "model",
    "encode-corpus": "embeddings",
    "index": "index",
    "evaluate": "results",
}
"""stage -> the folder in runs/NAME that it writes to."""
STAGES_RUN = tuple(FOLDERS)
DPRKIT = [sys.executable, "-m", "dprkit"]


def call(*words: object, **how: Any) -> Any:
    """Run a command in this process: exit_code, stdout and stderr."""
    from dprkit.cli.app import app

    return CliRunner().invoke(app, [str(word) for word in words], **how)


def in_force(*words: object) -> dict[str, Any]:
    """stage -> setting -> its value and where it comes from, as `config show` has them."""
    stages: dict[str, Any] = json.loads(call("config", "show", "--json", *words).stdout)["stages"]
    return stages


def environment(**more: str) -> dict[str, str]:
    """The environment of a command of its own, with `more` in it."""
    return {**os.environ, "COLUMNS": "80", **more}


def shell(*words: object, **how: Any) -> subprocess.CompletedProcess[str]:
    """Run a command as the shell does, in a process of its own."""
    how = {"env": environment(), "capture_output": True, "text": True, "timeout": 120} | how
    return subprocess.run([*DPRKIT, *map(str, words)], **how)


def as_anyone(*powers: int) -> None:
    """For preexec_fn: root loses powers of its own, at first to read and write any file."""
    libc = ctypes.CDLL(None)
    for capability in powers or (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP; for others than root it fails


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with dprkit.yaml and runs/dprkit/, all five stages done. Not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "dprkit.yaml").write_text(RECIPE)
    with contextlib.chdir(folder):
        result = call("run", "--quiet")
    assert result.exit_code == 0, result.stderr
    return folder


@pytest.fixture
def work(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the finished workspace, as the current folder."""
    folder = tmp_path / "work ü"
    shutil.copytree(finished, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with an awkward name, as the current folder."""
    folder = tmp_path / "my experiment ü"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """mount("size=100k") gives a folder with a file system of its own; needs to be root."""
    mounted = []

    def tmpfs(options: str) -> Path:
        folder = tmp_path / f"mount-{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("mounting a small file system is not permitted here")
        mounted.append(folder)
        return folder

    yield tmpfs
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture(scope="session")
def small_index(
    tmp_path_factory: pytest.TempPathFactory, small_retriever: Path, tiny_passages: Path
) -> Path:
    """The shipped passages, encoded in shards of 100 and indexed."""
    folder = tmp_path_factory.mktemp("corpus")
    encode_corpus(
        EncodeSettings(
            retriever=str(small_retriever),
            passages=str(tiny_passages),
            output_dir=str(folder / "embeddings"),
            shard_size=100,
        )
    )
    index(IndexSettings(embeddings=str(folder / "embeddings"), output_dir=str(folder / "index")))
    return folder / "index"


@pytest.fixture(scope="session")
def vectors() -> np.ndarray:
    """(2000, 16) float32 of different lengths, in clusters."""
    dice = np.random.default_rng(0)
    centres = dice.standard_normal((40, 16))
    found = centres[dice.integers(0, 40, 2000)] + 0.5 * dice.standard_normal((2000, 16))
    return found.astype(np.float32)


@pytest.fixture(scope="session")
def write_embeddings() -> Callable[..., Path]:
    return _write_embeddings


def _write_embeddings(folder: Path, vectors: np.ndarray, shard: int = 300) -> Path:
    """An embeddings artifact of these vectors, of a corpus that is a file."""
    corpus = folder.parent / f"{folder.name}.txt"
    corpus.write_text(folder.name)
    with draft(folder, "embeddings", {}, {"passages": str(corpus)}, Run()) as work:
        begins = range(0, len(vectors), shard)
        for number, begin in enumerate(begins):
            own = vectors[begin : begin + shard]
            write_shard(work, number, own, [f"p{begin + n}" for n in range(len(own))])
        count, dim = vectors.shape
        work.finish({"passages": count, "dim": dim, "shards": len(begins)})
    return folder


@pytest.fixture(scope="session")
def embeddings(tmp_path_factory: pytest.TempPathFactory, vectors: np.ndarray) -> Path:
    return _write_embeddings(tmp_path_factory.mktemp("vectors") / "embeddings", vectors)


def words_of(folder: Path, texts: Mapping[str, str]) -> None:
    """Make folder/words, a BM25 index of `texts` by their ids."""
    corpus = folder / "corpus.tsv"
    corpus.write_text("id\ttext\ttitle\n" + "".join(f"{k}\t{v}\t\n" for k, v in texts.items()))
    index(IndexSettings(type="bm25", passages=str(corpus), output_dir=str(folder / "words")))
