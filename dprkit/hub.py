"""The Hugging Face hub: whether it answers, and what it has under a name, in its own cache."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Thread
from typing import Literal

from dprkit.errors import InputError, loading

SECONDS = 5.0
"""How long the hub may take to answer at all. Its library would ask again for most of a minute."""
Kind = Literal["model", "dataset"]


def hush() -> None:
    """Keep the library's bars and its word on every try to reach the hub off stderr."""
    from logging import ERROR, getLogger

    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    getLogger("huggingface_hub").setLevel(ERROR)


def cached(name: str, patterns: Sequence[str], kind: Kind = "model") -> Path | None:
    """Where the cache has the files of `name` that fit `patterns`, without asking the hub."""
    from huggingface_hub import snapshot_download

    hush()
    wanted = list(patterns)
    try:
        found = snapshot_download(
            name, repo_type=kind, allow_patterns=wanted, local_files_only=True
        )
        return Path(found)
    except Exception:  # each release of huggingface_hub has others for what its cache lacks
        return None


@cache
def snapshot(name: str, patterns: tuple[str, ...], kind: Kind = "model") -> Path:
    """The folder with the files of `name` that fit `patterns`, fetched as far as they lack.

    Where the hub does not answer, what the cache holds is taken. Raises InputError.
    """
    from huggingface_hub import snapshot_download

    hush()
    if why := unreachable():
        if folder := cached(name, patterns, kind):
            return folder
        what = "model's folder" if kind == "model" else "file or folder"
        raise InputError(
            f"{name}: no such folder here, and {why}; check the name, or name the {what}"
        )
    with loading(name, "no such folder here, nor given by the hub; check the name"):
        return Path(snapshot_download(name, allow_patterns=list(patterns), repo_type=kind))


def unreachable() -> str:
    """Why the hub cannot be asked, or `""`."""
    from huggingface_hub import constants

    where = constants.ENDPOINT
    silence = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else _silence(where)
    return silence and f"the hub ({where}) cannot be asked: {silence}"


def _silence(where: str) -> str:
    """Why the hub does not answer, or `""`."""
    import httpx

    answers = [f"no answer in {SECONDS:g} seconds"]

    def ask() -> None:
        try:
            httpx.head(where, timeout=SECONDS)
            answers.append("")
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            answers.append(str(error) or type(error).__name__)

    asking = Thread(target=ask, daemon=True)  # looking up a name may take longer than any limit
    asking.start()
    asking.join(SECONDS)
    return answers[-1]


# --- uploads --------------------------------------------------------------------------------------


def create(name: str, private: bool, update: bool) -> str:
    """Make the repository `name` of a model; its whole name, with the owner.

    `update`: it may be there; an empty one may, as an upload that failed leaves it. Raises
    InputError where there is no token, the hub does not answer or refuses, or the repository is
    there.
    """
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError

    hush()
    if why := unreachable():
        raise InputError(f"{name}: {why}")
    if not get_token():
        raise InputError(
            f"{name}: no token for the hub; get one at {_endpoint()}/settings/tokens, and run "
            "hf auth login or set HF_TOKEN"
        )
    with _refusals(name):
        try:
            made = HfApi().create_repo(name, private=private, exist_ok=update)
        except HfHubHTTPError as error:
            if error.response is None or error.response.status_code != 409:
                raise
            made = HfApi().create_repo(name, private=private, exist_ok=True)
            if set(HfApi().list_repo_files(made.repo_id)) - {".gitattributes"}:
                raise error from None
        return str(made.repo_id)


def upload(name: str, files: Mapping[str, Path | bytes], message: str) -> str:
    """Put the files into the repository `name` in one commit; where it can be seen."""
    from huggingface_hub import CommitOperationAdd, HfApi

    added = [
        CommitOperationAdd(path, content if isinstance(content, bytes) else str(content))
        for path, content in sorted(files.items())
    ]
    with _refusals(name):
        HfApi().create_commit(name, added, commit_message=message)
    return f"{_endpoint()}/{name}"


def _endpoint() -> str:
    from huggingface_hub import constants

    return str(constants.ENDPOINT)


@contextmanager
def _refusals(name: str) -> Iterator[None]:
    """Turn what the hub answers into an InputError of one line."""
    from huggingface_hub.errors import HfHubHTTPError

    try:
        yield
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        raise InputError(f"{name}: {_REFUSED.get(status) or _first_line(error)}") from None
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"{name}: not uploaded: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]


_REFUSED = {
    401: "the hub does not know the token; make a new one, and run hf auth login",
    403: "the token may not write there; make one that may, or choose another name",
    404: "the hub has no such owner, or the token may not see it; check the name",
    409: "is on the hub already; give --update to write into it, or choose another name",
}
