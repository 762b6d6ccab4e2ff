"""Errors travel from worker processes whole."""

from __future__ import annotations

import pickle

import pytest

from dprkit.errors import DprkitError, EmptyAnswer, FormatError, InputError, MissingExtra


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
