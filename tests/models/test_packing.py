import copy

import pytest
import torch
import transformers

from dprkit.models import packing
from dprkit.models.bi_encoder import Encoder
from dprkit.models.config import RetrieverConfig
from dprkit.models.pack import Pack
from dprkit.models.packed_attention import Way

SIZE = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
FULL = {**SIZE, "intermediate_size": 32, "max_position_embeddings": 40}
DISTIL = {"vocab_size": 50, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}
CONFIGS = {
    "bert": transformers.BertConfig(**FULL),
    "roberta": transformers.RobertaConfig(**FULL, pad_token_id=1),
    "distilbert": transformers.DistilBertConfig(**DISTIL, max_position_embeddings=40),
    "electra": transformers.ElectraConfig(**FULL, embedding_size=8),
    "mpnet": transformers.MPNetConfig(**FULL, pad_token_id=1),
    "deberta": transformers.DebertaV2Config(
        **FULL, relative_attention=True, pos_att_type=["p2c", "c2p"]
    ),
    "modernbert": transformers.ModernBertConfig(
        **FULL, local_attention=4, pad_token_id=0, cls_token_id=1, sep_token_id=2
    ),
}
PACKED = {"bert", "roberta", "distilbert", "electra", "modernbert"}

MIXED = [3, 1, 38, 7, 3, 12, 3, 2, 37, 7]
BAGS = {"mixed": MIXED, "one text": [9], "one token": [1], "equal": [6] * 12, "all": range(1, 39)}


def tiny(family):
    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(copy.deepcopy(CONFIGS[family]))
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    for weight in model.parameters():  # larger than at the start, so that every part counts
        torch.nn.init.normal_(weight, std=0.3)
    return model


def encoder(family, dropout=0.0, **shape):
    return Encoder(tiny(family), RetrieverConfig(**shape), dropout).eval()


def texts(lengths):
    draw = torch.Generator().manual_seed(1)
    return [torch.randint(3, 50, (length,), generator=draw).tolist() for length in lengths]


def alone(model, ids):
    """Each text in a padded pass of its own, that is, without padding: the answer to compare to."""
    return torch.cat([model(torch.tensor([one]), torch.ones(1, len(one))) for one in ids])


def gradients(model, vectors):
    model.zero_grad()
    weights = torch.randn(vectors.shape, generator=torch.Generator().manual_seed(2))
    (vectors * weights).sum().backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("family", CONFIGS)
def test_what_cannot_be_packed_is_padded(family):
    model = encoder(family)
    assert model.packed == (family in PACKED)
    name = model.backbone.config._attn_implementation
    assert (name == packing.ATTENTION) == model.packed


@pytest.mark.parametrize("shape", [{}, {"pooling": "mean", "projection": 5}], ids=["cls", "mean"])
@pytest.mark.parametrize("bag", BAGS)
@pytest.mark.parametrize("family", CONFIGS)
def test_one_pass_gives_the_vectors_and_gradients_of_each_text_alone(family, bag, shape):
    model, ids = encoder(family, similarity="cosine", **shape), texts(BAGS[bag])
    vectors, expected = model.vectors(ids), alone(model, ids)
    torch.testing.assert_close(vectors, expected, atol=1e-5, rtol=1e-5)
    ours, theirs = gradients(model, vectors), gradients(model, expected)
    assert ours.keys() == theirs.keys()
    for name, gradient in ours.items():
        scale = max(1.0, float(theirs[name].abs().max()))
        torch.testing.assert_close(
            gradient / scale, theirs[name] / scale, atol=1e-5, rtol=0, msg=name
        )


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_the_padded_layout_can_be_chosen_and_gives_the_same_vectors(family):
    model, ids = encoder(family, pooling="mean", projection=5), texts(MIXED)
    packed = model.vectors(ids)
    model.packed = False
    passes = []
    model.register_forward_hook(lambda *_: passes.append(1))
    torch.testing.assert_close(model.vectors(ids), packed, atol=1e-5, rtol=1e-5)
    assert passes  # `forward` is the padded way


def test_a_padding_token_within_a_roberta_text_leads_to_the_padded_layout():
    """RoBERTa's own position of such a token is that of padding."""
    model, ids = encoder("roberta"), [[5, 1, 7, 8], [5, 6]]
    torch.testing.assert_close(model.vectors(ids), alone(model, ids), atol=1e-5, rtol=1e-5)


def test_a_model_with_eager_attention_is_left_as_it_is():
    model = tiny("bert")
    model.set_attn_implementation("eager")
    assert not packing.enable(model)
    assert model.config._attn_implementation == "eager"


def test_an_encoder_may_be_built_while_training_without_touching_the_random_state():
    model = tiny("bert").train()
    before = torch.get_rng_state()
    assert packing.enable(model)
    assert model.training
    assert torch.equal(torch.get_rng_state(), before)


def test_a_saved_model_does_not_know_of_packing(tmp_path):
    encoder("bert").backbone.save_pretrained(tmp_path)
    assert "attn" not in (tmp_path / "config.json").read_text()
    loaded = transformers.AutoModel.from_pretrained(tmp_path)
    assert loaded.config._attn_implementation == "sdpa"


# --- training -------------------------------------------------------------------------------------


def test_the_same_random_state_gives_the_same_bits_with_dropout_everywhere():
    model, ids = encoder("bert", dropout=0.2, pooling="mean").train(), texts(MIXED)
    once, again, other = (seeded(model, ids, seed) for seed in (5, 5, 6))
    assert torch.equal(once[0], again[0])
    assert not torch.equal(once[0], other[0])
    assert all(torch.equal(once[1][name], again[1][name]) for name in once[1])


def seeded(model, ids, seed):
    torch.manual_seed(seed)
    vectors = model.vectors(ids)
    return vectors.detach(), gradients(model, vectors)


def test_activation_checkpointing_leaves_vectors_and_gradients_to_the_bit():
    plain, saving = (encoder("bert", pooling="mean").train() for _ in range(2))
    saving.backbone.activation_checkpointing_enable()
    ids = texts(MIXED)
    (vectors, ours), (expected, theirs) = (seeded(model, ids, 5) for model in (saving, plain))
    assert torch.equal(vectors, expected)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_autocast_packs_in_bfloat16():
    model, ids = encoder("bert", pooling="mean").train(), texts(MIXED)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    expected = alone(model, ids)
    with torch.autocast("cpu", torch.bfloat16):
        vectors = model.vectors(ids)
    assert (vectors - expected).abs().max() < 0.1 * expected.abs().max()
    assert all(g.isfinite().all() for g in gradients(model, vectors).values())


def test_attention_dropout_drops_its_share_and_keeps_the_mean():
    """With all values 1, attention without dropout gives 1: the mean has to stay there."""
    torch.manual_seed(0)
    query, key = torch.randn(2, 50, 4, 64, 8)
    values = torch.ones(50, 4, 64, 8)
    out = Way(0.25, None, None)(query * 0, key, values, None, False)  # 1/64 each
    assert out.mean().item() == pytest.approx(1, abs=2e-3)
    # 64 draws of 1/64/0.75 with probability 0.75 have the variance 64 * (1/48)^2 * 0.75 * 0.25
    assert out[..., 0].var().item() == pytest.approx(64 / 48**2 * 0.1875, rel=0.05)


def test_attention_dropout_of_nearly_nothing_is_attention():
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 2, 4, 9, 8)
    for scale in (None, 0.3):
        out = Way(1e-9, scale, None)(query, key, value, None, False)
        expected = torch.softmax(query @ key.mT * (scale or 8**-0.5), -1) @ value
        torch.testing.assert_close(out, expected)


def test_16_bits_are_attended_in_32_on_the_processor():
    """Also backward, and with autocast, which would cast what the kernel is given again."""
    torch.manual_seed(0)
    half = torch.randn(3, 2, 4, 9, 8).bfloat16().requires_grad_()
    full = half.detach().float().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        out = Way(0.0, None, None)(*half, None, False)
    expected = Way(0.0, None, None)(*full, None, False)
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, expected.bfloat16())
    weights = torch.randn(2, 4, 9, 8).bfloat16()
    out.backward(weights)
    expected.backward(weights.float())
    assert torch.equal(half.grad, full.grad.bfloat16())


# --- the layout -----------------------------------------------------------------------------------


def test_a_pack_lies_longest_first_and_positions_begin_anew():
    pack = Pack([[5, 6], [7, 8, 9], [3, 4]], 2, torch.device("cpu"))
    assert pack.input_ids.tolist() == [[7, 8, 9, 5, 6, 3, 4]]
    assert pack.position_ids.tolist() == [[2, 3, 4, 2, 3, 2, 3]]
    assert pack.shapes == [(1, 3), (2, 2)]
    assert pack.bounds.tolist() == [0, 3, 5, 7]
    groups = pack.groups(pack.input_ids[0])
    assert [g.tolist() for g in groups] == [[[7, 8, 9]], [[5, 6], [3, 4]]]
    assert pack.as_given([g[:, 0] for g in groups]).tolist() == [5, 7, 3]
