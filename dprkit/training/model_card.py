"""The model card: README.md of a retriever."""

from __future__ import annotations

from typing import Any

from dprkit.models.card_head import card_head, of_validation
from dprkit.models.config import ColbertConfig, Config, RetrieverConfig
from dprkit.settings import TrainSettings, fields_of
from dprkit.settings.trainer import TrainerSettings


def model_card(settings: TrainSettings, config: Config, counts: dict[str, Any]) -> str:
    """README.md of a retriever: what it is, what it was trained on, how to load it."""
    start = settings.init or "random weights"
    kind, use = (
        _of_bi_encoder(config) if isinstance(config, RetrieverConfig) else _of_colbert(config)
    )
    measured = [] if settings.whiten else of_validation(counts)
    head = card_head("retriever", "retriever", measured)
    return f"""{head}# A dprkit retriever

{kind} that started from {start}.

## Training

{course(counts)}{_averaged(settings)}{_whitened(settings, counts)}

{figures(counts)}
## Use

In the shell:

    dprkit encode-corpus --retriever THIS_FOLDER --passages passages.tsv --output-dir embeddings

{use}
## Recipe

These settings differ from their defaults. Paths are relative to the folder in which the
command ran.

```yaml
{recipe("train", settings)}```
"""


def _of_bi_encoder(config: RetrieverConfig) -> tuple[str, str]:
    """What it is, and how it is loaded."""
    kind = f"A bi-encoder ({config.pooling} pooling, {config.similarity})"
    return (
        kind,
        _sizes(config)
        + """With dprkit:

```python
import dprkit

retriever = dprkit.load_retriever("THIS_FOLDER")
retriever.encode_questions(["who wrote hamlet"])  # (1, D)
```

With transformers (retriever.yaml has the pooling, and how a title and a text are joined):

```python
from transformers import AutoModel, AutoTokenizer

model = AutoModel.from_pretrained("THIS_FOLDER/question_encoder")
tokenizer = AutoTokenizer.from_pretrained("THIS_FOLDER/question_encoder")
```

With sentence-transformers, after the retriever is converted:

    dprkit convert THIS_FOLDER --to sentence-transformers --output-dir OUT

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("OUT")
```
""",
    )


def _sizes(config: RetrieverConfig) -> str:
    """The sizes that its vectors may be cut to, in a paragraph; or nothing."""
    if not config.matryoshka:
        return ""
    sizes = ", ".join(map(str, config.matryoshka))
    return (
        f"It was trained to be cut to {sizes} dimensions (Matryoshka): encode-corpus "
        f"--truncate-dim {config.matryoshka[-1]} keeps the first {config.matryoshka[-1]} numbers "
        "of each vector.\n\n"
    )


def _of_colbert(config: ColbertConfig) -> tuple[str, str]:
    """What it is, and how it is loaded."""
    kind = f"A ColBERT model ({config.embedding_size} numbers a token, scored by MaxSim)"
    return (
        kind,
        f"""With dprkit:

```python
import dprkit

retriever = dprkit.load_retriever("THIS_FOLDER")
vectors, mask = retriever.encode(["who wrote hamlet"], question=True)
# vectors: (1, L, {config.embedding_size}); mask: (1, L), the tokens that count
retriever.scores(["who wrote hamlet"], ["Hamlet is a play by William Shakespeare."])  # (1,)
```

With transformers, question_encoder/ is the transformer. question_encoder/projection.safetensors has
the projection of its token states, and retriever.yaml says which tokens count.
""",
    )


def course(counts: dict[str, Any], what: str = "examples") -> str:
    """How the training went, in sentences."""
    if not counts["steps"]:
        return "It was not trained: its weights are those of the model that it started from."
    losses = counts["losses"]
    notes = "".join(f"\n\nNote: {line}." for line in counts["notes"])
    return (
        f"It was trained on {counts[what]} {what}: {counts['epochs']} epochs, "
        f"{counts['steps']} steps of the optimizer. "
        f"The loss was {losses[0]:.4f} in the first epoch and {losses[-1]:.4f} in the last. "
        f"The weights are those of step {counts['best_step']}. "
        f"curves.svg shows the course of the training, metrics.jsonl has every step.{notes}"
    )


def _averaged(settings: TrainSettings) -> str:
    share = settings.average_with_init
    if share == 1:
        return ""
    return (
        f" What is here is {share:g} times those weights and {1 - share:g} times the weights that "
        "training began with."
    )


def _whitened(settings: TrainSettings, counts: dict[str, Any]) -> str:
    if not settings.whiten:
        return ""
    before = "; the figures below are those before" if counts.get("valid") else ""
    return (
        f" Its vectors are whitened by passages of {settings.whiten} (strength "
        f"{settings.whiten_strength:g}){before}."
    )


def figures(counts: dict[str, Any]) -> str:
    """The validation's figures, before training and of the weights that were kept."""
    valid, before = counts.get("valid"), counts.get("valid_before") or {}
    if not valid:
        return "It was not validated.\n"
    columns = {"before": before, "after": valid}
    if averaged := counts.get("valid_averaged"):
        columns["averaged"] = averaged
    rows = [[name, *(f"{of[name]:.4g}" for of in columns.values())] for name in valid]
    head, *lines = (f"| {' | '.join(row)} |" for row in [["validation", *columns], *rows])
    return "\n".join([head, "|---" + "|---:" * len(columns) + "|", *lines, ""])


def recipe(stage: str, settings: TrainerSettings) -> str:
    """The settings that are not at their default, as a recipe: YAML that dprkit reads again."""
    import yaml

    given = {
        name: list(value) if isinstance(value, tuple) else value
        for name, field in fields_of(type(settings)).items()
        if (value := getattr(settings, name)) != field.default and name != "output_dir"
    }
    text: str = yaml.safe_dump(
        {stage: given}, sort_keys=False, default_flow_style=None, width=10_000, allow_unicode=True
    )
    return text
