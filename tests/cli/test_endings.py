"""How commands end: errors, signals, kills, locks, pipes, closed streams."""

from __future__ import annotations

import contextlib
import errno
import json
import multiprocessing
import os
import pty
import random
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path

import pytest

from dprkit import errors
from dprkit.cli.exit_codes import SIGNALS, ending
from dprkit.settings import bundled
from dprkit.store.locks import lock
from dprkit.store.manifests import is_artifact, read_manifest, read_progress
from tests.conftest import DPRKIT, call, environment, shell

EXAMPLES = bundled("tiny/examples.json")


# --- errors ---------------------------------------------------------------------------------------


def all_errors(kind=errors.DprkitError):
    return [kind, *(error for child in kind.__subclasses__() for error in all_errors(child))]


def test_the_tree_of_errors_at_the_top_of_its_module_is_whole():
    code = 0
    for line in errors.__doc__.splitlines():
        name, _, rest = line.strip("│├└─ ").partition(" ")
        if name.endswith("Error") or name in {"EmptyAnswer", "MemoryShortage", "MissingExtra"}:
            first = rest.split(":")[0].strip()
            code = int(first) if first.isdigit() else 1
            assert getattr(errors, name).exit_code == code, name
    assert all(error.__name__ in errors.__doc__ for error in all_errors())


ENDS = {
    "nothing": (None, 0, ""),
    "the user's error": (errors.InputError("a: no\nsuch  file"), 1, "Error: a: no such file\n"),
    "a long value": (
        errors.InputError(f"a: {'x' * 5000} is not valid, {'y' * 300} will"),
        1,
        f"Error: a: {'x' * 200}… is not valid, {'y' * 300} will\n",
    ),
    "a gate": (errors.GateError("below"), 3, "Error: below\n"),
    "a lock": (errors.LockedError("held"), 75, "Error: held\n"),
    "a full disk": (
        OSError(errno.ENOSPC, "No space left on device", "x.npy"),
        1,
        "Error: x.npy: no space left on the device\n",
    ),
    "a device that fails": (OSError(errno.EIO, "x", "a"), 1, "Error: a: input/output error\n"),
    "no memory": (
        MemoryError(),
        1,
        "Error: out of memory (MemoryError); close other programs or raise the limit\n",
    ),
    "a broken library": (
        ImportError("no such symbol", name="faiss"),
        1,
        "Error: faiss cannot be imported (no such symbol); install it again\n",
    ),
    "a panic in Rust": (
        type("PanicException", (BaseException,), {})("index 3 of 2"),
        1,
        "Error: a library failed (index 3 of 2); its input may be damaged\n",
    ),
    "a name that is not UTF-8": (
        UnicodeEncodeError("utf-8", "a\udce9", 1, 2, "surrogates not allowed"),
        1,
        "Error: a\\udce9: not UTF-8; rename it\n",
    ),
    "Ctrl-C": (KeyboardInterrupt(), 130, "Interrupted.\n"),
    "SIGTERM": (errors.Terminated(), 143, "Terminated.\n"),
}


@pytest.mark.parametrize("name", ENDS)
def test_whatever_ends_a_command_has_its_exit_code_and_one_line(name, capfd):
    error, code, line = ENDS[name]
    found = 0
    try:
        with ending():
            if error:
                raise error
    except SystemExit as end:
        found = end.code
    assert (found, capfd.readouterr().err) == (code, line)


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("ours"), ImportError("no such name", name="dprkit.data")]
)
def test_a_bug_keeps_its_traceback_and_exits_70(capsys, error):
    with pytest.raises(SystemExit) as end, ending():
        raise error
    assert end.value.code == 70
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert "test_endings.py" in said
    assert said.endswith("This is a bug in dprkit; please report it with the lines above.\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_a_library_turns_into_an_error_is_a_signal_still(number, capsys):
    """transformers reports an import that Ctrl-C broke off as a module that is missing."""
    with pytest.raises(SystemExit) as end, ending():
        try:
            os.kill(os.getpid(), number)
            time.sleep(5)
        except BaseException as error:
            raise ModuleNotFoundError("Could not import module") from error
    assert end.value.code == 128 + number
    assert "Traceback" not in capsys.readouterr().err


def test_handlers_are_put_back():
    before = [signal.getsignal(n) for n in SIGNALS]
    with ending():
        assert not any(signal.getsignal(n) in before for n in SIGNALS)
    assert [signal.getsignal(n) for n in SIGNALS] == before


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_that_is_ignored_from_the_start_stays_ignored(number):
    """As after nohup, or in a background job of a script."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with ending():
            os.kill(os.getpid(), number)
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("error", [errors.InputError("a: no such file"), KeyboardInterrupt()])
def test_an_error_with_json_is_told_with_what_was_done(error, capfd):
    with pytest.raises(SystemExit) as end, ending(as_json=True) as command:
        command.report = {"stages": {"train": {"steps": 3}}, "outputs": []}
        raise error
    out, said = capfd.readouterr()
    told = json.loads(out)
    assert told["exit_code"] == end.value.code
    assert told["error"] == said.removeprefix("Error: ").strip()
    assert told["stages"] == {"train": {"steps": 3}}
    assert told["outputs"] == []
    assert told["peak_memory_mb"] > 1 > told["seconds"] >= 0


# --- signals --------------------------------------------------------------------------------------


def start(*words, **how):
    how = {"env": environment(), "stderr": subprocess.PIPE, "stdout": subprocess.PIPE} | how
    return subprocess.Popen([*DPRKIT, *map(str, words)], text=True, **how)


def waiting_selection(out, **how):
    """A select-data that has begun to write and waits for more on stdin."""
    process = start("select-data", "-", "-o", out, stdin=subprocess.PIPE, **how)
    row = json.loads(EXAMPLES.read_bytes())[0]
    process.stdin.write(f"{json.dumps(row)}\n" * 100)
    process.stdin.flush()
    until(lambda: list(Path(out).parent.glob(".tmp-*")))
    time.sleep(0.1)  # it reads
    return process


def until(ready, seconds=60):
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [
        (signal.SIGINT, 130, "Interrupted"),
        (signal.SIGTERM, 143, "Terminated"),
        (signal.SIGHUP, 129, "Hung up"),
    ],
)
def test_a_signal_ends_with_one_line_and_no_output(tmp_path, number, code, word):
    process = waiting_selection(tmp_path / "out.jsonl")
    process.send_signal(number)
    _, said = process.communicate(timeout=10)
    assert process.returncode == code
    assert said == f"{word}.\n"
    assert list(tmp_path.iterdir()) == []


def test_a_kill_leaves_no_file_under_the_final_name(tmp_path):
    process = waiting_selection(tmp_path / "out.jsonl")
    process.kill()
    process.communicate(timeout=10)
    assert not (tmp_path / "out.jsonl").exists()
    result = call("select-data", EXAMPLES, "-o", tmp_path / "out.jsonl", "--num-items", "2")
    assert result.exit_code == 0
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 2


def test_an_ignored_interrupt_stays_ignored(tmp_path):
    """As after nohup, or in the background of a script."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = waiting_selection(tmp_path / "out.jsonl")
    finally:
        signal.signal(signal.SIGINT, before)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == 0
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 100


def in_child(words, said, kill):
    """What a forked process does: dprkit, its stderr in a file, up to where `kill` says."""
    from dprkit.__main__ import main

    def hook(event, arguments):
        if event == kill[0] and any(kill[1] in str(one) for one in arguments[:2]):
            os._exit(9)

    if kill:
        sys.addaudithook(hook)
    os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    sys.argv = ["dprkit", *words]
    main()


PRELOADED = [
    "transformers.models.roberta.modeling_roberta",
    "transformers.models.auto.modeling_auto",
    "dprkit.training.loop",
    "dprkit.embeddings.encode",
    "tests.cli.test_endings",
]


@pytest.fixture(scope="module")
def forked():
    """forked(words, said) starts dprkit as a process that has torch imported already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    running = []

    def run(*words, said="/dev/null", kill=None):
        process = context.Process(target=in_child, args=(list(map(str, words)), str(said), kill))
        process.start()
        running.append(process)
        return process

    yield run
    for process in running:
        process.kill()
        process.join()


def progress_of(out):
    with contextlib.suppress(errors.InputError):
        half = read_progress(out)
        return half.state if half else {}
    return {}


LONG = {
    "train": (
        ["train", "--max-epochs", "6", "--batch-size", "4"],
        lambda out: len(progress_of(out).get("losses", ())),
    ),
    "encode-corpus": (
        ["encode-corpus", "--shard-size", "20"],
        lambda out: len(list(Path(out, ".parts").glob("*.json"))),
    ),
}


def content(folder):
    """Every file of an artifact with its hash, but for those that tell about the making."""
    return {n: f.sha256 for n, f in read_manifest(folder).files.items() if f.content}


def names_in(folder):
    return {str(path.relative_to(folder)) for path in Path(folder).rglob("*")}


@pytest.mark.parametrize("name", LONG)
def test_a_stopped_stage_run_again_ends_with_the_same_bytes(name, forked, work):
    """SIGINT, SIGTERM and SIGKILL, each some way further on, then the same command again."""
    words, done = LONG[name]
    whole = forked(*words, "--output-dir", "whole")
    whole.join()
    assert whole.exitcode == 0
    sends = [
        (1, signal.SIGINT, 130, "Interrupted; run the same command again to go on."),
        (2, signal.SIGTERM, 143, "Terminated; run the same command again to go on."),
        (3, signal.SIGKILL, -9, None),
        (4, signal.SIGHUP, 129, "Hung up; run the same command again to go on."),
    ]
    for turn, number, code, line in sends:
        said = work / f"said-{turn}"
        more = done("out") + 1
        process = forked(*words, "--output-dir", "out", said=said)
        until(lambda more=more: done("out") >= more)
        os.kill(process.pid, number)
        process.join(60)
        assert process.exitcode == code
        lines = said.read_text().splitlines()
        assert (line is None) or lines[-1] == line
        assert not any(word in said.read_text() for word in ("Traceback", "Error"))
        assert not is_artifact("out")
        assert call("info", "out").stdout.splitlines()[0].endswith("again to go on")
    again = forked(*words, "--output-dir", "out", said=work / "said")
    again.join()
    assert again.exitcode == 0
    assert "out: going on where an earlier run stopped" in (work / "said").read_text()
    assert content("out") == content("whole")
    assert read_manifest("out").identity == read_manifest("whole").identity
    assert names_in("out") == names_in("whole")


def test_what_was_restarted_goes_on_without_restart(forked, work):
    """The same command would throw away what it has done."""
    words, done = LONG["train"]
    said = work / "said"
    process = forked(*words, "--output-dir", "out", "--restart", said=said)
    until(lambda: done("out") >= 1)
    os.kill(process.pid, signal.SIGINT)
    process.join(30)
    assert process.exitcode == 130
    last = "Interrupted; run the same command without --restart to go on."
    assert said.read_text().splitlines()[-1] == last
    again = forked(*words, "--output-dir", "out", said=said)
    again.join()
    assert again.exitcode == 0
    assert "out: going on where an earlier run stopped" in said.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_a_group_of_processes_is_told_in_one_line(work, number):
    """A terminal sends it to all of them."""
    words = ["train", "--num-processes", "2", "--max-epochs", "200", "--output-dir", "out", "-q"]
    with subprocess.Popen(
        [*DPRKIT, *words], stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        until(
            lambda: Path("out/metrics.jsonl").exists() and Path("out/metrics.jsonl").stat().st_size
        )
        os.killpg(process.pid, number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert said.count("\n") == 1
    assert said.endswith("; run the same command again to go on.\n")


@pytest.mark.slow
@pytest.mark.parametrize("later", [0.0, 0.3, 1.0])
def test_a_signal_to_a_group_that_is_just_starting_is_told_in_one_line(work, later):
    """Python itself would end in a traceback while it starts."""
    words = ["train", "--num-processes", "2", "--max-epochs", "200", "--output-dir", "out", "-q"]
    with subprocess.Popen(
        [*DPRKIT, *words], stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        until(lambda: len(children.read_text().split()) >= 2)
        time.sleep(later)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "Interrupted.\n")


KILLS = {
    "a checkpoint is removed": pytest.param("shutil.rmtree", "out/checkpoint-0"),
    "the model card is written": pytest.param("open", "README.md"),
    "the manifest appears": pytest.param("os.rename", "manifest.json"),
    "a better model appears": pytest.param("os.rename", "passage_encoder"),
    "a checkpoint appears": pytest.param("os.rename", "checkpoint-2"),
    "the probes are written": pytest.param("open", "probes.safetensors"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("event", "name"), KILLS.values(), ids=KILLS)
def test_a_training_that_is_killed_where_it_hurts_ends_as_if_it_was_not(forked, work, event, name):
    words = ["train", "--max-epochs", "3", "--batch-size", "8"]
    for out, kill in (("whole", None), ("out", (event, name)), ("out", None)):
        process = forked(*words, "--output-dir", out, kill=kill)
        process.join()
        assert process.exitcode == (9 if kill else 0)
    assert content("out") == content("whole")
    assert names_in("out") == names_in("whole")


def test_a_second_run_on_one_output_is_refused_with_75_and_the_pid(forked, work):
    words, done = LONG["train"]
    process = forked(*words, "--output-dir", "out")
    until(lambda: done("out") >= 1)
    os.kill(process.pid, signal.SIGSTOP)
    result = call(*words, "--output-dir", "out")
    os.kill(process.pid, signal.SIGCONT)
    assert result.exit_code == 75
    assert result.stderr.count("\n") == 1
    assert f"Error: out: in use by pid {process.pid} on " in result.stderr
    process.join(60)
    assert process.exitcode == 0
    assert call(*words, "--output-dir", "out").stderr.count("out: up to date") == 1


@pytest.mark.parametrize("name", ["index", "evaluate", "select-data"])
def test_a_held_lock_is_told_and_nothing_is_made(work, name):
    with lock(Path("new")):
        result = call(name, "--output-dir", "new")
        assert (result.exit_code, result.stdout) == (75, "")
        assert f"new: in use by pid {os.getpid()} on " in result.stderr
    assert not Path("new").exists()
    assert call(name, "--output-dir", "new").exit_code == 0


def test_a_signal_that_python_would_drop_is_heeded(capsys):
    """Raised in a callback of a weak reference, as importlib has them, an exception is dropped."""

    class Thing:
        pass

    thing = Thing()
    watched = weakref.ref(thing, lambda _: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(SystemExit) as ended, ending():
        del thing
        time.sleep(20)
    assert watched() is None
    assert ended.value.code == 130
    assert capsys.readouterr().err == "Interrupted.\n"


def test_an_interrupt_while_the_interpreter_ends_makes_no_traceback():
    program = (
        "import atexit, os, signal, sys; atexit.register(os.kill, os.getpid(), signal.SIGINT);"
        "from dprkit.__main__ import main; sys.argv = ['dprkit', 'index', '--help']; main()"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (-signal.SIGINT, "")


@pytest.mark.slow
@pytest.mark.parametrize("name", LONG)
def test_a_signal_at_any_time_is_no_bug(name, work):
    """Also while Python starts and while torch is imported."""
    draw = random.Random(3)
    words, _ = LONG[name]
    for _ in range(12):
        number = draw.choice([signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
        process = start(*words, "--output-dir", "out")
        time.sleep(draw.uniform(0.3, 4))
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
        # -number: it came while Python started, or in an exec(); to a shell that is 128 + number.
        assert process.returncode in (0, 128 + number, -number), said
        assert "Traceback" not in said
    assert shell(*words, "--output-dir", "out").returncode == 0
    assert shell(*words, "--output-dir", "whole").returncode == 0
    assert content("out") == content("whole")


# --- pipes and streams ----------------------------------------------------------------------------


def bash(script, **how):
    how = {"env": environment(DPRKIT=" ".join(DPRKIT)), "capture_output": True, "text": True} | how
    return subprocess.run(["bash", "-c", script], timeout=60, **how)


@pytest.mark.parametrize(
    "command",
    [
        f"select-data {EXAMPLES} -o - --num-items 5",
        f"select-data {EXAMPLES} -o -",
        f"select-data {EXAMPLES} -o /dev/stdout",
        f"select-data {EXAMPLES} -o out.jsonl --passages-out -",
        "config show",
        "info runs/dprkit/model",
        "download --list",
        "--help",
        "train --help",
        "config --help",
        "--show-completion bash",
    ],
)
@pytest.mark.parametrize("reader", ["head -1", "true"])
def test_a_reader_that_has_had_enough_is_a_good_end(work, command, reader):
    ran = bash(f'$DPRKIT {command} | {reader} > first; echo "${{PIPESTATUS[@]}}"')
    assert ran.stdout == "0 0\n", ran.stderr
    assert "Traceback" not in ran.stderr
    assert "Exception ignored" not in ran.stderr
    if reader == "head -1":
        assert len(Path("first").read_bytes().splitlines()) == 1


def test_rows_go_through_a_pipe_of_commands(work):
    script = f"cat {EXAMPLES} | $DPRKIT select-data - -o - -q | gzip | $DPRKIT select-data - -o -"
    ran = bash(f"{script} --num-items 7 --offset 3")
    assert ran.returncode == 0
    rows = [json.loads(line)["question"] for line in ran.stdout.splitlines()]
    wanted = [row["question"] for row in json.loads(EXAMPLES.read_bytes())]
    assert rows == wanted[3:10]


CLOSED = [">&-", "2>&-", "<&-", ">&- 2>&-", ">&- 2>&- <&-"]


@pytest.mark.parametrize("closed", CLOSED)
def test_a_closed_stream_is_no_trouble(work, closed):
    ran = bash(f"$DPRKIT select-data {EXAMPLES} -o out.jsonl --num-items 5 {closed}")
    assert ran.returncode == 0
    assert "Traceback" not in ran.stderr
    assert len(Path("out.jsonl").read_text().splitlines()) == 5
    ran = bash(f"$DPRKIT evaluate {closed}")
    assert (ran.returncode, "Traceback" in ran.stderr) == (0, False)


@pytest.mark.parametrize("closed", CLOSED)
def test_an_error_with_closed_streams_keeps_its_exit_code(work, closed):
    ran = bash(f"$DPRKIT select-data nothing -o out.jsonl {closed}")
    assert ran.returncode == 1
    assert "Traceback" not in ran.stderr


def test_a_log_that_nobody_reads_does_not_stop_the_work(work):
    ran = bash(f"$DPRKIT select-data {EXAMPLES} -o out.jsonl 2> >(exec true); echo $?")
    assert ran.stdout == "0\n"
    assert len(Path("out.jsonl").read_text().splitlines()) == 240
    ran = bash(f"$DPRKIT select-data {EXAMPLES} -o two.jsonl 2> /dev/full; echo $?")
    assert ran.stdout == "0\n"
    assert Path("two.jsonl").read_bytes() == Path("out.jsonl").read_bytes()


@pytest.mark.parametrize(
    "command",
    [
        f"select-data {EXAMPLES} -o -",
        "index --json",
        "evaluate",
        "config show",
        "--help",
        "train --help",
        "--version",
    ],
)
def test_a_full_stdout_is_an_error(work, command):
    ran = bash(f"$DPRKIT {command} > /dev/full")
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1].startswith("Error: ")
    assert "no space left on the device" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_named_pipe_can_be_written_and_read(work):
    os.mkfifo("pipe")
    script = f"$DPRKIT select-data {EXAMPLES} -o pipe --num-items 5 & "
    ran = bash(script + "$DPRKIT select-data pipe -o - --num-items 9; wait $!; echo $?")
    assert len(ran.stdout.splitlines()) == 6
    assert ran.stdout.endswith("\n0\n")
    assert Path("pipe").is_fifo()


# --- terminals ------------------------------------------------------------------------------------


def on_terminal(*words, **env):
    """Run a command with stderr on a terminal; what appears there."""
    ours, theirs = pty.openpty()
    with open(ours, "rb", buffering=0) as screen:
        ran = subprocess.Popen(
            [*DPRKIT, *map(str, words)],
            env={**environment(), "TERM": "xterm", **env},
            stderr=theirs,
            stdout=subprocess.DEVNULL,
        )
        os.close(theirs)
        seen = b""
        with contextlib.suppress(OSError):  # how Linux tells that the other side is closed
            while part := screen.read(4096):
                seen += part
        return ran.wait(30), seen.decode()


@pytest.mark.parametrize(
    "env", [{}, {"TERM": "dumb"}, {"NO_COLOR": "1"}, {"COLUMNS": "40"}, {"COLUMNS": "1"}]
)
def test_progress_on_any_terminal(tmp_path, env):
    code, seen = on_terminal("select-data", EXAMPLES, "-o", tmp_path / "out.jsonl", **env)
    assert code == 0
    assert "selecting: 240 rows in " in seen
    assert "Traceback" not in seen
    if "NO_COLOR" in env:
        assert "\x1b[3" not in seen.replace("\x1b[3J", "")
    assert seen.count("\x1b[?25l") == seen.count("\x1b[?25h")  # a cursor hidden is shown again


OWN_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(2, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""


def test_a_training_whose_terminal_is_closed_is_saved(work):
    """The kernel sends SIGHUP, and stderr cannot be written any more."""
    screen, theirs = pty.openpty()
    words = ["train", "--max-epochs", "50", "--batch-size", "4", "--output-dir", "out"]
    process = subprocess.Popen(
        [sys.executable, "-c", OWN_TERMINAL, *DPRKIT, *words],
        env={**environment(), "TERM": "xterm"},
        stderr=theirs,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(theirs)
    seen = b""
    while b"training" not in seen or b"6/" not in seen:  # a bar that counts steps
        seen += os.read(screen, 4096)
    os.close(screen)
    assert process.wait(60) == 129
    assert progress_of("out")["step"] >= 6


def test_an_error_takes_the_bar_down_first(tmp_path):
    bad = tmp_path / "bad"
    row = json.dumps(json.loads(EXAMPLES.read_bytes())[0])
    bad.write_text(f"{row}\n" * 200 + "{oops\n")
    code, seen = on_terminal("select-data", bad, "-o", tmp_path / "out")
    assert code == 1
    assert f"Error: {bad}:201: not JSON" in seen.replace("\r\n", "")
    assert seen.count("\x1b[?25l") == seen.count("\x1b[?25h")
