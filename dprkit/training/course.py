"""What the stages that train have in common: how one is run, what is kept of it, its notes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from dprkit.errors import MemoryShortage
from dprkit.memory import keeping_freed, ran_out
from dprkit.progress import Run
from dprkit.settings.trainer import TrainerSettings
from dprkit.store.begin_or_resume import draft, preview, wanted
from dprkit.store.drafts import Draft
from dprkit.store.manifests import Manifest
from dprkit.training.processes import Group, join, joined, launch
from dprkit.training.resolved_settings import more_to_record
from dprkit.training.resolved_trainer import ResolvedTrainer

if TYPE_CHECKING:
    from dprkit.progress import Progress
    from dprkit.training.checkpoints import Progression

CARD, CURVES = "README.md", "curves.svg"


def counts_of(at: Progression, size: int) -> dict[str, Any]:
    """The figures of a training whose epochs have `size` batches."""
    epochs = -(-at.step // size)
    return {
        "epochs": epochs,
        "steps": at.step,
        "losses": at.losses,
        "best_step": at.best_step if at.best else at.step,
        "untrained": not (at.best_step if at.best else at.step),
        "best_epoch": -(-at.best_step // size) if at.best else epochs,
        "valid": at.best,
        "valid_before": at.history[0] if at.history else None,
        "chunk_texts": at.chunk_texts,
    }


def tell_if_untrained(counts: dict[str, Any], best_by: str, progress: Progress) -> None:
    """Warn, and add a note to the counts, where no validation was better than the first."""
    if counts["untrained"]:
        note = (
            f"no validation had a better {best_by} than the one before training: the "
            "weights that are kept are the untrained ones"
        )
        progress.warn(note)
        counts["notes"].append(note)


@contextmanager
def memory_told() -> Iterator[None]:
    """Turns a shortage of memory that no step tells of into a MemoryShortage."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not ran_out(error):
            raise
        raise MemoryShortage(
            "out of memory beside the steps themselves: a smaller model or --valid-every never "
            "takes less; what was saved is kept"
        ) from None


S = TypeVar("S", bound=ResolvedTrainer)


@dataclass(frozen=True)
class Course(Generic[S]):
    """A stage that trains, with its settings resolved."""

    kind: str
    """Of its artifact; the report names the folder by it."""
    stage: Callable[..., Any]
    """What each process runs."""
    report: Callable[..., Any]
    """The class of its report."""
    make: Callable[[Draft, S, Group], Manifest]
    """What the first process does."""
    fit: Callable[[None, Path, S, Group], object]
    """What the others do: train along."""

    def run(self, settings: S, recorded: TrainerSettings, inputs: dict[str, str], run: Run) -> Any:
        """The report of a training by this process or by several.

        `recorded`: the settings as the manifest records them. Left alone when it is up to date.
        """
        directory, more = Path(str(settings.output_dir)), more_to_record(recorded)
        if settings.num_processes > 1 and not joined():
            there = preview(wanted(directory, self.kind, recorded, inputs, run, more)).done
            if there:
                return self._told(directory, there)
            return launch(self.stage, recorded, run, settings.num_processes)
        group = join()
        if not group.first:
            if not group.agree(False) and settings.max_epochs != 0:
                with keeping_freed():
                    self.fit(None, directory, settings, group)
            return self.report(str(directory))
        with keeping_freed(), draft(directory, self.kind, recorded, inputs, run, more) as work:
            group.agree(work.done is not None)
            return self._told(directory, work.done or self.make(work, settings, group))

    def _told(self, directory: Path, manifest: Manifest) -> Any:
        folder = str(directory)
        here = {self.kind: folder, "identity": manifest.identity, "outputs": [folder]}
        return msgspec.convert(manifest.counts | here, self.report)


def reads_of(inputs: Mapping[str, str], names: Mapping[str, str]) -> dict[str, list[str]]:
    """The setting that names each input -> its paths; `names`: of inputs that are no train_file."""
    reads: dict[str, list[str]] = {}
    for name, path in inputs.items():
        reads.setdefault(names.get(name, "train_file"), []).append(path)
    return reads
