"""The task of training a retriever of any kind on files of examples."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial

import msgspec
import torch

from dprkit.data.examples_by_row import ExampleFile
from dprkit.data.folds import Fold
from dprkit.models.bi_encoder import BiEncoder, device
from dprkit.models.late_interaction import Colbert
from dprkit.models.maxsim_scoring import MAXSIM
from dprkit.models.nested_sizes import refuse_misfit
from dprkit.models.retriever_folder import save_retriever
from dprkit.models.scoring import DOT
from dprkit.models.tokens import Tokens
from dprkit.progress import Run
from dprkit.store.drafts import Draft
from dprkit.training.averaging import average, weights_of
from dprkit.training.batches import BatchPlan, Draw, FilePrefixes, Mixture, Preparation
from dprkit.training.gradients import GradientEngine
from dprkit.training.initial_model import finished, starting_model
from dprkit.training.nested_objective import NestedObjective, nesting_of
from dprkit.training.objectives import (
    CONTRASTIVE,
    DISTILL_LOSSES,
    SYMMETRIC,
    ScoreObjective,
    Term,
    distilled,
)
from dprkit.training.optimisation import autocasting
from dprkit.training.processes import Group
from dprkit.training.resolved_settings import ResolvedSettings
from dprkit.training.task import Figures
from dprkit.training.teacher_lists import TeacherLists, teacher_lists
from dprkit.training.validation import Validator, better


class RetrieverTask:
    """A retriever with the training files and the validation file that its settings name."""

    def __init__(self, settings: ResolvedSettings, group: Group, run: Run) -> None:
        self.settings = settings
        paths, weights = zip(*settings.files, strict=True)
        self.examples = Mixture(opened(paths, group, run, settings.left_out), weights)
        self.valid = validation_rows(settings)
        self.plan = BatchPlan(
            self.examples,
            settings.batch_size,
            settings.seed,
            settings.mix,
            settings.same_title,
        )
        self.batches_per_epoch = self.plan.batches_per_epoch
        torch.manual_seed(settings.seed)
        self.model, self.tokens = starting_model(settings, self.examples.files, run, group.first)
        draw = draw_of(settings)
        self.teacher_lists = teacher_lists(self.plan, draw) if draw.taught and group.first else None
        """The lists of the first questions, on the first process."""
        objective = objective_of(self.model, settings, run)
        self.objective = objective(
            settings.temperature or self.model.config.temperature,
            settings.learn_temperature,
            terms_of(settings),
            MAXSIM if isinstance(self.model, Colbert) else DOT,
            group.agree(teacher_temperature(settings, self.teacher_lists)),
            settings.mask_margin,
        ).to(device())
        self.start = weights_of(self.finished()[0]) if settings.average_with_init < 1 else {}
        """The weights that training begins with, where the trained ones are averaged with them."""
        # The tokenizer is set to a length at each use, and the feed works beside validation.
        tokens = copy.deepcopy(self.tokens)
        self.prepare = Preparation(
            self.plan,
            draw,
            tokens,
            settings.mask_answers,
            settings.loss_weights,
            FilePrefixes(settings.question_prefixes, settings.passage_prefixes),
        )

    def validate(self, engine: GradientEngine) -> Figures | None:
        """The figures of `Validator`, where there is a validation file."""
        if self.valid is None:
            return None
        return Validator(engine, self.objective, self.tokens, self.valid, self.settings)()

    def average(self, model: BiEncoder | Colbert) -> Figures | None:
        """Average the weights of a finished model with those before training; its figures."""
        average(model, self.start, self.settings.average_with_init)
        precision = autocasting(self.settings.precision, device())
        return self.validate(GradientEngine(model, autocast=precision))

    def better(self, figures: Figures, best: Figures) -> bool:
        """Whether a validation is better than the best one, by `best_by`."""
        return better(figures, best, self.settings.best_by)

    def summary(self, figures: Figures) -> str:
        """A validation in a line for the user."""
        return (
            f"valid loss {figures['loss']:.4f}, average rank {figures['average_rank']:.1f} of "
            f"{figures['pool']:.0f}, accuracy {figures['accuracy']:.3f}"
        )

    def finished(self) -> tuple[BiEncoder | Colbert, Tokens]:
        """The model as it is used, with its tokens."""
        return finished(self.model, self.objective.temperature), self.tokens

    def save(self, work: Draft, below: str = "") -> None:
        """Write the retriever into an artifact."""
        save_retriever(work, *self.finished(), below=below)


def objective_of(
    model: BiEncoder | Colbert, settings: ResolvedSettings, run: Run
) -> Callable[..., ScoreObjective]:
    """What makes the objective; the sizes of --matryoshka are noted in the model's config.

    Raises MismatchError for a size that is larger than its vectors.
    """
    if isinstance(model, Colbert):
        return ScoreObjective
    sizes = tuple(sorted(settings.matryoshka or (), reverse=True))
    model.config = msgspec.structs.replace(model.config, matryoshka=sizes)
    if not sizes:
        return ScoreObjective
    refuse_misfit(sizes[0], model.dim, "the model", "--matryoshka")
    if sizes[0] < model.dim:
        run.progress.warn(
            f"--matryoshka: its largest size is {sizes[0]}, so the other {model.dim - sizes[0]} of "
            f"the {model.dim} dimensions learn nothing; add {model.dim} to keep them useful"
        )
    unit_length = model.config.similarity == "cosine"
    nesting = nesting_of(settings.matryoshka or (), settings.matryoshka_weights, unit_length)
    return partial(NestedObjective, nesting)


def terms_of(settings: ResolvedSettings) -> Sequence[Term]:
    """The parts of the loss."""
    terms = SYMMETRIC if settings.symmetric else CONTRASTIVE
    if settings.teacher is None:
        return terms
    share, loss, temperature, *_ = settings.teacher
    return distilled(terms, share, temperature, DISTILL_LOSSES[loss])


def draw_of(settings: ResolvedSettings) -> Draw:
    """How the passages of a question are drawn."""
    draw = Draw(
        settings.hard_negatives,
        settings.negatives,
        settings.seed,
        settings.hard_negatives_top,
        settings.hard_negatives_by,
        settings.fresh_negatives,
    )
    if settings.teacher is None:
        return draw
    candidates, by = settings.teacher.candidates, settings.teacher.by
    return draw._replace(taught=True, candidates=candidates, candidates_by=by)


def teacher_temperature(settings: ResolvedSettings, lists: TeacherLists | None) -> float | None:
    """What the teacher's scores are divided by; None without a teacher, or without its lists."""
    if settings.teacher is None or lists is None:
        return None
    given = settings.teacher.teacher_temperature
    return lists.temperature_of(settings.teacher.entropy) if given == "auto" else given


def opened(
    paths: tuple[str, ...], group: Group, run: Run, leave_out: Fold | None = None
) -> list[ExampleFile]:
    """The training files; the first process makes their indexes, the others wait for them."""
    if not group.first:
        group.agree(None)
    files = [ExampleFile(path, run.progress.note, leave_out) for path in paths]
    if group.first:
        group.agree(None)
    return files


def validation_rows(settings: ResolvedSettings) -> Mixture | None:
    """The rows to validate on; None: there is no validation."""
    if not settings.valid_file or settings.valid_every == "never":
        return None
    return Mixture([ExampleFile(settings.valid_file)], [1.0])
