"""The kind `texts`: folders of texts become passages."""

from __future__ import annotations

import gzip
import json
import os
import random
import re
from pathlib import Path

import pytest

from dprkit.errors import InputError
from dprkit.imports.items import Tally
from dprkit.imports.texts import fits, items
from dprkit.settings import ImportSettings
from tests.conftest import call

MARKDOWN = """\
---
title: "Of the front matter"
---
Before [any](http://x) *heading*.

# The guide

Intro with `code`.

## Install & run

Step one.

```sh
# no heading
run it
```

| a | b |
|---|---|
| 1 | 2 |

Install & run
-------------

Again, <b>in</b> short.

### Details

<div>Raw <i>markup</i></div>
"""
HTML = """\
<!doctype html><title>Page &mdash; Site</title><style>p {}</style>
<nav>Menu <h2>Not this</h2></nav>
<main><section id="top"><h1>The  page<a href="#top">¶</a></h1><p>One <b>bo</b>ld&nbsp;word<br>two
<h2 id="list">A list</h2><ul><li>first<li>second</ul><pre>x\n  y</pre>
<table><tr><th>k<td>v</table></section></main><footer>Imprint</footer><script>let x</script>
"""


def passages(path: Path, tally: Tally | None = None, **settings) -> list[tuple[str, str, str]]:
    found = items(path, ImportSettings(**settings), tally or Tally())
    return [(p.id, p.title, p.text) for p in found]


@pytest.fixture
def docs(empty: Path) -> Path:
    Path("docs/sub").mkdir(parents=True)
    Path("docs/guide.md").write_text(MARKDOWN)
    Path("docs/sub/page.html").write_text(HTML)
    Path("docs/my notes_2.txt").write_text("One\ntwo.\n\n\nThree.\n")
    row = {"_id": 7, "title": "A row", "contents": "Text of\na row."}
    Path("docs/rows.jsonl").write_text(json.dumps(row) + '\n{"text": "No id."}\n{"title": "t"}\n')
    return Path("docs")


def test_headings_give_titles_and_places(docs):
    guide, page = "docs/guide.md#", "docs/sub/page.html#"
    assert passages(docs) == [
        (f"{guide}1", "Of the front matter", "Before any heading."),
        (f"{guide}the-guide:1", "The guide", "Intro with code."),
        (
            f"{guide}install--run:1",
            "The guide > Install & run",
            "Step one. # no heading run it a b 1 2",
        ),
        (f"{guide}install--run-1:1", "The guide > Install & run", "Again, in short."),
        (f"{guide}details:1", "The guide > Install & run > Details", "Raw markup"),
        ("docs/my%20notes_2.txt#1", "my notes 2", "One two. Three."),
        ("docs/rows.jsonl#7:1", "A row", "Text of a row."),
        ("docs/rows.jsonl#2:1", "", "No id."),
        (f"{page}top:1", "The page", "One bold word two"),
        (f"{page}list:1", "The page > A list", "first second x y k v"),
    ]


def test_an_id_depends_on_its_file_alone_and_a_section_on_nothing_else(docs):
    before = passages(docs, split_passages="words=2")
    Path("docs/a.md").write_text("# The guide\nNew.")
    Path("docs/guide.md").write_text(MARKDOWN.replace("Intro with", "A longer intro with"))
    after = dict((id_, text) for id_, _, text in passages(docs, split_passages="words=2"))
    for id_, _, text in before:
        assert "the-guide" in id_ or after[id_] == text
    assert after["docs/a.md#the-guide:1"] == "New."
    assert after["docs/guide.md#the-guide:2"] == "intro with"


def test_files_that_are_no_texts_are_left_out_and_counted(docs):
    for name in ("guide.md", "my notes_2.txt", "rows.jsonl", "sub/page.html"):
        (docs / name).unlink()
    Path("docs/latin.txt").write_bytes("one\ntwo caf\xe9\n".encode("latin-1"))
    Path("docs/utf16.txt").write_bytes("in café\n".encode("utf-16"))
    Path("docs/page.htm").write_bytes(
        '<meta http-equiv=x content="text/html; charset=ISO-8859-1"><p>“café”'.encode("cp1252")
    )
    Path("docs/marked.md").write_bytes(b"\xef\xbb\xbf# T\nx")
    Path("docs/binary.txt").write_bytes(random.Random(0).randbytes(999) + b"\0")
    Path("docs/paper.txt").write_bytes(b"%PDF-1.7\n1 0 obj")
    Path("docs/cut.txt.gz").write_bytes(b"\x1f\x8b\x08\0\0")
    Path("docs/empty.txt").write_text(" \n")
    Path("docs/picture.png").write_text("x")
    Path("docs/.git").mkdir()
    os.symlink("nowhere", "docs/dead.txt")
    os.symlink("self.txt", "docs/self.txt")
    os.symlink("..", "docs/sub/up")
    os.symlink("../marked.md", "docs/sub/link.md")
    os.mkfifo("docs/pipe.txt")
    tally = Tally()
    found = passages(docs, tally)
    assert {(id_, text) for id_, _, text in found} == {
        ("docs/utf16.txt#1", "in café"),
        ("docs/page.htm#1", "“café”"),
        ("docs/marked.md#t:1", "x"),
        ("docs/sub/link.md#t:1", "x"),
    }
    assert {why: (d.count, d.first) for why, d in tally.dropped.items()} == {
        "hidden: its name begins with a dot": (1, "docs/.git"),
        "not a text": (2, "docs/binary.txt"),
        "a packed file that is damaged": (
            1,
            "docs/cut.txt.gz:byte 0: the gzip file is cut off; fetch it again",
        ),
        "a link that leads nowhere": (2, "docs/dead.txt"),
        "a file without text": (1, "docs/empty.txt"),
        "not in UTF-8": (1, "docs/latin.txt:2"),
        "a file of another kind (read: .txt, .md, .html, .jsonl)": (1, "docs/picture.png"),
        "no regular file": (1, "docs/pipe.txt"),
        "a link to a folder; name the folder as a source of its own": (1, "docs/sub/up"),
    }


def test_a_file_is_taken_whole_or_not_at_all(empty):
    """Also where what is wrong lies behind what is read at once."""
    Path("docs").mkdir()
    Path("docs/good.txt").write_text("Good.\n")
    Path("docs/late.txt").write_bytes(b"a line\n" * 100_000 + b"caf\xe9\n")
    whole = gzip.compress(random.Random(0).randbytes(300_000).hex().encode())
    Path("docs/cut.txt.gz").write_bytes(whole[:-9])
    Path("docs/latin.jsonl").write_bytes(b'{"text": "one"}\n' * 300 + b'{"text": "caf\xe9"}\n')
    Path("docs/broken.jsonl").write_text('{"text": "one"}\n{"text": broken\n{"text": "two"}\n')
    Path("docs/numbers.jsonl").write_text("[1,2]\n")
    done = call("import-data", "docs", "--output-dir", "data", "--json")
    assert done.exit_code == 0, done.stderr
    rows = map(json.loads, Path("data/passages.jsonl").read_text().splitlines())
    assert [row["id"] for row in rows] == ["docs/good.txt#1"]
    dropped = json.loads(done.stdout)["dropped"]
    first = {reason: (one["count"], one["first"]) for reason, one in dropped.items()}
    assert first["not in UTF-8"] == (1, "docs/late.txt:100001")
    assert first["rows that cannot all be read"][0] == 3
    assert "docs/broken.jsonl:2: not JSON" in first["rows that cannot all be read"][1]
    assert first["a packed file that is damaged"][0] == 1


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        (b'{"text": "a"}\n{"text": "caf\xe9"}\n', "a.jsonl:2: not UTF-8 (byte 0xe9)"),
        (b"[1,2]\n", "a.jsonl:1: expected an object with named fields, found a number"),
        (b'{"text": "a"}\n[1,2]\n', "a.jsonl:2: the row is a list; it has to be an object"),
    ],
)
def test_json_rows_that_cannot_be_read_are_named_with_their_line(empty, rows, problem):
    Path("docs").mkdir()
    Path("docs/a.jsonl").write_bytes(rows)
    with pytest.raises(InputError, match=re.escape(problem)):
        passages(Path("docs"))


def test_a_folder_without_texts_is_refused_with_what_is_there(empty):
    def refused(*words: str) -> str:
        said = call("import-data", "docs", *words, "--output-dir", "data")
        assert said.exit_code == 1
        return said.stderr.strip()

    Path("docs/sub").mkdir(parents=True)
    for words in ((), ("--kind", "texts")):
        assert refused(*words).startswith("Error: docs: the folder is empty; name one with files")
    Path("docs/.hidden.txt").write_text("x")
    for words in ((), ("--kind", "texts")):
        passed = "nothing in it is read; docs/.hidden.txt is passed over: hidden: its name begins"
        assert passed in refused(*words)
    Path("docs/a.pdf").write_text("x")
    knows = "nothing that import-data knows in it (the first file: docs/a.pdf); it reads .txt"
    assert knows in refused()
    said = refused("--kind", "texts")
    assert "docs: no text in it (" in said
    assert "; 1 a file of another kind (read: .txt, .md, .html, .jsonl), first docs/a.pdf)" in said


def test_rows_of_data_among_texts_are_told(docs):
    Path("docs/pairs.jsonl").write_text('{"query": "q", "pos": "p"}\n')
    Path("docs/b.csv").write_text("query,pos\nq2,p2\n")
    Path("docs/package.json").write_text('{\n"name": "x"\n}\n')
    said = call("import-data", docs, "--output-dir", "data", "--json")
    note = (
        "docs: a folder of texts, whose files of rows are not read: 2 (the first: docs/b.csv); "
        "name them beside it, as in dprkit import-data docs docs/b.csv"
    )
    assert note in said.stderr
    assert json.loads(said.stdout)["dropped"] == {
        "a file of rows among texts": {"count": 2, "first": "docs/b.csv"},
        "a file of another kind (read: .txt, .md, .html, .jsonl)": {
            "count": 1,
            "first": "docs/package.json",
        },
        "a row without text": {"count": 1, "first": "docs/rows.jsonl:3"},
    }
    words = ("import-data", docs, "docs/b.csv", "docs/pairs.jsonl", "--output-dir", "both")
    both = call(*words)
    assert both.exit_code == 0
    assert "a folder of texts, whose" not in both.stderr
    assert len(Path("both/train.jsonl").read_text().splitlines()) == 2


def test_which_sources_are_texts(docs):
    Path("q.txt").write_text("id\tquestion\n1\twho?\n")
    Path("csv.txt").write_text("question,answer\nwho,me\n")
    Path("prose.txt").write_text("Well, this is it.\nYes, it is.\n")
    Path("empty").mkdir()
    of = (docs, Path("docs/guide.md"), Path("docs/sub/page.html"), Path("prose.txt"))
    assert all(map(fits, of))
    others = ("docs/rows.jsonl", "q.txt", "csv.txt", "empty")
    assert not any(map(fits, map(Path, others)))


def test_a_book_and_a_page_with_a_head_of_its_own_are_no_data_sets(empty):
    Path("book.txt").write_text("Contents\n\nChapter 1. It begins.\n")
    Path("docs").mkdir()
    Path("docs/README.md").write_text("---\ntitle: A tool: what it is\n---\nIt is a tool.\n")
    for source, text in (("book.txt", "Contents Chapter 1. It begins."), ("docs", "It is a tool.")):
        said = call("import-data", source, "--output-dir", f"of-{source}")
        assert said.exit_code == 0, said.stderr
        rows = Path(f"of-{source}/passages.jsonl").read_text().splitlines()
        assert [json.loads(row)["text"] for row in rows] == [text]


def test_rows_alone_are_split_where_they_are_said_to_be_texts(docs):
    words = (
        "import-data",
        "docs/rows.jsonl",
        "--split-passages",
        "words=2",
        "--output-dir",
        "data",
    )
    refused = call(*words)
    assert refused.exit_code == 1
    assert "--split-passages: is for splitting texts, and the sources are " in refused.stderr
    assert "--kind texts for JSON rows of texts" in refused.stderr
    assert call(*words, "--kind", "texts").exit_code == 0
    ids = [json.loads(row)["id"] for row in Path("data/passages.jsonl").read_text().splitlines()]
    assert ids == ["rows.jsonl#7:1", "rows.jsonl#7:2", "rows.jsonl#2:1"]


def test_a_line_of_any_length_is_read_in_pieces(empty, monkeypatch):
    monkeypatch.setattr("dprkit.imports.text_files.LINE", 1000)
    monkeypatch.setattr("dprkit.imports.sections.PARAGRAPH", 1000)
    words = [f"word{number}" for number in range(100_000)]
    Path("one.txt").write_text(" ".join(words))
    found = [text for _, _, text in passages(Path("one.txt"), split_passages="words=64")]
    assert found == [" ".join(words[start : start + 64]) for start in range(0, 100_000, 64)]


def test_a_line_that_never_ends_is_refused_if_it_has_no_words(empty, monkeypatch):
    monkeypatch.setattr("dprkit.imports.text_files.LINE", 1000)
    Path("docs").mkdir()
    Path("docs/base64.txt").write_text("Words before.\n" + "QUJD" * 1000)
    Path("docs/japanese.txt").write_text("犬が歩く。" * 1000)
    tally = Tally()
    assert {id_.partition("#")[0] for id_, _, _ in passages(Path("docs"), tally)} == {
        "docs/japanese.txt"
    }
    assert tally.dropped["not a text: a line with 1 MB without a space"].count == 1


def test_what_a_page_of_html_hides_is_left_out(empty):
    Path("a.html").write_text(
        '<body style="display:none"><p>One<p hidden>no<p style="color:red; DISPLAY : none">no</p>'
        '<div hidden><div hidden>no</div><p style="display:none">no</p></div><h2 hidden>no</h2>'
        '<p style="display:block">two <b style="display:none !important">no <i hidden>no</i></b>'
    )
    assert passages(Path("a.html")) == [("a.html#1", "a", "One two")]


def test_the_passages_of_a_folder_are_indexed_and_found(docs):
    done = call(
        *("import-data", docs, "--split-passages", "sentences=1", "--output-dir", "data", "--json")
    )
    report = json.loads(done.stdout)
    assert report["written"] == {"passages": len(passages(docs, split_passages="sentences=1"))}
    assert report["dropped"]["a row without text"] == {"count": 1, "first": "docs/rows.jsonl:3"}
    call("index", "--type", "bm25", "--passages", "data/passages.jsonl", "--output-dir", "index")
    Path("q.txt").write_text("step one\n")
    call("search", "--index", "index", "--questions", "q.txt", "-o", "out.jsonl", "--topk", "1")
    (found,) = map(json.loads, Path("out.jsonl").read_text().splitlines())
    assert found["ctxs"][0]["id"] == "docs/guide.md#install--run:1"
    again = call("import-data", docs, "--split-passages", "sentences=1", "--output-dir", "data")
    assert "up to date" in again.stderr
    Path("docs/new.txt").write_text("New.")
    changed = call("import-data", docs, "--split-passages", "sentences=1", "--output-dir", "data")
    assert f"{report['written']['passages'] + 1} passages" in changed.stderr
