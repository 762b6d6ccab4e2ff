import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel

from dprkit.errors import InputError
from dprkit.models.config import load_config
from dprkit.models.probe_texts import PROBE_PASSAGES, PROBE_QUESTIONS
from dprkit.models.retriever import load_retriever
from dprkit.models.retriever_folder import load_transformer
from dprkit.records import Passage
from dprkit.store.manifests import read_manifest


def test_a_loaded_retriever_gives_the_vectors_of_its_probes(small_retriever):
    retriever = load_retriever(small_retriever)
    with safe_open(small_retriever / "probes.safetensors", "np") as probes:
        texts = probes.metadata()
        questions, passages = (probes.get_tensor(k) for k in ("questions", "passages"))
    assert json.loads(texts["texts"])["questions"] == list(PROBE_QUESTIONS)
    np.testing.assert_allclose(retriever.encode_questions(PROBE_QUESTIONS), questions, atol=1e-6)
    np.testing.assert_allclose(retriever.encode_passages(PROBE_PASSAGES), passages, atol=1e-6)
    assert len(questions) + len(passages) == 32


def test_transformers_reads_both_towers_and_gives_the_same_states(small_retriever):
    """Mean pooling and the projection by hand, with transformers' own classes."""
    tokenizer = AutoTokenizer.from_pretrained(small_retriever / "passage_encoder")
    model = AutoModel.from_pretrained(small_retriever / "passage_encoder").eval()
    with safe_open(small_retriever / "passage_encoder/projection.safetensors", "pt") as head:
        weight, bias = head.get_tensor("weight"), head.get_tensor("bias")
    batch = tokenizer("The Nile", "It is a river in Africa.", return_tensors="pt")
    batch.pop("token_type_ids", None)
    with torch.no_grad():
        pooled = model(**batch).last_hidden_state.mean(1)
    expected = (pooled @ weight.T + bias).numpy()
    retriever = load_retriever(small_retriever)
    ours = retriever.encode_passages([("The Nile", "It is a river in Africa.")])
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_a_passage_record_and_a_pair_are_the_same(small_retriever):
    retriever = load_retriever(small_retriever)
    record, pair = Passage("7", "It is a river.", "The Nile"), ("The Nile", "It is a river.")
    np.testing.assert_array_equal(*(retriever.encode_passages([p]) for p in (record, pair)))


def test_scores_are_the_dot_products_of_pairs(small_retriever):
    retriever = load_retriever(small_retriever)
    questions, passages = ["a river", "a peak"], [("Nile", "water"), ("Everest", "rock")]
    q, p = retriever.encode_questions(questions), retriever.encode_passages(passages)
    by_hand = [sum(a * b for a, b in zip(q[i], p[i], strict=True)) for i in range(2)]
    np.testing.assert_allclose(retriever.scores(questions, passages), by_hand, rtol=1e-5)
    with pytest.raises(ValueError, match="2 questions and 1 passages"):
        retriever.scores(questions, passages[:1])


def test_the_identity_is_that_of_the_weights(small_retriever):
    files = read_manifest(small_retriever).files
    assert files["question_encoder/model.safetensors"].content
    assert not files["README.md"].content


def test_a_folder_without_all_its_weights_is_refused(tmp_path):
    config = BertConfig(
        vocab_size=20,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
    )
    BertModel(config).save_pretrained(tmp_path)
    larger = json.loads((tmp_path / "config.json").read_text()) | {"num_hidden_layers": 2}
    (tmp_path / "config.json").write_text(json.dumps(larger))
    with pytest.raises(InputError, match=r"its weights lack encoder\.layer\.1"):
        load_transformer(tmp_path)


def test_a_folder_without_a_model_is_refused_in_one_line(tmp_path):
    with pytest.raises(InputError, match="no model could be loaded") as refused:
        load_transformer(tmp_path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", [b"\xff\xfe", b"", b"[" * 5000, b"{1: 2}", b"pooling: [", b"- a"])
def test_a_damaged_retriever_yaml_is_refused_in_one_line(tmp_path, text):
    (tmp_path / "retriever.yaml").write_bytes(text)
    with pytest.raises(InputError, match=r"retriever\.yaml:(\d+:)? ") as refused:
        load_config(tmp_path)
    assert "\n" not in str(refused.value)


def test_an_unknown_key_in_retriever_yaml_is_refused(tmp_path):
    (tmp_path / "retriever.yaml").write_text("kind: bi-encoder\npoling: mean\n")
    with pytest.raises(InputError, match="poling"):
        load_config(tmp_path)
