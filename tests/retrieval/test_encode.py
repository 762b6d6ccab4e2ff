import numpy as np
import pytest

from dprkit.data.formats import read_passages
from dprkit.errors import FormatError, InputError
from dprkit.manifests import read_manifest
from dprkit.models.retriever import load_retriever
from dprkit.progress import Progress, Run
from dprkit.retrieval.encode import check_ids, encode_corpus
from dprkit.retrieval.vectors import Embeddings
from dprkit.settings import EncodeSettings


def settings(retriever, passages, output, **more):
    return EncodeSettings(
        retriever=str(retriever), passages=str(passages), output_dir=str(output), **more
    )


def test_shards_hold_the_vectors_of_the_passages_in_order(small_retriever, tiny_passages, tmp_path):
    report = encode_corpus(settings(small_retriever, tiny_passages, tmp_path / "e", shard_size=100))
    embeddings = Embeddings(tmp_path / "e")
    passages = list(read_passages(tiny_passages))
    assert (report.passages, report.shards, report.dim) == (282, 3, 8)
    assert embeddings.ids() == [p.id for p in passages]
    assert [len(shard) for shard in embeddings.vectors()] == [100, 100, 82]
    one_by_one = np.concatenate(
        [load_retriever(small_retriever).encode_passages([p]) for p in passages[:40]]
    )
    np.testing.assert_allclose(next(embeddings.vectors())[:40], one_by_one, atol=1e-5)


def test_float16_halves_the_file_and_keeps_three_digits(small_retriever, tiny_passages, tmp_path):
    for dtype in ("float32", "float16"):
        encode_corpus(settings(small_retriever, tiny_passages, tmp_path / dtype, dtype=dtype))
    full, half = (
        np.concatenate(list(Embeddings(tmp_path / dtype).vectors()))
        for dtype in ("float32", "float16")
    )
    assert half.dtype == np.float16
    np.testing.assert_allclose(half, full, atol=2e-3)


class StopAfter(Progress):
    """A user who presses Ctrl-C after so many passages."""

    def __init__(self, passages):
        self.left = passages

    def advance(self, count, facts=None):
        self.left -= count
        if self.left <= 0:
            raise KeyboardInterrupt


def test_a_stopped_encode_ends_with_the_same_bytes(small_retriever, tiny_passages, tmp_path):
    whole = settings(small_retriever, tiny_passages, tmp_path / "whole", shard_size=50)
    encode_corpus(whole)
    broken = settings(small_retriever, tiny_passages, tmp_path / "broken", shard_size=50)
    for stop in (30, 60, 140):
        with pytest.raises(KeyboardInterrupt):
            encode_corpus(broken, Run(StopAfter(stop)))
        with pytest.raises(InputError, match="unfinished"):
            read_manifest(tmp_path / "broken")
    encode_corpus(broken)
    one, other = (read_manifest(tmp_path / name) for name in ("whole", "broken"))
    assert one.files == other.files
    assert one.identity == other.identity


def test_a_duplicate_id_is_refused_by_its_place(tmp_path):
    path = tmp_path / "p.tsv"
    path.write_text("1\ta\tt\n2\tb\tt\n1\tc\tt\n")
    with pytest.raises(FormatError, match=r"p.tsv:passage 3: the id '1' is that of passage 1"):
        check_ids(str(path))


@pytest.mark.parametrize(
    ("text", "problem"),
    [("id\ttext\ttitle\n", "holds no passage"), ('"a\nb"\tx\ty\n', "the id holds a line break")],
)
def test_a_corpus_without_passages_or_with_ids_on_two_lines_is_refused(text, problem, tmp_path):
    (tmp_path / "p.tsv").write_text(text)
    with pytest.raises(FormatError, match=problem):
        check_ids(str(tmp_path / "p.tsv"))


def test_passages_are_counted(tiny_passages):
    assert check_ids(str(tiny_passages)) == 282


def test_a_cut_shard_is_named(small_retriever, tiny_passages, tmp_path):
    encode_corpus(settings(small_retriever, tiny_passages, tmp_path / "e"))
    shard = tmp_path / "e" / "vectors-00000.npy"
    shard.write_bytes(shard.read_bytes()[:-10])
    with pytest.raises(InputError, match=r"vectors-00000.npy: .* bytes where the manifest has"):
        list(Embeddings(tmp_path / "e").vectors())
