"""The stage: up to date, made anew, trained on, searched; and its commands."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from dprkit.errors import InputError, MismatchError, OutputError, SettingsError
from dprkit.models.config import load_config
from dprkit.models.retriever import load_retriever
from dprkit.models.retriever_folder import load_bi_encoder
from dprkit.settings import TrainSettings
from dprkit.store.manifests import read_manifest
from dprkit.training.train import train
from tests.conftest import SMALL, call, environment, remade
from tests.interop.foreign import QUESTIONS, convert, save_bert, save_dpr_pair


@pytest.fixture
def source(tmp_path):
    save_bert(tmp_path / "in")
    return tmp_path / "in"


def test_a_second_conversion_is_up_to_date_and_another_flag_makes_it_anew(tmp_path, source):
    out = tmp_path / "out"
    first = convert(source=source, output_dir=out)
    before = (out / "manifest.json").stat().st_mtime_ns
    assert convert(source=source, output_dir=out) == first
    assert (out / "manifest.json").stat().st_mtime_ns == before
    assert convert(source=source, pooling="mean", output_dir=out).identity != first.identity
    assert load_config(out).pooling == "mean"


def test_being_up_to_date_is_told_without_torch(tmp_path, source):
    convert(source=source, output_dir=tmp_path / "out")
    program = (
        "import sys; from dprkit.interop.convert import convert; "
        "from dprkit.settings import ConvertSettings; "
        f"convert(ConvertSettings(source={str(source)!r}, output_dir={str(tmp_path / 'out')!r})); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], env=environment()).returncode == 0


def test_the_report_names_the_kind_the_width_and_the_files(tmp_path, source):
    report = convert(source=source, output_dir=tmp_path / "out")
    assert (report.kind, report.to, report.dim) == ("transformer", "retriever", 16)
    assert "bert with cls pooling and dot similarity" in report.mapped[0]
    assert set(report.files) == set(read_manifest(tmp_path / "out", "retriever").files)
    assert {"probes.safetensors", "retriever.yaml", "README.md"} <= set(report.files)


def test_a_failed_conversion_leaves_nothing_behind(tmp_path, source):
    (source / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(InputError):
        convert(source=source, output_dir=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_export_into_a_retriever_or_of_a_foreign_folder_is_refused(tmp_path, source):
    convert(source=source, output_dir=tmp_path / "model")
    with pytest.raises(OutputError, match="holds retriever"):
        convert(source=tmp_path / "model", to="hf-dpr", output_dir=tmp_path / "model")
    with pytest.raises(InputError, match=r"has no manifest\.json"):
        convert(source=source, to="hf-dpr", output_dir=tmp_path / "out")
    with pytest.raises(InputError, match="is a dprkit retriever already"):
        convert(source=tmp_path / "model", output_dir=tmp_path / "out")


def test_max_lengths_are_cut_to_what_the_model_reads(tmp_path, source):
    config = json.loads((source / "config.json").read_text())
    weights = load_file(source / "model.safetensors")
    positions = "embeddings.position_embeddings.weight"
    weights[positions] = weights[positions][:100].copy()
    save_file(weights, source / "model.safetensors", {"format": "pt"})
    (source / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 100}))
    convert(source=source, output_dir=tmp_path / "out")
    found = load_config(tmp_path / "out")
    assert (found.question_max_length, found.passage_max_length) == (64, 100)


# --- training on, with separate heads too ---------------------------------------------------------


def test_a_converted_retriever_is_trained_on_as_any(tmp_path, tiny_examples):
    save_dpr_pair(tmp_path)
    pair = {"question_encoder": tmp_path / "question", "passage_encoder": tmp_path / "passage"}
    convert(**pair, output_dir=tmp_path / "model")
    trained = tmp_path / "trained"
    how = {"train_file": (str(tiny_examples),), "batch_size": 8, "max_steps": 2}
    train(TrainSettings(init=str(tmp_path / "model"), output_dir=str(trained), **how))
    assert load_config(trained) == load_config(tmp_path / "model")
    assert load_retriever(trained).tokens.config.straight_apostrophe
    for name in ("tokenizer.json", "vocab.txt"):
        kept = (tmp_path / "model/question_encoder" / name).read_bytes()
        assert (trained / "question_encoder" / name).read_bytes() == kept


def test_separate_heads_share_their_transformer_and_learn_apart(tmp_path, tiny_examples):
    how = SMALL | {"train_file": (str(tiny_examples),), "separate_heads": True, "max_steps": 4}
    out = tmp_path / "model"
    train(TrainSettings(output_dir=str(out), similarity="cosine", **how))
    config = load_config(out)
    assert (config.shared, config.separate_heads, config.projection) == (True, True, 8)
    model, _ = load_bi_encoder(out)
    one, two = model.question_encoder, model.passage_encoder
    assert one.backbone is two.backbone
    assert not torch.equal(one.projection.weight, two.projection.weight)
    assert list((out / "passage_encoder").iterdir()) == [
        out / "passage_encoder/projection.safetensors"
    ]
    probes = load_file(out / "probes.safetensors")
    from dprkit.models.probe_texts import PROBE_QUESTIONS

    np.testing.assert_allclose(
        load_retriever(out).encode_questions(PROBE_QUESTIONS), probes["questions"], atol=1e-6
    )
    again = tmp_path / "again"
    train(
        TrainSettings(
            init=str(out), output_dir=str(again), train_file=(str(tiny_examples),), max_steps=1
        )
    )
    assert load_config(again) == config
    with pytest.raises(MismatchError, match="has separate_heads True"):
        given = {"init": str(out), "separate_heads": False, "train_file": (str(tiny_examples),)}
        train(TrainSettings(output_dir=str(tmp_path / "x"), **given))


@pytest.mark.filterwarnings("ignore")
def test_adapters_leave_each_side_its_own_head(tmp_path, source, tiny_examples):
    pytest.importorskip("peft")
    how = {"separate_heads": True, "projection": 8, "lora_rank": 2, "batch_size": 8, "max_steps": 3}
    given = {"init": str(source), "train_file": (str(tiny_examples),), "lr": 1e-2} | how
    train(TrainSettings(output_dir=str(tmp_path / "out"), **given))
    model = load_bi_encoder(tmp_path / "out")[0]
    heads = model.question_encoder.projection, model.passage_encoder.projection
    assert not torch.equal(heads[0].weight, heads[1].weight)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"shared": False}, "leave --no-shared out"),
        ({"projection": 0}, "give their width with --projection"),
        ({"init": "some-model"}, "give their width with --projection"),
    ],
)
def test_separate_heads_without_heads_or_sharing_are_refused(tmp_path, tiny_examples, how, message):
    given = {"train_file": (str(tiny_examples),), "separate_heads": True} | how
    with pytest.raises(SettingsError, match=message):
        train(TrainSettings(output_dir=str(tmp_path / "out"), **given))


def test_heads_without_a_projection_are_refused_in_retriever_yaml(tmp_path):
    (tmp_path / "retriever.yaml").write_text(
        "kind: bi-encoder\nshared: true\nseparate_heads: true\n"
    )
    with pytest.raises(InputError, match="separate_heads needs"):
        load_config(tmp_path)


# --- on the command line --------------------------------------------------------------------------


def test_convert_on_the_command_line(tmp_path, source):
    out = tmp_path / "out"
    ran = call("convert", source, "--pooling", "mean", "--output-dir", out, "--json")
    found = json.loads(ran.stdout)
    assert (found["kind"], found["dim"], found["outputs"]) == ("transformer", 16, [str(out)])
    ran = call("convert", source, "--pooling", "mean", "--output-dir", out)
    assert ran.exit_code == 0
    assert "transformer -> retriever, 16 dimensions" in ran.stderr
    assert f"{out}: up to date" in ran.stderr


def test_an_unknown_kind_lists_those_there_are(tmp_path, source):
    ran = call("convert", source, "--kind", "hf", "--output-dir", tmp_path / "out")
    kinds = "hf-dpr, dpr-cp, sentence-transformers, transformer, qa-retriever, neural-cherche"
    assert ran.exit_code == 1
    assert f"there are {kinds}" in ran.stderr


def test_a_wrong_kind_is_refused(tmp_path, source):
    for kind, message in {
        "hf-dpr": "holds one DPR encoder|is not a DPR encoder|no DPR",
        "sentence-transformers": "modules.json: no such file",
        "dpr-cp": "is a directory",
    }.items():
        with pytest.raises(InputError, match=message):
            convert(source=source, kind=kind, output_dir=tmp_path / "out")


def test_info_check_encodes_the_probes_again(tmp_path, source):
    out = tmp_path / "out"
    convert(source=source, output_dir=out)
    ran = call("info", "--check", out)
    assert ran.exit_code == 0
    assert "largest difference" in ran.stdout
    assert json.loads(call("info", "--check", out, "--json").stdout)["largest_difference"] < 1e-6
    weights = out / "question_encoder/model.safetensors"
    changed = {name: value * 1.01 for name, value in load_file(weights).items()}
    os.remove(weights)
    save_file(changed, weights, {"format": "pt"})
    ran = call("info", "--check", out)
    assert (ran.exit_code, f"{weights}: it was changed" in ran.stderr) == (3, True)
    remade(out)
    ran = call("info", "--check", out)
    assert ran.exit_code == 3
    assert "its probes' vectors differ by" in ran.stderr
    assert call("info", "--check", source).exit_code == 1
    (out / "probes.safetensors").unlink()
    assert "probes.safetensors: it is gone" in call("info", "--check", out).stderr


def test_a_converted_retriever_encodes_and_searches(tmp_path, source, tiny_passages):
    model, emb, index = (tmp_path / name for name in ("model", "emb", "index"))
    assert call("convert", source, "--output-dir", model).exit_code == 0
    encode = ("encode-corpus", "--retriever", model, "--passages", tiny_passages)
    assert call(*encode, "--output-dir", emb).exit_code == 0
    assert call("index", "--embeddings", emb, "--output-dir", index).exit_code == 0
    ran = call("search", "--index", index, "--questions", "-", "--topk", 2, input=QUESTIONS[0])
    assert ran.exit_code == 0
    assert len(json.loads(ran.stdout.splitlines()[0])["ctxs"]) == 2
