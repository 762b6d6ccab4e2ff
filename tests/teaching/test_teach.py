"""What score-teacher writes, against the scores of each model's own interface."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from dprkit.data.candidate_rows import candidate_rows
from dprkit.data.examples import read_examples
from dprkit.data.folds import fold_of
from dprkit.data.scored_files import refuse_two_teachers, teachers_of
from dprkit.embeddings.encode import encode_corpus
from dprkit.errors import FormatError, InputError, MismatchError, SettingsError
from dprkit.models.cross_encoder import load_cross_encoder
from dprkit.models.reader import ReaderModel
from dprkit.models.reader_config import ReaderConfig
from dprkit.models.reader_tokens import ReaderTokens
from dprkit.models.reading import Reader, load_reader, save_reader
from dprkit.models.retriever import load_retriever
from dprkit.progress import Progress, Run
from dprkit.settings import EncodeSettings, ScoreTeacherSettings
from dprkit.store.begin_or_resume import draft
from dprkit.store.manifests import read_manifest
from dprkit.teaching.teach import score_teacher
from dprkit.teaching.teachers import PairTeacher, VectorTeacher
from tests.conftest import call, killed_at_the_end, remade
from tests.interop.foreign import bert, save_cross_encoder, word_pieces

ROWS = 12
SLOW = pytest.mark.slow
POOLS = ("positive_ctxs", "hard_negative_ctxs", "negative_ctxs")


@pytest.fixture(scope="module")
def cross(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cross") / "encoder"
    save_cross_encoder(folder)
    return folder


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """A reader with random weights."""
    config = ReaderConfig(passage_max_length=100)
    tokens = ReaderTokens((word_pieces(), {}), config)
    torch.manual_seed(5)
    made = Reader(ReaderModel(bert(), tokens).eval(), tokens)
    with draft(tmp_path_factory.mktemp("reader") / "reader", "reader", {}, {}, Run()) as work:
        save_reader(work, made.model, made.tokens)
        work.finish({})
    return work.directory


@pytest.fixture
def examples(tmp_path, tiny_examples):
    """Rows of the shipped examples, with a key that dprkit does not know, the last one short."""
    rows = json.loads(tiny_examples.read_text())[:ROWS]
    for number, row in enumerate(rows):
        row["hard_negative_ctxs"] = row["hard_negative_ctxs"][: number % 4]
        row["negative_ctxs"] = row["negative_ctxs"][:1]
        row["positive_ctxs"][0]["mine"] = {"kept": [1.50, None]}
    rows[-1] |= {"hard_negative_ctxs": [], "negative_ctxs": []}
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def scored(folder, teacher, **more):
    """Score a file; the report and the path."""
    teachers = tuple(map(str, teacher if isinstance(teacher, list) else [teacher]))
    more = {name: value if name == "folds" else str(value) for name, value in more.items()}
    settings = ScoreTeacherSettings(teacher=teachers, output_dir=str(folder), **more)
    return score_teacher(settings), folder / "train.jsonl"


def scores_of(path):
    """The scores of each row, pool after pool, as another reader of JSON has them."""
    rows = map(json.loads, path.read_text().splitlines())
    return [[c.get("teacher_score") for pool in POOLS for c in row[pool]] for row in rows]


def pairs_of(path):
    """The (question, passage) pairs of each row."""
    return [
        [(e.question, p) for p in (*e.positives, *e.hard_negatives, *e.negatives)]
        for e in read_examples(path)
    ]


def by(model, path):
    """What a model gives for each row, a question at a time."""
    return [model(*zip(*pairs, strict=True)) for pairs in pairs_of(path)]


def assert_close(found, wanted):
    assert list(map(len, found)) == list(map(len, wanted))
    for one, other in zip(found, wanted, strict=True):
        assert one == pytest.approx(list(other), abs=2e-5)


@pytest.mark.parametrize("kind", ["small_retriever", "small_colbert"])
def test_a_retriever_scores_as_its_own_interface_does(kind, request, examples, tmp_path):
    folder = request.getfixturevalue(kind)
    report, path = scored(tmp_path / "out", folder, train_file=examples)
    assert_close(scores_of(path), by(load_retriever(folder).scores, examples))
    assert (report.questions, report.pairs, report.unscored) == (ROWS, 11 * 2 + 1 + 18 - 3, 0)


def test_a_cross_encoder_scores_as_its_own_interface_does(cross, examples, tmp_path):
    _, path = scored(tmp_path / "out", cross, train_file=examples)
    assert_close(scores_of(path), by(load_cross_encoder(cross).scores, examples))


def test_a_cross_encoder_scores_in_16_bits_too(cross, examples, tmp_path):
    _, path = scored(tmp_path / "out", cross, train_file=examples, precision="bf16")
    whole = by(load_cross_encoder(cross).scores, examples)
    rows = zip(scores_of(path), whole, strict=True)
    errors = [abs(one - other) for row in rows for one, other in zip(*row, strict=True)]
    assert 0 < max(errors) < 0.05


def span_of(reader, question, passage, both):
    """The best span's log-probability, by trying all spans."""
    (logits,) = reader.logits([question], [passage])
    start = torch.log_softmax(torch.tensor(logits.start).double(), 0).tolist()
    end = torch.log_softmax(torch.tensor(logits.end).double(), 0).tolist()
    spans = [(a, b) for a in range(len(start)) for b in range(a, min(a + 10, len(start)))]
    return max(start[a] + end[b] for a, b in spans) + both * logits.relevance


@pytest.mark.parametrize(
    "how",
    [pytest.param("relevance", marks=SLOW), pytest.param("span", marks=SLOW), "relevance+span"],
)
def test_a_reader_scores_relevance_or_its_best_span(how, reader, examples, tmp_path):
    _, path = scored(tmp_path / "out", reader, train_file=examples, reader_score=how)
    loaded = load_reader(reader)
    wanted = by(loaded.scores, examples)
    if how != "relevance":
        both = how == "relevance+span"
        wanted = [[span_of(loaded, *pair, both) for pair in pairs] for pairs in pairs_of(examples)]
    assert_close(scores_of(path), wanted)


def test_only_the_scores_of_a_row_change(small_colbert, examples, tmp_path):
    whole = tmp_path / "array.json.gz"
    rows = [json.loads(line) for line in examples.read_text().splitlines()]
    whole.write_bytes(gzip.compress(json.dumps(rows, indent=1).encode()))
    _, path = scored(tmp_path / "out", small_colbert, train_file=whole)
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert [list(row) for row in found] == [list(row) for row in rows]
    for row in found:
        for context in (context for pool in POOLS for context in row[pool]):
            assert isinstance(context.pop("teacher_score"), float)
    assert found == rows
    assert '{"kept":' in path.read_text()
    assert "1.5, null]" in path.read_text() or "1.5,null]" in path.read_text()


@pytest.mark.slow
def test_the_first_candidates_alone_are_scored(small_retriever, examples, tmp_path):
    report, path = scored(tmp_path / "out", small_retriever, train_file=examples, folds=None)
    again = ScoreTeacherSettings(
        teacher=(str(small_retriever),),
        train_file=str(path),
        output_dir=str(tmp_path / "two"),
        candidates=2,
        replace=True,
    )
    two = score_teacher(again)
    wanted = [row[:2] + [None] * (len(row) - 2) for row in scores_of(path)]
    found = scores_of(tmp_path / "two/train.jsonl")
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert one == pytest.approx(other, abs=1e-6)  # other passages beside them: another rounding
    assert report.pairs == two.pairs + two.unscored


# --- embeddings -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [pytest.param("small_retriever", marks=SLOW), "small_colbert"])
def test_encoded_passages_are_not_encoded_again(kind, request, examples, tmp_path):
    folder = request.getfixturevalue(kind)
    corpus = tmp_path / "corpus.tsv"
    passages = {p.id: p for pairs in pairs_of(examples)[:-4] for _, p in pairs}
    lines = [f"{p.id}\t{p.text}\t{p.title}\n" for p in passages.values()]
    lines[0] = f"{next(iter(passages))}\tother words\tother\n"  # the id of another text
    corpus.write_text("id\ttext\ttitle\n" + "".join(lines))
    settings = EncodeSettings(
        retriever=str(folder),
        passages=str(corpus),
        output_dir=str(tmp_path / "embeddings"),
        shard_size=9,
        **({"dtype": "float32"} if kind == "small_colbert" else {}),
    )
    encode_corpus(settings)
    _, path = scored(
        tmp_path / "out", folder, train_file=examples, embeddings=tmp_path / "embeddings"
    )
    assert_close(scores_of(path), by(load_retriever(folder).scores, examples))
    other = request.getfixturevalue("small_colbert" if "retr" in kind else "small_retriever")
    with pytest.raises(MismatchError, match=r"was made with .*; encode the corpus with that one"):
        scored(tmp_path / "o", other, train_file=examples, embeddings=tmp_path / "embeddings")


# --- results and rankings -------------------------------------------------------------------------


@pytest.fixture
def results(examples, tmp_path):
    """Rankings of the questions with scores that fall, as search writes them."""
    path = tmp_path / "results.jsonl"
    lines = []
    for number, pairs in enumerate(pairs_of(examples)):
        ctxs = [
            {"id": p.id, "title": p.title, "text": p.text, "score": 9.5 - rank}
            for rank, (_, p) in enumerate(pairs)
        ]
        ctxs[0]["has_answer"] = True
        lines.append({"id": f"q{number}", "question": pairs[0][0], "answers": ["a"], "ctxs": ctxs})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_rankings_keep_what_they_are_and_gain_scores(small_colbert, results, examples, tmp_path):
    report, _ = scored(tmp_path / "out", small_colbert, results=results)
    found = [json.loads(line) for line in (tmp_path / "out/results.jsonl").read_text().splitlines()]
    scores = [[hit.pop("teacher_score") for hit in row["ctxs"]] for row in found]
    assert_close(scores, by(load_retriever(small_colbert).scores, examples))
    assert found == [json.loads(line) for line in results.read_text().splitlines()]
    assert report.figures.positives.count == ROWS
    ran = call("convert-results", "--results", tmp_path / "out", "--to", "dpr", "-o", "-")
    assert ran.exit_code == 0
    assert "dpr cannot hold teacher's scores; left out" in ran.stderr


@pytest.mark.parametrize("missing", ["none", "lowest"])
def test_a_ranking_gives_its_scores_by_question_and_passage(missing, results, examples, tmp_path):
    rows = [json.loads(line) for line in results.read_text().splitlines()]
    rows[1]["ctxs"] = rows[1]["ctxs"][:2]
    rows[1]["question"] = f" {rows[1]['question'].upper()}"
    del rows[3]
    results.write_text("".join(json.dumps(row) + "\n" for row in reversed(rows)))
    _, path = scored(tmp_path / "out", [], train_file=examples, ranking=results, missing=missing)
    wanted = [[9.5 - rank for rank in range(len(pairs))] for pairs in pairs_of(examples)]
    wanted[1][2:] = [None if missing == "none" else 8.5] * len(wanted[1][2:])
    wanted[3] = [None] * len(wanted[3])
    assert scores_of(path) == wanted


def test_rankings_of_other_passages_are_refused(results, examples, tmp_path):
    results.write_text(results.read_text().replace('"id": "', '"id": "s:'))
    with pytest.raises(InputError, match="has none of the passages of"):
        scored(tmp_path / "out", [], train_file=examples, ranking=results)
    assert not (tmp_path / "out").exists()


def test_rankings_of_another_corpus_with_the_same_ids_are_refused(results, examples, tmp_path):
    rows = [json.loads(line) for line in results.read_text().splitlines()]
    for row in rows:
        row["ctxs"] = [hit | {"text": "of another corpus"} for hit in row["ctxs"]]
    results.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(MismatchError, match="is 'of another corpus' there and '"):
        scored(tmp_path / "out", [], train_file=examples, ranking=results)
    assert not (tmp_path / "out").exists()


# --- figures --------------------------------------------------------------------------------------


def test_the_figures_are_those_of_numpy(small_colbert, examples, tmp_path):
    report, path = scored(tmp_path / "out", small_colbert, train_file=examples)
    rows = scores_of(path)
    positives, others = [row[0] for row in rows], [s for row in rows for s in row[1:]]
    for spread, values in ((report.figures.positives, positives), (report.figures.others, others)):
        assert spread.count == len(values)
        assert spread.mean == pytest.approx(np.mean(values), rel=1e-5)
        quartiles = [spread.quartile_1, spread.median, spread.quartile_3]
        assert quartiles == pytest.approx(np.percentile(values, [25, 50, 75]), rel=1e-5)
    lists = [row for row in rows if len(row) > 1]
    assert report.figures.gold_first == np.mean([row[0] == max(row) for row in lists])
    bits = []
    for row in lists:
        share = torch.softmax(torch.tensor(row).double(), 0)
        bits.append(float(-(share * share.log2()).sum()))
    assert report.figures.entropy == pytest.approx(np.mean(bits), rel=1e-5)
    assert report.figures.short == 1
    assert report.notes == [
        f"1 of {ROWS} questions have fewer than two scores: a retriever learns nothing from them"
    ]


# --- resumed --------------------------------------------------------------------------------------


class Stop(Progress):
    """A user who presses Ctrl-C after some windows."""

    def __init__(self, windows):
        self.left = windows

    def advance(self, count, facts=None):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("kind", "stop"),
    [
        ("small_colbert", 1),
        pytest.param("small_colbert", 3, marks=SLOW),
        pytest.param("cross", 1, marks=SLOW),
        pytest.param("small_retriever", 3, marks=SLOW),
    ],
)
def test_a_stopped_run_ends_with_the_same_bytes(
    kind, stop, request, examples, tmp_path, monkeypatch
):
    monkeypatch.setattr(PairTeacher, "window", 9)
    monkeypatch.setattr(VectorTeacher, "window", 9)
    teacher = request.getfixturevalue(kind)
    _, whole = scored(tmp_path / "whole", teacher, train_file=examples)
    settings = ScoreTeacherSettings(
        teacher=(str(teacher),), train_file=str(examples), output_dir=str(tmp_path / "broken")
    )
    with pytest.raises(KeyboardInterrupt):
        score_teacher(settings, Run(Stop(stop)))
    broken = tmp_path / "broken"
    with (broken / "train.jsonl.growing").open("ab") as file:
        file.write(b'{"half a line')  # what a killed run may have left behind its last window
    assert score_teacher(settings).pairs_per_second is not None
    assert (broken / "train.jsonl").read_bytes() == whole.read_bytes()
    assert sorted(p.name for p in broken.iterdir() if p.name[0] != ".") == [
        "manifest.json",
        "train.jsonl",
    ]
    assert score_teacher(settings).pairs_per_second is None
    assert list(map(len, scores_of(whole))) == list(map(len, pairs_of(examples)))


def test_a_run_that_was_killed_before_its_manifest_ends_with_the_same_bytes(
    small_colbert, examples, tmp_path, monkeypatch
):
    report, whole = scored(tmp_path / "whole", small_colbert, train_file=examples)
    killed_at_the_end(
        monkeypatch, lambda: scored(tmp_path / "killed", small_colbert, train_file=examples)
    )
    again, made = scored(tmp_path / "killed", small_colbert, train_file=examples)
    assert made.read_bytes() == whole.read_bytes()
    assert again.figures == report.figures


def test_a_half_done_run_goes_on_with_the_same_teacher_and_file_alone(
    small_retriever, small_colbert, examples, tmp_path, monkeypatch
):
    monkeypatch.setattr(VectorTeacher, "window", 9)
    settings = ScoreTeacherSettings(
        teacher=(str(small_colbert),), train_file=str(examples), output_dir=str(tmp_path / "out")
    )
    with pytest.raises(KeyboardInterrupt):
        score_teacher(settings, Run(Stop(1)))
    with pytest.raises(MismatchError, match="half done with other settings or inputs: teacher was"):
        scored(tmp_path / "out", small_retriever, train_file=examples)
    examples.write_text(examples.read_text() + examples.read_text())
    with pytest.raises(MismatchError, match="half done with other settings or inputs: rows was"):
        score_teacher(settings)


# --- folds ----------------------------------------------------------------------------------------


def left_out(folder, fold, **more):
    """The manifest of a teacher, as if it had been trained without a fold."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["settings"] |= {"leave_out": fold}
    manifest["inputs"] |= more
    manifest["checksum"] = ""
    path.write_text(json.dumps(manifest))
    return remade(folder)


def trained(name, sha="0"):
    return {"path": f"/{name}", "identity": f"sha256:{sha}"}


@pytest.fixture
def teachers(small_retriever, small_colbert, tmp_path):
    """Two teachers with different weights, of folds 1 and 2."""
    import shutil

    from tests.conftest import write_colbert

    examples = Path(__file__).parents[2] / "data/tiny/examples.json"
    other = write_colbert(tmp_path / "two", examples, embedding_size=6)
    shutil.copytree(small_colbert, tmp_path / "one")
    return [
        left_out(tmp_path / "one", "1/2", train=trained("t")),
        left_out(other, "2/2", train=trained("t")),
    ]


def test_each_question_is_scored_by_the_teacher_that_left_it_out(teachers, examples, tmp_path):
    _, path = scored(tmp_path / "out", teachers, train_file=examples, folds=2)
    wanted = [by(load_retriever(teacher).scores, examples) for teacher in teachers]
    folds = [fold_of(pairs[0][0], 2) for pairs in pairs_of(examples)]
    assert {*folds} == {1, 2}
    assert_close(scores_of(path), [wanted[fold - 1][row] for row, fold in enumerate(folds)])
    inputs = read_manifest(tmp_path / "out").inputs
    assert [inputs[name].path for name in ("teacher", "teacher 1")] == list(map(str, teachers))


@pytest.mark.slow
def test_teachers_of_other_folds_are_refused(teachers, small_retriever, examples, tmp_path):
    def refused(match, given, **more):
        with pytest.raises((MismatchError, SettingsError), match=match):
            scored(tmp_path / "out", given, train_file=examples, **{"folds": 2, **more})

    refused("name 3, trained with --leave-out 1/3 to --leave-out 3/3", teachers, folds=3)
    refused("2 teachers, whose scores cannot be compared; .* --folds 2", teachers, folds=None)
    refused("was trained with --leave-out 2/2, but is teacher 1 of --folds 2", teachers[::-1])
    refused("was trained with --leave-out 1/2, but is teacher 2", [teachers[0], teachers[0]])
    refused(
        r"was trained on all questions, but is teacher 2 of --folds 2; .* --leave-out 2/2",
        [teachers[0], small_retriever],
    )
    left_out(teachers[1], "2/2", train=trained("t", "1"))
    refused("was trained on other files than .* with the same --train-file", teachers)


@pytest.mark.slow
def test_a_teacher_that_has_learned_the_questions_is_told(teachers, examples, tmp_path):
    from dprkit.store.integrity import input_of

    own = left_out(teachers[0], None, train=trained("t", input_of(examples).identity[7:]))
    report, _ = scored(tmp_path / "out", own, train_file=examples)
    assert any("was trained on these questions" in note for note in report.notes)
    left_out(own, "1/2", train=trained("t"), init={"path": str(teachers[1]), "identity": "x"})
    report, _ = scored(tmp_path / "folds", teachers, train_file=examples, folds=2)
    assert f"goes on with {teachers[1]}, which was trained on the questions that" in report.notes[0]


# --- what is refused ------------------------------------------------------------------------------


def test_scores_that_are_there_are_replaced_only_when_asked(
    small_colbert, small_retriever, examples, tmp_path
):
    _, path = scored(tmp_path / "one", small_colbert, train_file=examples)
    with pytest.raises(FormatError, match=r"train\.jsonl:1: has a teacher's scores already"):
        scored(tmp_path / "two", small_retriever, train_file=path)
    settings = ("--train-file", path, "--teacher", small_retriever, "--replace")
    assert call("score-teacher", *settings, "--output-dir", tmp_path / "two").exit_code == 0
    wanted = by(load_retriever(small_retriever).scores, examples)
    assert_close(scores_of(tmp_path / "two/train.jsonl"), wanted)


def test_a_teacher_that_has_diverged_is_refused_by_the_place(small_colbert, examples, tmp_path):
    from dprkit.models.late_retriever import LateRetriever

    class Diverged(LateRetriever):
        def passage_vectors(self, passages):
            vectors = super().passage_vectors(passages)
            vectors.values[vectors.bounds[1]] = math.nan
            return vectors

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dprkit.models.late_retriever.LateRetriever", Diverged)
        with pytest.raises(FormatError, match=r"train\.jsonl:1: the teacher's score .* \(nan\)"):
            scored(tmp_path / "out", small_colbert, train_file=examples)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, "no teacher given; name it with --teacher"),
        ({"teacher": ("m",), "train_file": None}, "no file to score given"),
        ({"teacher": ("m",), "results": "r"}, "--train-file and --results both name passages"),
        ({"teacher": ("m",), "ranking": "r"}, "--ranking has its scores"),
        ({"reader_score": "span", "ranking": "r"}, "--reader-score is for a model"),
        ({"teacher": ("m",), "missing": "lowest"}, "--missing is for --ranking"),
        ({"teacher": ("m",), "train_file": "-"}, "stdin cannot be found again"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(more, said, tmp_path):
    settings = {"train_file": "t.jsonl", "output_dir": str(tmp_path / "out"), **more}
    with pytest.raises(SettingsError, match=said):
        score_teacher(ScoreTeacherSettings(**settings))


def test_what_is_no_teacher_is_refused(cross, small_retriever, results, examples, tmp_path):
    with pytest.raises(InputError, match=r"holds neither retriever.yaml, reader.yaml nor"):
        scored(tmp_path / "out", tmp_path, train_file=examples)
    with pytest.raises(SettingsError, match=r"--embeddings: .* is no retriever"):
        scored(tmp_path / "out", cross, train_file=examples, embeddings=small_retriever)
    with pytest.raises(SettingsError, match=r"--reader-score: .* is no reader"):
        scored(tmp_path / "out", small_retriever, train_file=examples, reader_score="span")
    rows = [json.loads(line) for line in results.read_text().splitlines()]
    rows[2]["ctxs"] = [hit | {"text": ""} for hit in rows[2]["ctxs"]]
    results.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(FormatError, match=r"results\.jsonl:3: the passages of 'q2' have no texts"):
        scored(tmp_path / "out", small_retriever, results=results)


# --- training on them -----------------------------------------------------------------------------


def test_training_refuses_to_mix_teachers_and_files_that_changed(
    small_colbert, small_retriever, examples, tmp_path
):
    _, one = scored(tmp_path / "one", small_colbert, train_file=examples)
    _, two = scored(tmp_path / "two", small_retriever, train_file=examples)
    _, same = scored(tmp_path / "same", small_colbert, train_file=examples)
    refuse_two_teachers(map(str, (one, same, examples)))
    command = ("train", "--distill-weight", 1, "--output-dir", tmp_path / "m")
    ran = call(*command, "--train-file", one, "--train-file", f"{two}:2")
    assert ran.exit_code == 1
    assert f"{two} has the scores of {small_retriever}, but {one} those of" in ran.stderr
    examples.write_text(examples.read_text() + "\n")
    with pytest.raises(MismatchError, match=r"as it was .*, which was changed since"):
        refuse_two_teachers([str(one)])
    one.write_text(one.read_text().replace("1", "2"))
    with pytest.raises(MismatchError, match="was changed since its teacher scored it"):
        refuse_two_teachers([str(one)])


def test_mined_rows_keep_the_name_of_the_teacher_that_scored_them(
    small_colbert, small_retriever, small_index, examples, tmp_path
):
    _, one = scored(tmp_path / "one", small_colbert, train_file=examples)
    _, two = scored(tmp_path / "two", small_retriever, train_file=examples)
    command = ("mine-negatives", "--index", small_index, "--num", 2, "--match", "none")
    ran = call(*command, "--train-file", one, "--output-dir", tmp_path / "mined")
    assert ran.exit_code == 0, ran.stderr
    mined = tmp_path / "mined" / "train.jsonl"
    assert teachers_of(mined) == teachers_of(one)
    with pytest.raises(MismatchError, match="has the scores of"):
        refuse_two_teachers([str(mined), str(two)])
    files = ("--train-file", one, "--train-file", two)
    ran = call(*command, *files, "--output-dir", tmp_path / "both")
    assert ran.exit_code == 1 and "has the scores of" in ran.stderr
    for output in ("--output-dir", "--output"):
        ran = call("select-data", one, two, output, tmp_path / "selected")
        assert ran.exit_code == 1 and "has the scores of" in ran.stderr
        assert not (tmp_path / "selected").exists()


@pytest.mark.slow
def test_candidates_are_read_as_they_are_written(small_colbert, examples, tmp_path):
    _, path = scored(tmp_path / "out", small_colbert, train_file=examples)
    rows = list(candidate_rows(path, results=False))
    assert [list(row.teacher_scores) for row in rows] == scores_of(path)
    assert [row.where for row in rows] == list(range(1, ROWS + 1))
