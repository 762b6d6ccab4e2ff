"""Plain transformers (BERT, ModernBERT, Qwen3, ...): one folder, or one a side.

Such a folder says nothing about how its states become vectors: pooling and similarity are flags.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dprkit.interop.folder import model_max_length, tower_in
from dprkit.interop.tower import AS_GIVEN, Foreign, configured, usual_use
from dprkit.models.config import RetrieverConfig
from dprkit.settings import ConvertSettings


def _lengths(*folders: Path) -> dict[str, Any]:
    """The usual lengths, where the tokenizers allow as many tokens."""
    usual = RetrieverConfig()
    names = "question_max_length", "passage_max_length"
    allowed = (model_max_length(folder) for folder in folders)
    return {
        name: min(getattr(usual, name), most or getattr(usual, name))
        for name, most in zip(names, allowed, strict=True)
    }


def read(question: Path, passage: Path | None, settings: ConvertSettings) -> Foreign:
    """One folder that serves both sides, or a pair."""
    towers = tower_in(question), tower_in(passage) if passage else None
    usual = _lengths(question, passage or question) | usual_use(towers[0])
    config = configured(settings, AS_GIVEN, usual)
    kind = towers[0].backbone.config.model_type  # type: ignore[union-attr]
    use = f"{config.pooling} pooling and {config.similarity} similarity"
    return Foreign(*towers, config, [f"{kind} with {use}, as the flags say or by default"])
