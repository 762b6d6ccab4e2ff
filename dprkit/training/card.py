"""The model card: README.md of a retriever."""

from __future__ import annotations

from typing import Any

import msgspec

from dprkit.models.config import RetrieverConfig
from dprkit.settings import TrainSettings, fields_of


def model_card(settings: TrainSettings, config: RetrieverConfig, counts: dict[str, Any]) -> str:
    """README.md of a retriever: what it is, what it was trained on, how to load it."""
    start = settings.init or "random weights"
    return f"""# A dprkit retriever

A bi-encoder ({config.pooling} pooling, {config.similarity}) that started from {start}.

## Training

{_course(counts)}

{_figures(counts)}
## Use

From the shell:

    dprkit encode-corpus --retriever THIS_FOLDER --passages passages.tsv

With dprkit:

    import dprkit
    retriever = dprkit.load_retriever("THIS_FOLDER")
    retriever.encode_questions(["who wrote hamlet"])          # (1, D)

With transformers (retriever.yaml names the pooling, and how title and text are joined):

    from transformers import AutoModel, AutoTokenizer
    model = AutoModel.from_pretrained("THIS_FOLDER/question_encoder")
    tokenizer = AutoTokenizer.from_pretrained("THIS_FOLDER/question_encoder")

With sentence-transformers, after `dprkit convert THIS_FOLDER --to sentence-transformers
--output-dir OUT`:

    from sentence_transformers import SentenceTransformer
    model = SentenceTransformer("OUT")

## Recipe

{_recipe(settings)}
"""


def _course(counts: dict[str, Any]) -> str:
    if not counts["steps"]:
        return "None: these are the weights it started from."
    losses = counts["losses"]
    notes = "".join(f"\n\nNote: {line}." for line in counts["notes"])
    return (
        f"{counts['examples']} examples, {counts['epochs']} epochs, {counts['steps']} steps; "
        f"loss {losses[0]:.4f} in the first epoch, {losses[-1]:.4f} in the last. "
        f"The weights are those of step {counts['best_step']}. curves.svg shows the course, "
        f"metrics.jsonl has every step.{notes}"
    )


def _figures(counts: dict[str, Any]) -> str:
    """The validation's figures, before training and of the weights that were kept."""
    valid, before = counts.get("valid"), counts.get("valid_before") or {}
    if not valid:
        return "It was not validated.\n"
    rows = [f"| {name} | {before[name]:.4g} | {value:.4g} |" for name, value in valid.items()]
    return "\n".join(["| validation | before | after |", "|---|---:|---:|", *rows, ""])


def _recipe(settings: TrainSettings) -> str:
    """The settings that are not at their default, as a recipe has them."""
    fields = fields_of(TrainSettings)
    values = msgspec.to_builtins(settings)
    shown = [
        f"      {name}: {values[name]}"
        for name, field in fields.items()
        if getattr(settings, name) != field.default and name != "output_dir"
    ]
    return "\n".join(["    train:", *shown])
