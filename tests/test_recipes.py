from __future__ import annotations

from pathlib import Path

import pytest

from dprkit.errors import DprkitError, FormatError, InputError, SettingsError
from dprkit.recipes import load_recipe, recipe_names
from dprkit.settings import STAGES, bundled, fields_of


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def recipe(text, sets=()):
    Path("my.yaml").write_text(text)
    return load_recipe("my.yaml", sets=sets)


# --- which recipe ---------------------------------------------------------------------------------


def test_the_shipped_tiny_recipe_is_used_where_there_is_no_other():
    found = load_recipe()
    assert (found.name, found.source) == ("tiny", str(bundled("tiny.yaml")))


def test_the_recipe_of_the_folder_is_picked_up(folder):
    (folder / "dprkit.yaml").write_text("name: mine\ntrain: {lr: 0.5}\n")
    found = load_recipe()
    assert (found.name, found.source) == ("mine", "dprkit.yaml")
    assert found.explain("train", {})["lr"] == (0.5, "dprkit.yaml")


def test_a_recipe_that_is_named_wins_over_the_folders(folder):
    (folder / "dprkit.yaml").write_text("name: mine")
    (folder / "other.yaml").write_text("train: {lr: 0.5}")
    assert load_recipe(recipe="tiny").name == "tiny"
    assert load_recipe(config="other.yaml").name == "other"


def test_only_one_recipe_can_be_named():
    with pytest.raises(SettingsError, match="--config and --recipe both name a recipe; give one"):
        load_recipe("dprkit.yaml", "tiny")


def test_an_unknown_recipe_is_told_with_the_nearest():
    with pytest.raises(SettingsError, match="no recipe is called 'tinny'; did you mean 'tiny'"):
        load_recipe(recipe="tinny")
    with pytest.raises(SettingsError, match=f"there are {', '.join(recipe_names())}"):
        load_recipe(recipe="x")


def test_a_recipe_that_is_not_there_is_told(folder):
    with pytest.raises(InputError, match=r"my.yaml: no such file"):
        load_recipe("my.yaml")
    with pytest.raises(InputError, match=r"is a directory; name a file in it"):
        load_recipe(str(folder))
    (folder / "dprkit.yaml").mkdir()
    with pytest.raises(InputError, match=r"dprkit.yaml: is a directory"):
        load_recipe()


# --- what is in it --------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "\n# nothing yet\n", "null", "~", "---", "\ufefftrain: {}"])
def test_an_empty_recipe_leaves_everything_at_its_default(text):
    found = recipe(text)
    assert found.explain("train", {})["batch_size"] == (None, "default")
    assert found.name == "my"


def test_the_workspace_carries_the_name_of_the_recipe():
    assert recipe("").explain("train", {})["output_dir"] == ("runs/my/model", "workspace")
    named = recipe("name: my own ü").explain("index", {})
    assert named["embeddings"] == ("runs/my own ü/embeddings", "output of encode-corpus")


def test_hyphens_and_underscores_are_the_same():
    found = recipe("select_data: {num-items: 3, min_positives: 2}\nencode-corpus: {shard-size: 4}")
    select = found.explain("select-data", {})
    assert (select["num_items"][0], select["min_positives"][0]) == (3, 2)
    assert found.explain("encode-corpus", {})["shard_size"][0] == 4


def test_a_name_and_a_description_are_no_stages():
    assert recipe("description: for the paper\nname: a\n").written == {}


def test_a_stage_without_settings_is_mentioned():
    assert recipe("train:\nindex: {}\nencode_corpus:\n").written == {
        "train": {},
        "index": {},
        "encode-corpus": {},
    }


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("train:\n  bacth_size: 3", 2, "train has no setting 'bacth_size'; did you mean 'batch_si"),
        ("train: {lr: 1}\n\ntrian: {}", 3, "no stage is called 'trian'; did you mean 'train'?"),
        ("select_data:\n  # note\n  num_itmes: 3", 3, "no setting 'num_itmes'; did you mean 'num"),
        ("lr: 3", 1, "no stage is called 'lr'"),
        ("train: 3", 1, "train holds the settings of a stage, as name: value"),
        ("index: {}\ntrain: [lr]", 2, "train holds the settings of a stage"),
        ("[train]", 1, "a recipe is a mapping of stages"),
        ("train", 1, "a recipe is a mapping of stages"),
        ("0", 1, "a recipe is a mapping of stages"),
        ("''", 1, "a recipe is a mapping of stages"),
        ("[]", 1, "a recipe is a mapping of stages"),
        ("train: {lr: 1}\ntrain: {lr: 2}", 2, "'train' is there twice"),
        ("train:\n  lr: 1\n  batch_size: 2\n  lr: 2", 4, "'lr' is there twice"),
        ("train:\n  max-epochs: 1\n  max_epochs: 2", 3, "'max_epochs' is there twice"),
        ("train:\n\tlr: 3", 2, "not YAML: found character '.t'"),
        ("index: {}\ntrain: {lr: 1", 2, "not YAML"),
        ("train: *x", 1, "not YAML: found undefined alias"),
        ("? [1, 2]\n: 3", 1, "not YAML: found unhashable key"),
        ("train: {lr: 2026-13-45}", 1, "not YAML: month must be in 1..12"),
        ("train: {lr: \x07}", 1, "not YAML: unacceptable character"),
        ("train: !!python/object/apply:os.abort []", 1, "not YAML: could not determine a const"),
        ("name: ../x", 1, "name: '../x' is not valid: it becomes a folder below runs/"),
        ("name: ..", 1, "is not valid"),
        ("name: 3", 1, "name: 3 is not valid"),
        ("name: [a]", 1, "is not valid"),
    ],
)
def test_a_fault_is_told_with_its_line(text, line, problem):
    with pytest.raises(FormatError) as caught:
        recipe(text)
    assert str(caught.value).startswith(f"my.yaml:{line}: ")
    assert problem.replace("'.t'", "'\\t'") in str(caught.value)


def test_a_recipe_that_is_no_text_is_told(folder):
    (folder / "my.yaml").write_bytes("train: {title_join: 'ä'}".encode("latin-1"))
    with pytest.raises(FormatError, match=r"my.yaml:1: not UTF-8 text"):
        load_recipe("my.yaml")


def test_a_value_of_the_wrong_type_is_told_with_the_recipe():
    found = recipe("train: {batch_size: many}")
    with pytest.raises(SettingsError, match=r"train.batch_size \(my.yaml\): 'many' is not valid"):
        found.stage("train", {})


# --- who wins -------------------------------------------------------------------------------------


def test_a_flag_wins_over_set_wins_over_the_recipe_wins_over_the_default():
    text = "train: {lr: 1.0, batch_size: 2, max_epochs: 3}"
    found = recipe(text, sets=["train.lr=0.5", "train.batch-size=4"])
    explained = found.explain("train", {"lr": 0.25})
    assert explained["lr"] == (0.25, "flag")
    assert explained["batch_size"] == (4, "--set")
    assert explained["max_epochs"] == (3, "my.yaml")
    assert explained["seed"] == (0, "default")
    assert explained["output_dir"] == ("runs/my/model", "workspace")
    settings, origins = found.stage("train", {"lr": 0.25})
    assert (settings.lr, settings.batch_size, settings.max_epochs) == (0.25, 4, 3)
    assert origins["lr"] == "flag"


def test_a_flag_may_be_false_or_zero():
    found = recipe("train: {shared: true, max_epochs: 5}")
    settings, _ = found.stage("train", {"shared": False, "max_epochs": 0, "lr": None})
    assert (settings.shared, settings.max_epochs) == (False, 0)


def test_a_recipe_may_set_a_default_back():
    assert recipe("train: {lr: null}").explain("train", {})["lr"] == (None, "my.yaml")


def test_the_later_of_two_sets_wins():
    assert recipe("", ["train.lr=1", "train.lr=2"]).explain("train", {})["lr"][0] == 2.0


def test_set_takes_yaml_for_lists_and_mappings():
    found = recipe("", ["evaluate.topk=[1, 5]", "select-data.split={train: 5}"])
    assert found.explain("evaluate", {})["topk"] == ((1, 5), "--set")
    assert found.explain("select-data", {})["split"] == ({"train": 5}, "--set")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("train.lr", "write stage.key=value"),
        ("lr=3", "write stage.key=value"),
        ("=", "write stage.key=value"),
        ("trian.lr=1", "no stage is called 'trian'; did you mean 'train'?"),
        ("train.lrr=1", "train has no setting 'lrr'; did you mean 'lr'?"),
        ("train.=1", "train has no setting ''"),
        (".lr=1", "no stage is called ''"),
        ("evaluate.topk=[1,", "'[1,' is not YAML"),
        ("select-data.split={a", "'{a' is not YAML"),
    ],
)
def test_a_set_that_cannot_be_read_is_told(text, problem):
    with pytest.raises(SettingsError) as caught:
        recipe("", [text])
    assert str(caught.value).startswith(f"--set {text}: ")
    assert problem in str(caught.value)


SPLIT = "select-data: {split: {train: 5}, sources: [a]}"


def test_an_output_replaces_the_split_of_the_recipe():
    explained = recipe(SPLIT).explain("select-data", {"output": "x.jsonl"})
    assert explained["output"] == ("x.jsonl", "flag")
    assert explained["split"] == (None, "replaced by output")
    assert explained["sources"] == (("a",), "my.yaml")


def test_without_an_output_the_split_stands():
    assert recipe(SPLIT).explain("select-data", {})["split"] == ({"train": 5}, "my.yaml")


def test_an_output_and_a_split_that_are_equally_close_both_stand():
    """So that select_data can refuse them: neither is the one that was meant."""
    both = recipe(SPLIT).explain("select-data", {"output": "x", "split": "train=1"})
    assert (both["output"][0], both["split"][0]) == ("x", {"train": 1})
    both = recipe("select-data: {split: {a: 1}, output: x}").explain("select-data", {})
    assert (both["output"][0], both["split"][0]) == ("x", {"a": 1})


def test_a_split_that_is_closer_than_an_output_stands():
    found = recipe("select-data: {output: x}").explain("select-data", {"split": "train=1"})
    assert found["split"] == ({"train": 1}, "flag")


@pytest.mark.parametrize("text", ["", "evaluate: {index: my/index}"])
def test_results_replace_the_index_of_the_recipe_or_the_workspace(text):
    explained = recipe(text).explain("evaluate", {"results": "r.jsonl"})
    assert explained["index"] == (None, "replaced by results")
    explained = recipe(text, ["evaluate.results=r.jsonl"]).explain("evaluate", {})
    assert explained["index"][0] is None


# --- what a stage reads is what the stage before it wrote -----------------------------------------


@pytest.mark.parametrize(
    ("of", "reader", "path"),
    [
        ("select-data.output_dir", "train.train_file", ("there/train.jsonl",)),
        ("select-data.output", "train.train_file", ("there",)),
        ("select-data.output_dir", "evaluate.questions", "there/test.jsonl"),
        ("select-data.output_dir", "tune-index.questions", "there/valid.jsonl"),
        ("select-data.output_dir", "encode-corpus.passages", "there/passages.tsv"),
        ("select-data.passages_out", "encode-corpus.passages", "there"),
        ("select-data.passages_out", "import-embeddings.passages", "there"),
        ("train.output_dir", "encode-corpus.retriever", "there"),
        ("train.output_dir", "import-embeddings.retriever", "there"),
        ("encode-corpus.output_dir", "index.embeddings", "there"),
        ("encode-corpus.output_dir", "import-embeddings.output_dir", "there"),
        ("import-embeddings.output_dir", "index.embeddings", "there"),
        ("encode-corpus.output_dir", "tune-index.embeddings", "there"),
        ("encode-corpus.output_dir", "export-embeddings.embeddings", "there"),
        ("index.output_dir", "search.index", "there"),
        ("index.output_dir", "evaluate.index", "there"),
        ("index.output_dir", "update-index.index", "there"),
    ],
)
def test_an_input_is_what_the_stage_before_wrote_wherever_that_is_set(of, reader, path):
    writer, _, name = of.partition(".")
    stage, _, key = reader.partition(".")
    for found in (recipe("", [f"{of}=there"]), recipe(f"{writer}: {{{name}: there}}")):
        assert found.explain(stage, {})[key] == (path, f"output of {writer}")
    own = recipe(f"{writer}: {{{name}: there}}", [f"{reader}=mine"])
    assert own.explain(stage, {})[key][1] == "--set"


def test_every_default_path_is_an_output_or_follows_one():
    """A default below runs/NAME that an input has of its own would be missed by a moved output."""
    for stage, settings in STAGES.items():
        for name, setting in fields_of(settings).items():
            assert not setting.workspace or setting.output, f"{stage}.{name}"
            for link in setting.follows:
                writer, _, key = link.partition("/")[0].partition(".")
                followed = fields_of(STAGES[writer])[key]
                assert followed.output or followed.follows, f"{stage}.{name}"


def test_the_corpus_of_a_recipe_is_that_of_all_its_stages():
    found = recipe("encode-corpus: {passages: c.tsv, retriever: m}\nindex: {embeddings: e}")
    imported = found.explain("import-embeddings", {})
    assert imported["passages"] == ("c.tsv", "as encode-corpus.passages")
    assert imported["retriever"] == ("m", "as encode-corpus.retriever")
    assert found.explain("tune-index", {})["embeddings"] == ("e", "as index.embeddings")


def test_rows_that_go_to_stdout_are_no_training_file():
    found = recipe("select-data: {output: '-'}").explain("train", {})
    assert found["train_file"][0] == ("runs/my/data/train.jsonl",)


# --- where paths begin ----------------------------------------------------------------------------


def test_paths_of_a_recipe_and_its_outputs_are_relative_to_its_folder(folder):
    (folder / "ws").mkdir()
    (folder / "ws/dprkit.yaml").write_text(
        "name: w\ntrain: {train_file: [a.jsonl, /b.jsonl], valid_file: ./v.jsonl}\n"
        "select-data: {sources: [x.json, '-', 'bundled:tiny/examples.json']}\n"
    )
    found = load_recipe("ws/dprkit.yaml", sets=["evaluate.questions=here.jsonl"])
    train = found.explain("train", {"valid_corpus": "flag.tsv"})
    assert train["train_file"][0] == ("ws/a.jsonl", "/b.jsonl")
    assert train["valid_file"][0] == "ws/v.jsonl"
    assert train["valid_corpus"][0] == "flag.tsv"
    assert train["output_dir"][0] == "ws/runs/w/model"
    sources = found.explain("select-data", {})["sources"][0]
    assert sources == ("ws/x.json", "-", str(bundled("tiny/examples.json")))
    assert found.explain("evaluate", {})["questions"][0] == "here.jsonl"
    assert found.explain("evaluate", {})["index"][0] == "ws/runs/w/index"
    whole = load_recipe(str(folder / "ws/dprkit.yaml"))
    assert whole.explain("train", {})["output_dir"][0] == str(folder / "ws/runs/w/model")


def test_a_hubs_name_in_a_recipe_is_no_path_unless_the_folder_is_there(folder):
    (folder / "ws").mkdir()
    (folder / "ws/r.yaml").write_text("train: {init: some/model}")
    assert load_recipe("ws/r.yaml").explain("train", {})["init"][0] == "some/model"
    (folder / "ws/some/model").mkdir(parents=True)
    assert load_recipe("ws/r.yaml").explain("train", {})["init"][0] == "ws/some/model"


def test_paths_of_a_shipped_recipe_are_relative_to_the_current_folder():
    found = load_recipe(recipe="nq-base")
    assert found.explain("train", {})["output_dir"][0] == "runs/nq-base/model"
    assert found.explain("evaluate", {})["questions"][0].startswith("downloads/")
    assert load_recipe(config=str(bundled("tiny.yaml"))).workspace == Path("runs/tiny")


@pytest.mark.parametrize("name", recipe_names())
def test_a_shipped_recipe_says_what_it_is_for(name):
    import yaml

    assert len(yaml.safe_load(bundled(f"{name}.yaml").read_text())["description"]) > 20


def test_every_fault_is_an_error_of_the_users():
    """Whatever a file holds: settings, or an error of the user's, and never anything else."""
    for text in ("a: b: c", "- - -", "%YAML 9", "!", "&", "*", "{", "}", "\x85", "train: {1: 2}"):
        try:
            recipe(text).explain("train", {})
        except DprkitError as error:
            assert str(error).startswith("my.yaml:"), text


# --- stages under names of their own --------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("a:\n  lr: 1", 1, "no stage is called 'a' (a name of its own needs a line such as stage"),
        ("train-1: {}", 1, "no stage is called 'train-1'; did you mean 'train'? (a name of its"),
        ("a:\n  stage: trian", 2, "no stage is called 'trian'; did you mean 'train'?"),
        ("a:\n  stage: [train]", 2, "no stage is called ['train']"),
        ("train:\n  stage: index", 2, "train cannot be index; give it another name"),
        ("a/b: {stage: train}", 1, "'a/b' is not valid as a name: it becomes a folder"),
        ("..: {stage: train}", 1, "'..' is not valid as a name"),
        ("a.b: {stage: train}", 1, "'a.b' is not valid as a name"),
        ("a: {stage: train}\na: {stage: index}", 2, "'a' is there twice, first in line 1"),
        ("a:\n  stage: train\n  shard_size: 3", 3, "a has no setting 'shard_size'"),
    ],
)
def test_a_name_that_will_not_do_is_told_with_its_line(text, line, problem):
    with pytest.raises(FormatError) as caught:
        recipe(text)
    assert str(caught.value).startswith(f"my.yaml:{line}: {problem}")


def test_names_make_the_order_of_the_file_count():
    assert recipe("index: {}\ntrain: {}").names == ["train", "index"]
    named = recipe("index: {}\nb: {stage: encode_corpus}\ntrain: {}")
    assert named.names == ["index", "b", "train"]
    assert [named.kind_of(name) for name in named.names] == ["index", "encode-corpus", "train"]
    assert recipe("train: {stage: train}").kinds == {}


def test_the_nearest_of_several_stages_before_is_followed():
    text = "e: {stage: encode-corpus}\nimport-embeddings: {}\nindex: {}\nf: {stage: encode-corpus}"
    assert recipe(text).explain("index", {})["embeddings"][1] == "output of import-embeddings"
    text = "import-embeddings: {}\ne: {stage: encode-corpus}\nindex: {}\nf: {stage: encode-corpus}"
    found = recipe(text)
    assert found.explain("index", {})["embeddings"] == ("runs/my/e", "output of e")
    assert found.explain("search", {})["index"] == ("runs/my/index", "output of index")


def test_a_reference_stands_for_what_a_stage_writes():
    text = (
        "s: {stage: select-data, output: rows.jsonl}\n"
        "select-data: {}\n"
        "a: {stage: train, output_dir: models/a}\n"
        "b: {stage: train, init: a.output_dir/last,\n"
        "    train_file: ['s.output:2', select-data.output_dir/train.jsonl, ./a.output_dir]}\n"
    )
    found = recipe(text, ["b.valid_file=s.output"]).explain("b", {"valid_corpus": "a.output_dir"})
    assert found["init"] == ("models/a/last", "my.yaml")
    files = ("rows.jsonl:2", "runs/my/data/train.jsonl", "./a.output_dir")
    assert found["train_file"][0] == files
    assert found["valid_file"] == ("rows.jsonl", "--set")
    assert found["valid_corpus"] == ("a.output_dir", "flag")  # what is typed is a path


def test_a_file_that_only_looks_like_a_reference_is_a_file(folder):
    text = "t: {stage: train, train_file: [t.jsonl, train.output, x.output_dir]}"
    (folder / "x.output_dir").touch()
    with pytest.raises(SettingsError, match="train writes no output"):
        recipe(text).explain("t", {})
    found = recipe(text.replace(" train.output,", "")).explain("t", {})
    assert found["train_file"][0] == ("t.jsonl", "x.output_dir")


def test_a_reference_stands_for_what_a_stage_before_reads_too(folder):
    text = (
        "a: {stage: encode-corpus, passages: p.tsv}\n"
        "b: {stage: encode-corpus, passages: a.passages}\n"
        "c: {stage: train, train_file: [rows.jsonl]}\n"
    )
    assert recipe(text).explain("b", {})["passages"] == ("p.tsv", "my.yaml")
    assert recipe(text, ["a.passages=new.tsv"]).explain("b", {})["passages"][0] == "new.tsv"
    (folder / "ws").mkdir()
    (folder / "ws/r.yaml").write_text(text)
    assert load_recipe("ws/r.yaml").explain("b", {})["passages"][0] == "ws/p.tsv"
    for old, new, problem in (
        ("a.passages", "c.passages", "no stage before b is called 'c'; write ./c.passages for a f"),
        ("a.passages", "b.passages", "no stage before b is called 'b'"),
        ("[rows.jsonl]", "[b.train_file]", "train_file of b is not one path"),
    ):
        with pytest.raises(SettingsError, match=problem):
            found = recipe(text.replace(old, new))
            for stage in "bc":
                found.explain(stage, {})
    with pytest.raises(SettingsError, match="train_file of c is not one path"):
        recipe(f"{text}d: {{stage: train, valid_file: c.train_file}}").explain("d", {})
    files = recipe(text.replace("[rows.jsonl]", "[dev.questions, ./a.passages]"))
    assert files.explain("c", {})["train_file"][0] == ("dev.questions", "./a.passages")


def test_references_lie_in_the_workspace_wherever_the_recipe_is(folder):
    (folder / "ws").mkdir()
    (folder / "ws/r.yaml").write_text("a: {stage: train}\nb: {stage: train, init: a.output_dir}")
    assert load_recipe("ws/r.yaml").explain("b", {})["init"][0] == "ws/runs/r/a"
