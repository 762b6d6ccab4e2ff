"""update-index: what is found in an updated index is found in one that was built anew."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dprkit.data.passages import read_passages
from dprkit.embeddings.encode import encode_corpus
from dprkit.errors import InputError, MismatchError, SettingsError
from dprkit.indexes.build import index
from dprkit.indexes.index_folder import IndexFolder
from dprkit.indexes.update import update_index
from dprkit.search.open_index import open_index
from dprkit.settings import EncodeSettings, IndexSettings, UpdateSettings

QUESTIONS = ["who built the bridge", "the river in the north", "a changed text", "kings of old"]


def lines_of(path):
    return [f"{p.id}\t{p.text}\t{p.title}" for p in read_passages(path)]


def write_corpus(path, lines):
    path.write_text("\n".join(["id\ttext\ttitle", *lines]) + "\n")
    return path


def encoded(retriever, passages):
    out = str(passages.with_suffix(".emb"))
    encode_corpus(EncodeSettings(retriever=str(retriever), passages=str(passages), output_dir=out))
    return out


def built(folder, embeddings, kind):
    out = str(folder / f"{kind}-{Path(embeddings).stem}")
    index(IndexSettings(embeddings=embeddings, output_dir=out, type=kind, nprobe=1000))
    return out


def updated(base, out, add=None, remove=None):
    update_index(
        UpdateSettings(
            index=base, add=add, remove=str(remove) if remove else None, output_dir=str(out)
        )
    )
    return str(out)


def rankings(folder, topk=20):
    found = open_index(folder).search(QUESTIONS, topk)
    return [[(hit.id, hit.text, round(hit.score, 4)) for hit in one.hits] for one in found]


@pytest.fixture(scope="module")
def corpora(tmp_path_factory, small_retriever, tiny_passages):
    """Embeddings of 200 passages; of 40 more, 10 of which replace one; and of what is left."""
    folder = tmp_path_factory.mktemp("corpora")
    lines = lines_of(tiny_passages)
    old, fresh = lines[:200], lines[200:230]
    changed = [line.split("\t")[0] + "\ta changed text\tof another title" for line in old[40:50]]
    kept = old[:40] + old[70:]
    corpora = {"old": old, "new": fresh + changed, "whole": kept + fresh + changed}
    found = {
        name: encoded(small_retriever, write_corpus(folder / f"{name}.tsv", own))
        for name, own in corpora.items()
    }
    gone = folder / "gone.txt"
    gone.write_text("".join(line.split("\t")[0] + "\n" for line in old[50:70]))
    return {**found, "gone": str(gone), "folder": str(folder)}


@pytest.mark.parametrize("kind", ["flat", "exact", "ivf", "hnsw"])
def test_an_updated_index_finds_what_one_built_anew_does(corpora, tmp_path, kind):
    base = built(tmp_path, corpora["old"], kind)
    report = update_index(
        UpdateSettings(
            index=base, add=corpora["new"], remove=corpora["gone"], output_dir=str(tmp_path / "up")
        )
    )
    assert (report.passages, report.added, report.removed) == (200 - 30 + 40, 40, 30)
    anew = rankings(built(tmp_path, corpora["whole"], "exact"))
    assert rankings(str(tmp_path / "up")) == anew
    assert any("a changed text" in text for _, text, _ in anew[2])


def test_updates_stand_on_updates(corpora, tmp_path):
    base = built(tmp_path, corpora["old"], "flat")
    one = updated(base, tmp_path / "one", remove=Path(corpora["gone"]))
    two = updated(one, tmp_path / "two", add=corpora["new"])
    late = tmp_path / "late.txt"
    first = rankings(two)[0][0][0]
    late.write_text(first + "\n")
    three = updated(two, tmp_path / "three", remove=late)
    assert rankings(two) == rankings(built(tmp_path, corpora["whole"], "exact"))
    assert rankings(three)[0] == [hit for hit in rankings(two, 21)[0] if hit[0] != first]
    assert IndexFolder(three).open_dense().count == IndexFolder(two).open_dense().count - 1


def test_many_removed_rows_are_left_out(corpora, tmp_path, monkeypatch):
    monkeypatch.setattr("dprkit.indexes.updated_search.SPARE", 3)
    base = built(tmp_path, corpora["old"], "flat")
    up = updated(base, tmp_path / "up", corpora["new"], Path(corpora["gone"]))
    assert rankings(up) == rankings(built(tmp_path, corpora["whole"], "exact"))


def test_only_some_rows_are_looked_for(corpora, tmp_path):
    base = built(tmp_path, corpora["old"], "flat")
    up = updated(base, tmp_path / "up", corpora["new"], Path(corpora["gone"]))
    searcher = open_index(up)
    gone = set(Path(corpora["gone"]).read_text().split())
    new = {line.split("\t")[0] for line in lines_of(Path(corpora["folder"]) / "new.tsv")}
    assert searcher.only(gone | new) == gone
    assert {hit.id for hit in searcher.search(QUESTIONS, 100)[0].hits} == new
    assert searcher.absent(gone | new) == gone
    rows = np.arange(IndexFolder(up).open_dense().base_rows)
    found = (
        IndexFolder(up)
        .open_dense()
        .search(np.ones((1, IndexFolder(base).open_dense().dim), np.float32), 300, rows)
    )
    assert found.rows.shape == (1, 170) and (found.rows >= 0).all()


def test_ids_that_are_not_there_are_told(corpora, tmp_path):
    base, absent = built(tmp_path, corpora["old"], "flat"), tmp_path / "absent.txt"
    absent.write_text("nobody\n")
    report = update_index(
        UpdateSettings(index=base, remove=str(absent), output_dir=str(tmp_path / "up"))
    )
    assert report.removed == 0 and report.notes[0].startswith("1 ids of")


def test_what_cannot_be_updated_is_refused(corpora, small_retriever, tmp_path):
    base = built(tmp_path, corpora["old"], "flat")
    with pytest.raises(SettingsError, match="--add and --remove"):
        updated(base, tmp_path / "up")
    everything = tmp_path / "all.txt"
    everything.write_text(
        "".join(f"{p.id}\n" for p in read_passages(f"{corpora['folder']}/old.tsv"))
    )
    with pytest.raises(InputError, match="nothing of it would be left"):
        updated(base, tmp_path / "up", remove=everything)
    words = str(tmp_path / "words")
    index(IndexSettings(embeddings=corpora["old"], output_dir=words, type="bm25"))
    with pytest.raises(SettingsError, match="bm25"):
        updated(words, tmp_path / "up", add=corpora["new"])
    with pytest.raises(MismatchError, match="only indexes of the same corpus"):
        open_index(updated(base, tmp_path / "up", add=corpora["new"]), hybrid=words)


def test_vectors_of_another_retriever_are_not_added(corpora, write_embeddings, tmp_path):
    others = write_embeddings(tmp_path / "others", np.ones((3, 4), np.float32))
    with pytest.raises(MismatchError, match="encode the new passages with the retriever"):
        updated(built(tmp_path, corpora["old"], "flat"), tmp_path / "up", add=str(others))


def test_an_index_that_was_made_anew_below_is_noticed(corpora, tmp_path):
    base = built(tmp_path, corpora["old"], "exact")
    up = updated(base, tmp_path / "up", corpora["new"])
    index(IndexSettings(embeddings=corpora["whole"], output_dir=base, type="exact"))
    with pytest.raises(MismatchError, match=r"up: was made with the index .*, but .* holds index:"):
        IndexFolder(up).open_dense()


def test_scores_of_product_codes_are_those_of_the_vectors(corpora, tmp_path):
    up = updated(built(tmp_path, corpora["old"], "pq"), tmp_path / "up", corpora["new"])
    exact = updated(built(tmp_path, corpora["old"], "exact"), tmp_path / "ex", corpora["new"])
    questions = np.random.default_rng(0).standard_normal(
        (3, IndexFolder(up).open_dense().added.dim)
    )
    found = IndexFolder(up).open_dense().search(questions.astype(np.float32), 20)
    every = IndexFolder(exact).open_dense().search(questions.astype(np.float32), 230)
    for rows, scores, all_rows, all_scores in zip(*found, *every, strict=True):
        known = dict(zip(all_rows.tolist(), all_scores.tolist(), strict=True))
        assert scores.tolist() == pytest.approx([known[row] for row in rows.tolist()])


def test_an_index_that_was_moved_is_named_and_can_be_told(corpora, tmp_path):
    base = built(tmp_path, corpora["old"], "flat")
    up = updated(base, tmp_path / "up", corpora["new"])
    before = rankings(up)
    moved = tmp_path / "moved"
    Path(base).rename(moved)
    with pytest.raises(InputError, match=r"up: its index .* is gone; put it back"):
        open_index(up)
    assert rankings(updated(str(moved), tmp_path / "up", corpora["new"])) == before


def test_an_index_is_not_updated_where_what_it_stands_on_was_made_anew(corpora, tmp_path):
    base = built(tmp_path, corpora["old"], "flat")
    up = updated(base, tmp_path / "up", corpora["new"])
    index(IndexSettings(embeddings=corpora["whole"], output_dir=base))
    with pytest.raises(
        MismatchError, match=r"up: was made with the index .* run dprkit update-index again"
    ):
        updated(up, tmp_path / "two", remove=corpora["gone"])


def test_a_damaged_list_of_removed_rows_is_named(corpora, tmp_path):
    up = updated(built(tmp_path, corpora["old"], "flat"), tmp_path / "up", remove=corpora["gone"])
    (Path(up) / "removed.npy").write_bytes(b"\x93NUMPY")
    for use in (open_index, lambda folder: IndexFolder(folder).open_dense()):
        with pytest.raises(InputError, match=r"removed\.npy: damaged"):
            use(up)


def test_a_day_without_removals_is_no_error(corpora, tmp_path):
    nothing = tmp_path / "nothing.txt"
    nothing.touch()
    base = built(tmp_path, corpora["old"], "flat")
    assert (
        IndexFolder(updated(base, tmp_path / "up", corpora["new"], nothing)).open_dense().count
        == 230
    )


def test_many_small_changes_add_up_to_one_worth_building_for(corpora, tmp_path):
    ids = [line.split("\t")[0] for line in lines_of(Path(corpora["folder"]) / "old.tsv")]
    base, notes = built(tmp_path, corpora["old"], "flat"), []
    for number in range(3):
        gone = tmp_path / f"{number}.txt"
        gone.write_text("\n".join(ids[number * 15 : number * 15 + 15]) + "\n")
        wish = UpdateSettings(index=base, remove=str(gone), output_dir=str(tmp_path / str(number)))
        report = update_index(wish)
        base, notes = report.outputs[0], [*notes, report.notes]
    assert notes[:2] == [[], []] and "45 of 200 rows" in notes[2][0]
