"""Packing: the texts of one forward pass laid end to end, so that nothing is padding.

A transformer treats every token alike but for two things: its position and the tokens it may
attend to. So texts can share one row of T tokens if positions begin anew with each text and
attention stays within it:

    pack.py                 the texts as they lie
    attention_pattern.py    which tokens of a text its tokens attend to
    packed_attention.py     attention within each text

A model is reached through the attention interface of transformers. Whether one can be packed at
all is asked of the model itself (`enable`).
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, cast

import torch
from torch import Tensor, nn

from dprkit.models.pack import Pack
from dprkit.models.packed_attention import ATTENTION, HALF, VARLEN, register, running
from dprkit.models.tokens import Ids


def states(backbone: nn.Module, pack: Pack) -> list[Tensor]:
    """The last hidden states of a pack: one tensor (n, L, H) for each length."""
    return pack.groups(flat_states(backbone, pack))


def flat_states(backbone: nn.Module, pack: Pack, **more: Tensor) -> Tensor:
    """The last hidden states (T, H) of a pack, as its texts lie.

    `more`: what else the transformer is given, as `Pack.laid` lays it.
    """
    with running(pack):
        out = backbone(input_ids=pack.input_ids, position_ids=pack.position_ids, pack=pack, **more)
    return cast(Tensor, out.last_hidden_state[0])


# --- which models ---------------------------------------------------------------------------------


def enable(backbone: nn.Module) -> bool:
    """Make a transformer ready for packs, if it can have them; nothing changes if it cannot.

    It can where two texts laid end to end get the states they get apart. That is tried out,
    rather than looked up in a list of models: one without `position_ids`, with relative positions
    or with an attention of its own does not pass.
    """
    config: Any = backbone.config
    before = getattr(config, "_attn_implementation", None)
    # Torch's attention cannot do what a model needs that is eager by itself; ours may.
    forced = before == "eager" and not getattr(backbone, "_supports_sdpa", True)
    if not (forced or before in ("sdpa", ATTENTION)):
        return False
    register()
    config._attn_implementation = ATTENTION
    if _same_states(backbone):
        if getattr(config, "use_cache", False) and is_causal(backbone):
            config.use_cache = False  # it holds keys and values for texts that are written on
        return True
    config._attn_implementation = before
    return False


def is_causal(backbone: nn.Module) -> bool:
    """Whether tokens attend to none of those behind them, in some layer at least."""
    return any(getattr(module, "is_causal", False) is True for module in backbone.modules())


def suits(backbone: nn.Module, ids: Ids, device: torch.device) -> bool:
    """Whether these texts had better be packed, on this device, for a model that can be."""
    if not all(ids):  # a text without a token lies nowhere in the row
        return False
    first = first_position(backbone)
    # Where positions count on from the padding id, a padding token within a text has none.
    if first and any(first - 1 in text for text in ids):
        return False
    return device.type == "cpu" or (device.type == "cuda" and _has_flash(backbone, device))


def _has_flash(backbone: nn.Module, device: torch.device) -> bool:
    """Whether one kernel attends within all texts: half precision, no attention dropout.

    Torch and GPU have to be new enough. Elsewhere padded batches are faster on a GPU than a call
    for each length.
    """
    config: Any = backbone.config
    names = ("attention_probs_dropout_prob", "attention_dropout")
    drops = backbone.training and any(getattr(config, name, 0) for name in names)
    auto = torch.is_autocast_enabled(device.type)
    dtype = torch.get_autocast_dtype(device.type) if auto else next(backbone.parameters()).dtype
    new_enough = torch.cuda.get_device_capability(device) >= (8, 0)
    return dtype in HALF and not drops and new_enough and bool(find_spec(VARLEN))


def first_position(backbone: nn.Module) -> int:
    """The position of a text's first token: RoBERTa and its kin count on from the padding id."""
    for name, module in backbone.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            return 0 if module.padding_idx is None else module.padding_idx + 1
    return 0


@torch.no_grad()
def _same_states(backbone: nn.Module) -> bool:
    config: Any = backbone.config
    tokens = [i for i in range(min(8, config.vocab_size)) if i != config.pad_token_id]
    texts, training = [(tokens * 7)[:4], (tokens * 7)[4:7]], backbone.training
    device = next(backbone.parameters()).device
    backbone.eval()
    try:
        together = states(backbone, Pack(texts, first_position(backbone), device))
        apart = [backbone(input_ids=torch.tensor([t], device=device))[0] for t in texts]
    except Exception:  # a model of any sort is tried; what fails in a pack is padded
        return False
    finally:
        backbone.train(training)
    return all(
        torch.allclose(one, other, rtol=1e-3, atol=1e-4)
        for one, other in zip(together, apart, strict=True)
    )
