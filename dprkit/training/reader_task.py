"""The task of training a reader on files of examples or results."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from dprkit.data.folds import Fold
from dprkit.data.reader_rows import ReaderFile
from dprkit.models.bi_encoder import device
from dprkit.models.reader import ReaderModel
from dprkit.models.reader_tokens import ReaderTokens
from dprkit.models.reading import save_reader
from dprkit.progress import Run
from dprkit.store.drafts import Draft
from dprkit.training.gradients import GradientEngine
from dprkit.training.initial_reader import starting_reader
from dprkit.training.processes import Group
from dprkit.training.reader_batches import Draw, Preparation, ReaderMixture
from dprkit.training.reader_check import Usable, notes_about, usable_rows
from dprkit.training.reader_objective import ReaderObjective
from dprkit.training.reader_validation import ReaderValidator
from dprkit.training.resolved_reader import ResolvedReader
from dprkit.training.starting_transformer import make_ready
from dprkit.training.task import Figures
from dprkit.training.validation import better


class ReaderTask:
    """A reader with the training files and the validation file that its settings name."""

    def __init__(self, settings: ResolvedReader, group: Group, run: Run) -> None:
        self.settings = settings
        paths, weights = zip(*settings.files, strict=True)
        self.files = opened(paths, group, run, settings.left_out)
        self.valid = None
        if settings.valid_file and settings.valid_every != "never":
            self.valid = ReaderFile(settings.valid_file, run.progress.note)
        self.model, self.tokens = reader_before(settings, run)
        self.usable = usable(self.files, self.tokens, group, run)
        draw = Draw(
            settings.passages,
            settings.seed,
            settings.negatives_top,
            settings.positives == "any",
        )
        mixture = ReaderMixture(self.files, weights, [found.rows for found in self.usable])
        # The tokenizer is used by the feed beside validation.
        tokens = copy.deepcopy(self.tokens)
        self.prepare = Preparation(mixture, settings.batch_size, draw, tokens)
        self.batches_per_epoch = self.prepare.batches_per_epoch
        self.objective = ReaderObjective(settings.span_weight, settings.relevance_weight)

    def notes(self) -> list[str]:
        """What is worth keeping about the training files."""
        pairs = zip(self.files, self.usable, strict=True)
        return [note for pair in pairs for note in notes_about(*pair, self.settings.passages)]

    def extent(self) -> str:
        """How much there is, in a line for the user."""
        count = sum(len(found.rows) for found in self.usable)
        if self.valid is not None:
            return f"training on {count} questions, validating on {len(self.valid)}"
        why = "--valid-every never" if self.settings.valid_file else "no --valid-file"
        return f"training on {count} questions without validation ({why})"

    def validate(self, engine: GradientEngine) -> Figures | None:
        """The figures of `ReaderValidator`, where there is a validation file."""
        if self.valid is None:
            return None
        return ReaderValidator(engine, self.objective, self.tokens, self.valid, self.settings)()

    def better(self, figures: Figures, best: Figures) -> bool:
        """Whether a validation is better than the best one, by `best_by`."""
        return better(figures, best, self.settings.best_by)

    def summary(self, figures: Figures) -> str:
        """A validation in a line for the user."""
        return (
            f"valid loss {figures['loss']:.4f}, exact match {figures['exact_match']:.3f}, "
            f"{figures['gold_exact_match']:.3f} in the gold passage, accuracy "
            f"{figures['accuracy']:.3f}"
        )

    def save(self, work: Draft, below: str = "") -> None:
        """Write the reader into an artifact."""
        save_reader(work, self.model, self.tokens, below)


def reader_before(settings: ResolvedReader, run: Run) -> tuple[ReaderModel, ReaderTokens]:
    """The reader before training, made ready to train."""
    model, tokens = starting_reader(
        settings.init,
        run,
        passage_max_length=settings.passage_max_length,
        token_types=settings.token_types,
        seed=settings.seed,
    )
    make_ready([model], settings)
    for head in model.heads.values():
        # The same number on all tokens, or on all passages, changes no loss: its gradient is but
        # rounding, which AdamW would make steps of.
        head.bias.requires_grad_(False)
    return model.to(device()), tokens


def opened(
    paths: Sequence[str], group: Group, run: Run, leave_out: Fold | None
) -> list[ReaderFile]:
    """The training files; the first process makes their indexes, the others wait for them."""
    if not group.first:
        group.agree(None)
    files = [ReaderFile(path, run.progress.note, leave_out) for path in paths]
    if group.first:
        group.agree(None)
    return files


def usable(
    files: Sequence[ReaderFile], tokens: ReaderTokens, group: Group, run: Run
) -> list[Usable]:
    """The rows of each file that can be used, which the first process finds."""
    found = [usable_rows(file, tokens, run.progress) for file in files] if group.first else []
    return group.agree(found)
