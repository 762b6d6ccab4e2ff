"""Where the `dprkit` command begins."""

from __future__ import annotations

import io
import os
import re
import signal
import sys
from typing import Any

from dprkit import __version__
from dprkit.cpu_cores import settle


def main() -> None:
    """Run the command line."""
    settle()
    try:
        _run()
    except SystemExit as end:
        if "torch.distributed" in sys.modules and int(os.environ.get("WORLD_SIZE", "1")) > 1:
            from dprkit.training.processes import code_of, leave

            leave(code_of(end))
        # All is done and told: an interrupt now ends the process, and makes no traceback of what
        # libraries do when the interpreter ends.
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        raise


def _run() -> None:
    """`--version` alone does not wait for the CLI to be built."""
    _settle_encoding()
    _settle_streams()
    stdout = sys.stdout
    try:
        if sys.argv[1:] == ["--version"]:
            sys.stdout.write(f"dprkit {__version__}\n")
            sys.stdout.flush()
            return
        from dprkit.cli.app import UsageError, app

        _check_words()
        try:
            sys.exit(app(standalone_mode=False))
        except UsageError as error:
            _tell_usage(error)
        except SystemExit:
            if sys.stdout is stdout:
                raise
            # Typer puts a wrapper there when whoever read the help has had enough: a good end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stdout.fileno())
            sys.exit(0)
    except KeyboardInterrupt:  # before a command began
        sys.stderr.write("Interrupted.\n")
        sys.exit(130)
    except OSError as error:  # of a page of help; a command has told its own
        from dprkit.cli.exit_codes import let_go_of_stdout
        from dprkit.errors import reason

        let_go_of_stdout()
        if not isinstance(error, BrokenPipeError):
            sys.stderr.write(f"Error: output: {reason(error.errno) or error}\n")
            sys.exit(1)


def _settle_encoding() -> None:
    """Begin anew where the locale would have all names in ASCII: dprkit's files are UTF-8."""
    if sys.getfilesystemencoding() == "ascii":
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, sys.orig_argv)


def _check_words() -> None:
    """Refuse a word that is not UTF-8: manifests hold the command, and every path is in one."""
    for word in sys.argv[1:]:
        if not word.isascii() and re.search("[\ud800-\udfff]", word):
            sys.stderr.write(f"Error: {word!r} is not UTF-8; rename the file\n")
            sys.exit(1)


def _tell_usage(error: Any) -> None:
    """What is wrong with the words that were typed, in one line; the help where there were none."""
    if not (message := error.format_message()) or message.startswith("Usage:"):
        error.show()
    else:
        path = error.ctx.command_path if error.ctx else "dprkit"
        if hasattr(error, "possibilities"):  # click names options that begin alike, not the nearest
            from dprkit.errors import nearest

            known = [name for option in error.ctx.command.params for name in option.opts]
            message = f"no option is called {error.option_name}{nearest(error.option_name, known)}"
        if "extra argument" in message and path.endswith(" search"):
            message += "; questions come from a file, --questions FILE, or a pipe, --questions -"
        message = f"{' '.join(message.split())} (see {path} --help)"
        sys.stderr.write(f"Error: {message}\n")
    sys.exit(error.exit_code)


def _settle_streams() -> None:
    """Put the null device where the caller closed stdin, stdout or stderr, before a file of ours
    gets its number; and print a sign that the terminal's encoding lacks as a question mark."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", closefd=False))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


if __name__ == "__main__":
    main()
