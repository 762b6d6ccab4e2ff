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
from dprkit.models.forward_batches import padded

UNLIMITED = 1 << 30
"""Tokens of a transformer that sets no limit."""


@torch.no_grad()
def measured(backbone: nn.Module, tokenizer: Any, where: Path | str) -> int:
    """The tokens that a transformer can read.

    Raises InputError where it is no encoder of texts, where its numbers are not finite, where those
    of a text depend on the texts beside it, and where the tokenizer has ids that it has no vectors
    for. More vectors than ids are usual padding.
    """
    training = backbone.training
    backbone.eval()
    with loading(where, "the model cannot be used as an encoder of texts"):
        _check_states(backbone, where)
        _check_vocabulary(backbone, tokenizer, where)
        _check_alone(backbone, where)
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


LENGTHS = (3, 21, 12)
"""Tokens of the texts that go through together, and each by itself."""
TOLERANCE = 1e-4
"""How far a number of a state may be from that of the text alone, as a share of the largest."""


def _check_alone(backbone: Any, where: Path | str) -> None:
    """Refuse a model whose states of a text are others when longer texts go through with it.

    So it is where padding has a part: in Fourier transforms, convolutions and landmarks.
    """
    config = backbone.config
    ropes = (getattr(config, name, None) for name in ("rope_parameters", "rope_scaling"))
    if "longrope" in str([*ropes]):  # the longest text of a pass decides on the positions of all
        raise InputError(
            f"{where}: its rotary positions (longrope) depend on the other texts of a pass, which "
            "is not supported; name another model"
        )
    if getattr(config, "attention_type", None) == "block_sparse":
        raise InputError(
            f"{where}: its sparse attention (attention_type block_sparse) depends on the other "
            "texts of a pass, which is not supported; say original_full in its config.json"
        )
    rows = len(backbone.get_input_embeddings().weight)
    tokens = [number for number in range(min(64, rows)) if number != config.pad_token_id]
    texts = [[tokens[(7 * n + i * i) % len(tokens)] for i in range(n)] for n in LENGTHS]
    ids, mask = padded(texts, config.pad_token_id or 0)
    place = next(backbone.parameters()).device
    together = _states(backbone, torch.from_numpy(ids), torch.from_numpy(mask), place)
    apart = [
        _states(backbone, one := torch.tensor([t]), torch.ones_like(one), place) for t in texts
    ]
    pairs = [(row[: len(one[0])], one[0]) for row, one in zip(together, apart, strict=True)]
    worst = max(float((a - b).abs().max() / b.abs().max().clamp(min=1)) for a, b in pairs)
    if not worst <= TOLERANCE:
        raise InputError(
            f"{where}: is a {config.model_type}, whose vectors of a text depend on the other texts "
            f"of a pass (by {worst:.2g}), which is not supported; name another model"
        )


def _states(backbone: Any, ids: Tensor, mask: Tensor, place: torch.device) -> Tensor:
    """The states (N, L, H) of texts given as ids and mask (N, L)."""
    states: Tensor = backbone(
        input_ids=ids.to(place), attention_mask=mask.to(place)
    ).last_hidden_state
    return states


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
        # RoFormer's table of positions is given the shape of the ids.
        last = int(rows[0].max()) if isinstance(rows[0], Tensor) else rows[0][-1] - 1
        asked[table] = max(asked.get(table, 0), last)

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
