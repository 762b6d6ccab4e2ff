"""The model card: README.md of a retriever."""

from __future__ import annotations

from typing import Any

import msgspec

from dprkit.settings import TrainSettings


def model_card(settings: TrainSettings, counts: dict[str, Any]) -> str:
    """README.md of a retriever: what it is, what it was trained on, how to load it."""
    valid = counts["valid"]
    figures = "\n".join(f"| {name} | {value:.4g} |" for name, value in (valid or {}).items())
    start = settings.init or "random weights"
    table = f"| validation | |\n|---|---:|\n{figures}\n" if valid else "It was not validated.\n"
    values = msgspec.to_builtins(settings)
    recipe = "\n".join(f"    {k}: {v}" for k, v in values.items() if not k.endswith("_dir"))
    return f"""# A dprkit retriever

A bi-encoder ({settings.pooling} pooling, {settings.similarity}) that started from {start} and was
trained on {counts["examples"]} examples for {counts["epochs"]} epochs ({counts["steps"]} steps).
The weights are those of epoch {counts["best_epoch"]}.

{table}
## Use

    dprkit encode-corpus --retriever THIS_FOLDER --passages passages.tsv

    import dprkit
    retriever = dprkit.load_retriever("THIS_FOLDER")
    retriever.encode_questions(["who wrote hamlet"])          # (1, D)

    from transformers import AutoModel, AutoTokenizer
    AutoModel.from_pretrained("THIS_FOLDER/question_encoder")  # see retriever.yaml

## Settings

{recipe}
"""
