"""Errors travel from worker processes whole."""

from __future__ import annotations

import errno
import os
import pickle

import pytest

from dprkit.errors import (
    DprkitError,
    EmptyAnswer,
    FormatError,
    InputError,
    MissingExtra,
    OutputError,
    writing,
)


@pytest.mark.parametrize(
    "error",
    [
        InputError("x: no such file"),
        FormatError("train.jsonl", 3, "not JSON"),
        EmptyAnswer(" "),
        MissingExtra("ray", "ray"),
    ],
)
def test_an_error_is_the_same_in_another_process(error: DprkitError) -> None:
    other = pickle.loads(pickle.dumps(error))
    assert (type(other), str(other), vars(other)) == (type(error), str(error), vars(error))


@pytest.mark.parametrize("path", ["ro/out.jsonl", "./ro/out.jsonl", "/somewhere/ro/out.jsonl"])
def test_a_place_that_cannot_be_written_is_told_however_it_is_named(path: str) -> None:
    """tempfile names what it could not make by its absolute path."""
    beside = os.path.join(os.path.abspath(os.path.dirname(path)), ".tmp-out")
    with pytest.raises(OutputError, match="not writable"), writing(path):
        raise PermissionError(errno.EACCES, "Permission denied", beside)
    with pytest.raises(PermissionError), writing(path):
        raise PermissionError(errno.EACCES, "Permission denied", "/elsewhere/in.jsonl")
