"""The shapes of arrays: what docstrings say with letters, such as (Q, P), holds when it runs."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import dprkit
from dprkit.embeddings.shards import Embeddings
from dprkit.embeddings.token_pooling import pooled
from dprkit.embeddings.token_shards import PassageTokens, TokenShards, shard_in
from dprkit.evaluation import statistics
from dprkit.indexes.build import index
from dprkit.indexes.fuse import fuse
from dprkit.indexes.hits_and_tie_order import DenseIndex, Hits
from dprkit.indexes.index_folder import IndexFolder
from dprkit.indexes.kinds import KINDS, kind_names
from dprkit.models.bi_encoder import BiEncoder, Encoder
from dprkit.models.config import RetrieverConfig
from dprkit.models.maxsim_scoring import MAXSIM
from dprkit.models.retriever import Retriever, load_retriever
from dprkit.models.rows import Rows, bounds_of, places
from dprkit.models.scoring import DOT, Scoring
from dprkit.models.token_vectors import TokenVectors
from dprkit.settings import IndexSettings
from dprkit.training import objectives
from dprkit.training.gradients import GradientEngine
from dprkit.training.objectives import (
    ScoreObjective,
    Targets,
    in_batch_nll,
    reverse_nll,
    teacher_divergence,
)
from tests.embeddings.test_token_shards import passages as token_vectors_of
from tests.embeddings.test_token_shards import write as write_tokens
from tests.models.test_bi_encoder import IDS, tiny_bert

SHAPE = re.compile(r"\(((?:[A-Z](?: \+ 1)?(?:, [A-Z](?: \+ 1)?)*,?)?)\)")
ROOMS = ("models", "training", "search", "indexes", "embeddings", "evaluation")


def fields_of(cls: type) -> dict[str, str]:
    """The docstring below each field of a class."""
    (tree,) = ast.parse(inspect.getsource(cls)).body
    return {
        field.target.id: text.value.value
        for field, text in zip(tree.body, tree.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr)
    }


def fit(text: str, *arrays, **sizes: int) -> None:
    """Compare the shapes that a docstring names, in its order, with those of arrays.

    A letter stands for one size, which may be given.
    """
    named = SHAPE.findall(text)
    assert len(named) == len(arrays), f"{named} in: {text}"
    for shape, array in zip(named, arrays, strict=True):
        letters = [letter.split(" + ") for letter in shape.rstrip(",").split(", ") if letter]
        assert array.ndim == len(letters), f"({shape}) is {tuple(array.shape)}: {text}"
        for (letter, *more), size in zip(letters, array.shape, strict=True):
            bare = size - sum(map(int, more))
            assert sizes.setdefault(letter, bare) == bare, f"({shape}), {sizes}: {text}"


def fit_rows(rows: Rows, texts: int, dim: int) -> None:
    documented = fields_of(Rows)
    assert len(rows) == texts
    fit(documented["values"] + documented["bounds"], rows.values, rows.bounds, N=texts, D=dim)
    fit(Rows.counts.__doc__, rows.counts, N=texts)


@pytest.fixture(scope="module")
def model() -> BiEncoder:
    config = RetrieverConfig(projection=6)
    return BiEncoder(Encoder(tiny_bert(), config), Encoder(tiny_bert(), config), config).eval()


def vector_kinds() -> list[str]:
    return [k for k in kind_names() if k not in KINDS or KINDS[k].reads == "vectors"]


def test_a_wrong_shape_is_noticed():
    fit("scores (Q, P) of (N + 1,) and ()", np.zeros((2, 3)), np.zeros(5), np.zeros(()), N=4, P=3)
    for wrong in (np.zeros((2, 4)), np.zeros(3), np.zeros((2, 3, 1))):
        with pytest.raises(AssertionError):
            fit("scores (Q, P)", wrong, P=3)


def test_an_encoder_gives_vectors_of_the_shape_it_names(model):
    encoder = model.question_encoder
    ids, mask = encoder.padded(IDS, torch.device("cpu"))
    fit(Encoder.forward.__doc__, encoder(ids, mask), ids, mask, N=4, D=6, L=7)
    fit(Encoder.vectors.__doc__, encoder.vectors(IDS), N=4, D=encoder.dim)
    fit(Encoder.vectors.__doc__, encoder.vectors([]), N=0, D=6)
    fit(Encoder.encode.__doc__, encoder.encode(IDS, 8), N=4, D=6)


def test_rows_have_the_shapes_they_name(model):
    single = Rows.single(torch.zeros(4, 6))
    fit(Rows.single.__doc__, single.values, N=4, D=6)
    fit_rows(single, 4, 6)
    counts = torch.tensor([2, 0, 3])
    several = Rows.of_counts(torch.zeros(5, 6), counts)
    fit(Rows.of_counts.__doc__, several.values, counts, T=5, D=6, N=3)
    fit_rows(several, 3, 6)
    fit_rows(several[1:3], 2, 6)
    texts = torch.tensor([2, 2, 0, 1])
    fit(Rows.take.__doc__, texts)
    fit_rows(several.take(texts), 4, 6)
    fit(bounds_of.__doc__, counts, bounds_of(counts), N=3)
    fit(places.__doc__, places(several.bounds, texts), several.bounds, texts, N=3, M=4, R=8)


def test_gradient_engine_gives_rows_of_each_side(model):
    questions, passages = GradientEngine(model).encode(IDS[:3], IDS)
    fit_rows(questions, 3, 6)
    fit_rows(passages, 4, 6)
    fit(GradientEngine.encode.__doc__, questions.values, D=6)


def test_scores_and_losses_have_the_shapes_they_name(model):
    questions, passages = Rows.single(torch.randn(3, 6)), Rows.single(torch.randn(5, 6))
    scores = DOT.matrix(questions, passages)
    for scoring in (DOT, MAXSIM):
        for owner in (Scoring, type(scoring)):
            fit(owner.matrix.__doc__, scoring.matrix(questions, passages), Q=3, P=5)
            fit(owner.pairs.__doc__, scoring.pairs(questions, passages[:3]), N=3)
    nothing = torch.zeros(3, 5)
    targets = Targets(torch.tensor([0, 2, 4]), nothing.bool(), teacher=nothing)
    for name, text in fields_of(Targets).items():
        fit(text, getattr(targets, name), Q=3, P=5)
    for loss in (in_batch_nll, reverse_nll, teacher_divergence):
        fit(loss.__doc__, loss(scores, targets), Q=3)
    weights = torch.ones(3)
    fit(ScoreObjective.forward.__doc__, weights, Q=3)
    outcome = ScoreObjective(1.0)(questions, passages, weights, **targets._asdict())
    fit(objectives.Outcome.__doc__, *outcome[:3], Q=3)


def test_a_retriever_gives_arrays_of_the_shapes_it_names(small_retriever):
    retriever = load_retriever(small_retriever)
    texts, passages = ["who", "how tall"], [("a", "b"), ("", "c")]
    ids = retriever.tokens.questions(texts)
    for function, array in (
        (Retriever.encode, retriever.encode("question", ids)),
        (Retriever.encode_questions, retriever.encode_questions(texts)),
        (Retriever.encode_passages, retriever.encode_passages(passages)),
    ):
        fit(function.__doc__, array, N=2, D=retriever.dim)
        assert array.dtype == np.float32
    fit(Retriever.scores.__doc__, retriever.scores(texts, passages), N=2)


def test_embeddings_are_read_in_the_shapes_they_name(embeddings):
    opened, few = Embeddings(embeddings), np.array([0, 299, 300, 1999])
    fit(Embeddings.take.__doc__, opened.take(few), few, N=4, D=16)
    fit(Embeddings.read.__doc__, opened.read(290, 310), N=20, D=16)
    for shard in opened.vectors():
        fit(Embeddings.vectors.__doc__, shard, D=16)


def test_token_vectors_are_read_in_the_shapes_they_name(tmp_path):
    tokens, rows = token_vectors_of(), np.array([40, 3, 3])
    for dtype in ("float16", "int8"):
        opened = TokenShards(Embeddings(write_tokens(tmp_path / dtype, tokens, dtype)))
        fit(fields_of(TokenVectors)["bounds"], opened.bounds, N=len(tokens))
        fit(TokenShards.take.__doc__, rows, R=3)
        fit(TokenShards.take_float.__doc__, rows, R=3)
        for taken in (opened.take(rows), opened.take_float(rows), pooled(tokens.take(rows), 2)):
            for name, text in fields_of(type(taken)).items():
                fit(text, getattr(taken, name), N=3, D=8, T=int(taken.bounds[-1]))
        fields, kept = fields_of(PassageTokens), shard_in(tmp_path / dtype, 0, dtype)
        fit(fields["means"] + fields["cut"], kept.means, kept.cut, N=30, D=8)


@pytest.mark.parametrize("kind", [k for k in vector_kinds() if k != "milvus"])
def test_an_index_of_each_kind_gives_hits_of_the_shape_they_name(kind, embeddings, tmp_path):
    index(IndexSettings(type=kind, embeddings=str(embeddings), output_dir=str(tmp_path / "i")))
    opened = IndexFolder(tmp_path / "i").open_dense()
    questions, allowed = np.ones((3, 16), np.float32), np.array([1, 5, 7, 11])
    fit(DenseIndex.search.__doc__, allowed, A=4)
    for hits, depth in (
        (opened.search(questions, 7), 7),
        (opened.search(questions, 7, allowed), 4),
    ):
        for array in hits:
            fit(Hits.__doc__, array, Q=3, K=depth)
        fit(fuse.__doc__, fuse([hits, hits], 3).rows, Q=3)
        assert (hits.rows.dtype, hits.scores.dtype) == (np.int64, np.float32)


def test_means_of_questions_take_one_value_a_question():
    values = np.array([0.0, 1.0, 0.5])
    for function in (statistics.mean, statistics.is_share):
        fit(function.__doc__, values, Q=3)
        function(values)
    fit(statistics.bootstrap_intervals.__doc__, values[:, None], Q=3, M=1)


def public(body: list[ast.stmt]) -> Iterator[ast.FunctionDef]:
    """The public functions of a module, and the public methods of its public classes."""
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            if isinstance(node, ast.FunctionDef):
                yield node
            else:
                yield from public(node.body)


def takes_or_gives_an_array(function: ast.FunctionDef) -> bool:
    hints = [argument.annotation for argument in function.args.args] + [function.returns]
    names = [ast.unparse(hint) for hint in hints if hint]
    return any(re.fullmatch(r"(np\.ndarray|Tensor)( \| None)?", name) for name in names)


def test_public_functions_name_the_shapes_of_their_arrays():
    package = Path(dprkit.__file__).parent
    shape = re.compile(r"\([^()]*,[^()]*\)|any shape")
    without = [
        f"{path.relative_to(package)}:{function.lineno} {function.name}"
        for room in ROOMS
        for path in sorted((package / room).glob("*.py"))
        for function in public(ast.parse(path.read_text()).body)
        if takes_or_gives_an_array(function) and not shape.search(ast.get_docstring(function) or "")
    ]
    assert without == []
