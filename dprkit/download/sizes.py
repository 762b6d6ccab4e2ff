"""The sizes of a download: whether the user allows so many bytes, and whether the disk has room."""

from __future__ import annotations

from collections.abc import Sequence

import httpx
from rich.filesize import decimal

from dprkit.download.catalog import Target
from dprkit.download.session import Session
from dprkit.download.transfer import content_length, is_html
from dprkit.errors import SettingsError
from dprkit.store.disk_room import check_room

ASK_ABOVE = 5_000_000_000
"""Bytes above which a set is fetched only with `yes`."""


def check_sizes(session: Session, targets: Sequence[Target]) -> None:
    """Ask for --yes and for room on the disk before anything is fetched."""
    for target in targets:
        if about := target.bytes or target.about_bytes:
            session.lengths[target.path] = about
    ask_consent(session, targets)
    for target in targets:
        if target.bytes is None and (length := ask_length(session, target)):
            session.lengths[target.path] = length
    ask_consent(session, targets)
    if not session.dry_run:
        check_room(session.folder, sum(_missing_bytes(session, target) for target in targets))


def ask_length(session: Session, target: Target) -> int | None:
    """Bytes of the server's file as HEAD tells; None where it does not.

    One server that cannot be reached ends all asking: each would cost a whole timeout.
    """
    if not session.reachable:
        return None
    try:
        response = session.client.head(session.url_of(target))
    except (httpx.HTTPError, httpx.InvalidURL):
        session.reachable = False
        return None
    fine = response.status_code == 200 and not is_html(response)
    return content_length(response) if fine else None


def ask_consent(session: Session, targets: Sequence[Target]) -> None:
    total = sum(session.lengths.values())
    if session.yes or total <= ASK_ABOVE:
        return
    sizes: dict[str, int] = {}
    for target in targets:
        sizes[target.key] = sizes.get(target.key, 0) + session.lengths.get(target.path, 0)
    large = sorted(filter(sizes.get, sizes), key=lambda key: -sizes[key])[:5]
    shown = ", ".join(f"{key} {decimal(sizes[key])}" for key in large)
    more = f" and {len(sizes) - len(large)} more" if len(sizes) > len(large) else ""
    message = f"{decimal(total)} to fetch: {shown}{more}; add --yes to fetch them"
    if not session.dry_run:
        raise SettingsError(message)
    session.note(message)


def _missing_bytes(session: Session, target: Target) -> int:
    part = session.folder / f"{target.path}.part"
    there = part.stat().st_size if part.is_file() else 0
    return max(session.lengths.get(target.path, 0) - there, 0)
