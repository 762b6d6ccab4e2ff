import json
import math
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import bm25s
import msgspec
import numpy as np
import pytest
import Stemmer
from hypothesis import given
from hypothesis import strategies as st

from dprkit.data.passages import read_passages
from dprkit.data.questions import read_questions
from dprkit.errors import InputError, SettingsError
from dprkit.indexes import bm25, bm25_inverted_lists
from dprkit.indexes.bm25 import Bm25Index, highest, write_index
from dprkit.indexes.bm25_vocabulary import Vocabulary, writing_vocabulary
from dprkit.indexes.bm25_words import Analyzer, analyzer_for
from dprkit.indexes.index_folder import IndexFolder
from dprkit.progress import Run
from dprkit.records import Passage
from dprkit.settings import IndexSettings
from dprkit.store.begin_or_resume import draft
from tests.conftest import call

SHARED = Path(__file__).parents[3] / "shared" / "data"


def make(folder, passages, run=Run(), **settings):
    chosen = IndexSettings(**settings)
    with draft(folder, "index", chosen, {}, run) as work:
        if not work.done:
            work.finish({"type": "bm25", **write_index(work, passages, chosen)})
    return folder


def content(folder):
    """Every file of an artifact, by name; manifest.json has the times of nothing."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def made_up(count, seed=0, vocabulary=40):
    """Passages of random words, some the same and some without any."""
    chance = np.random.default_rng(seed)
    words = [f"word{chr(97 + n % 26)}{chr(97 + n // 26)}" for n in range(vocabulary)]
    weights = 1 / np.arange(1, vocabulary + 1)
    return [
        Passage(
            str(row),
            " ".join(chance.choice(words, chance.integers(0, 9), p=weights / weights.sum())),
            "the title" if row % 3 else "",
        )
        for row in range(count)
    ]


def by_hand(passages, question, k1=0.9, b=0.4):
    """{row: score} of the passages that share a word, from the formula alone."""
    analyzer = analyzer_for("english")

    def terms(text):
        found = (analyzer.term(word) for word in analyzer.words(text))
        return [term for term in found if term is not None]

    texts = [Counter(terms(f"{p.title} {p.text}")) for p in passages]
    average = sum(text.total() for text in texts) / len(texts)
    scores = {}
    for term in terms(question):
        having = [row for row, text in enumerate(texts) if text[term]]
        idf = math.log(1 + (len(texts) - len(having) + 0.5) / (len(having) + 0.5))
        for row in having:
            times = texts[row][term]
            part = times / (times + k1 * (1 - b + b * texts[row].total() / average))
            scores[row] = scores.get(row, 0.0) + idf * part
    return scores


def assert_same(found_rows, found_scores, expected, topk):
    """One question's line is the best `topk` of {row: score}; ties by row, up to rounding."""
    rows, scores = found_rows[found_rows >= 0], found_scores[found_rows >= 0]
    order = sorted(expected, key=lambda row: (-round(expected[row], 4), row))[:topk]
    assert rows.tolist() == order
    np.testing.assert_allclose(scores, [expected[row] for row in order], rtol=1e-5)
    assert np.isneginf(found_scores[found_rows < 0]).all()


QUESTIONS = [
    "wordaa",
    "wordab wordac wordba",
    "Title of WORDAD, wordad?",  # a word twice counts twice
    "wordzz",
    "",
    "the of",
]


@pytest.fixture
def small_parts(monkeypatch):
    """Every bound so small that a few hundred passages go past it."""
    monkeypatch.setattr(bm25_inverted_lists, "BLOCK", 300)
    monkeypatch.setattr(bm25_inverted_lists, "GROUP", 40)
    monkeypatch.setattr(bm25_inverted_lists, "READ_AHEAD", 30)
    monkeypatch.setattr(bm25, "WINDOW", 37)


# --- scores and order -----------------------------------------------------------------------------


@pytest.mark.parametrize("topk", [1, 10, 1000])
def test_rankings_equal_the_formula_written_out(tmp_path, small_parts, topk):
    passages = made_up(300)
    index = Bm25Index(IndexFolder(make(tmp_path / "index", passages)))
    found = index.search(QUESTIONS, topk)
    assert found.rows.shape == (len(QUESTIONS), min(topk, 300))
    for question, rows, scores in zip(QUESTIONS, *found, strict=True):
        assert_same(rows, scores, by_hand(passages, question), topk)


def test_other_constants_and_no_stemmer(tmp_path):
    passages = made_up(50)
    index = Bm25Index(
        IndexFolder(make(tmp_path / "index", passages, k1=1.5, b=0.75, stemmer="none"))
    )
    (rows,), (scores,) = index.search(["wordab wordac"], 50)
    assert_same(rows, scores, by_hand(passages, "wordab wordac", 1.5, 0.75), 50)
    assert index.search(["the"], 50).rows[0, 0] >= 0  # no stop words without a language


def test_the_index_is_the_one_that_bm25s_builds(tmp_path, small_parts):
    passages = [p for p in made_up(300, vocabulary=300) if p.text]
    folder = make(tmp_path / "index", passages) / "bm25"
    stemmer = Stemmer.Stemmer("english")
    tokens = bm25s.tokenize(
        [f"{p.title} {p.text}" for p in passages],
        stopwords="en",
        stemmer=stemmer,
        return_ids=False,
        show_progress=False,
    )
    theirs = bm25s.BM25(k1=0.9, b=0.4)
    theirs.index(tokens, show_progress=False, create_empty_token=False)
    ours = bm25s.BM25.load(folder, mmap=True)
    assert ours.vocab_dict.keys() == theirs.vocab_dict.keys()
    for term in ours.vocab_dict:
        np.testing.assert_array_equal(ours.get_scores([term]), theirs.get_scores([term]))


def test_bounds_change_no_byte(tmp_path, monkeypatch):
    passages = made_up(300)
    whole = content(make(tmp_path / "whole", passages) / "bm25")
    for block, group in ((150, 1), (400, 1000), (10**6, 7)):
        monkeypatch.setattr(bm25_inverted_lists, "BLOCK", block)
        monkeypatch.setattr(bm25_inverted_lists, "GROUP", group)
        folder = make(tmp_path / f"{block}", passages)
        assert content(folder / "bm25") == whole
        assert not (folder / "blocks").exists()


def test_ties_at_the_cut_go_to_the_first_rows(tmp_path, small_parts):
    passages = [Passage(str(row), "same words here") for row in range(200)]
    passages[150] = Passage("150", "words words")
    index = Bm25Index(IndexFolder(make(tmp_path / "index", passages)))
    assert index.search(["words"], 6).rows.tolist() == [[150, 0, 1, 2, 3, 4]]


def test_what_shares_no_word_is_not_found(tmp_path):
    index = Bm25Index(IndexFolder(make(tmp_path / "index", made_up(30))))
    found = index.search(["wordzz", "", "the", "wordaa"], 5)
    assert (found.rows[:3] == -1).all()
    assert np.isneginf(found.scores[:3]).all()
    assert found.rows[3, 0] >= 0


def test_only_allowed_rows_are_found(tmp_path, small_parts):
    passages = made_up(300)
    index = Bm25Index(IndexFolder(make(tmp_path / "index", passages)))
    allowed = np.array([0, 5, 36, 37, 38, 111, 150, 151, 299])
    expected = by_hand(passages, "wordaa wordab")
    for topk in (3, 50):
        (rows,), (scores,) = index.search(["wordaa wordab"], topk, allowed)
        kept = {row: score for row, score in expected.items() if row in allowed}
        assert len(rows) == min(topk, 9)
        assert_same(rows, scores, kept, topk)
    assert index.search(["wordaa"], 5, allowed[:0]).rows.shape == (1, 0)


def test_threads_change_nothing(tmp_path):
    folder = make(tmp_path / "index", made_up(300))
    questions = QUESTIONS * 7
    alone = Bm25Index(IndexFolder(folder), threads=1).search(questions, 20)
    together = Bm25Index(IndexFolder(folder), threads=5).search(questions, 20)
    np.testing.assert_array_equal(alone.rows, together.rows)
    np.testing.assert_array_equal(alone.scores, together.scores)


def test_no_questions_give_no_lines(tmp_path):
    index = Bm25Index(IndexFolder(make(tmp_path / "index", made_up(30))))
    assert index.search([], 5).rows.shape == (0, 5)


@pytest.mark.parametrize("count", [1, 5, 40, 1000, 4000])
def test_the_highest_scores_and_their_ties(count):
    chance = np.random.default_rng(count)
    for share in (0.001, 0.05, 0.9):
        scores = np.where(chance.random(4000) < share, chance.integers(1, 30, 4000) / 8, 0)
        positive = np.sort(scores[scores > 0])[::-1]
        last = positive[min(count, len(positive)) - 1] if len(positive) else 1
        expected = np.flatnonzero(scores >= last)
        assert highest(scores.astype(np.float32), count).tolist() == expected.tolist()


# --- words ----------------------------------------------------------------------------------------


def test_words_are_cut_as_bm25s_cuts_them(tiny_passages):
    texts = [p.text for p in read_passages(tiny_passages)]
    texts += ["Straße İstanbul Ⅷ naïve 東京 snake_case x y2 don't", ""]
    analyzer = analyzer_for("english")
    stemmer = Stemmer.Stemmer("english")
    theirs = bm25s.tokenize(
        texts, stopwords="en", stemmer=stemmer, return_ids=False, show_progress=False
    )
    for text, expected in zip(texts, theirs, strict=True):
        terms = [analyzer.term(word) for word in analyzer.words(text)]
        assert [term for term in terms if term is not None] == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("東京都へ行く", ["東京", "京都", "都へ", "へ行", "行く"]),
        ("2024年のA型 tower", ["2024", "年の", "型", "tower"]),
        ("東京、大阪・猫。", ["東京", "大阪", "猫"]),
        ("ｶﾀｶﾅ 𠮷野家", ["ｶﾀ", "ﾀｶ", "ｶﾅ", "𠮷野", "野家"]),
        ("ที่นี่ ๒๕๖๗", ["ที", "ี่", "่น", "นี", "ี่", "๒๕๖๗"]),  # vowels and tones are characters
        ("ພາສາ", ["ພາ", "າສ", "ສາ"]),
        ("ខ្មែរ", ["ខ្", "្ម", "មែ", "ែរ"]),
        ("မြန်မာ", ["မြ", "ြန", "န်", "်မ", "မာ"]),
        ("हिन्दी की भाषा", ["हिन्दी", "की", "भाषा"]),  # has spaces; its vowels are signs
        ("தமிழ் 한국어 검색", ["தமிழ்", "한국어", "검색"]),
    ],
)
def test_scripts_without_spaces_are_cut_into_pairs(text, words):
    assert analyzer_for("english").words(text) == words


@given(st.text(alphabet=st.characters(max_codepoint=0x52F) | st.sampled_from("–—’“”…€™ﬁ")))
def test_latin_greek_and_cyrillic_are_cut_as_before(text):
    assert analyzer_for("none").words(text) == analyzer_for("none", version=1).words(text)


@given(st.text(alphabet="一东京猫𠮷のカｶーกินเี้ຂ່ខ្មែမြ x.1", max_size=30))
def test_no_character_of_an_unspaced_script_is_dropped(text):
    kept = set("".join(analyzer_for("english").words(text)))
    assert set(text) - set(" x.1") == kept - set("x1")


def test_a_corpus_in_chinese_is_found_by_a_part_of_a_sentence(tmp_path):
    passages = [
        Passage("1", "黄山在安徽省"),
        Passage("2", "人们常常去爬华山"),
        Passage("3", "hills"),
    ]
    index = Bm25Index(IndexFolder(make(tmp_path / "index", passages)))
    assert index.search(["安徽省的黄山", "常常爬山", "hill"], 1).rows.tolist() == [[0], [1], [2]]


def test_an_older_index_keeps_its_rules(tmp_path):
    folder = make(tmp_path / "index", [Passage("1", "黄山在安徽省")])
    rules = folder / "bm25" / "analyzer.json"
    assert json.loads(rules.read_bytes())["version"] == 2
    older = {"stemmer": "none", "stopwords": [], "pattern": r"\b\w\w+\b"}
    assert msgspec.json.decode(json.dumps(older), type=Analyzer).words("黄山在 山") == ["黄山在"]


def test_a_build_that_an_older_dprkit_began_keeps_its_rules(tmp_path, small_parts):
    passages = [Passage(str(n), "黄山在安徽省 " * 30) for n in range(20)]
    with pytest.raises(Killed):
        make(tmp_path / "index", dying(passages, 15))
    progress = tmp_path / "index" / "progress.json"
    begun = json.loads(progress.read_bytes())
    del begun["checksum"]
    assert begun["state"].pop("analyzer") == 2
    progress.write_text(json.dumps(begun))
    index = Bm25Index(IndexFolder(make(tmp_path / "index", passages)))
    assert index.analyzer.version == 1


def test_passages_without_a_word_are_counted_and_the_first_is_named(tmp_path, small_parts):
    words = [Passage(str(n), "word " * 40) for n in range(30)]
    empty = [Passage("a", "the of", "A"), Passage("b", "")]
    with draft(tmp_path / "index", "index", IndexSettings(), {}, Run()) as work:
        counts = write_index(work, [*words, empty[0], *words, empty[1]], IndexSettings())
    assert (counts["wordless"], counts["first_wordless"]) == (2, 30)


def test_the_line_of_a_passage_without_a_word_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("dprkit.yaml").write_text("index: {}\n")
    corpus = tmp_path / "p.tsv"
    corpus.write_text('id\ttext\ttitle\n1\t"red\nblue"\tt\n2\t"the"\ta\n3\t""\t\n')
    words = ("index", "--type", "bm25", "--passages", corpus, "--output-dir", tmp_path / "i")
    result = call(*words, "-q")
    expected = (
        "2 passages without a word that BM25 can find (empty, stop words, single letters), "
        f"such as the one at {corpus}:4"
    )
    assert result.stderr == f"Warning: {expected}\n"
    again = call(*words, "--json")
    assert json.loads(again.stdout)["notes"] == [expected]


def test_a_language_brings_its_stemmer_and_stop_words():
    german = analyzer_for("german")
    assert german.term("und") is None
    assert german.term("häuser") == german.term("haus")
    assert analyzer_for("none") == Analyzer("none", version=2)


def test_a_language_without_a_stemmer_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="'englisch'; did you mean 'english'"):
        make(tmp_path / "index", made_up(3), stemmer="englisch")
    assert not list(tmp_path.rglob("*.npy"))


def test_terms_are_found_where_they_lie(tmp_path):
    terms = sorted({f"{n * 7919 % 1000}" for n in range(400)} | {"é", "zulu", "東京", "a_b"})
    terms.sort(key=str.encode)
    for size in (0, 1, 2, 3, len(terms)):
        path = tmp_path / f"{size}.json"
        with writing_vocabulary(path) as writer:
            for term in terms[:size]:
                writer.add(term.encode())
        vocabulary = Vocabulary(path)
        expected = {term: number for number, term in enumerate(terms[:size])}
        assert json.loads(path.read_bytes()) == expected
        for term in [*terms, "", "!", "zzz", "12345", "ü"]:
            assert vocabulary.find(term) == expected.get(term, -1)


# --- making ---------------------------------------------------------------------------------------


class Killed(BaseException):
    pass


def dying(passages, after):
    yield from passages[:after]
    raise Killed


def test_a_stopped_build_goes_on_and_ends_with_the_same_bytes(tmp_path, small_parts):
    passages = made_up(300)
    whole = content(make(tmp_path / "whole", passages))
    folder = tmp_path / "stopped"
    for after in (10, 120, 260):
        with pytest.raises(Killed):
            make(folder, dying(passages, after))
    assert list(folder.glob("blocks/*"))
    assert content(make(folder, passages)) == whole


def test_a_build_stopped_while_joining_goes_on(tmp_path, small_parts, monkeypatch):
    passages = made_up(300)
    whole = content(make(tmp_path / "whole", passages))
    folder = tmp_path / "stopped"

    def stop(*_):
        raise Killed

    for target, name in ((bm25_inverted_lists._Source, "take"), (bm25.Draft, "remove")):
        with monkeypatch.context() as patch:
            patch.setattr(target, name, stop)
            with pytest.raises(Killed):
                make(folder, passages)
        with pytest.raises(InputError, match="unfinished"):
            Bm25Index(IndexFolder(folder))
    assert content(make(folder, iter([]))) == whole  # what is joined is not read again


BUILD = """
import os, signal, sys
from dprkit.store.begin_or_resume import draft
from dprkit.progress import Run
from dprkit.records import Passage
from dprkit.indexes import bm25_inverted_lists
from dprkit.indexes.bm25 import write_index
from dprkit.settings import IndexSettings

folder, left = sys.argv[1], int(sys.argv[2])
bm25_inverted_lists.BLOCK, bm25_inverted_lists.GROUP = 300, 40

def count(event, arguments):
    global left
    paths = [str(one) for one in arguments if isinstance(one, str | os.PathLike)]
    left -= any(folder in path for path in paths)  # opened, renamed, removed, ...
    if not left:
        left = -1  # being killed is an event too
        os.kill(os.getpid(), signal.SIGKILL)

passages = [Passage(str(n), f"red{n % 37} blue{n % 11} green{n * n % 101}") for n in range(300)]
sys.addaudithook(count)
with draft(folder, "index", IndexSettings(), {}, Run()) as work:
    if not work.done:
        work.finish({"type": "bm25", **write_index(work, passages, IndexSettings())})
print(int(sys.argv[2]) - left)
"""


def test_builds_killed_anywhere_end_with_the_same_bytes(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}

    def run(folder, moment=10**9):
        words = [sys.executable, "-c", BUILD, str(folder), str(moment)]
        return subprocess.run(words, env=environment, capture_output=True, text=True)

    whole = run(tmp_path / "whole")
    moments = int(whole.stdout)
    for number, share in enumerate((0.3, 0.6, 0.9)):
        killed = tmp_path / f"{number:05}"  # as long a name as the other's
        assert run(killed, int(moments * share)).returncode == -signal.SIGKILL
        assert run(killed).returncode == 0
        assert content(killed) == content(tmp_path / "whole")


def test_a_file_cut_short_is_named(tmp_path):
    folder = make(tmp_path / "index", made_up(30))
    path = folder / "bm25" / bm25_inverted_lists.SCORES
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(InputError, match=r"data\.csc\.index\.npy: damaged \(it has"):
        Bm25Index(IndexFolder(folder))


def test_another_kind_of_index_is_refused(tmp_path):
    with draft(tmp_path / "index", "index", IndexSettings(), {}, Run()) as work:
        with work.file("index.faiss") as file:
            file.write(b"vectors")
        work.finish({"type": "flat", "passages": 1})
    with pytest.raises(InputError, match="is no BM25 index"):
        Bm25Index(IndexFolder(tmp_path / "index"))


def test_an_empty_corpus_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no passages"):
        make(tmp_path / "index", [])


def test_a_corpus_without_words_can_be_searched(tmp_path):
    for number, texts in enumerate((["", "the"], ["", ""])):
        passages = [Passage(str(row), text) for row, text in enumerate(texts)]
        index = Bm25Index(IndexFolder(make(tmp_path / f"{number}", passages)))
        assert index.search(["anything"], 2).rows.tolist() == [[-1, -1]]


def test_nothing_in_the_index_is_pickled(tmp_path):
    folder = make(tmp_path / "index", made_up(30)) / "bm25"
    for path in folder.glob("*.npy"):
        np.load(path, allow_pickle=False)
    assert {path.suffix for path in folder.iterdir()} == {".npy", ".json"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [("squad", (0.795, 0.933, 0.972, 0.988)), ("newwiki", (0.777, 0.922, 0.974, 0.995))],
)
def test_recall_on_real_questions_is_what_bm25s_reached(tmp_path, name, expected):
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip("the real data beside the repository is not there")
    passages = list(read_passages(folder / "passages.tsv.gz"))
    places = {passage.id: row for row, passage in enumerate(passages)}
    questions = list(read_questions(folder / "dev.questions.jsonl.gz"))
    gold = np.array([places[question.gold[0]] for question in questions])
    index = Bm25Index(IndexFolder(make(tmp_path / "index", passages)))
    found = index.search([question.question for question in questions], 100)
    hits = found.rows == gold[:, None]
    reached = [hits[:, :k].any(axis=1).mean() for k in (1, 5, 20, 100)]
    np.testing.assert_allclose(reached, expected, atol=6e-4)
