from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from dprkit.data.npy import write_header
from dprkit.embeddings.shards import Embeddings
from dprkit.embeddings.token_shards import (
    PassageTokens,
    TokenShards,
    all_names,
    as_float,
    growing_token_shard,
    is_tokens,
    shard_in,
)
from dprkit.errors import InputError
from dprkit.models.token_vectors import Int8Tokens, TokenVectors
from dprkit.progress import Run
from dprkit.store.begin_or_resume import draft
from dprkit.store.manifests import read_manifest
from tests.conftest import remade

DIM = 8
COUNT = 70
DTYPES = ("float16", "float32", "int8")


def passages(count: int = COUNT, seed: int = 0) -> TokenVectors:
    """Token vectors of passages of 0 to 9 tokens."""
    dice = np.random.default_rng(seed)
    texts = [dice.standard_normal((n, DIM)) for n in dice.integers(0, 10, count)]
    return TokenVectors.of([text.astype(np.float32) for text in texts], DIM)


def in_8_bits(tokens: TokenVectors) -> Int8Tokens:
    scales = np.abs(tokens.values).max(axis=1) / 127
    values = np.rint(tokens.values / scales[:, None]).astype(np.int8)
    return Int8Tokens(values, scales.astype(np.float32), tokens.bounds)


def write(folder: Path, tokens: TokenVectors, dtype: str, shard: int = 30) -> Path:
    """An artifact of these token vectors, as encode-corpus writes it: a few passages at a time."""
    corpus = folder.parent / f"{folder.name}.txt"
    corpus.write_text(folder.name)
    count = len(tokens)
    numbers = range(-(-count // shard))
    with draft(folder, "embeddings", {"dtype": dtype}, {"passages": str(corpus)}, Run()) as work:
        for number in numbers:
            rows = range(number * shard, min((number + 1) * shard, count))
            with growing_token_shard(work, number, len(rows), tokens.dim, dtype) as add:
                for begin in range(rows.start, rows.stop, 7):
                    some = np.arange(begin, min(begin + 7, rows.stop))
                    part = tokens.take(some)
                    kept = in_8_bits(part) if dtype == "int8" else part
                    ids = [f"p{row}" for row in some]
                    add(PassageTokens(part.means(), kept, some % 5 == 0), ids, some.astype("<u8"))
        counts = {"passages": count, "dim": tokens.dim, "shards": len(numbers), "kind": "tokens"}
        work.finish({**counts, "tokens": len(tokens.values), "cut": 0})
    return folder


@pytest.fixture(scope="module", params=DTYPES)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("tokens") / "e", passages(), request.param)


def opened(folder: Path) -> TokenShards:
    return TokenShards(Embeddings(folder))


def expected(folder: Path) -> TokenVectors:
    """What an artifact of `passages()` keeps, as float32."""
    dtype, tokens = read_manifest(folder).settings["dtype"], passages()
    if dtype == "int8":
        return as_float(in_8_bits(tokens))
    return TokenVectors(tokens.values.astype(dtype).astype(np.float32), tokens.bounds)


def equal(one: TokenVectors, other: TokenVectors) -> None:
    np.testing.assert_array_equal(one.bounds, other.bounds)
    np.testing.assert_array_equal(one.values, other.values)


def test_the_files_are_arrays_that_numpy_reads(written: Path) -> None:
    manifest, tokens = read_manifest(written), passages()
    dtype = manifest.settings["dtype"]
    assert sorted(manifest.files) == sorted(n for i in range(3) for n in all_names(i, dtype))
    lengths = [np.load(written / f"lengths-0000{n}.npy") for n in range(3)]
    values = [np.load(written / f"tokens-0000{n}.npy") for n in range(3)]
    assert [len(part) for part in lengths] == [30, 30, 10]
    assert {part.dtype for part in lengths} == {np.dtype("int32")}
    assert {part.dtype for part in values} == {np.dtype(dtype)}
    np.testing.assert_array_equal(np.concatenate(lengths), tokens.counts)
    if dtype == "int8":
        scales = np.concatenate([np.load(written / f"scales-0000{n}.npy") for n in range(3)])
        assert scales.shape == (len(tokens.values),)
        largest = np.abs(tokens.values).max(axis=1, keepdims=True)
        given_back = np.concatenate(values) * scales[:, None]
        assert (np.abs(given_back - tokens.values) <= largest / 250).all()


def test_the_means_are_the_vectors_that_every_index_reads(written: Path) -> None:
    embeddings = Embeddings(written)
    embeddings = Embeddings(written)
    np.testing.assert_array_equal(
        np.concatenate(list(embeddings.vectors())), passages().means().astype(np.float16)
    )
    assert embeddings.ids() == [f"p{row}" for row in range(COUNT)]


def test_counts_and_sizes_are_told(written: Path) -> None:
    shards = opened(written)
    assert (shards.count, shards.dim, shards.tokens) == (COUNT, DIM, len(passages().values))
    assert shards.token_bytes == {"float16": 16, "float32": 32, "int8": 12}[shards.dtype]


@pytest.mark.parametrize("resident", [0, 1000, 1 << 30])
@pytest.mark.parametrize("block", [4 * DIM, 400, 1 << 20])
def test_blocks_are_the_corpus_in_order(
    written: Path, resident: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dprkit.embeddings.token_shards.BLOCK_BYTES", block)
    shards, kept, row = opened(written), expected(written), 0
    for first, tokens in shards.blocks(resident):
        assert first == row
        assert len(tokens) == 1 or tokens.values.size * 4 <= block
        assert first // 30 == (first + len(tokens) - 1) // 30  # of one shard
        assert isinstance(tokens, Int8Tokens) == (shards.dtype == "int8")
        equal(as_float(tokens), kept.take(np.arange(row, row + len(tokens))))
        row += len(tokens)
    assert row == COUNT


@pytest.mark.parametrize(
    "rows", [[], [0], [COUNT - 1, 0, 33, 33, 29, 30], list(range(COUNT)), [60, 59]]
)
def test_passages_are_taken_in_any_order(written: Path, rows: list[int]) -> None:
    shards, kept = opened(written), expected(written)
    chosen = np.array(rows, np.int64)
    equal(shards.take_float(chosen), kept.take(chosen))
    raw = shards.take(chosen)
    assert raw.values.dtype == shards.dtype
    assert raw.values.flags.writeable  # a copy, and no view of the map


def test_passages_of_a_shard_are_read_for_another_one(written: Path) -> None:
    dtype, rows = read_manifest(written).settings["dtype"], np.array([29, 0, 4])
    kept = shard_in(written, 1, dtype).take(rows)
    equal(as_float(kept.tokens), expected(written).take(30 + rows))
    assert kept.tokens.values.dtype == dtype
    np.testing.assert_array_equal(
        kept.means, Embeddings(written).take(30 + rows[[1, 2, 0]])[[2, 0, 1]]
    )
    assert kept.cut.tolist() == [False, True, False]


def test_a_shard_without_any_token_is_read(tmp_path: Path) -> None:
    empty = TokenVectors(np.empty((0, DIM), np.float32), np.zeros(6, np.int64))
    for dtype in DTYPES:
        shards = opened(write(tmp_path / dtype, empty, dtype, shard=2))
        assert [len(tokens) for _, tokens in shards.blocks()] == [2, 2, 1]
        assert len(shards.take_float(np.array([4, 0]))) == 2


@pytest.mark.parametrize("name", ["tokens-00001.npy", "lengths-00001.npy", "scales-00001.npy"])
def test_a_shard_that_was_cut_short_is_refused(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path / "e", passages(), "int8")
    raw = (folder / name).read_bytes()
    (folder / name).write_bytes(raw[:-4])
    with pytest.raises(InputError, match=rf"{name}: \d+ bytes where .*encode again with --repair"):
        opened(folder)


def test_a_shard_cut_short_while_it_is_read_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "e", passages(), "float16")
    shards = opened(folder)
    with (folder / "tokens-00002.npy").open("r+b") as file:
        file.truncate(200)
    with pytest.raises(InputError, match=r"tokens-00002.npy: was cut short while it was read"):
        list(shards.blocks())


def test_lengths_of_other_tokens_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "e", passages(), "float16")
    lengths = np.load(folder / "lengths-00000.npy")
    lengths[3] += 1
    np.save(folder / "lengths-00000.npy", lengths)
    remade(folder)
    with pytest.raises(InputError, match=r"tokens-00000.npy: its shape is .*--repair"):
        opened(folder)


def test_vectors_without_tokens_are_refused_by_name(embeddings: Path) -> None:
    assert not is_tokens(read_manifest(embeddings))
    with pytest.raises(InputError, match=r"one vector a passage .*with a ColBERT retriever"):
        opened(embeddings)


def test_an_error_while_a_shard_is_written_leaves_no_file_of_it(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("corpus")
    tokens, inputs = passages(5), {"passages": str(tmp_path / "p.txt")}
    with (
        pytest.raises(ZeroDivisionError),
        draft(tmp_path / "e", "embeddings", {}, inputs, Run()) as work,
    ):
        work.state["begun"] = True  # so that the draft stays, and what is in it is seen
        with growing_token_shard(work, 0, 5, DIM, "float16") as add:
            kept = PassageTokens(tokens.means(), tokens, np.zeros(5, bool))
            add(kept, ["a"] * 5, np.zeros(5, np.uint64))
            raise ZeroDivisionError
    assert {path.name for path in (tmp_path / "e").iterdir()} <= {"progress.json", ".lock"}


def test_the_largest_count_fits_the_head_of_a_file(tmp_path: Path) -> None:
    """The count of token vectors is put in last, so there must be room for it."""
    for dtype in DTYPES:
        sizes = set()
        for count in (0, 10**15):
            file = io.BytesIO()
            write_header(file, (count, 128), dtype)
            sizes.add(file.tell())
        assert len(sizes) == 1
