"""Commands without the wait for libraries: each is a fork of a process that has imported them.

A page's commands are typed into a real shell, pipes included, and most of their time would be the
import of torch. So `dprkit` (and `python`) in that shell's PATH is a client of a few lines. It
hands its words, folder, environment and streams to the server below, which forks: once to wait for
the exit code, and once more to run the command as `python -m dprkit` does.
"""

from __future__ import annotations

import atexit
import gc
import os
import socket
import subprocess
import sys
import traceback
from pathlib import Path

CLIENT = """\
import json, os, socket, sys
asked = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    socket.send_fds(server, [len(asked).to_bytes(4, "big")], [0, 1, 2])
    server.sendall(asked)
    code = server.recv(1)
sys.exit(code[0] if code else 70)
"""
LIBRARIES = ["faiss", "matplotlib", "numpy", "sentence_transformers", "torch", "transformers"]


def start(folder: Path, env: dict[str, str]) -> subprocess.Popen[str]:
    """Start the server, with `dprkit` and `python` in `folder`; it has all libraries at the end."""
    address = str(folder / "socket")
    (folder / "client.py").write_text(CLIENT.format(address=address))
    for name in ("dprkit", "python"):
        words = f'"{sys.executable}" -I -S "{folder}/client.py" {name} "$@"'
        (folder / name).write_text(f"#!/bin/sh\nexec {words}\n")
        (folder / name).chmod(0o755)
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.docs.ready", address],
        cwd=Path(__file__).parents[2],
        env=env,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout and server.stdout.readline() == "ready\n"
    return server


def serve(address: str) -> None:
    """Answer until the parent ends. Returns in the processes that are to run a command."""
    for library in LIBRARIES:
        __import__(library)
    from transformers import AutoModel, AutoTokenizer  # noqa: F401  # they are loaded when named

    gc.freeze()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(16)
        os.write(1, b"ready\n")
        while True:
            client, _ = listener.accept()
            if os.fork() == 0:
                return _answer(client)
            client.close()
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _answer(client: socket.socket) -> None:
    import json

    length, streams, _, _ = socket.recv_fds(client, 4, 3)
    asked = b""
    while len(asked) < int.from_bytes(length, "big"):
        asked += client.recv(1 << 16)
    words, folder, env = json.loads(asked)
    if waited := os.fork():
        _, status = os.waitpid(waited, 0)
        code = os.waitstatus_to_exitcode(status)
        client.send(bytes([code if code >= 0 else 128 - code]))
        os._exit(0)
    client.close()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    sys.argv[:] = words


def run() -> int:
    """Do what sys.argv says; its exit code."""
    try:
        if sys.argv[0] == "python":
            sys.path.insert(0, "")
            exec(compile(sys.stdin.read(), "page", "exec"), {"__name__": "__main__"})
        else:
            from dprkit.__main__ import main

            sys.modules["__main__"].__spec__ = None  # its name in errors is that of sys.argv[0]
            main()
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else int(done.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def end(code: int) -> None:
    """End without taking the libraries down one by one, which costs two seconds."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    serve(sys.argv[1])
    end(run())
