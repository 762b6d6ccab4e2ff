"""Lists of strings that a cell of a table writes as Python does; they are read as data."""

from __future__ import annotations

import ast
import re
import tokenize
import warnings
from contextlib import suppress
from io import StringIO
from itertools import pairwise


def written_list(text: str) -> tuple[str, ...] | None:
    """The strings of a Python list; None where it is none. Nothing in the text is run."""
    try:
        with warnings.catch_warnings(
            action="ignore"
        ):  # answers may be regex: '\\d' is no Python escape
            value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    if isinstance(value, list | tuple) and all(isinstance(one, str) for one in value):
        return tuple(value)
    return None


def lacks_comma(text: str) -> bool:
    """Whether strings stand apart without a comma, as in numpy's lists; Python would join them.

    Those that touch are meant to be joined: DPR's own files have 'it''s'.
    """
    if not re.search(r"""['"]\s+['"]""", text):
        return False
    with suppress(tokenize.TokenError, SyntaxError):
        tokens = [
            token
            for token in tokenize.generate_tokens(StringIO(text).readline)
            if token.type not in (tokenize.NL, tokenize.NEWLINE)
        ]
        return any(
            token.type == after.type == tokenize.STRING and token.end != after.start
            for token, after in pairwise(tokens)
        )
    return False
