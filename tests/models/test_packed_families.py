"""Decoders, ModernBERT and its kin in packs, beside transformers itself, text by text."""

import copy

import pytest
import torch
import transformers
from transformers import AutoConfig

from dprkit.models import packing
from dprkit.models.attention_pattern import Pattern
from dprkit.models.forward_batches import padded
from dprkit.models.pack import Pack
from dprkit.models.rows import Rows

WIDE = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
SIZE = {**WIDE, "intermediate_size": 48, "max_position_embeddings": 600, "pad_token_id": 0}
SPECIAL = {"bos_token_id": 1, "eos_token_id": 2}
SHARED = {**SIZE, **SPECIAL, "num_key_value_heads": 2}  # a key for two queries
GEMMA = {**SHARED, "head_dim": 12, "query_pre_attn_scalar": 8}  # heads are wider than the states
WINDOW = {"sliding_window": 5}
FAMILIES = {
    "qwen2": ("qwen2", SHARED),
    "qwen2 with a window": (
        "qwen2",
        {**SHARED, **WINDOW, "use_sliding_window": True, "max_window_layers": 1},
    ),
    "qwen2 of experts": (  # its window of 0 is of layers that it does not have
        "qwen2_moe",
        {**SHARED, "num_experts": 4, "moe_intermediate_size": 16, "sliding_window": 0}
        | {"shared_expert_intermediate_size": 16},
    ),
    "qwen3": ("qwen3", {**SHARED, "head_dim": 12}),
    "llama": ("llama", SHARED),
    "mistral": ("mistral", {**SHARED, **WINDOW}),
    "gemma": ("gemma", {**SHARED, "head_dim": 12}),
    "gemma2": ("gemma2", {**GEMMA, **WINDOW, "attn_logit_softcapping": 2.0}),
    "gemma3": ("gemma3_text", {**GEMMA, **WINDOW, "sliding_window_pattern": 2}),
    "embedding gemma": (
        "gemma3_text",
        {**GEMMA, **WINDOW, "sliding_window_pattern": 2, "use_bidirectional_attention": True},
    ),
    "modernbert": (
        "modernbert",
        {**SIZE, **SPECIAL, "local_attention": 4, "cls_token_id": 1, "sep_token_id": 2},
    ),
    "nomic": ("nomic_bert", SIZE),
    "gte": ("gte", SIZE),
    "eurobert": ("eurobert", {**SHARED, "mask_token_id": 3}),
}
DECODERS = {
    "qwen2",
    "qwen2 with a window",
    "qwen2 of experts",
    "qwen3",
    "llama",
    "mistral",
    "gemma",
}
DECODERS |= {"gemma2", "gemma3"}
LENGTHS = [3, 1, 38, 7, 150, 3, 2, 37]


def tiny(family):
    kind, size = FAMILIES[family]
    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(AutoConfig.for_model(kind, **size)).eval()
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    for weight in model.parameters():  # larger than at the start, so that every part counts
        torch.nn.init.normal_(weight, std=0.3)
    return model


def texts():
    draw = torch.Generator().manual_seed(1)
    return [torch.randint(3, 50, (length,), generator=draw).tolist() for length in LENGTHS]


def read_alone(backbone, ids):
    """The states (T, H) that transformers gives the tokens of each text."""
    return torch.cat([backbone(input_ids=torch.tensor([one])).last_hidden_state[0] for one in ids])


def read_packed(backbone, ids):
    pack = Pack(ids, packing.first_position(backbone), torch.device("cpu"))
    rows = Rows.of_counts(packing.flat_states(backbone, pack), pack.lengths)
    return rows.take(pack.places()).values


def read_padded(backbone, ids):
    rows, mask = (torch.from_numpy(array) for array in padded(ids, 0))
    return backbone(input_ids=rows, attention_mask=mask).last_hidden_state[mask.bool()]


def slopes(backbone, states):
    backbone.zero_grad()
    weights = torch.randn(states.shape, generator=torch.Generator().manual_seed(2))
    (states * weights).sum().backward()
    return {name: p.grad.clone() for name, p in backbone.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("family", FAMILIES)
def test_texts_in_a_pack_get_the_states_and_gradients_that_transformers_gives_each(family):
    theirs, ids = tiny(family), texts()
    model = copy.deepcopy(theirs)
    assert packing.enable(model)
    assert packing.is_causal(model) == (family in DECODERS)
    expected, states = read_alone(theirs, ids), read_packed(model, ids)
    close(states, expected)
    ours, wanted = slopes(model, states), slopes(theirs, expected)
    assert ours.keys() == wanted.keys()
    for name, gradient in ours.items():
        close(gradient, wanted[name])
    with torch.no_grad():
        close(read_padded(model, ids), expected)


def close(ours, theirs):
    scale = max(1.0, float(theirs.detach().abs().max()))
    torch.testing.assert_close(ours / scale, theirs / scale, atol=1e-5, rtol=0)


def test_scores_that_are_capped_stay_so_with_dropout_of_nearly_nothing():
    model, ids = tiny("gemma2"), texts()
    assert packing.enable(model)
    expected = read_packed(model, ids)
    for layer in model.layers:
        layer.self_attn.attention_dropout = 1e-9
    close(read_packed(model.train(), ids), expected)


@pytest.mark.parametrize("kind", ["gpt_oss", "mamba"])
def test_what_is_no_plain_attention_is_padded(kind):
    """gpt-oss has a score that belongs to no token; Mamba has no attention."""
    size = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 2}
    more = {**SHARED, "head_dim": 8, "num_local_experts": 2} if kind == "gpt_oss" else size
    model = transformers.AutoModel.from_config(AutoConfig.for_model(kind, **more))
    before = model.config._attn_implementation
    assert not packing.enable(model)
    assert model.config._attn_implementation == before


# --- patterns -------------------------------------------------------------------------------------

CAUSAL, BACK, AROUND = (
    lambda b, h, q, k: k <= q,
    lambda b, h, q, k: (k <= q) & (k > q - 3),
    lambda b, h, q, k: abs(q - k) < 3,
)
CHUNKS = lambda b, h, q, k: (k <= q) & (q // 4 == k // 4)  # noqa: E731
ALL = lambda b, h, q, k: q.new_ones((), dtype=torch.bool)  # noqa: E731


@pytest.mark.parametrize(
    "rule, causal, plain",
    [(ALL, False, 9), (CAUSAL, True, 9), (BACK, True, 3), (AROUND, False, 3), (CHUNKS, True, 4)],
    ids=["all", "causal", "back", "around", "chunks"],
)
def test_a_pattern_knows_up_to_where_it_needs_no_mask(rule, causal, plain, monkeypatch):
    monkeypatch.setattr("dprkit.models.attention_pattern.ROWS", 4)
    pattern = Pattern(rule, 9, torch.device("cpu"))
    assert (pattern.causal, pattern.plain) == (causal, plain)
    places = torch.arange(6)
    whole = rule(0, 0, places[:, None], places[None]).expand(6, 6)
    shown = torch.zeros(6, 6, dtype=torch.bool)
    for rows, keys, mask in pattern.blocks(6):
        shown[rows, keys] = mask
    assert torch.equal(shown, whole)
