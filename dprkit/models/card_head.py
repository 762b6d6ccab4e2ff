"""The head of a model card: what the Hugging Face hub shows of a model, its metrics above all.

The form is the hub's own (github.com/huggingface/hub-docs, modelcard.md): YAML between two lines of
---, with a block `model-index`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from dprkit.errors import loading, reading

TAGS = {"retriever": "sentence-similarity", "reader": "question-answering"}
"""kind of model -> the hub's task."""
LIBRARIES = {
    "multi-vector": "sentence-transformers",
    "pylate": "PyLate",
    "stanford-colbert": "ColBERT",
    "hf-dpr": "transformers",
    "hf-dpr-reader": "transformers",
}
"""Form of an export -> the hub's name of the library that loads it, where it is another."""
_HEAD = re.compile(r"---\n(.*?)\n---\n+", re.S)
_NO_METRICS = ("questions", "pool", "with_answer")

Result = dict[str, Any]
"""One of the model index: a data set and the metrics on it."""


def card_head(kind: str, name: str, results: Iterable[Result], library: str = "dprkit") -> str:
    """The head of the card of a retriever or reader called `name`, which `library` loads."""
    head: dict[str, Any] = {
        "library_name": library,
        "pipeline_tag": TAGS.get(kind, TAGS["retriever"]),
        "tags": ["dprkit", "dense-passage-retrieval", kind],
    }
    return _written(_indexed(head, name, list(results)))


def with_results(
    card: str,
    kind: str,
    name: str,
    results: Iterable[Result],
    library: str = "dprkit",
    where: Path | str = "README.md",
) -> str:
    """A card whose head calls the model `name` and has these results beside its own.

    A card without a head gets one. Raises InputError that names `where` for a head that is no YAML.
    """
    import yaml

    found = _HEAD.match(card)
    if not found:
        return card_head(kind, name, results, library) + card
    with loading(where, "its head, between two lines of ---, is not that of a model card"):
        head = msgspec.convert(yaml.safe_load(found[1]) or {}, dict[str, Any])
        index = msgspec.convert(head.get("model-index") or [{}], list[dict[str, Any]])
    own = index[0].get("results") or ()
    return _written(_indexed(head, name, [*own, *results])) + card[found.end() :]


def _indexed(head: dict[str, Any], name: str, results: list[Result]) -> dict[str, Any]:
    return head | ({"model-index": [{"name": name, "results": results}]} if results else {})


def _written(head: dict[str, Any]) -> str:
    import yaml

    text = yaml.safe_dump(head, sort_keys=False, allow_unicode=True, width=10_000)
    return f"---\n{text}---\n\n"


# --- results --------------------------------------------------------------------------------------


def of_validation(counts: Mapping[str, Any]) -> list[Result]:
    """The figures of a training's validation, of the weights that were kept."""
    valid = counts.get("valid") or {}
    figures = {name: value for name, value in valid.items() if name not in _NO_METRICS}
    return [_result("validation", figures)] if figures else []


def of_evaluation(folder: Path) -> Result:
    """The metrics in a folder that `evaluate` wrote; the data set is called as its questions.

    Raises InputError where it is no such folder.
    """
    from dprkit.store.manifests import read_manifest

    manifest = read_manifest(folder, "results")
    path = folder / "metrics.json"
    with reading(path), loading(path, "damaged"):
        metrics = msgspec.json.decode(path.read_bytes())["metrics"]
    asked = manifest.inputs.get("questions") or next(iter(manifest.inputs.values()))
    figures = {
        f"{name}@{depth}" if depth else name: value
        for name, values in metrics.items()
        for depth, value in (values.items() if isinstance(values, dict) else [("", values)])
    }
    return _result(Path(asked.path).name.partition(".")[0], figures)


def _result(data: str, figures: Mapping[str, float | None]) -> Result:
    """Figures of a data set; a metric that is defined for no question, None, is left out."""
    kind = re.sub(r"[^\w-]+", "-", data).lower()
    return {
        "task": {"type": "information-retrieval", "name": "Information retrieval"},
        "dataset": {"type": kind, "name": data},
        "metrics": [
            {"type": name.lower(), "value": round(float(value), 6), "name": name}
            for name, value in figures.items()
            if value is not None
        ],
    }
