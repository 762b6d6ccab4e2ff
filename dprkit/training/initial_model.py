"""The model before training, made ready to train; and its weights after training."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from torch import Tensor, nn

from dprkit.data.examples_by_row import ExampleFile
from dprkit.data.streams import PACKED
from dprkit.errors import MismatchError, SettingsError, loading, need_extra
from dprkit.interop.colbert import ForeignColbert
from dprkit.interop.sentence_transformers import no_prompts
from dprkit.interop.tower import Foreign, Tower, assembled, check_lengths
from dprkit.models.bi_encoder import BiEncoder, Encoder, device
from dprkit.models.config import RetrieverConfig, is_retriever
from dprkit.models.late_interaction import Colbert
from dprkit.models.position_limit import measured
from dprkit.models.retriever_folder import load_bi_encoder
from dprkit.models.tokens import Tokens, usual_end
from dprkit.progress import Run
from dprkit.settings.training import TEMPERATURES
from dprkit.training.initial_colbert import starting_colbert
from dprkit.training.initial_projection import (
    project_vectors,
    projection_of,
    sample,
    takes_components,
)
from dprkit.training.resolved_settings import ResolvedSettings
from dprkit.training.retriever_kinds import LENGTHS, PREFIXES, SHAPE, refuse_projection, turns
from dprkit.training.starting_transformer import foreign_start, make_ready, scratch_transformer


def starting_model(
    settings: ResolvedSettings, files: Sequence[ExampleFile], run: Run = Run(), first: bool = True
) -> tuple[BiEncoder | Colbert, Tokens]:
    """The model before training: from scratch, from a foreign model, or from a retriever.

    `files`: the training files, where the model is made of them. `first`: whether this is the
    first process, whose weights the others take.
    """
    model: BiEncoder | Colbert
    tokens: Tokens
    if settings.kind == "colbert":
        model, tokens = starting_colbert(settings, files, run, first)
    elif not settings.init:
        model, tokens = _from_scratch(settings, files, run, first)
    elif is_retriever(settings.init):
        model, tokens = load_bi_encoder(settings.init, settings.output_dropout)
    else:
        model, tokens = _from_model(settings, files, run, first)
    read_as_asked(model, tokens, settings)
    return _prepared(model, settings), tokens


def read_as_asked(model: BiEncoder | Colbert, tokens: Tokens, settings: ResolvedSettings) -> None:
    """Let texts begin with the prefixes that are asked for; those of files become prompts."""
    given = {name: value for name in PREFIXES if (value := getattr(settings, name)) is not None}
    prompts = model.config.prompts | _prompts_of_files(settings)
    config: Any = msgspec.structs.replace(model.config, **given, prompts=prompts)
    model.config = tokens.config = config


def _prompts_of_files(settings: ResolvedSettings) -> dict[str, str]:
    """The prefixes of the questions of each file by its name, with its folder's if need be."""
    paths = [Path(path) for path, _ in settings.files]
    plain = (path.with_suffix("") if path.suffix in PACKED else path for path in paths)
    stems = [path.stem for path in plain]
    return {
        stem if stems.count(stem) == 1 else f"{path.parent.name}/{stem}": prefix
        for path, stem, prefix in zip(paths, stems, settings.question_prefixes, strict=False)
        if prefix
    }


def _prepared(model: BiEncoder | Colbert, settings: ResolvedSettings) -> BiEncoder | Colbert:
    """What is frozen; adapters, activation checkpointing and compiling, as they are asked for."""
    if settings.freeze and isinstance(model, BiEncoder):
        model = frozen(model)
    for encoders in _by_backbone(model):
        make_ready(encoders, settings, partial(_adapted, settings=settings))
    return model.to(device())


def frozen(model: BiEncoder) -> BiEncoder:
    """Two encoders, of which that of passages does not learn; of a shared one questions get a copy.

    Izacard et al. 2022, "Atlas", section 2.4: query-side fine-tuning.
    """
    question, config = model.question_encoder, model.config
    if config.shared:
        question = copy.deepcopy(question)
        config = msgspec.structs.replace(config, shared=False, separate_heads=False)
    return BiEncoder(question, model.passage_encoder, config, frozen=True)


def finished(model: BiEncoder | Colbert, temperature: float) -> BiEncoder | Colbert:
    """The trained model as it is kept: adapters merged into its weights, the temperature noted."""
    if isinstance(model, Colbert):
        kept = _merged(model) if hasattr(model.backbone, "merge_and_unload") else model
        kept.config = msgspec.structs.replace(model.config, temperature=temperature)
        return kept
    config = msgspec.structs.replace(model.config, temperature=temperature)
    question, passage = model.question_encoder, model.passage_encoder
    if hasattr(question.backbone, "merge_and_unload"):
        question = _merged(question)
        if config.separate_heads:
            passage = copy.deepcopy(passage)  # its own head on the one transformer
            passage.backbone = question.backbone
        elif not model.frozen:
            passage = question if config.shared else _merged(passage)
    return BiEncoder(question, passage, config)


def _by_backbone(model: BiEncoder | Colbert) -> list[list[Encoder] | list[Colbert]]:
    """What has a transformer that learns, those with one transformer together."""
    if isinstance(model, Colbert):
        return [[model]]
    if model.frozen:
        return [[model.question_encoder]]
    both = [model.question_encoder, model.passage_encoder]
    return [both] if both[0].backbone is both[1].backbone else [[encoder] for encoder in both]


def _adapted(backbone: nn.Module, settings: ResolvedSettings) -> nn.Module:
    """`backbone` with low-rank adapters on its linear layers, the only weights that learn.

    `backbone` itself without --lora-rank. Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large
    Language Models".
    """
    if not settings.lora_rank:
        return backbone
    need_extra("lora", "peft")
    from peft import LoraConfig, get_peft_model

    rank, alpha = settings.lora_rank, settings.lora_alpha
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules="all-linear")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks by a name that is going
        adapted: nn.Module = get_peft_model(backbone, config)
    return adapted


Adapted = TypeVar("Adapted", Encoder, Colbert)


def _merged(encoder: Adapted) -> Adapted:
    merged = copy.deepcopy(encoder)
    adapted: Any = merged.backbone
    merged.backbone = adapted.merge_and_unload()
    return merged


def _config(settings: ResolvedSettings, said: RetrieverConfig) -> RetrieverConfig:
    """What the settings ask for, and where they do not, what a folder says of its use."""
    given = {
        name: value
        for name in (*SHAPE, *PREFIXES, "end_token")
        if (value := getattr(settings, name, None)) is not None
    }
    if settings.projection is not None:
        given |= {"projection": settings.projection or None, "heads": ()}
    config = msgspec.structs.replace(said, **given)
    usual = said.temperature
    if config.similarity != said.similarity:
        usual = TEMPERATURES[config.similarity]
    return msgspec.structs.replace(config, temperature=settings.temperature or usual)


def _from_scratch(
    settings: ResolvedSettings, files: Sequence[ExampleFile], run: Run, first: bool
) -> tuple[BiEncoder, Tokens]:
    config = _config(settings, RetrieverConfig())
    backbone, tokenizer = scratch_transformer(settings, files)
    room = measured(backbone, tokenizer, "the model from scratch")
    check_lengths(settings, (room, room))
    config = msgspec.structs.replace(config, positions=(room, room))
    question = Encoder(backbone, config, settings.output_dropout)
    model, tokens = _two_towers(question, config, settings), Tokens((tokenizer, {}), config)
    if settings.projection_init:
        _begin_projection(model, tokens, settings, files, run, first)
    return model, tokens


def _from_model(
    settings: ResolvedSettings, files: Sequence[ExampleFile], run: Run, first: bool
) -> tuple[BiEncoder, Tokens]:
    """From a foreign model: what its folder says of its use counts unless a setting says else."""
    source = settings.init
    kind, foreign = foreign_start(source, run)
    if isinstance(foreign, ForeignColbert):
        raise MismatchError(
            f"{source}: is a ColBERT model ({kind}); train it with --kind colbert, or name another"
        )
    given = (getattr(settings, name) for name in PREFIXES)
    of_files = settings.question_prefixes, settings.passage_prefixes
    if not foreign.include_prompt and any((*given, *chain(*of_files))):
        raise no_prompts(source)
    plain = kind == "transformer"
    said = foreign.config if plain else foreign.use
    wanted = _config(settings, said)
    if plain and wanted.pooling == "last" and settings.end_token is None:
        wanted = _with_usual_end(foreign.question, wanted, run)
    if not plain:
        _tell_contradictions(source, said, wanted, run)
    if turns(settings) and not (wanted.projection or wanted.heads):
        hidden: Any = foreign.question.backbone.config.hidden_size  # type: ignore[union-attr]
        wanted = msgspec.structs.replace(wanted, projection=int(hidden))
    foreign.config = wanted
    if foreign.passage and (wanted.shared, wanted.separate_heads) != (foreign.shared,) * 2:
        raise SettingsError(f"{source}: has an encoder a side; leave --shared and the like out")
    is_new = (wanted.projection, wanted.heads) != (said.projection, said.heads)
    if is_new:
        _new_heads(foreign, wanted.projection)
    elif wanted.projection or wanted.heads:
        refuse_projection(settings)
    model, tokens = assembled(foreign, settings)
    _tell_cuts(source, wanted, model.config, run)
    for encoder in (model.question_encoder, model.passage_encoder):
        encoder.dropout.p = settings.output_dropout
    if foreign.passage is None:
        config = msgspec.structs.replace(
            model.config, shared=wanted.shared, separate_heads=wanted.separate_heads
        )
        model = _two_towers(model.question_encoder, config, settings)
    if is_new or settings.projection_init:
        _begin_projection(model, tokens, settings, files, run, first)
    return model, tokens


def _begin_projection(
    model: BiEncoder,
    tokens: Tokens,
    settings: ResolvedSettings,
    files: Sequence[ExampleFile],
    run: Run,
    first: bool,
) -> None:
    """Let a new projection begin on principal components where it can; it is random now."""
    if model.config.projection is None:
        if settings.projection_init:
            raise SettingsError("--projection-init: the model has no projection; give --projection")
    elif first and takes_components(settings, projection_of(model.passage_encoder), files, run):
        run.progress.note(project_vectors(model, tokens, sample(files, settings.seed)))


def _with_usual_end(tower: Tower, config: RetrieverConfig, run: Run) -> RetrieverConfig:
    """With the tokenizer's end token, where texts have none at their end."""
    token = usual_end(tower.tokenizer)
    if not token:
        return config
    run.progress.note(
        f"{tower.where}: its tokenizer puts no token behind a text, so {token} is put there; "
        "--end-token names another, or '' for none"
    )
    return msgspec.structs.replace(config, end_token=token)


TOLD = ("pooling", "similarity", "projection", "question_max_length", "passage_max_length")


def _tell_contradictions(
    source: str, said: RetrieverConfig, taken: RetrieverConfig, run: Run
) -> None:
    for name in TOLD:
        theirs, ours = getattr(said, name), getattr(taken, name)
        if theirs != ours:
            flag = name.replace("_", "-")
            run.progress.warn(f"{source}: says {name} {theirs}; --{flag} {ours or 0} is taken")
    if said.heads and not taken.heads:
        run.progress.warn(
            f"{source}: has {len(said.heads)} layers behind its pooling; --projection "
            f"{taken.projection or 0} is taken instead"
        )


def _tell_cuts(source: str, wanted: RetrieverConfig, taken: RetrieverConfig, run: Run) -> None:
    """Note where a transformer reads fewer tokens than are usual, or than its folder says."""
    for name in LENGTHS:
        usual, length = getattr(wanted, name), getattr(taken, name)
        if length < usual:
            side = name.partition("_")[0]
            run.progress.note(
                f"{source}: the model reads at most {length} tokens, so a {side} is cut there and "
                f"not at {usual}"
            )


def _new_heads(foreign: Foreign, width: int | None) -> None:
    """Give the towers projections of another width, still random, or none."""
    head: dict[str, Tensor] | None = None
    if width:
        with loading(foreign.question.where, "the model cannot be used as an encoder of texts"):
            size: Any = foreign.question.backbone.config.hidden_size  # type: ignore[union-attr]
            head = dict(nn.Linear(size, width).state_dict())
    for tower in (foreign.question, foreign.passage):
        if tower is not None:
            tower.head, tower.heads = head, ()


def _two_towers(
    question: Encoder, config: RetrieverConfig, settings: ResolvedSettings
) -> BiEncoder:
    """As in DPR, the towers are equal at first and part in training."""
    passage = question if config.shared else copy.deepcopy(question)
    if config.separate_heads:
        passage = Encoder(question.backbone, config, settings.output_dropout)
        passage.load_state_dict(question.state_dict())
    return BiEncoder(question, passage, config)
