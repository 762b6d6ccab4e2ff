"""Checkpoint files: DPR's .cp of both eras and fz-openqa's QaRetriever; nothing in them runs."""

import os
import pickle
import sys
import types
from collections import OrderedDict

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from dprkit.errors import InputError, SettingsError
from dprkit.interop.torch_files import plain, read_torch_file
from dprkit.models.config import load_config
from dprkit.models.retriever import load_retriever
from dprkit.models.retriever_folder import load_bi_encoder
from tests.interop.foreign import (
    PASSAGES,
    QUESTIONS,
    SMALL,
    bert,
    convert,
    joined,
    save_bert,
    save_tokenizer,
    state_of,
)

CLOSE = {"atol": 1e-5, "rtol": 0}


# --- DPR's own ------------------------------------------------------------------------------------


@pytest.fixture
def omegaconf(monkeypatch):
    """The library's DictConfig if it is installed, else classes of its shape at its path."""
    try:
        from omegaconf import OmegaConf

        return OmegaConf.create
    except ImportError:
        pass
    modules = {
        name: types.ModuleType(f"omegaconf.{name}") for name in ("dictconfig", "nodes", "base")
    }

    def made(name, where):
        kind = type(name, (), {"__module__": f"omegaconf.{where}"})
        setattr(modules[where], name, kind)
        return kind

    dictionary, node, metadata = (
        made("DictConfig", "dictconfig"),
        made("AnyNode", "nodes"),
        made("ContainerMetadata", "base"),
    )
    monkeypatch.setitem(sys.modules, "omegaconf", types.ModuleType("omegaconf"))
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, f"omegaconf.{name}", module)

    def create(values):
        config = dictionary()
        about = metadata()
        about.__dict__.update(ref_type=dict[str, int], element_type=None, object_type=dict)
        config.__dict__.update(_metadata=about, _parent=None, _content={})
        for key, value in values.items():
            child = node()
            child.__dict__.update(_metadata=about, _parent=config, _val=value)
            config.__dict__["_content"][key] = child
        return config

    return create


def save_cp(path, params, *, projection=0, legacy=False, more=()):
    """A checkpoint as DPR writes it; returns its two models and heads."""
    sides, weights = {}, OrderedDict()
    for seed, side in enumerate(("question_model", "ctx_model")):
        model = bert(seed)
        head = nn.Linear(16, projection) if projection else None
        sides[side] = model, head
        weights.update({f"{side}.{k}": v for k, v in model.state_dict().items()})
        weights[f"{side}.embeddings.position_ids"] = torch.arange(300).unsqueeze(0)
        if head:
            weights.update({f"{side}.encode_proj.{k}": v for k, v in head.state_dict().items()})
    optimizer = torch.optim.AdamW(nn.Linear(2, 2).parameters())
    state = {
        "model_dict": weights,
        "optimizer_dict": optimizer.state_dict(),
        "scheduler_dict": {"base_lrs": [1e-5], "lr_lambdas": [None]},
        "offset": 0,
        "epoch": 3,
        "encoder_params": params,
        **dict(more),
    }
    torch.save(state, path, _use_new_zipfile_serialization=not legacy)
    return sides


def vectors(model, head, texts, length):
    states = torch.stack([state_of(model, text, length)[0] for text in texts])
    with torch.no_grad():
        return (head(states) if head else states).numpy()


def equals(folder, sides, length):
    retriever = load_retriever(folder)
    questions = vectors(*sides["question_model"], QUESTIONS, length)
    passages = vectors(*sides["ctx_model"], map(joined, PASSAGES), length)
    np.testing.assert_allclose(retriever.encode_questions(QUESTIONS), questions, **CLOSE)
    np.testing.assert_allclose(retriever.encode_passages(PASSAGES), passages, **CLOSE)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("projection", [0, 6])
def test_a_checkpoint_of_the_published_era_is_read(tmp_path, legacy, projection):
    save_bert(tmp_path / "bert", seed=9)
    params = {
        "do_lower_case": True,
        "pretrained_model_cfg": str(tmp_path / "bert"),
        "encoder_model_type": "hf_bert",
        "pretrained_file": None,
        "projection_dim": projection,
        "sequence_length": 40,
    }
    sides = save_cp(tmp_path / "a.cp", params, projection=projection, legacy=legacy)
    report = convert(source=tmp_path / "a.cp", output_dir=tmp_path / "out")
    assert (report.kind, report.dim) == ("dpr-cp", projection or 16)
    equals(tmp_path / "out", sides, 40)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_checkpoint_with_omegaconf_in_it_is_read_without_omegaconf(tmp_path, omegaconf, legacy):
    save_bert(tmp_path / "bert", seed=9)
    encoder = {"pretrained_model_cfg": str(tmp_path / "bert"), "sequence_length": 30}
    params = {"do_lower_case": True, "encoder": omegaconf(encoder)}
    sides = save_cp(tmp_path / "b.cp", params, legacy=legacy)
    loaded = {name for name in sys.modules if name.startswith("omegaconf")}
    for name in loaded:
        sys.modules[name] = None
    try:
        assert plain(read_torch_file(tmp_path / "b.cp")["encoder_params"])["encoder"] == encoder
        convert(source=tmp_path / "b.cp", output_dir=tmp_path / "out")
    finally:
        for name in loaded:
            del sys.modules[name]
    equals(tmp_path / "out", sides, 30)


def test_lower_casing_is_as_the_checkpoint_says(tmp_path):
    save_bert(tmp_path / "bert")
    save_tokenizer(tmp_path / "bert", lowercase=False)
    save_cp(tmp_path / "a.cp", {"do_lower_case": True})
    given = {"source": tmp_path / "a.cp", "backbone": tmp_path / "bert"}
    convert(**given, output_dir=tmp_path / "out")
    tokens = load_retriever(tmp_path / "out").tokens
    assert tokens.questions(["ABC"]) == tokens.questions(["abc"])


def test_a_checkpoint_without_its_pretrained_model_asks_for_it(tmp_path):
    save_cp(tmp_path / "a.cp", {"do_lower_case": True})
    with pytest.raises(InputError, match=r"does not name its pretrained model.*--backbone"):
        convert(source=tmp_path / "a.cp", output_dir=tmp_path / "out")
    save_cp(tmp_path / "a.cp", {"pretrained_model_cfg": str(tmp_path / "gone")})
    with pytest.raises(InputError, match=r"not to be had here.*--backbone"):
        convert(source=tmp_path / "a.cp", output_dir=tmp_path / "out")


def test_a_backbone_of_another_size_is_refused(tmp_path):
    bert(hidden_size=32).save_pretrained(tmp_path / "bert")
    save_tokenizer(tmp_path / "bert")
    save_cp(tmp_path / "a.cp", {})
    given = {"source": tmp_path / "a.cp", "backbone": tmp_path / "bert"}
    with pytest.raises(InputError, match=r"a\.cp: its weights do not fit its config") as refused:
        convert(**given, output_dir=tmp_path / "out")
    assert "\n" not in str(refused.value)


def test_the_checkpoint_of_a_reader_is_no_retrievers(tmp_path):
    weights = {"encoder.x": torch.ones(1), "qa_outputs.weight": torch.ones(2, 16)}
    torch.save({"model_dict": weights, "encoder_params": {}}, tmp_path / "reader.cp")
    with pytest.raises(InputError, match="holds a DPR reader; name the checkpoint of a retriever"):
        convert(source=tmp_path / "reader.cp", kind="dpr-cp", output_dir=tmp_path / "out")


# --- harmful and damaged files --------------------------------------------------------------------


class Harm:
    """Touches a file when it is unpickled."""

    def __init__(self, path, how=os.system):
        self.path, self.how = path, how

    def __reduce__(self):
        word = f"touch '{self.path}'" if self.how is os.system else f"open({str(self.path)!r}, 'w')"
        return self.how, (word,)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(("how", "name"), [(os.system, "system"), (eval, "eval"), (exec, "exec")])
def test_a_pickle_that_would_run_code_is_refused(tmp_path, legacy, how, name):
    harm = {"model_dict": {}, "encoder_params": Harm(tmp_path / "harmed", how)}
    torch.save(harm, tmp_path / "bad.cp", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(InputError, match=rf"would run \w+\.{name}, which is refused") as refused:
        convert(source=tmp_path / "bad.cp", output_dir=tmp_path / "out")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "harmed").exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "program",
    [
        b"cdprkit.models.interop.pickled\n_tensor\n.",
        b"ctorch\nload\n(S'x'\ntR.",
        b"cbuiltins\ngetattr\n.",
        b"cnumpy\nload\n(S'x'\ntR}(S'__class__'\nS'y'\nub.",
        b"ctorch._utils\n_rebuild_tensor_v2\n(NI0\n(I9\nt(I1\ntI00\nNtR.",
    ],
)
def test_other_programs_end_in_one_line_too(tmp_path, program):
    (tmp_path / "bad.pt").write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, 2) + program)
    with pytest.raises(InputError) as refused:
        read_torch_file(tmp_path / "bad.pt")
    assert "\n" not in str(refused.value)


def test_a_damaged_or_unrelated_file_is_refused(tmp_path):
    save_cp(tmp_path / "a.cp", {}, legacy=True)
    data = (tmp_path / "a.cp").read_bytes()
    for name, part in {"cut": data[:-100], "noise": os.urandom(200), "empty": b""}.items():
        (tmp_path / name).write_bytes(part)
        with pytest.raises(InputError, match=f"{name}: not a file of torch.save, or damaged"):
            convert(source=tmp_path / name, output_dir=tmp_path / "out")
    torch.save({"weight": torch.ones(2)}, tmp_path / "other.pt")
    with pytest.raises(InputError, match="neither a DPR checkpoint"):
        convert(source=tmp_path / "other.pt", output_dir=tmp_path / "out")


@pytest.mark.parametrize("legacy", [False, True])
def test_tensors_of_every_sort_are_read_as_torch_reads_them(tmp_path, legacy):
    whole = torch.arange(24, dtype=torch.float64).reshape(4, 6)
    state = {
        "whole": whole,
        "turned": whole.T[1:3],
        "half": whole.half(),
        "brain": whole.bfloat16(),
        "byte": whole.to(torch.uint8),
        "yes": torch.tensor([True, False]),
        "one": torch.tensor(7),
        "none": torch.empty(0, 3),
        "parameter": nn.Parameter(torch.ones(2)),
        "size": whole.shape,
        "dtype": torch.float16,
    }
    torch.save(state, tmp_path / "a.pt", _use_new_zipfile_serialization=not legacy)
    read = read_torch_file(tmp_path / "a.pt")
    for name, value in state.items():
        if isinstance(value, torch.Tensor):
            assert read[name].dtype == value.dtype
            assert torch.equal(read[name], value)
        else:
            assert read[name] == value


# --- fz-openqa's QaRetriever ----------------------------------------------------------------------


class QaRetriever(nn.Module):
    """As in FindZebra/fz-openqa: one BERT, cls heads of unit length, dropout before them."""

    def __init__(self, out=6):
        super().__init__()
        self.bert = bert(4)
        self.dropout = nn.Dropout(0.1)
        self.q_proj, self.e_proj = nn.Linear(16, out), nn.Linear(16, out)

    def forward(self, text, key):
        state = self.dropout(state_of(self.bert, text, 300))[0]
        head = {"question": self.q_proj, "document": self.e_proj}[key]
        return nn.functional.normalize(head(state), dim=-1)


def save_qa_retriever(path, prefix="model.retriever.", layer="", model=None):
    model = model or QaRetriever().eval()
    weights = {}
    for name, value in model.state_dict().items():
        head, _, rest = name.partition(".")
        name = f"{head}.{layer}{rest}" if head.endswith("proj") else name
        weights[prefix + name] = value
    if path.suffix == ".safetensors":
        save_file(weights, path)
    else:
        from argparse import Namespace

        hyper = Namespace(lr=1e-3, bert_id="x")
        torch.save({"state_dict": weights, "epoch": 1, "hyper_parameters": hyper}, path)
    return model


@pytest.mark.parametrize(
    ("name", "prefix", "layer"),
    [
        ("a.ckpt", "model.retriever.", ""),
        ("a.ckpt", "", "linear."),
        ("a.pt", "module.", "head."),
        ("a.safetensors", "", ""),
    ],
)
def test_a_qa_retriever_gives_the_vectors_of_its_own_forward(tmp_path, name, prefix, layer):
    model = save_qa_retriever(tmp_path / name, prefix, layer)
    save_bert(tmp_path / "bert")
    report = convert(
        source=tmp_path / name, backbone=tmp_path / "bert", output_dir=tmp_path / "out"
    )
    assert (report.kind, report.dim) == ("qa-retriever", 6)
    config = load_config(tmp_path / "out")
    assert (config.shared, config.separate_heads, config.similarity) == (True, True, "cosine")
    retriever = load_retriever(tmp_path / "out")
    with torch.no_grad():
        questions = torch.stack([model(q, "question") for q in QUESTIONS]).numpy()
        passages = torch.stack([model(joined(p), "document") for p in PASSAGES]).numpy()
    np.testing.assert_allclose(retriever.encode_questions(QUESTIONS), questions, **CLOSE)
    np.testing.assert_allclose(retriever.encode_passages(PASSAGES), passages, **CLOSE)


def test_the_shared_transformer_is_saved_once(tmp_path):
    save_qa_retriever(tmp_path / "a.ckpt")
    save_bert(tmp_path / "bert")
    convert(source=tmp_path / "a.ckpt", backbone=tmp_path / "bert", output_dir=tmp_path / "out")
    assert [p.name for p in (tmp_path / "out/passage_encoder").iterdir()] == [
        "projection.safetensors"
    ]
    model = load_bi_encoder(tmp_path / "out")[0]
    assert model.question_encoder.backbone is model.passage_encoder.backbone


def test_added_tokens_enlarge_the_vocabulary_and_a_larger_tokenizer_is_refused(tmp_path):
    model = QaRetriever().eval()
    model.bert.resize_token_embeddings(SMALL["vocab_size"] + 4, mean_resizing=False)
    save_qa_retriever(tmp_path / "more.ckpt", model=model)
    model.bert.resize_token_embeddings(SMALL["vocab_size"] - 4, mean_resizing=False)
    save_qa_retriever(tmp_path / "less.ckpt", model=model)
    save_bert(tmp_path / "bert")
    backbone = {"backbone": tmp_path / "bert", "output_dir": tmp_path / "out"}
    assert convert(source=tmp_path / "more.ckpt", **backbone).dim == 6
    with pytest.raises(InputError, match="name the tokenizer it was trained with"):
        convert(source=tmp_path / "less.ckpt", **backbone)


def test_a_qa_retriever_without_a_backbone_asks_for_it(tmp_path):
    save_qa_retriever(tmp_path / "a.ckpt")
    with pytest.raises(SettingsError, match="--backbone"):
        convert(source=tmp_path / "a.ckpt", output_dir=tmp_path / "out")
