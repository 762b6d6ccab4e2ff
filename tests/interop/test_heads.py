"""Chains of modules behind the pooling, as sentence-transformers saves and runs them."""

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from dprkit.errors import InputError, MismatchError
from dprkit.models.config import load_config
from dprkit.models.retriever import load_retriever
from dprkit.models.retriever_folder import load_bi_encoder
from dprkit.progress import Run
from dprkit.settings import TrainSettings
from dprkit.training.train import train
from tests.interop.foreign import PASSAGES, QUESTIONS, convert, save_bert
from tests.training.test_train import StopAtStep, content

sentence_transformers = pytest.importorskip("sentence_transformers")
from sentence_transformers import SentenceTransformer  # noqa: E402
from sentence_transformers.sentence_transformer import modules  # noqa: E402

CLOSE = {"atol": 1e-5, "rtol": 0}
TEXTS = [" ".join(passage).strip() for passage in PASSAGES]

pytestmark = pytest.mark.filterwarnings("ignore")


def gemma_like():
    """EmbeddingGemma: two Dense without bias behind the mean, then Normalize."""
    wide = modules.Dense(16, 40, bias=False, activation_function=nn.Identity())
    back = modules.Dense(40, 16, bias=False, activation_function=nn.Identity())
    return "mean", [wide, back, modules.Normalize()], "cosine"


def mixed():
    norm = modules.LayerNorm(12)
    nn.init.normal_(norm.norm.weight)
    return (
        "weightedmean",
        [
            modules.Dropout(0.3),
            modules.Normalize(),
            modules.Dense(16, 12, activation_function=nn.Tanh()),
            norm,
            modules.Dense(12, 12, activation_function=nn.GELU(), use_residual=True),
            modules.Dense(12, 7, bias=False, activation_function=nn.SiLU(), use_residual=True),
        ],
        "dot",
    )


def save(folder, pooling, behind, similarity):
    """A SentenceTransformer with random weights, as its library saves it."""
    save_bert(folder / "bert")
    base = modules.Transformer(str(folder / "bert"), max_seq_length=40)
    row = [base, modules.Pooling(16, pooling), *behind]
    prompts = {"query": "ask ", "document": "say ", "facts": "true or not "}
    model = SentenceTransformer(
        modules=row, device="cpu", similarity_fn_name=similarity, prompts=prompts
    )
    model.save(str(folder / "source"))
    return model.eval()


@pytest.fixture(scope="module", params=[gemma_like, mixed])
def made(request, tmp_path_factory):
    """The library's model, and the folder of a retriever that was made of it."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("heads")
    library = save(folder, *request.param())
    convert(source=folder / "source", output_dir=folder / "model")
    return library, folder


def same_vectors(library, folder):
    retriever = load_retriever(folder)
    ours = retriever.encode_questions(QUESTIONS), retriever.encode_passages(PASSAGES)
    np.testing.assert_allclose(ours[0], library.encode_query(QUESTIONS), **CLOSE)
    np.testing.assert_allclose(ours[1], library.encode_document(TEXTS), **CLOSE)


def test_a_chain_gives_the_vectors_of_sentence_transformers(made):
    library, folder = made
    same_vectors(library, folder / "model")
    config = load_config(folder / "model")
    assert config.projection is None
    assert config.prompts == {"facts": "true or not "}


def test_its_export_loads_there_with_the_same_vectors(made):
    library, folder = made
    convert(source=folder / "model", to="sentence-transformers", output_dir=folder / "out")
    loaded = SentenceTransformer(str(folder / "out"), device="cpu")
    kinds = [type(module).__name__ for module in loaded]
    assert kinds == [type(m).__name__ for m in library if not isinstance(m, modules.Dropout)]
    assert loaded.prompts == library.prompts
    same_vectors(loaded, folder / "model")


@pytest.mark.slow
@pytest.mark.parametrize("made", [mixed], indirect=True)
def test_training_keeps_the_chain_and_goes_on_with_it(made, tiny_examples, tmp_path):
    _, folder = made
    settings = {
        "train_file": (str(tiny_examples),),
        "init": str(folder / "source"),
        "output_dir": str(tmp_path / "trained"),
        "batch_size": 4,
        "passage_max_length": 40,
        "shared": True,
        "valid_every": "never",
        "lr": 1e-2,
    }
    train(TrainSettings(**settings, max_steps=2))
    stopped = settings | {"output_dir": str(tmp_path / "stopped"), "checkpoint_every": "1"}
    with pytest.raises(KeyboardInterrupt):
        train(TrainSettings(**stopped, max_steps=2), Run(StopAtStep(1)))
    train(TrainSettings(**stopped, max_steps=2))
    assert content(tmp_path / "stopped") == content(tmp_path / "trained")
    heads = load_config(folder / "model").heads
    assert load_config(tmp_path / "trained").heads == heads
    (before, _), (after, _) = map(load_bi_encoder, (folder / "model", tmp_path / "trained"))
    head = before.question_encoder.projection.state_dict()
    learned = after.question_encoder.projection.state_dict()
    assert head.keys() == learned.keys()
    assert all(not torch.equal(head[name], learned[name]) for name in head)
    again = settings | {"init": str(tmp_path / "trained"), "output_dir": str(tmp_path / "more")}
    train(TrainSettings(**again, max_steps=1))
    assert load_config(tmp_path / "more").heads == heads
    with pytest.raises(MismatchError, match="layers behind its pooling"):
        train(TrainSettings(**again, max_steps=1, projection=5))


@pytest.mark.parametrize("made", [mixed], indirect=True)
def test_a_projection_may_stand_in_the_place_of_a_chain(made, tiny_examples, tmp_path):
    _, folder = made
    settings = TrainSettings(
        train_file=(str(tiny_examples),),
        init=str(folder / "source"),
        output_dir=str(tmp_path / "out"),
        max_epochs=0,
        projection=6,
    )
    train(settings)
    config = load_config(tmp_path / "out")
    assert (config.heads, config.projection) == ((), 6)
    assert load_retriever(tmp_path / "out").encode_questions(QUESTIONS).shape == (4, 6)


@pytest.mark.slow
@pytest.mark.parametrize("made", [mixed], indirect=True)
def test_a_chain_has_an_onnx_copy_with_the_same_vectors(made):
    pytest.importorskip("onnxscript")
    _, folder = made
    questions = load_retriever(folder / "model").encode_questions(QUESTIONS)
    copy = load_retriever(folder / "model", backend="onnx")
    np.testing.assert_allclose(copy.encode_questions(QUESTIONS), questions, atol=1e-4)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ({"heads": [{"layer": "conv"}]}, "conv"),
        ({"heads": [{"layer": "dense", "size": 4, "activation": "Cosine"}]}, "Cosine"),
        ({"heads": [{"layer": "layer-norm"}], "projection": 4}, "in the place of a projection"),
    ],
)
def test_heads_that_are_not_understood_are_refused_in_retriever_yaml(tmp_path, lines, message):
    (tmp_path / "retriever.yaml").write_text(yaml.safe_dump({"kind": "bi-encoder", **lines}))
    with pytest.raises(InputError, match=message):
        load_config(tmp_path)


def test_sides_with_other_layers_are_no_pair(tmp_path):
    torch.manual_seed(0)
    for side, make in (("q", gemma_like), ("p", mixed)):
        behind = make()[1]
        save(tmp_path / side, "mean", behind[:-1], "dot")
    pair = {"question_encoder": tmp_path / "q/source", "passage_encoder": tmp_path / "p/source"}
    with pytest.raises(MismatchError, match="layers behind pooling differ"):
        convert(**pair, output_dir=tmp_path / "out")
