"""Systems read from results, and the same questions enforced."""

from __future__ import annotations

import numpy as np
import pytest

from dprkit.errors import MismatchError
from dprkit.evaluation.arms import names_of_arms
from dprkit.evaluation.judging import Figures
from dprkit.evaluation.notes import repeated_texts
from dprkit.evaluation.systems import System, names_of, values_of
from dprkit.evaluation.systems import with_same_questions as aligned


def system(name, questions, values=()):
    """A system with {id: text} and a value of one measure for each."""
    lines = [Figures(id_, text) for id_, text in questions.items()]
    array = np.array(values or [0.0] * len(lines))
    return System(name, f"runs/{name}", lines, {"mrr@10": array})


def test_a_measure_that_is_undefined_is_nan_and_not_zero():
    lines = [Figures("a", measures={"AP": None, "P@1": 1.0}), Figures("b")]
    values = values_of(lines)
    assert np.isnan(values["AP"]).all()
    assert values["P@1"][0] == 1.0 and np.isnan(values["P@1"][1])


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["runs/a/results", "runs/b/results"], ["a", "b"]),
        (["x/results-a", "x/results-b"], ["results-a", "results-b"]),
        (["results"], ["results"]),
        (["a", "a"], ["a", "a"]),
        (["runs/a", "runs/a/b"], ["a", "a/b"]),
        (["bm25.trec.gz", "x/dense.jsonl"], ["bm25", "x/dense"]),
        (["a.trec", "a.jsonl"], ["a.trec", "a.jsonl"]),
        ([".gz", ".trec"], [".gz", ".trec"]),
    ],
)
def test_systems_are_called_by_what_differs_in_their_paths(paths, names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert names_of(paths) == names


def test_questions_in_another_order_are_put_in_the_order_of_the_first():
    one = system("a", {"1": "who", "2": "what"}, [0.1, 0.2])
    two = system("b", {"2": "what", "1": "who"}, [0.5, 0.6])
    _, other = aligned([one, two])
    assert other.values["mrr@10"].tolist() == [0.6, 0.5]
    assert [question.id for question in other.questions] == ["1", "2"]


def test_questions_with_other_ids_are_the_same_by_their_texts():
    one = system("a", {"1": "who", "2": "what"}, [0.1, 0.2])
    two = system("b", {"q1": "what", "q2": "who"}, [0.5, 0.6])
    assert aligned([one, two])[1].values["mrr@10"].tolist() == [0.6, 0.5]


def test_where_a_run_has_no_texts_ids_are_enough():
    one = system("a", {"1": "who", "2": "what"}, [0.1, 0.2])
    two = system("b", {"2": "", "1": ""}, [0.5, 0.6])
    assert aligned([one, two])[1].values["mrr@10"].tolist() == [0.6, 0.5]


def test_questions_of_one_system_alone_are_counted_and_named():
    one = system("a", {"1": "who", "2": "what", "3": "why"})
    two = system("b", {"1": "who", "4": "when"})
    with pytest.raises(MismatchError) as error:
        aligned([one, two])
    assert "2 of 3 questions are in a alone, such as 2 ('what'), 3 ('why')" in str(error.value)
    assert "1 of 2 questions are in b alone, such as 4 ('when')" in str(error.value)


def test_the_same_id_with_another_text_is_another_question():
    one = system("a", {"1": "who", "2": "what"})
    two = system("b", {"1": "who", "2": "whom"})
    with pytest.raises(MismatchError, match=r"1 questions have another text.*2: 'what' and 'whom'"):
        aligned([one, two])


def test_a_question_in_other_letter_case_is_the_same():
    one = system("a", {"1": "Who  is", "2": "what"}, [0.1, 0.2])
    two = system("b", {"2": "What", "1": "who is"}, [0.5, 0.6])
    assert aligned([one, two])[1].values["mrr@10"].tolist() == [0.6, 0.5]
    three = system("c", {"q2": "What", "q1": "who is"}, [0.5, 0.6])
    assert aligned([one, three])[1].values["mrr@10"].tolist() == [0.6, 0.5]


def test_what_the_first_system_does_not_tell_of_a_question_another_tells():
    bare = system("run", {"1": "", "2": ""})
    told = system("a", {"1": "who", "2": "what"})
    told.questions[1] = Figures("2", "what", dataset="nq", tags=("long",))
    first, _ = aligned([bare, told])
    assert first.questions == told.questions


def test_a_question_that_nothing_judges_may_be_in_one_system_alone():
    one = system("a", {"1": "who", "2": "what"}, [0.1, np.nan])
    two = system("b", {"1": "who"}, [0.5])
    first, second = aligned([one, two])
    assert [question.id for question in first.questions] == ["1"]
    assert (first.values["mrr@10"], second.values["mrr@10"]) == ([0.1], [0.5])


@pytest.mark.parametrize(
    ("trainings", "names"),
    [
        ([["a1", "a2", "a3"], ["b"]], ["a", "b"]),
        ([["bm25-1", "bm25-2"], ["e5_s0", "e5_s1"]], ["bm25", "e5"]),
        ([["gates/seed10", "gates/seed11"]], ["gates"]),
        ([["dense-2-1", "dense-2-2"], ["dense-3-1", "dense-3-2"]], ["dense-2", "dense-3"]),
        ([["run10", "run11"], ["x", "y"]], ["run10,run11", "x,y"]),
        ([["a1", "a2"], ["a3", "a4"]], ["a1,a2", "a3,a4"]),
    ],
)
def test_trainings_are_called_by_what_their_names_begin_with(trainings, names):
    assert names_of_arms(trainings) == names


def test_questions_with_one_text_are_counted():
    lines = [Figures(str(n), text) for n, text in enumerate(["who", "what", "Who ", ""])]
    assert repeated_texts(lines) == 2
