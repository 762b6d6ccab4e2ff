"""Train, index and evaluate dense passage retrievers from the shell.

`import dprkit` is light: what it exposes is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dprkit.data.answer_matching import has_answer as has_answer
    from dprkit.data.examples import read_examples as read_examples
    from dprkit.data.passages import read_passages as read_passages
    from dprkit.data.questions import read_questions as read_questions
    from dprkit.errors import DprkitError as DprkitError
    from dprkit.evaluation.evaluate import evaluate as evaluate
    from dprkit.models.reading import load_reader as load_reader
    from dprkit.models.retriever import load_retriever as load_retriever
    from dprkit.search.open_index import open_index as open_index

__version__ = "0.1.0"

_HOMES = {
    "DprkitError": "dprkit.errors",
    "evaluate": "dprkit.evaluation.evaluate",
    "has_answer": "dprkit.data.answer_matching",
    "load_reader": "dprkit.models.reading",
    "load_retriever": "dprkit.models.retriever",
    "open_index": "dprkit.search.open_index",
    "read_examples": "dprkit.data.examples",
    "read_passages": "dprkit.data.passages",
    "read_questions": "dprkit.data.questions",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dprkit' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
