"""explain: the similarities are those of the vectors, and they add up to the score."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from dprkit.data.passages import read_passages
from dprkit.models.retriever import load_retriever
from tests.conftest import call, write_colbert
from tests.interop.foreign import save_tokenizer

QUESTION = "who wrote Hamlet?"
TITLE, TEXT = "Hamlet", "A play by Shakespeare, of 1600."


def explained(*flags, code=0):
    result = call("explain", "--question", QUESTION, *flags)
    assert result.exit_code == code, result.stderr
    return result


def rows_of(stdout):
    return [line.split("\t") for line in stdout.splitlines()]


def test_each_token_of_the_question_has_a_line_with_what_it_chose(small_colbert):
    result = explained("--retriever", small_colbert, "--passage", TEXT, "--title", TITLE)
    late = load_retriever(small_colbert)
    asked, _ = late.encode([QUESTION], question=True)
    read, _ = late.encode([(TITLE, TEXT)], question=False)
    products = asked[0] @ read[0].T
    rows = rows_of(result.stdout)
    similarities = [float(similarity) for *_, similarity in rows]
    np.testing.assert_allclose(similarities, products.max(axis=1), atol=1e-4)
    score = float(late.scores([QUESTION], [(TITLE, TEXT)])[0])
    assert sum(similarities) == pytest.approx(score, abs=1e-3)
    told = f"score {score:.4f}, the sum of the similarities of {len(rows)} tokens"
    assert result.stderr.splitlines()[-1] == told
    assert rows[0][0] == "<s>" and "".join(word for word, *_ in rows[1:6]).startswith("who")
    assert not {word for _, word, _ in rows} & set(",.")


def test_json_says_where_each_token_lies_in_its_text(small_colbert):
    flags = ("--retriever", small_colbert, "--passage", TEXT, "--title", TITLE, "--json")
    report = json.loads(explained(*flags).stdout)
    assert report["question"] == QUESTION
    assert report["passage"] == f"{TITLE} {TEXT}"
    assert report["score"] == pytest.approx(sum(m["similarity"] for m in report["matches"]))
    inside = [match for match in report["matches"] if match["question_place"]]
    read = [slice(*match["question_place"]) for match in inside]
    assert "".join(QUESTION[place] for place in read).replace(" ", "") == "whowroteHamlet?"
    for match in report["matches"]:
        for side in ("question", "passage"):
            if place := match[f"{side}_place"]:
                assert report[side][slice(*place)].strip() == match[f"{side}_token"]
    assert {m["question_token"] for m in report["matches"] if not m["question_place"]} >= {"<s>"}
    assert report["outputs"] == report["notes"] == []


class Page(HTMLParser):
    """The texts of a page, and what its tags name."""

    def __init__(self, text):
        super().__init__()
        self.text, self.names, self.titles = "", [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.names.append(tag)
        self.titles += [value for name, value in attributes if name == "title"]
        assert not {"src", "href", "onclick"} & {name for name, _ in attributes}

    def handle_data(self, data):
        self.text += data


def test_a_page_shows_both_texts_whole_and_runs_and_loads_nothing(small_colbert, tmp_path):
    page, title = tmp_path / "x.html", "<b>\"Hamlet\" & 'co'</b>"
    text = "<script>alert(1)</script> by \U0001f600 Shäkespeare," + " and so on" * 40
    flags = ("--retriever", small_colbert, "--passage", text, "--title", title, "-o", page)
    result = call("explain", "--question", "who <i> & ”", *flags)
    assert (result.exit_code, result.stdout) == (0, "")
    assert f"  -> {page}" in result.stderr
    assert "Warning: the model reads 40 tokens of the passage; it is cut at '" in result.stderr
    raw = page.read_text()
    seen = Page(raw)
    assert not {"script", "b", "i", "img", "link"} & set(seen.names)
    assert not re.search("https?:|url\\(|@import", raw)
    whole = seen.text.replace("<s>", "").replace("</s>", "").replace("<mask>", "")
    assert f"{title} {text}" in whole
    assert "who <i> & ”" in whole
    late = load_retriever(small_colbert)
    assert f"Score {float(late.scores(['who <i> & ”'], [(title, text)])[0]):.4f}" in whole


def test_a_passage_of_a_corpus_is_named_by_its_id(small_colbert, tiny_passages):
    flags = ("--retriever", small_colbert, "--passages", tiny_passages)
    found = explained(*flags, "--id", "3")
    (passage,) = [p for p in read_passages(tiny_passages) if p.id == "3"]
    typed = explained(
        *["--retriever", small_colbert, "--passage", passage.text, "--title", passage.title]
    )
    both = [[float(row[2]) for row in rows_of(one.stdout)] for one in (found, typed)]
    np.testing.assert_allclose(*both, atol=2e-4)


def test_the_recipe_names_the_model_and_the_corpus(empty, tiny_examples, tiny_passages):
    write_colbert(empty / "runs/mine/model", tiny_examples)
    (empty / "dprkit.yaml").write_text(
        f"name: mine\nencode-corpus: {{passages: {tiny_passages}}}\n"
    )
    rows = rows_of(explained("--id", "3").stdout)
    assert len(rows) == 12
    assert explained("--id", "3", "--quiet").stdout == ""


def test_a_marker_and_masks_are_named_where_a_word_would_be(tmp_path, tiny_examples):
    folder = write_colbert(tmp_path / "m", tiny_examples, question_marker="<mask>")
    rows = rows_of(explained("--retriever", folder, "--passage", TEXT).stdout)
    assert [word for word, *_ in rows[:2]] == ["<s>", "<mask>"]
    assert rows[2][0].startswith("w")


def test_what_cannot_be_explained_is_refused_in_a_line(
    small_colbert, small_retriever, tiny_passages, tmp_path
):
    def error(*flags):
        return explained(*flags, code=1).stderr.splitlines()[-1]

    late = ("--retriever", small_colbert)
    told = error("--retriever", small_retriever, "--passage", TEXT)
    assert f"{small_retriever}: is a bi-encoder, which compares whole texts and no tokens" in told
    save_tokenizer(tmp_path / "bert")
    assert "has no retriever.yaml" in error("--retriever", tmp_path / "bert", "--passage", TEXT)
    assert "no passage given; name it with --passage" in error(*late)
    told = error(*late, "--id", "3", "--passage", TEXT)
    assert "--id and --passage both name a passage; give one of them" in told
    told = error(*late, "--id", "none", "--passages", tiny_passages)
    assert f"{tiny_passages}: no passage has the id 'none'; check --id" in told
    told = error(*late, "--id", "3", "--passages", tmp_path / "gone")
    assert "no such file" in told
    told = error(*late, "--passage", TEXT, "--question", " ")
    assert "--question: is empty; give the text of a question" in told
    (tmp_path / "file").touch()
    told = error(*late, "--passage", TEXT, "-o", tmp_path / "file" / "x.html")
    assert "a part of this path is a file; choose another output" in told
    told = error(*late, "--passage", TEXT, "-o", "-", "--json")
    assert "--json and --output both write to stdout" in told


def test_an_empty_passage_is_explained_by_its_special_tokens(small_colbert):
    rows = rows_of(explained("--retriever", small_colbert, "--passage", "").stdout)
    assert {word for _, word, _ in rows} <= {"<s>", "</s>"}
