"""The model card: README.md of a reader."""

from __future__ import annotations

from typing import Any

from dprkit.models.card_head import card_head, of_validation
from dprkit.models.reader_config import ReaderConfig
from dprkit.settings import TrainReaderSettings
from dprkit.training.model_card import course, figures, recipe


def reader_card(settings: TrainReaderSettings, config: ReaderConfig, counts: dict[str, Any]) -> str:
    """README.md of a reader: what it is, what it was trained on, how to load it."""
    types = "1 after the question" if config.token_types == "segments" else "0 everywhere"
    head = card_head("reader", "reader", of_validation(counts))
    return f"""{head}# A dprkit reader

An extractive reader that started from {settings.init}. It reads a question, a title and a text of
{config.passage_max_length} tokens together (token types: {types}), and tells how relevant the text
is and where the answer stands in it.

## Training

{course(counts, "questions")}

{figures(counts)}
## Use

In the shell:

    dprkit read --reader THIS_FOLDER --results results.jsonl -o answers.jsonl

With dprkit:

```python
import dprkit

reader = dprkit.load_reader("THIS_FOLDER")
reader.scores(["who wrote hamlet"], [("Hamlet", "Hamlet is a play by Shakespeare.")])  # (1,)
```

encoder/ is the transformer, as transformers loads it; heads.safetensors has the two linear layers.

## Recipe

These settings differ from their defaults. Paths are relative to the folder in which the
command ran.

```yaml
{recipe("train-reader", settings)}```
"""
