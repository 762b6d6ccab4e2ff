"""Where the `dprkit` command begins."""

from __future__ import annotations

import io
import os
import sys

from dprkit import __version__


def main() -> None:
    """Run the command line. `--version` alone does not wait for the CLI to be built."""
    _settle_streams()
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write(f"dprkit {__version__}\n")
        return
    try:
        from dprkit.cli.app import app

        app()
    except KeyboardInterrupt:  # before a command began
        sys.stderr.write("Interrupted.\n")
        sys.exit(130)


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
