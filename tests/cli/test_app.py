"""The command line as a whole: help, what it imports, --json, --quiet, who wins."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dprkit import __version__
from dprkit.cli.display import display
from dprkit.cli.help import COMMANDS_OF
from dprkit.settings import STAGES, bundled, fields_of
from tests.conftest import STAGES_RUN, call, environment, shell, write_colbert, write_reader

HEAVY = {"torch", "transformers", "faiss", "numpy", "tokenizers", "safetensors", "scipy"}
COMMANDS = [*STAGES, "run", "plan", "init", "info", "config", "config show"]

# Runs command lines, one after the other, in one process; tells what each has imported.
WATCH = """
import json, sys
from dprkit.__main__ import main
found = []
for words in json.loads(sys.argv[1]):
    sys.argv = ["dprkit", *words]
    try:
        main()
        code = 0
    except SystemExit as end:
        code = end.code or 0
    found.append([code, sorted({name.partition(".")[0] for name in sys.modules})])
print(json.dumps(found), file=sys.stderr)
"""


def watched(*commands, cwd, env=None):
    """The exit code and the imported packages of each of `commands`, as far as that one."""
    ran = subprocess.run(
        [sys.executable, "-c", WATCH, json.dumps(commands)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(**(env or {})),
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stderr.splitlines()[-1])


# --- help and usage -------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["", *COMMANDS])
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_every_command_has_help(command, flag):
    result = call(*command.split(), flag, env={"COLUMNS": "200", "TERM": "dumb"})
    assert (result.exit_code, result.stderr) == (0, "")
    assert f"Usage: dprkit {command}".strip() in result.stdout
    assert ("\nExample" in result.stdout) == (command != "config")


@pytest.mark.parametrize("stage", STAGES)
def test_the_help_of_a_stage_has_every_setting_with_its_sentence(stage):
    shown = " ".join(call(stage, "--help", env={"COLUMNS": "400", "TERM": "dumb"}).stdout.split())
    for setting in fields_of(STAGES[stage]).values():
        assert setting.sentence.partition(" (default: ")[0] in shown, setting.name
        if setting.flag != "argument":
            assert f"--{setting.name.replace('_', '-')}" in shown


@pytest.mark.parametrize("command", ["", *COMMANDS])
@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_help_fits_any_terminal_with_the_names_of_options_whole(command, columns):
    result = call(*command.split(), "--help", env={"COLUMNS": str(columns)}, color=True)
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= columns
    for name, setting in fields_of(STAGES[command]).items() if command in STAGES else ():
        argument = re.escape(setting.metavar or f"[{name.upper()}]")
        flag = argument if setting.flag == "argument" else f"--{name.replace('_', '-')}"
        assert re.search(rf"^ +(-\S+, )?{flag}", result.stdout, re.MULTILINE), name


@pytest.mark.parametrize("env", [{"COLUMNS": "10"}, {"NO_COLOR": "1"}, {"TERM": "dumb"}, {}])
def test_help_is_plain_text_everywhere(env):
    result = call("train", "--help", env=env, color=True)
    assert result.exit_code == 0
    assert "\x1b" not in result.stdout
    assert not set("╭│[<") & set(result.stdout.partition("Options:")[0].replace("[OPTIONS]", ""))


def test_the_help_of_train_has_its_options_in_groups():
    shown = call("train", "--help").stdout
    headings = re.findall(r"^(\w[\w ]+):$", shown, re.MULTILINE)
    assert headings[:3] == ["Example", "Options", "Model"]
    assert headings[-1] == "Common options"
    assert shown.index("Optimisation:") < shown.index("  --lr X") < shown.index("Validation:")


@pytest.mark.parametrize("stage", STAGES)
def test_every_option_that_has_a_default_shows_it(stage):
    sections = re.split(r"\n  (?=-)", call(stage, "--help", env={"COLUMNS": "100"}).stdout)
    for setting in fields_of(STAGES[stage]).values():
        flag = f"--{setting.name.replace('_', '-')}"
        if setting.default not in (None, ()) and setting.flag != "argument":
            (own,) = [s for s in sections if re.match(rf"(-\S+, )?{flag}[ ,]", s)]
            default = re.search(r"\[default: ([^]]+)\]", " ".join(own.split()))
            assert default, flag
            if setting.kind is bool:
                assert default[1] == ("on" if setting.default else "off")
            elif isinstance(setting.default, int | float):
                assert float(default[1]) == setting.default


@pytest.mark.parametrize("columns", [40, 80])
def test_an_example_of_help_can_be_pasted(columns, tmp_path):
    shown = call("select-data", "--help", env={"COLUMNS": str(columns)}).stdout
    example = shown.partition("Example:\n")[2].partition("\n\n")[0]
    assert ("\\\n" in example) == (columns == 40)
    echoed = subprocess.run(
        ["bash", "-c", f"dprkit() {{ echo $#; }}; {example}"], capture_output=True
    )
    assert echoed.stdout == b"6\n"


def test_the_version_is_that_of_the_package():
    assert call("--version").stdout == f"dprkit {__version__}\n"
    assert shell("--version").stdout == f"dprkit {__version__}\n"


def test_an_unknown_option_is_bad_usage_with_a_suggestion():
    result = shell("train", "--bacth-size", "3")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith(
        "Error: no option is called --bacth-size; did you mean '--batch-size'? (see "
    )


def test_a_question_on_the_command_line_is_told_where_questions_go(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    extra = shell("search", "who wrote hamlet")
    assert extra.returncode == 2
    assert "--questions FILE, or a pipe, --questions -" in extra.stderr
    none = call("search", input=QUESTION)
    assert none.exit_code == 1
    assert none.stderr.endswith("name a file with --questions, or - for stdin\n")


def test_an_unknown_command_is_bad_usage_with_a_suggestion():
    result = call("evalute")
    assert result.exit_code == 2
    assert "'evaluate'" in result.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["train", "--max-epochs"],
        ["train", "--max-epochs", "many"],
        ["train", "--lr", "fast"],
        ["train", "stray-argument"],
        ["config", "shwo"],
        ["info"],
        ["--nothing"],
        ["train", "--num-items", "3"],
    ],
)
def test_bad_usage_exits_2_and_makes_nothing(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = call(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Error" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_bad_usage_is_told_in_one_line():
    words = [sys.executable, "-m", "dprkit", "search", "--topk", "many"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: Invalid value for '--topk': ")
    assert done.stderr.endswith("dprkit search --help)\n") and done.stderr.count("\n") == 1


def test_without_a_command_the_help_is_shown():
    result = call()
    assert result.exit_code == 2
    assert "select-data" in result.stdout + result.stderr


# --- imports --------------------------------------------------------------------------------------


def test_help_version_completion_and_config_import_nothing_heavy(tmp_path):
    commands = [["--version"], ["--help"], *([c, "--help"] for c in STAGES), ["config", "show"]]
    for code, modules in watched(*commands, cwd=tmp_path):
        assert code == 0
        assert not HEAVY & set(modules)
    env = {"_DPRKIT_COMPLETE": "complete_bash", "COMP_WORDS": "dprkit tr", "COMP_CWORD": "1"}
    [(_, modules)] = watched([], cwd=tmp_path, env=env)
    assert not HEAVY & set(modules)


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("dprkit tra", ["train", "train-reader"]),
        (
            "dprkit train --pooling ",
            ["cls", "mean", "last", "weighted-mean", "max", "mean-sqrt"],
        ),
        ("dprkit index --type ivf", ["ivf", "ivfsq8", "ivfpq"]),
        ("dprkit run --recipe t", ["tiny"]),
        ("dprkit run --set tr", ["train.", "train-reader."]),
        ("dprkit run --set train.poo", ["train.pooling="]),
        (
            "dprkit run --set train.pooling=m",
            ["train.pooling=mean", "train.pooling=max", "train.pooling=mean-sqrt"],
        ),
        ("dprkit run --set index.type=bm", ["index.type=bm25"]),
        ("dprkit init --recipe ti", ["tiny"]),
        ("dprkit config show enc", ["encode-corpus"]),
        ("dprkit download data.retriever.nq-d", ["data.retriever.nq-dev"]),
        ("dprkit train --init ", []),  # the shell offers files
    ],
)
def test_the_shell_offers_the_values_of_options(typed, offered, tmp_path):
    words = typed.split(" ")
    env = {"_DPRKIT_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": len(words) - 1}
    program = f"import os; os.environ |= { ({k: str(v) for k, v in env.items()})!r}"
    code = f"{program}\nfrom dprkit.__main__ import main; import sys; sys.argv = ['dprkit']; main()"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ran.stdout.split(), ran.stderr) == (offered, "")


def test_the_offered_types_of_index_are_those_there_are():
    from dprkit.cli.completion import USUAL
    from dprkit.settings import IndexSettings, fields_of

    told = fields_of(IndexSettings)["type"].sentence
    assert {*USUAL["type"]} == {*USUAL["types"]} >= {"flat", "exact", "bm25", "milvus", "auto"}
    assert all(re.search(rf"\b{name}\b", told) for name in USUAL["type"])
    offered = {*USUAL["first_stage"]}
    assert offered >= {"exact", "exact+bm25", "ivf"} and not offered & {"late", "bm25", "updated"}
    assert IndexSettings().first_stage in offered


def test_completion_is_installed_once(tmp_path):
    env = environment(HOME=str(tmp_path), _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    for _ in "12":
        assert shell("--install-completion", "bash", env=env).returncode == 0
    assert (tmp_path / ".bashrc").read_text().count("source") == 1


def test_the_second_run_of_each_stage_imports_nothing_heavy(work):
    before = {path: path.stat().st_mtime_ns for path in (work / "runs").rglob("*")}
    ran = watched(*([stage, "--json"] for stage in STAGES_RUN), ["run"], cwd=work)
    for stage, (code, modules) in zip([*STAGES_RUN, "run"], ran, strict=True):
        assert code == 0, stage
        assert not HEAVY & set(modules), stage
    assert {path: path.stat().st_mtime_ns for path in (work / "runs").rglob("*")} == before


def test_importing_dprkit_is_light_and_exposes_its_names():
    program = f"""
import sys
import dprkit
assert not {HEAVY | {"msgspec", "typer", "rich", "yaml"}} & set(sys.modules), "not light"
assert set(dprkit.__all__) <= set(dir(dprkit))
from dprkit import DprkitError, read_examples, read_passages, read_questions, has_answer
assert not {HEAVY} & set(sys.modules), "not light"
from dprkit import *
for name in ("load_retriever", "open_index", "evaluate"):
    assert callable(globals()[name]), name
assert issubclass(DprkitError, Exception)
assert has_answer(["Paris"], "in paris, France") is True
try:
    dprkit.nothing
except AttributeError as error:
    assert "no attribute 'nothing'" in str(error)
else:
    raise AssertionError
"""
    ran = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True)
    assert (ran.returncode, ran.stderr.decode()) == (0, "")


# --- --json and --quiet ---------------------------------------------------------------------------


def one_object(text):
    """The one JSON object that stdout holds."""
    assert text.count("\n") == 1
    found = json.loads(text)
    assert {"seconds", "peak_memory_mb", "outputs"} <= set(found)
    assert found["seconds"] >= 0
    assert found["peak_memory_mb"] > 1
    return found


QUESTION = "who wrote hamlet\n"
NEW = ("--output-dir", "new")
CORPUS = ("--passages", "bundled:tiny/passages.tsv")
PAIR = ("--question", QUESTION, "--passage", "by Shakespeare")
RESULTS = ("--results", "runs/dprkit/results")
STEP = ("--init", "reader", "--max-steps", "1", "--passages", "2")
AT_1 = ["--metrics", "answer_recall@1"]
LINES = {
    "select-data": ["select-data", "-o", "new.jsonl", "--num-items", "3"],
    "select-data folder": ["select-data", "--output-dir", "new", "--num-items", "3"],
    "import-data": ["import-data", "other.csv", *NEW],
    "export-data": ["export-data", "made", "--to", "sentence-transformers", *NEW],
    "train": ["train", "--max-epochs", "0", "--output-dir", "new"],
    "encode-corpus": ["encode-corpus", "--shard-size", "200", "--output-dir", "new"],
    "index": ["index", "--output-dir", "new"],
    "search": ["search", "--questions", "-", "-o", "new.jsonl", "--topk", "2"],
    "explain": ["explain", "--retriever", "late", *PAIR, "-o", "new.html"],
    "train-reader": ["train-reader", "--train-file", "one.jsonl", *STEP, *NEW],
    "mine-negatives": ["mine-negatives", *NEW],
    "score-teacher": ["score-teacher", "--teacher", "reader", *NEW],
    "read": ["read", "--reader", "reader", *RESULTS, "-o", "new.jsonl", "--depths", "2"],
    "evaluate": ["evaluate", "--topk", "3", "--output-dir", "new"],
    "compare": ["compare", "runs/dprkit/results", "other.jsonl", *AT_1, "--flips", "new.jsonl"],
    "audit": ["audit", *NEW],
    "report": ["report", "runs/dprkit/results", "-o", "new.html"],
    "convert-results": ["convert-results", *RESULTS, "--to", "trec", "-o", "new.trec"],
    "convert": ["convert", "runs/dprkit/model", "--to", "sentence-transformers", *NEW],
    "import-embeddings": ["import-embeddings", "theirs/vectors.npy", *CORPUS, *NEW],
    "export-embeddings": ["export-embeddings", *NEW],
    "tune-index": ["tune-index", "--types", "flat", "--topk", "2", *NEW],
    "update-index": ["update-index", "--add", "runs/dprkit/embeddings", *NEW],
    "run": ["run"],
    "run up to date": ["run", "--set", "evaluate.topk=2"],
    "init": ["init", "new"],
    "info": ["info", "runs/dprkit/index"],
    "info --check": ["info", "runs/dprkit/model", "--check"],
    "config show": ["config", "show"],
    "download --list": ["download", "--list", "data.retriever"],
}
DATA_ONLY = {"info", "info --check", "config show", "download --list"}
"""What prints data and nothing else, and makes nothing."""


def give_inputs(name):
    """Write what import-embeddings, explain and compare need, and who needs a reader."""
    if name == "compare":
        shutil.copy("runs/dprkit/results/results.jsonl", "other.jsonl")
    if name in ("read", "train-reader", "score-teacher"):
        write_reader(Path("reader"), bundled("bundled:tiny/examples.json"))
        passages = {
            "positive_ctxs": [{"text": "by Shakespeare"}],
            "negative_ctxs": [{"text": "no"}],
        }
        row = {"question": QUESTION, "answers": ["Shakespeare"], **passages}
        Path("one.jsonl").write_text(json.dumps(row))
    if name in ("import-data", "export-data"):
        Path("other.csv").write_text("query,positive,negative\nwho,a passage,another\n")
    if name == "export-data":
        assert call("import-data", "other.csv", "--output-dir", "made").exit_code == 0
    if name == "explain":
        write_colbert(Path("late"), bundled("bundled:tiny/examples.json"))
    if name == "import-embeddings":
        assert call("export-embeddings", "--output-dir", "theirs").exit_code == 0


def test_every_command_is_here():
    """But for download itself and push, which need a server that answers."""
    commands = {*STAGES, "run", "init", "info", "config"} - {"push"}
    assert {words[0] for words in LINES.values()} == commands


@pytest.mark.parametrize("name", LINES)
def test_json_is_one_object_with_time_memory_and_outputs(name, work):
    give_inputs(name)
    result = call(*LINES[name], "--json", input=QUESTION)
    assert result.exit_code == 0, result.stderr
    found = one_object(result.stdout)
    for path in found["outputs"]:
        assert (work / path).exists(), path
    assert bool(found["outputs"]) == (name not in DATA_ONLY)


@pytest.mark.parametrize("name", sorted(set(LINES) - DATA_ONLY))
def test_quiet_says_nothing_when_all_is_well(name, work):
    give_inputs(name)
    result = call(*LINES[name], "--quiet", input=QUESTION)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == ""  # a cron line sends no mail


def test_json_tells_what_is_up_to_date_from_what_was_made(work):
    for stage in STAGES_RUN:
        assert one_object(call(stage, "--json").stdout)["up_to_date"] is True, stage
    for name in ("select-data folder", "train", "encode-corpus", "index", "evaluate"):
        words = [*LINES[name], "--output-dir", f"new {name}", "--json"]
        again = [one_object(call(*words).stdout)["up_to_date"] for _ in "12"]
        assert again == [False, True], name
    assert one_object(call("index", "--restart", "--json").stdout)["up_to_date"] is False
    assert one_object(call(*LINES["select-data"], "--json").stdout)["up_to_date"] is False
    stages = one_object(call("run", "--set", "evaluate.topk=3", "--json").stdout)["stages"]
    assert {name: told["up_to_date"] for name, told in stages.items()} == {
        stage: stage != "evaluate" for stage in STAGES_RUN
    }


def test_a_run_that_fails_with_json_tells_what_it_had_done(work):
    Path("bad.jsonl").write_text('{"question": "who", "answers": ["a"]}\n{"question": 3}\n')
    result = shell("run", "--set", "evaluate.questions=bad.jsonl", "--json")
    assert result.returncode == 1
    told = one_object(result.stdout)
    assert told["exit_code"] == 1
    assert result.stderr.splitlines()[-1] == f"Error: {told['error']}"
    assert list(told["stages"]) == [stage for stage in STAGES_RUN if stage != "evaluate"]


@pytest.mark.parametrize(
    "words", [["evaluate", "--questions", "nothing"], ["train", "--lr", "fast"], ["nothing"]]
)
def test_a_command_that_fails_prints_nothing_on_stdout_with_json_either(words, work):
    result = shell(*words, "--json")
    assert result.returncode in (1, 2)
    assert result.stdout == ""


def test_quiet_keeps_the_data_that_was_asked_for(work):
    result = call("search", "--questions", "-", "--topk", "2", "--quiet", input=QUESTION)
    assert (result.exit_code, result.stderr) == (0, "")
    assert len(json.loads(result.stdout)["ctxs"]) == 2


def test_quiet_tells_what_changes_the_meaning_of_a_result(work):
    few = call("select-data", "-o", "new.jsonl", "--num-items", "10000", "--quiet")
    assert few.stderr == "Warning: asked for 10000 rows, kept 240 (new.jsonl 240)\n"
    Path("ids").write_text("nobody\n1\n")
    among = call("search", "--questions", "-", "--only-ids", "ids", "--quiet", input=QUESTION)
    assert among.stderr.startswith("Warning: ids: ids that the corpus lacks: 1, such as nobody")


def test_select_data_tells_what_it_read_kept_and_dropped(work):
    found = one_object(call(*LINES["select-data"], "--offset", "2", "--json").stdout)
    assert (found["read"], found["kept"]) == (5, 3)
    assert found["dropped"] == {"before the offset": 2}
    assert found["outputs"] == ["new.jsonl"]


def test_evaluate_tells_metrics_as_shares_with_intervals_and_inputs(work):
    found = one_object(call("evaluate", "--json").stdout)
    written = json.loads((work / "runs/dprkit/results/metrics.json").read_bytes())
    for key in ("questions", "metrics", "intervals", "inputs"):
        assert found[key] == written[key]
    assert found["questions"] == 8
    assert set(found["metrics"]["answer_recall"]) == {"1", "5"}
    for name, shares in found["metrics"].items():
        for k, share in shares.items():
            low, high = found["intervals"][name][k]
            assert 0 <= low <= share <= high <= 1
    assert found["inputs"]["index"].startswith("index:")


def test_json_and_data_cannot_share_stdout(work):
    for words in (
        ["search", "--questions", "-"],
        ["select-data", "-o", "-"],
        ["select-data", "-o", "x.jsonl", "--passages-out", "-"],
    ):
        result = call(*words, "--json", input=QUESTION)
        assert (result.exit_code, result.stdout) == (1, "")
        assert "both write to stdout; give --" in result.stderr
    assert not (work / "x.jsonl").exists()


def test_stdout_carries_data_only_and_stderr_the_rest(work):
    result = call("search", "--questions", "-", "--topk", "2", input=QUESTION * 2)
    rankings = [json.loads(line) for line in result.stdout.splitlines()]
    assert [len(r["ctxs"]) for r in rankings] == [2, 2]
    assert "2 questions" in result.stderr
    result = call("select-data", "-o", "-", "--num-items", "2")
    assert [json.loads(line)["dataset"] for line in result.stdout.splitlines()] == [
        "dprkit-tiny"
    ] * 2
    for name in ("select-data", "train", "encode-corpus", "index"):
        assert call(*LINES[name]).stdout == ""


def test_a_real_quiet_run_says_nothing(work):
    """In a process of its own: libraries may write to stderr past Python's."""
    ran = shell("train", "--max-epochs", "1", "--output-dir", "new", "--quiet", cwd=work)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_without_a_terminal_progress_is_plain_lines(work):
    ran = shell("select-data", "-o", "new", cwd=work)
    assert ran.returncode == 0
    assert "\x1b" not in ran.stderr
    assert "\r" not in ran.stderr
    line = r"^\d\d:\d\d:\d\d selecting: 240 rows in \d.* s, .* rows/s$"
    assert re.search(line, ran.stderr, re.M)


def test_the_help_has_every_command_once_and_below_a_heading():
    lines = call("--help", env={"COLUMNS": "100"}).stdout.splitlines()
    headings = [line for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert headings[1:-1] == [f"{heading}:" for heading in COMMANDS_OF]
    names = [line.split()[0] for line in lines if re.match(r"  [a-z]", line)][2:]
    assert sorted(names) == sorted(set(COMMANDS) - {"config show"})


def test_the_table_of_metrics_fits_any_terminal(work):
    for setting in ({"COLUMNS": "40"}, {"TERM": "dumb"}, {"NO_COLOR": "1"}):
        result = call("evaluate", env=setting)
        assert result.exit_code == 0
        assert "\x1b" not in result.stdout
        assert "\nanswer_recall@1 " in result.stdout
    ran = shell("evaluate", cwd=work, env=environment(PYTHONIOENCODING="ascii", LC_ALL="C"))
    assert (ran.returncode, "answer_recall@1 " in ran.stdout) == (0, True)
    assert "Traceback" not in ran.stderr


def test_verbose_tells_every_setting_and_where_it_came_from(work):
    stderr = call("index", "--verbose", "--set", "index.type=flat").stderr
    assert "index.type: flat  (--set)" in stderr
    assert "index.embeddings: runs/dprkit/embeddings  (output of encode-corpus)" in stderr


def test_an_up_to_date_stage_says_so(work):
    for stage in STAGES_RUN:
        assert ": up to date" in call(stage).stderr


# --- who wins -------------------------------------------------------------------------------------


def test_a_flag_wins_over_set_over_the_recipe_over_the_default(work):
    (work / "dprkit.yaml").write_text(
        "select-data: {num_items: 4, sources: [bundled:tiny/examples.json]}"
    )

    def kept(*words):
        return one_object(call("select-data", "-o", "x", "--json", *words).stdout)["kept"]

    assert kept() == 4
    assert kept("--set", "select-data.num_items=3") == 3
    assert kept("--set", "select-data.num_items=3", "--num-items", "2") == 2
    assert kept("--recipe", "tiny") == 240


def test_an_output_file_replaces_the_folders_of_the_recipe(work):
    result = call("select-data", "-o", "x.jsonl", "--num-items", "3")
    assert result.exit_code == 0, result.stderr
    assert len((work / "x.jsonl").read_text().splitlines()) == 3


def test_an_output_and_a_split_together_are_refused(work):
    result = call("select-data", "-o", "x.jsonl", "--split", "train=3")
    assert result.exit_code == 1
    assert "--split makes several files" in result.stderr
    assert not (work / "x.jsonl").exists()


def test_results_replace_the_index_of_the_recipe(work):
    results = "runs/dprkit/results/results.jsonl"
    searched = one_object(call("evaluate", "--json").stdout)
    again = one_object(call("evaluate", "--results", results, "--output-dir", "o", "--json").stdout)
    assert again["metrics"] == searched["metrics"]
    assert again["inputs"].keys() == {"results"}
    both = call("evaluate", "--results", results, "--index", "runs/dprkit/index")
    assert (both.exit_code, both.stdout) == (1, "")
    assert "--index and --results" in both.stderr


def test_a_line_of_a_log_has_the_time_left_and_the_last_one_is_told_once(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr("dprkit.cli.display.time.monotonic", lambda: now[0])
    lines = display(False)
    lines.start("encoding", 400, "passages")
    for second, count in ((1.0, 40), (20.0, 60), (80.0, 300)):
        now[0] = second
        lines.advance(count, {"memory GB": 0.57})
    lines.finish()
    said = [line.partition(" ")[2] for line in capsys.readouterr().err.splitlines()]
    assert said == [
        "encoding: 100 of 400 passages in 20.0 s, 5.0 passages/s, memory GB 0.57, "
        "about 0:01:00 left",
        "encoding: 400 passages in 80.0 s, 5.0 passages/s, memory GB 0.57",
    ]


def test_time_that_passes_before_anything_is_done_is_told_apart(monkeypatch, capsys):
    """A model that loads is no slow search."""
    now = [0.0]
    monkeypatch.setattr("dprkit.cli.display.time.monotonic", lambda: now[0])
    lines = display(False)
    lines.start("judging", None, "questions")
    now[0] = 5.0
    lines.advance(30)
    now[0] = 6.0
    lines.finish()
    line = capsys.readouterr().err.partition(" ")[2]
    assert line == "judging: 30 questions in 6.0 s, 5.0 questions/s, the first after 5.0 s\n"


def test_verbose_prints_settings_as_a_recipe_has_them(work):
    said = call("evaluate", "--verbose", "--topk", "1,5").stderr
    assert re.search(r"evaluate\.topk: \[1, 5\]  \(flag\)", said)
    assert "None" not in said and "'" not in said


def test_the_catalog_fits_a_terminal_and_names_what_can_be_typed(work, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    result = call("download", "--list")
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert "data.retriever.nq-dev (256.2 MB)" in lines
    assert "unknown" not in result.stdout
    assert "asks the server" in result.stderr


@pytest.mark.parametrize("quiet", [False, True])
def test_quiet_leaves_out_notes_and_shows_warnings(quiet, capsys):
    progress = display(quiet)
    progress.note("going on")
    progress.warn("3 of 500 rows kept")
    said = capsys.readouterr().err
    assert ("going on" in said) is not quiet
    assert said.endswith("Warning: 3 of 500 rows kept\n")
