"""evaluate --truncate-dim: one encoded corpus, measured at several sizes of its vectors.

embeddings/            the corpus, encoded once, whole
dim-128/embeddings     its vectors, cut to their first 128 numbers
dim-128/index          an index of them
dim-128/results.jsonl  what it finds; of the first size this lies in the folder itself
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from dprkit.errors import SettingsError
from dprkit.progress import Run
from dprkit.settings import EvaluateSettings
from dprkit.store.begin_or_resume import draft
from dprkit.store.drafts import Draft
from dprkit.store.manifests import Input

if TYPE_CHECKING:
    from dprkit.embeddings.shards import Embeddings

INDEX = "index"
ROWS = 8192
"""Vectors that are cut at a time."""


def by_size(settings: EvaluateSettings) -> Iterator[tuple[int | None, EvaluateSettings]]:
    """Each size with what is measured of it, its index and its results; (None, ...) without sizes.

    The first size has the folder of the results to itself.
    """
    folder = Path(str(settings.output_dir))
    if not settings.truncate_dim:
        yield None, replace(settings, index=str(folder / INDEX))
    for place, size in enumerate(settings.truncate_dim):
        below = folder / f"dim-{size}"
        output = below if place else folder
        yield size, replace(settings, index=str(below / INDEX), output_dir=str(output))


def refuse_sizes(settings: EvaluateSettings) -> None:
    """Raise SettingsError for sizes without a corpus, or named twice."""
    sizes = settings.truncate_dim
    if sizes and settings.corpus is None:
        raise SettingsError(
            "--truncate-dim: an index has the size that its corpus was encoded with "
            "(encode-corpus --truncate-dim); give --corpus with --retriever, or leave it out"
        )
    if len(set(sizes)) < len(sizes):
        raise SettingsError(
            f"--truncate-dim {','.join(map(str, sizes))}: names a size twice; name each once"
        )


def check_sizes(settings: EvaluateSettings, run: Run) -> None:
    """Warn of sizes that the retriever was not trained for. Raises MismatchError for larger ones.

    The retriever is one of dprkit's form.
    """
    from dprkit.models.config import bi_encoder_config
    from dprkit.models.nested_sizes import refuse_misfit, untrained, width_of

    if not settings.truncate_dim:
        return
    retriever = str(settings.retriever)
    config, width = bi_encoder_config(retriever, "--truncate-dim"), width_of(retriever)
    for size in settings.truncate_dim:
        refuse_misfit(size, width or size, retriever)
    if told := untrained(settings.truncate_dim, config, retriever):
        run.progress.warn(told)


# --- cutting --------------------------------------------------------------------------------------


def cut_embeddings(whole: str, size: int, directory: str, run: Run) -> None:
    """Make embeddings whose vectors are the first `size` numbers of those in `whole`.

    They count as made by the same retriever of the same passages. Raises MismatchError for a size
    that is larger.
    """
    from dprkit.embeddings.shards import Embeddings
    from dprkit.indexes.find_inputs import moved_inputs
    from dprkit.models.nested_sizes import refuse_misfit

    before = Embeddings(whole)
    refuse_misfit(size, before.dim, whole)
    settings = {**before.manifest.settings, "truncate_dim": size}
    made_from = {name: before.manifest.inputs[name] for name in ("retriever", "passages")}
    inputs: dict[str, str | Input] = {"whole": whole, **moved_inputs(whole, made_from)}
    with draft(directory, "embeddings", settings, inputs, run) as work:
        if not work.done:
            _cut_shards(work, before, size)
            work.finish({**before.manifest.counts, "dim": size, "truncate_dim": size})


def _cut_shards(work: Draft, before: Embeddings, size: int) -> None:
    from dprkit.embeddings.shards import growing_shard, shard_names
    from dprkit.models.config import bi_encoder_config
    from dprkit.models.nested_sizes import cut

    config = bi_encoder_config(work.record.inputs["retriever"].path, "--truncate-dim")
    for number, vectors in enumerate(before.vectors()):
        digests = before.mapped(shard_names(number)[2])
        ids = before.ids_of(number)
        with growing_shard(work, number, len(ids), size, str(vectors.dtype)) as write:
            for begin in range(0, len(ids), ROWS):
                rows = slice(begin, begin + ROWS)
                first = cut(vectors[rows], size, config.similarity == "cosine")
                write((first,), ids[rows], digests[rows])
