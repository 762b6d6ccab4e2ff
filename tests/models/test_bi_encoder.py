import pytest
import torch
from transformers import BertConfig, BertModel

from dprkit.models.bi_encoder import Encoder
from dprkit.models.config import RetrieverConfig


def tiny_bert():
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    return BertModel(config, add_pooling_layer=False)


def encoder(**shape):
    return Encoder(tiny_bert(), RetrieverConfig(**shape)).eval()


IDS = [[2, 5, 7, 3], [2, 9, 3], [2, 11, 12, 13, 14, 15, 3], [2, 3]]


@pytest.mark.parametrize("batch_tokens", [1, 8, 1000])
def test_vectors_do_not_depend_on_the_batches(batch_tokens):
    model = encoder()
    with torch.no_grad():
        alone = torch.cat([model(torch.tensor([ids]), torch.ones(1, len(ids))) for ids in IDS])
        together = model.encode(IDS, batch_tokens)
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=1e-5)


def test_cls_pooling_is_the_state_of_the_first_token():
    model = encoder()
    ids = torch.tensor([IDS[0]])
    with torch.no_grad():
        expected = model.backbone(input_ids=ids).last_hidden_state[:, 0]
        torch.testing.assert_close(model.encode([IDS[0]], 100), expected)


def test_mean_pooling_leaves_padding_out():
    model = encoder(pooling="mean")
    ids = torch.tensor([IDS[1]])
    with torch.no_grad():
        expected = model.backbone(input_ids=ids).last_hidden_state.mean(1)
        padded = model.encode(IDS, 1000)[1:2]  # in one batch with a text of 7 tokens
    torch.testing.assert_close(padded, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("pooling", "theirs"),
    {
        "cls": "cls",
        "last": "lasttoken",
        "mean": "mean",
        "weighted-mean": "weightedmean",
        "max": "max",
        "mean-sqrt": "mean_sqrt_len_tokens",
    }.items(),
)
def test_each_pooling_is_that_of_sentence_transformers_packed_and_padded(pooling, theirs):
    modules = pytest.importorskip("sentence_transformers.sentence_transformer.modules")
    model = encoder(pooling=pooling)
    ids, mask = model.padded(IDS, torch.device("cpu"))
    with torch.no_grad():
        states = model.backbone(input_ids=ids, attention_mask=mask).last_hidden_state
        features = {"token_embeddings": states, "attention_mask": mask}
        wanted = modules.Pooling(16, theirs)(features)["sentence_embedding"]
        assert model.packed
        torch.testing.assert_close(model.encode(IDS, 1000), wanted, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(model(ids, mask), wanted, atol=1e-6, rtol=1e-5)


def test_cosine_vectors_have_unit_length_and_a_projection_sets_the_width():
    model = encoder(similarity="cosine", projection=5)
    with torch.no_grad():
        vectors = model.encode(IDS, 100)
    assert vectors.shape == (4, 5) == (4, model.dim)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(4))


def test_gradients_through_sorted_passes_equal_those_of_one_padded_batch():
    split, whole = encoder(), encoder()
    whole.packed = False
    split.encode(IDS, 8).pow(2).sum().backward()
    whole.encode(IDS, 10_000).pow(2).sum().backward()
    for one, other in zip(split.parameters(), whole.parameters(), strict=True):
        if other.grad is not None:
            torch.testing.assert_close(one.grad, other.grad, atol=1e-5, rtol=1e-4)


def test_nothing_encodes_to_nothing():
    assert encoder().encode([], 100).shape == (0, 16)


@pytest.mark.parametrize("pooling", ["mean", "cls", "last", "max"])
@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("packed", [True, False])
def test_a_text_without_a_token_gets_zeros_and_the_others_their_vectors(
    pooling, similarity, packed
):
    """As sentence-transformers gives it for the mean, with and without unit length."""
    model = encoder(pooling=pooling, similarity=similarity)
    model.packed &= packed
    ids = [IDS[0], [], IDS[1], []]
    with torch.no_grad():
        vectors, others = model.encode(ids, 1000), model.encode([IDS[0], IDS[1]], 1000)
        alone = model.encode([[], []], 1000)
    assert not vectors[[1, 3]].any()
    assert not alone.any()
    torch.testing.assert_close(vectors[[0, 2]], others, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_a_text_without_a_token_leaves_the_gradient_as_it_is(similarity):
    one, other = (encoder(pooling="mean", similarity=similarity) for _ in range(2))
    weights = torch.arange(16.0)
    (one.encode([IDS[0], [], IDS[1]], 1000) * weights).sum().backward()
    (other.encode([IDS[0], IDS[1]], 1000) * weights).sum().backward()
    for with_empty, without in zip(one.parameters(), other.parameters(), strict=True):
        if without.grad is not None:
            torch.testing.assert_close(with_empty.grad, without.grad, atol=1e-5, rtol=1e-4)


def test_a_projection_of_no_token_is_its_bias():
    model = encoder(pooling="mean", projection=5)
    with torch.no_grad():
        torch.testing.assert_close(model.encode([[], IDS[0]], 100)[0], model.projection.bias)
