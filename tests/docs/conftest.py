"""A shell in which pages are tried: its folder, its hub, its server of downloads."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.conftest import environment
from tests.docs import place, ready
from tests.docs.pages import Part

CANNOT = (
    (r"--num-processes 8|--nproc-per-node 8", lambda m: m[0][:-1] + "2", "a machine has 2 cores"),
    (r"train=5000,valid=500,test=500", "train=20,valid=8,test=8", "the file has 40 rows"),
    (r"\bdprkit train(-reader)?\b(?!-)", r"\g<0> --max-steps 2", "training ends soon"),
    (r"\bdprkit run\b(?! --set train-)", r"\g<0> --set train.max_steps=2", "training ends soon"),
    (
        r"\bdprkit run\b(?= --set train-2)",
        r"\g<0> --set train-1.max_steps=2 --set train-2.max_steps=2",
        "training ends soon",
    ),
    (r"\bdprkit run\b", r"\g<0> --set download.catalog=$REMOTE", "files come from this machine"),
    (r"\bdprkit download\b(?! --list)", r"\g<0> --catalog $REMOTE", "files come from this machine"),
    (r"^0 3 \* \* \* ", "", "cron reads that itself"),
    (r"/srv/", "$WORK/", "nobody but root may write there"),
    (r"\bFOLDER\b", "index", "it stands for any artifact"),
    (r"THIS_FOLDER", "model", "a model card does not know where it lies"),
    (r"\bOUT\b", "out", "a model card leaves the choice to its reader"),
)
"""What a test on any machine cannot do as it is typed: pattern, what is typed instead, why."""
SLOW = (
    (r"--num-processes 2", "--num-processes 1", "each more imports torch once more"),
    (r"dprkit convert \w+ --to onnx-copy", "true", "exporting a graph takes four seconds"),
    (r"--batch-size 256 --chunk-size 8", "--batch-size 16 --chunk-size 8", "3 seconds"),
    (r"(torchrun|accelerate launch) .*-m dprkit", "dprkit", "each imports torch once more"),
)
"""What is typed instead in the quick tests; the slow ones type it as it is."""


class Shell:
    """Types commands into bash, in a folder of its own; a `cd` lasts."""

    def __init__(self, folder: Path, env: dict[str, str], quick: bool = True) -> None:
        self.at, self.quick = folder, quick
        self.env = env | {"WORK": str(folder)}

    def do(self, part: Part) -> subprocess.CompletedProcess[str]:
        """What came of a command or of a block of Python; a block of YAML becomes a recipe."""
        if part.kind == "yaml":
            name = re.search(r"^name: (\w+)$", part.text, re.MULTILINE)
            assert name, "a recipe in a page needs a name: its folder"
            (self.at / name[1] / "dprkit.yaml").write_text(part.text)
            return subprocess.CompletedProcess([], 0, "", "")
        if part.kind == "python":
            return self.type(f"python - <<'END'\n{self.typed(part.text)}END")
        if part.kind == "text":  # a sketch of code, which nobody types
            return subprocess.CompletedProcess([], 0, "", "")
        assert part.kind == "shell", f"no test knows what a reader does with {part.kind}"
        return self.type(self.typed(part.text))

    def typed(self, command: str) -> str:
        """The command as it is typed here."""
        for pattern, instead, _ in (*CANNOT, *(SLOW if self.quick else ())):
            command = re.sub(pattern, instead, command)
        return command

    def type(self, command: str) -> subprocess.CompletedProcess[str]:
        """What bash makes of it. stdin is a terminal, with a question typed, where a comment says
        that it is one."""
        script = f"set -e -o pipefail\ntrap 'pwd > $WORK/.at' EXIT\n{command}"
        with terminal(self.env, "on a terminal" in command) as streams:
            done = subprocess.run(
                ["bash", "-c", script], cwd=self.at, env=self.env, timeout=120, **streams
            )
        self.at = Path((Path(self.env["WORK"]) / ".at").read_text().strip())
        told = [b.decode() if b else "" for b in (done.stdout, done.stderr)]
        return subprocess.CompletedProcess(command, done.returncode, *told)


@contextlib.contextmanager
def terminal(env: dict[str, str], wanted: bool) -> Iterator[dict]:
    """The streams of a command."""
    if not wanted:
        yield {"stdin": subprocess.DEVNULL, "capture_output": True}
        return
    mine, theirs = pty.openpty()
    os.write(mine, b"who wrote hamlet\n\n")
    yield {"stdin": theirs, "stdout": theirs, "stderr": subprocess.PIPE}
    os.close(theirs)
    os.close(mine)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """The template of the folder, and the environment of the shell."""
    root = tmp_path_factory.mktemp("pages")
    tools, template = root / "bin", root / "template"
    tools.mkdir()
    (tools / "your-program").symlink_to("/bin/cat")
    template.mkdir()
    with contextlib.chdir(template):
        place.write_inputs()
    place.write_hub(root / "hub")
    handler = partial(Quiet, directory=str(template))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as remote:
        threading.Thread(target=remote.serve_forever, args=(0.01,), daemon=True).start()
        place.write_remote(root, f"http://127.0.0.1:{remote.server_port}")
        env = environment(
            PATH=os.pathsep.join(
                [str(tools), str(Path(sys.executable).parent), os.environ["PATH"]]
            ),
            HF_HUB_CACHE=str(root / "hub"),
            REMOTE=str(root / "catalog.yaml"),
            GLOO_SOCKET_IFNAME="lo",
            https_proxy="http://127.0.0.1:9",
            no_proxy="127.0.0.1",
        )
        server = ready.start(tools, env)
        maker = Shell(template, env)
        for command in place.MADE:
            done = maker.type(command)
            assert done.returncode == 0, done.stderr
        yield SimpleNamespace(template=template, env=env)
        server.kill()
        server.communicate()
        remote.shutdown()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass
