"""How many tokens a transformer can read, measured when a model comes in.

Its tokenizer is checked against it there too. The limit is kept in retriever.yaml, so that no
search and no encoding pays for measuring it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dprkit.errors import InputError, loading

UNLIMITED = 1 << 30
"""Tokens of a transformer that sets no limit."""


@torch.no_grad()
def measured(backbone: nn.Module, tokenizer: Any, where: Path | str) -> int:
    """The tokens that a transformer can read.

    Raises InputError where it is no encoder of texts, where its numbers are not finite, and where
    the tokenizer has ids that it has no vectors for. More vectors than ids are usual padding.
    """
    training = backbone.training
    backbone.eval()
    with loading(where, "the model cannot be used as an encoder of texts"):
        _check_states(backbone, where)
        _check_vocabulary(backbone, tokenizer, where)
        room = positions(backbone)
    backbone.train(training)
    return room


def _check_states(backbone: Any, where: Path | str) -> None:
    states = _read(backbone, 3)
    if states.shape != (1, 3, backbone.config.hidden_size):
        raise ValueError(f"its states have the shape {tuple(states.shape)}")
    if not states.isfinite().all():
        raise InputError(f"{where}: its weights give numbers that are not finite; fetch it again")


def _check_vocabulary(backbone: Any, tokenizer: Any, where: Path | str) -> None:
    rows = len(backbone.get_input_embeddings().weight)
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    beyond = sorted(token for token, number in vocabulary.items() if number >= rows)
    if beyond:
        raise InputError(
            f"{where}: its tokenizer has {max(vocabulary.values()) + 1} tokens and its model "
            f"vectors for {rows}: none for {', '.join(beyond[:3])}; give it vectors by "
            "transformers' resize_token_embeddings, or take the tokenizer it was trained with"
        )
    padding = backbone.config.pad_token_id
    if padding is not None and not 0 <= padding < rows:
        raise InputError(f"{where}: its pad_token_id {padding} is none of its {rows} tokens")


# --- positions ------------------------------------------------------------------------------------


def positions(backbone: nn.Module) -> int:
    """How many tokens a transformer can read, asked of its tables of positions.

    A table of positions is an embedding that is read further the longer a text is: what it is
    asked for with 3 and 5 tokens tells where it begins, and its rows where it ends. A table of
    relative positions may do so as well, but does not run out. Without a table the config's
    max_position_embeddings is what the model was trained for.
    """
    short, long = _furthest(backbone, 3), _furthest(backbone, 5)
    rooms = sorted(
        table.num_embeddings - last + 4
        for table, last in long.items()
        if last - short.get(table, 0) == 2
    )
    for room in rooms:
        if _is_too_long(backbone, room + 1):
            return room
    said = getattr(backbone.config, "max_position_embeddings", None)
    return said if isinstance(said, int) and said > 0 else UNLIMITED


def _furthest(backbone: nn.Module, length: int) -> dict[nn.Embedding, int]:
    """The furthest row that a text of so many tokens asks of each embedding."""
    asked: dict[nn.Embedding, int] = {}

    def note(table: Any, rows: tuple[Tensor]) -> None:
        asked[table] = max(asked.get(table, 0), int(rows[0].max()))

    tables = [module for module in backbone.modules() if isinstance(module, nn.Embedding)]
    hooks = [table.register_forward_pre_hook(note) for table in tables]
    try:
        _read(backbone, length)
    finally:
        for hook in hooks:
            hook.remove()
    return asked


def _is_too_long(backbone: nn.Module, length: int) -> bool:
    """Whether a text of so many tokens is refused, by a table or by the model's own code.

    On the CPU, where models come in, torch refuses a row that a table does not have.
    """
    try:
        _read(backbone, length)
    except Exception:  # a shorter text went through
        return True
    return False


def _read(backbone: Any, length: int) -> Tensor:
    """The states (1, L, H) of a text of L equal tokens."""
    token = 1 if backbone.config.pad_token_id == 0 else 0
    ids = torch.full((1, length), token, device=next(backbone.parameters()).device)
    states: Tensor = backbone(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
    return states
