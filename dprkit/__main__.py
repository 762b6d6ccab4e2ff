"""Where the `dprkit` command begins."""

from __future__ import annotations

import sys

from dprkit import __version__


def main() -> None:
    """Run the command line. `--version` alone does not wait for the CLI to be built."""
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write(f"dprkit {__version__}\n")
        return
    try:
        from dprkit.cli.app import app

        app()
    except KeyboardInterrupt:  # before a command began
        sys.exit(130)


if __name__ == "__main__":
    main()
