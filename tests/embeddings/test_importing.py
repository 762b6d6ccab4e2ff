import pickle
import shutil

import numpy as np
import pytest
import torch

from dprkit.data.passages import read_passages
from dprkit.embeddings.foreign_files import source_files
from dprkit.embeddings.foreign_rows import CorpusRows
from dprkit.embeddings.importing import import_embeddings
from dprkit.errors import FormatError, InputError, MismatchError, OutputError, SettingsError
from dprkit.indexes.build import index
from dprkit.progress import Progress, Run
from dprkit.search.open_index import open_index
from dprkit.settings import ImportEmbeddingsSettings, IndexSettings, TrainSettings
from dprkit.store.manifests import read_manifest
from dprkit.training.train import train
from tests.conftest import call


def dpr_shards(folder, ids, vectors, count=11, prefix=""):
    """DPR's files: the rows dealt out in an order that is not the corpus's."""
    folder.mkdir(exist_ok=True)
    order = np.random.default_rng(3).permutation(len(ids))
    for number, part in enumerate(np.array_split(order, count)):
        with (folder / f"wiki_passages_{number}").open("wb") as file:
            pickle.dump([(prefix + ids[row], vectors[row]) for row in part.tolist()], file)
    return folder


def same(one, other):
    """Whether two artifacts hold the same bytes; encode-corpus has digests besides."""
    first, second = read_manifest(one), read_manifest(other)
    files, others = (
        {name: record for name, record in made.files.items() if record.content}
        for made in (first, second)
    )
    return files == others and first.identity == second.identity


@pytest.mark.parametrize("prefix", ["", "wiki:"])
def test_shards_in_any_order_become_what_encode_corpus_writes(prefix, encoded, take_in, tmp_path):
    folder = dpr_shards(tmp_path / "dpr", encoded.ids, encoded.vectors, prefix=prefix)
    report = take_in(folder)
    assert (report.passages, report.dim, report.shards, report.files) == (282, 8, 3, 11)
    assert report.kinds == ["dpr"]
    assert report.cosine > 0.9999
    assert same(tmp_path / "out", encoded.folder)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(
        ["manifest.json", *read_manifest(tmp_path / "out").files]
    )


def test_a_corpus_with_prefixes_takes_ids_without(encoded, take_in, tiny_passages, tmp_path):
    lines = tiny_passages.read_text().splitlines(keepends=True)
    head = [line for line in lines if line.startswith("id\t")]
    prefixed = tmp_path / "prefixed.tsv"
    prefixed.write_text("".join([*head, *(f"wiki:{line}" for line in lines[len(head) :])]))
    folder = dpr_shards(tmp_path / "dpr", encoded.ids, encoded.vectors)
    assert take_in(folder, passages=str(prefixed)).cosine > 0.9999


def test_files_are_taken_in_the_order_of_their_numbers(tmp_path):
    names = ["reps_10.pkl", "reps_9.pkl", "reps_0.pkl", "reps_100.pkl"]
    for name in names:
        (tmp_path / name).write_bytes(b"\x80\x04]")
    (tmp_path / "query_reps.pkl").write_bytes(b"\x80\x04]")
    (tmp_path / "notes.txt").write_text("none")
    found = [path.name for path in source_files([str(tmp_path)])]
    assert found == ["reps_0.pkl", "reps_9.pkl", "reps_10.pkl", "reps_100.pkl"]
    with pytest.raises(InputError, match="named twice"):
        source_files([str(tmp_path), str(tmp_path / "reps_9.pkl")])


def test_tevatrons_file_is_taken_over(encoded, take_in, tmp_path):
    path = tmp_path / "corpus.pkl"
    path.write_bytes(pickle.dumps((encoded.vectors[::-1].copy(), encoded.ids[::-1])))
    assert take_in(path).kinds == ["tevatron"]
    assert same(tmp_path / "out", encoded.folder)


def test_dpr_scales_rows_are_the_corpus_rows_one_process_after_the_other(
    encoded, take_in, tmp_path
):
    for rank in range(11):
        part = torch.from_numpy(encoded.vectors[rank * 26 : rank * 26 + 26])
        (tmp_path / f"reps_{rank}.pkl").write_bytes(pickle.dumps(part.clone(), 4))
    assert take_in(tmp_path).kinds == ["dpr-scale"]
    assert same(tmp_path / "out", encoded.folder)
    (tmp_path / "reps_10.pkl").unlink()
    with pytest.raises(FormatError, match=r"passage 261: the id '\d+' has no vector .* 21 more"):
        take_in(tmp_path, output_dir=str(tmp_path / "short"))
    np.save(tmp_path / "reps_10.npy", encoded.vectors[:30])
    files = [*sorted(tmp_path.glob("reps_*.pkl")), tmp_path / "reps_10.npy"]
    with pytest.raises(FormatError, match=r"reps_10.npy:row 22: more vectors than the corpus's"):
        take_in(*files, output_dir=str(tmp_path / "long"), in_order=True)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(("name", "ids"), [("a.npy", "a.ids.txt"), ("vectors-3.npy", "ids-3.txt")])
def test_an_array_is_taken_over_with_the_ids_beside_it(
    order, name, ids, encoded, take_in, tmp_path
):
    np.save(tmp_path / name, np.asarray(encoded.vectors[::-1], order=order))
    (tmp_path / ids).write_text("\n".join(encoded.ids[::-1]))
    assert take_in(tmp_path / name).kinds == ["npy"]
    assert same(tmp_path / "out", encoded.folder)


def test_dprkits_own_shards_are_taken_over(encoded, take_in, tmp_path):
    assert take_in(encoded.folder).files == 3
    assert same(tmp_path / "out", encoded.folder)


def test_an_array_without_ids_needs_to_be_told_to_be_in_order(encoded, take_in, tmp_path):
    np.save(tmp_path / "all.npy", encoded.vectors)
    with pytest.raises(InputError, match=r"no file of ids beside it .* --in-order"):
        take_in(tmp_path / "all.npy")
    (tmp_path / "elsewhere").write_text("\n".join(encoded.ids) + "\n")
    named = str(tmp_path / "elsewhere")
    take_in(tmp_path / "all.npy", ids=(named,))
    assert same(tmp_path / "out", encoded.folder)
    take_in(tmp_path / "all.npy", in_order=True, output_dir=str(tmp_path / "ordered"))
    assert same(tmp_path / "ordered", encoded.folder)
    with pytest.raises(SettingsError, match="2 files of ids for 1 sources"):
        take_in(tmp_path / "all.npy", ids=(named, named))


def test_float16_is_written_where_it_is_asked_for(encoded, take_in, tmp_path):
    take_in(encoded.folder, dtype="float16")
    found = np.load(tmp_path / "out" / "vectors-00000.npy")
    np.testing.assert_array_equal(found, encoded.vectors[:100].astype(np.float16))


def test_what_was_taken_over_is_indexed_and_searched(
    encoded, take_in, tiny_passages, small_retriever, tmp_path
):
    take_in(dpr_shards(tmp_path / "dpr", encoded.ids, encoded.vectors))
    out = str(tmp_path / "index")
    index(IndexSettings(embeddings=str(tmp_path / "out"), output_dir=out))
    (ranking,) = open_index(out).search(["who painted the mona lisa"], 282)
    assert {hit.id for hit in ranking.hits} == {p.id for p in read_passages(tiny_passages)}


# --- what is refused ------------------------------------------------------------------------------


def broken(encoded, change):
    ids, vectors = list(encoded.ids), encoded.vectors.copy()
    change(ids, vectors)
    return ids, vectors


def doubled(ids, vectors):
    ids[45] = ids[7]


def unknown(ids, vectors):
    ids[40] = "nobody"


def no_number(ids, vectors):
    vectors[40, 3] = np.nan


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (doubled, r"a.npy:row 45: the id '.*' has a vector already"),
        (unknown, r"a.npy:row 40: the id 'nobody' is not in the corpus"),
        (no_number, r"a.npy:row 40: the vector holds NaN"),
    ],
)
def test_what_does_not_fit_is_named_by_file_and_row(change, problem, encoded, take_in, tmp_path):
    ids, vectors = broken(encoded, change)
    np.save(tmp_path / "a.npy", vectors)
    (tmp_path / "a.ids.txt").write_text("\n".join(ids))
    with pytest.raises(FormatError, match=problem):
        take_in(tmp_path / "a.npy")
    assert not (tmp_path / "out").exists()


def test_a_vector_that_comes_again_in_a_later_file_is_named(encoded, take_in, tmp_path):
    folder = dpr_shards(tmp_path / "dpr", encoded.ids, encoded.vectors)
    (folder / "wiki_passages_11").write_bytes(
        pickle.dumps([(encoded.ids[5], encoded.vectors[5]), (encoded.ids[6], encoded.vectors[6])])
    )
    with pytest.raises(FormatError, match=r"wiki_passages_11:row 0: .* has a vector already"):
        take_in(folder)


def test_vectors_of_another_width_are_named(encoded, take_in, tmp_path):
    folder = dpr_shards(tmp_path / "dpr", encoded.ids, encoded.vectors)
    pairs = [("1", np.ones(8, np.float32)), ("2", np.ones(9, np.float32))]
    (folder / "wiki_passages_3").write_bytes(pickle.dumps(pairs))
    with pytest.raises(FormatError, match=r"_3:row 1: 9 dimensions where others have 8"):
        take_in(folder)
    (folder / "wiki_passages_3").write_bytes(pickle.dumps(pairs[1:]))
    with pytest.raises(FormatError, match=r"_3:row 0: 9 dimensions where other files have 8"):
        take_in(folder, check=False)


@pytest.mark.parametrize("check", [True, False])
def test_vectors_of_another_width_than_the_retrievers_are_refused(
    check, encoded, take_in, tmp_path
):
    np.save(tmp_path / "a.npy", encoded.vectors[:, :4])
    with pytest.raises(
        MismatchError, match=r"a\.npy.*: (a vector|vectors) of 4 dimensions, but .* gives 8"
    ):
        take_in(tmp_path / "a.npy", in_order=True, check=check)


def test_ids_may_begin_with_a_byte_order_mark(encoded, take_in, tmp_path):
    np.save(tmp_path / "a.npy", encoded.vectors)
    (tmp_path / "a.ids.txt").write_text("\n".join(encoded.ids), encoding="utf-8-sig")
    assert take_in(tmp_path / "a.npy").passages == len(encoded.ids)


def test_a_missing_passage_is_named(encoded, take_in, tmp_path):
    folder = dpr_shards(tmp_path / "dpr", encoded.ids[:-1], encoded.vectors)
    with pytest.raises(FormatError, match=r"passages.tsv:passage 282: the id '.*' has no vector"):
        take_in(folder)


@pytest.mark.parametrize(
    ("lines", "problem"),
    [(281, r"a.ids.txt:281: 281 ids for an array of 282"), (283, r"283 ids for an array of 282")],
)
def test_ids_that_are_not_as_many_are_refused(lines, problem, encoded, take_in, tmp_path):
    np.save(tmp_path / "a.npy", encoded.vectors)
    (tmp_path / "a.ids.txt").write_text("\n".join([*encoded.ids, "more"][:lines]))
    with pytest.raises(FormatError, match=problem):
        take_in(tmp_path / "a.npy")


def test_a_cut_array_and_what_is_no_array_are_refused(encoded, take_in, tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, encoded.vectors)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(FormatError, match=r"a.npy:1: cut short"):
        take_in(path, in_order=True)
    np.save(path, np.array([{}], object))
    with pytest.raises(FormatError, match=r"a.npy:1: cut short, or no array of numbers"):
        take_in(path, in_order=True)
    np.save(path, np.ones(3))
    with pytest.raises(FormatError, match=r"expected \(rows, dimensions\)"):
        take_in(path, in_order=True)
    np.save(path, np.ones((3, 8), int))
    with pytest.raises(FormatError, match="no floating-point numbers"):
        take_in(path, in_order=True)
    path.write_text("hello")
    with pytest.raises(InputError, match="neither an npy file nor a pickle"):
        take_in(path, in_order=True)


def test_numbers_too_large_for_half_precision_are_refused(encoded, take_in, tmp_path):
    vectors = encoded.vectors.copy()
    vectors[9, 2] = 1e6
    np.save(tmp_path / "a.npy", vectors)
    with pytest.raises(FormatError, match="row 9: has a number too large for float16"):
        take_in(tmp_path / "a.npy", in_order=True, dtype="float16")


def test_numbers_too_large_for_single_precision_are_refused_without_a_warning(
    encoded, take_in, tmp_path
):
    vectors = encoded.vectors.astype(np.float64)
    vectors[0, 2] = 1e60
    np.save(tmp_path / "a.npy", vectors)
    with pytest.raises(FormatError, match="row 0: has a number too large for float32"):
        take_in(tmp_path / "a.npy", in_order=True, check=False)


def test_another_kind_than_was_asked_for_is_refused(encoded, take_in, tmp_path):
    folder = dpr_shards(tmp_path / "dpr", encoded.ids, encoded.vectors)
    with pytest.raises(MismatchError, match="in the form of dpr, not tevatron"):
        take_in(folder, kind="tevatron")


def test_vectors_of_another_encoder_are_refused_with_the_figure(
    encoded, take_in, tmp_path, tiny_examples
):
    chance = np.random.default_rng(0).standard_normal(encoded.vectors.shape)
    folder = dpr_shards(tmp_path / "dpr", encoded.ids, chance.astype(np.float32))
    with pytest.raises(MismatchError, match=r"has a cosine of -?0\.\d{4} with .* --no-check"):
        take_in(folder)
    assert take_in(folder, check=False).cosine is None
    longer = dpr_shards(tmp_path / "longer", encoded.ids, 3 * encoded.vectors)
    with pytest.raises(MismatchError, match=r"is 3\.0000 times as long"):
        take_in(longer, output_dir=str(tmp_path / "other"))
    wide = TrainSettings(
        train_file=(str(tiny_examples),),
        max_epochs=0,
        output_dir=str(tmp_path / "wide"),
        scratch_hidden_size=16,
        scratch_vocab_size=600,
        projection=4,
    )
    train(wide)
    with pytest.raises(MismatchError, match=r"8 dimensions, but .*wide gives 4"):
        take_in(longer, retriever=str(tmp_path / "wide"), output_dir=str(tmp_path / "other"))


# --- running --------------------------------------------------------------------------------------


class StopAfter(Progress):
    def __init__(self, left):
        self.left = left

    def advance(self, count, facts=None):
        self.left -= count
        if self.left <= 0:
            raise KeyboardInterrupt


def test_a_stopped_import_begins_anew_and_ends_with_the_same_bytes(
    encoded, small_retriever, tiny_passages, tmp_path
):
    folder = dpr_shards(tmp_path / "dpr", encoded.ids, encoded.vectors)
    settings = ImportEmbeddingsSettings(
        sources=(str(folder),),
        retriever=str(small_retriever),
        passages=str(tiny_passages),
        output_dir=str(tmp_path / "out"),
        shard_size=100,
    )
    for left in (1, 100, 282, 400):  # while placing and while reading back
        with pytest.raises(KeyboardInterrupt):
            import_embeddings(settings, Run(StopAfter(left)))
        assert not list((tmp_path / "out").glob(".tmp-*"))
    (tmp_path / "out" / ".tmp-vectors-00001.npy").write_bytes(b"left by a killed run")
    import_embeddings(settings)
    assert same(tmp_path / "out", encoded.folder)
    before = (tmp_path / "out" / "manifest.json").stat().st_mtime_ns
    import_embeddings(settings)
    assert (tmp_path / "out" / "manifest.json").stat().st_mtime_ns == before


def test_a_full_disk_is_one_line(encoded, take_in, tmp_path, mount):
    out = mount("size=8k")
    with pytest.raises(OutputError, match="no space left"):
        take_in(encoded.folder, output_dir=str(out / "out"))


def test_rows_are_found_by_either_spelling_of_an_id(tmp_path):
    path = tmp_path / "p.tsv"
    path.write_text("1\ta\tt\nwiki:2\tb\tt\n3\tc\tt\n")
    seen = []
    rows = CorpusRows(str(path), lambda row, passage: seen.append((row, passage.id)))
    assert rows.of(["wiki:3", "2", "1", "wiki:2", "4"]).tolist() == [2, 1, 0, 1, -1]
    assert seen == [(0, "1"), (1, "wiki:2"), (2, "3")]


def test_the_command_takes_over_and_tells(encoded, small_retriever, tiny_passages, tmp_path):
    folder = tmp_path / "shards"
    shutil.copytree(encoded.folder, folder)
    words = ["--retriever", small_retriever, "--passages", tiny_passages]
    result = call("import-embeddings", folder, *words, "--output-dir", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    assert "282 vectors of 8 dimensions from 3 files (npy)" in result.stderr
    result = call("import-embeddings", *words, "--output-dir", tmp_path / "out")
    assert result.exit_code == 1
    assert "no sources given" in result.stderr
