"""What `encode-corpus` has beside its settings: which part of the work to do, and how."""

from __future__ import annotations

from typing import Annotated, Any, Optional

import typer

ENCODE_OPTIONS: dict[str, tuple[Any, Any]] = {
    "shard": (
        Annotated[
            Optional[str],  # noqa: UP045
            typer.Option(
                metavar="I/N", help="Encode only the I-th of N equal parts of the shards."
            ),
        ],
        None,
    ),
    "append": (
        Annotated[
            bool, typer.Option("--append", help="Encode only passages that are new or changed.")
        ],
        False,
    ),
    "repair": (
        Annotated[
            bool, typer.Option("--repair", help="Encode damaged shards again, and no others.")
        ],
        False,
    ),
    "dry_run": (
        Annotated[
            bool,
            typer.Option(
                "--dry-run",
                help="Encode a sample and estimate the time, disk and memory that all would take.",
            ),
        ],
        False,
    ),
}
