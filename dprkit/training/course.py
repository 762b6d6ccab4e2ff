"""What the stages that train have in common: the figures that are kept of a training, its notes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dprkit.errors import MemoryShortage
from dprkit.memory import ran_out

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
