"""The settings of train, resolved: default learning rate, batch size and others without a None."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from dprkit.data.folds import Fold, parse_fold
from dprkit.errors import SettingsError, nearest, reading
from dprkit.models.config import RetrieverConfig
from dprkit.models.precision import settled
from dprkit.settings import TrainSettings, required
from dprkit.settings.trainer import TrainerSettings
from dprkit.settings.training import (
    DECODER,
    MAX_EPOCHS,
    PRETRAINED,
    SCRATCH,
    TEMPERATURES,
    Defaults,
)
from dprkit.training.distill_settings import Distilling, distilling
from dprkit.training.resolved_trainer import (
    FOREVER,
    ResolvedTrainer,
    refuse_patience_without_validations,
    valid_beside,
    weighted_files,
)
from dprkit.training.retriever_kinds import (
    LENGTHS,
    SHAPE,
    Kind,
    continues,
    kind_of,
    of_its_kind,
    turns,
)


class ResolvedSettings(ResolvedTrainer, TrainSettings, frozen=True, kw_only=True):
    """Train's settings as training uses them: every default is filled in.

    A file that is not given is "", a limit that is not given FOREVER. None is left where the
    model that training starts from has the say (SHAPE, projection, temperature, dropout): its
    config has them when it is loaded.
    """

    kind: Kind

    output_dir: str
    init: str
    valid_file: str
    valid_corpus: str
    output_dropout: float
    lora_alpha: int
    hard_negatives_top: int
    files: tuple[tuple[str, float], ...]
    """The training files with their weights."""
    left_out: Fold | None
    """The fold of the questions that are not trained on."""
    teacher: Distilling | None
    """None: nothing is learned from a teacher."""
    recorded: TrainSettings
    """As the manifest records them, with None for what is not given."""


def resolve(settings: TrainSettings) -> ResolvedSettings:
    """The settings with all defaults. Raises SettingsError, InputError, MismatchError."""
    recorded = settled(with_defaults(settings))
    if recorded.init is None:
        _refuse_scratch(recorded)
    values = msgspec.structs.asdict(recorded)
    paths = ("output_dir", "init", "valid_file", "valid_corpus", "chunk_size")
    limits = ("hard_negatives_top", "max_epochs", "max_steps", "patience")
    absent: dict[str, Any] = {"lora_alpha": 2 * recorded.lora_rank, "kind": kind_of(recorded)}
    absent |= dict.fromkeys(paths, "") | dict.fromkeys(limits, FOREVER)
    concrete = {name: value for name, value in absent.items() if values[name] is None}
    files = tuple(weighted_files(recorded))
    return ResolvedSettings(
        **values | concrete,
        files=files,
        left_out=parse_fold(recorded.leave_out),
        teacher=distilling(recorded),
        recorded=recorded,
    )


def _refuse_scratch(settings: TrainSettings) -> None:
    """Refuse what needs a model to start from, where there is none.

    In a recipe a stage before may have yet to make it, so this is known when training begins.
    """
    if settings.freeze:
        raise SettingsError(
            "--freeze: without --init the encoder of passages has random weights; name a model "
            "with --init"
        )
    if settings.average_with_init < 1:
        raise SettingsError(
            "--average-with-init: without --init training begins with random weights; name a model "
            "with --init"
        )


def more_to_record(settings: TrainerSettings) -> dict[str, Any]:
    """What a manifest keeps beside the settings: a hub's name, which is no file; the weights."""
    hub = settings.init is not None and not Path(settings.init).exists()
    weights = [weight for _, weight in weighted_files(settings)]
    return {
        **({"init": settings.init} if hub else {}),
        **({"train_weights": weights} if set(weights) - {1.0} else {}),
    }


def with_defaults(settings: TrainSettings) -> TrainSettings:
    """Fill in what depends on other settings and on the files that are there."""
    settings = of_its_kind(settings)
    parse_fold(settings.leave_out)
    scratch = settings.init is None
    if scratch and settings.scratch_hidden_size % settings.scratch_heads:
        raise SettingsError(
            f"--scratch-heads {settings.scratch_heads} does not divide "
            f"--scratch-hidden-size {settings.scratch_hidden_size}; give a number that does"
        )
    if settings.separate_heads and settings.shared is False:
        raise SettingsError("--separate-heads shares the transformer; leave --no-shared out")
    if settings.separate_heads and not (
        settings.projection or (scratch and settings.projection is None)
    ):
        raise SettingsError("--separate-heads needs heads: give their width with --projection")
    if settings.gradient_accumulation_steps > 1:
        raise SettingsError(
            "--gradient-accumulation-steps: negatives would stay those of a small batch; "
            "give the whole --batch-size, and --chunk-size fits it into memory at the same result"
        )
    if settings.whiten is None and settings.whiten_strength != TrainSettings().whiten_strength:
        raise SettingsError("--whiten-strength: nothing is whitened; name passages with --whiten")
    if settings.freeze and settings.whiten:
        raise SettingsError(
            "--whiten: it changes the vectors of passages too, which --freeze keeps; leave one out"
        )
    refuse_patience_without_validations(settings)
    if len(settings.loss_weights) not in (0, len(settings.train_file)):
        raise SettingsError(
            f"--loss-weights: {len(settings.loss_weights)} weights for "
            f"{len(settings.train_file)} training files; give one each"
        )
    _refuse_sizes(settings)
    _refuse_prefixes(settings)
    distilling(settings)  # raises for what contradicts itself
    usual = SCRATCH if scratch else PRETRAINED
    defaults: dict[str, Any] = {
        "batch_size": usual.batch_size,
        "valid_file": valid_beside(settings),
        "lr": usual.lr,
        "output_dropout": usual.output_dropout,
        "max_epochs": MAX_EPOCHS if settings.max_steps is None else None,
    }
    if kind_of(settings) == "colbert":
        defaults |= {"output_dropout": PRETRAINED.output_dropout}
    elif scratch or not _says_how_vectors_are_made(str(settings.init)):
        defaults |= _use(settings, usual)
    elif settings.separate_heads:
        defaults["shared"] = True
    missing = {k: v for k, v in defaults.items() if getattr(settings, k) is None}
    return msgspec.structs.replace(settings, **missing)


def _refuse_prefixes(settings: TrainSettings) -> None:
    """Raises SettingsError for prefixes that are not one a training file."""
    for side in ("question", "passage"):
        given = getattr(settings, f"{side}_prefixes")
        if len(given) not in (0, len(settings.train_file)):
            raise SettingsError(
                f"--{side}-prefixes: {len(given)} prefixes for {len(settings.train_file)} "
                "training files; give one each, '' for none"
            )


def _refuse_sizes(settings: TrainSettings) -> None:
    """Refuse sizes of --matryoshka, or weights of them, that cannot be meant."""
    sizes, weights = settings.matryoshka or (), settings.matryoshka_weights
    if len(set(sizes)) < len(sizes):
        raise SettingsError(
            f"--matryoshka {','.join(map(str, sizes))}: names a size twice; name each once"
        )
    if weights and len(weights) != len(sizes):
        raise SettingsError(
            f"--matryoshka-weights: {len(weights)} weights for {len(sizes)} sizes of --matryoshka; "
            "give one each"
        )
    if weights and not any(weights):
        raise SettingsError("--matryoshka-weights: all are 0; give one above 0")


def _says_how_vectors_are_made(source: str) -> bool:
    """Whether a foreign model may say so, as sentence-transformers folders and DPR pairs do.

    A plain transformer does not; a hub name may be any of them.
    """
    folder = Path(source)
    marks = ("modules.json", "ctx_encoder", "config_sentence_transformers.json")
    return not folder.exists() or any((folder / name).exists() for name in marks)


def _may_be_decoder(source: str) -> bool:
    """Whether the config of a plain transformer has marks of one."""
    marks = "num_key_value_heads", "n_head", "ForCausalLM"
    path = Path(source) / "config.json"
    with reading(path):
        config = path.read_text(errors="replace") if path.is_file() else ""
    return any(f'{mark}"' in config for mark in marks)


def _use(settings: TrainSettings, usual: Defaults) -> dict[str, Any]:
    """How vectors are made of a model that does not say so itself."""
    plain = RetrieverConfig(shared=bool(settings.separate_heads), pooling=usual.pooling)
    shape = {name: getattr(plain, name) for name in SHAPE}
    if settings.init:  # the model itself decides
        own = {*LENGTHS, *(DECODER if _may_be_decoder(settings.init) else ())}
        shape = {name: value for name, value in shape.items() if name not in own}
    if not (settings.init and turns(settings)):
        shape["projection"] = usual.projection
    temperature = TEMPERATURES[settings.similarity or plain.similarity]
    return shape | {"temperature": temperature}


def inputs_of(settings: TrainSettings) -> dict[str, str]:
    """The files that the result depends on; a start from scratch or training needs examples."""
    files: dict[str, str | None] = {}
    if settings.max_epochs != 0 and settings.valid_every != "never":
        files = {"valid": settings.valid_file, "corpus": settings.valid_corpus}
    if settings.max_epochs != 0 or settings.init is None:
        required(next(iter(settings.train_file), None), "--train-file", "training file")
    if settings.max_epochs != 0 or settings.init is None or sampled_files(settings):
        files |= {
            f"train {number}" if number else "train": path
            for number, (path, _) in enumerate(weighted_files(settings))
        }
    files |= {"init": start_input(settings.init), "whiten": settings.whiten}
    return {name: path for name, path in files.items() if path}


def start_input(init: str | None) -> str | None:
    """The folder that --init names; None for a name on a hub. Raises SettingsError."""
    if init is None or Path(init).exists():
        return init
    if init.startswith((".", "/", "~")):
        raise SettingsError(f"--init: {init}: no such folder{_beside(init)}")
    return None


def sampled_files(settings: TrainSettings) -> list[str]:
    """The training files from whose passages the projection may be made, of those that are there.

    Where nothing is trained they need not be: a recipe names a file whether it exists or not.
    """
    if settings.projection_init == "random" or not _may_project(settings):
        return []
    paths = [path for path, _ in weighted_files(settings)]
    return [] if continues(settings) else [path for path in paths if Path(path).exists()]


def _may_project(settings: TrainSettings) -> bool:
    """Whether a new projection may be behind the transformer that training starts from."""
    if kind_of(settings) == "colbert":
        return True
    return settings.init is not None and (bool(settings.projection) or turns(settings))


def _beside(path: str) -> str:
    parent = Path(path).parent
    return nearest(Path(path).name, [p.name for p in parent.iterdir()]) if parent.is_dir() else ""
