"""The table of stages: the name of each stage and its settings class."""

from __future__ import annotations

import msgspec

from dprkit.settings.convert import ConvertSettings
from dprkit.settings.data import DownloadSettings, SelectSettings
from dprkit.settings.embeddings import (
    EncodeSettings,
    ExportEmbeddingsSettings,
    ImportEmbeddingsSettings,
)
from dprkit.settings.evaluation import EvaluateSettings
from dprkit.settings.indexes import IndexSettings, TuneSettings, UpdateSettings
from dprkit.settings.search import SearchSettings
from dprkit.settings.training import TrainSettings

STAGES: dict[str, type[msgspec.Struct]] = {
    "download": DownloadSettings,
    "select-data": SelectSettings,
    "train": TrainSettings,
    "convert": ConvertSettings,
    "encode-corpus": EncodeSettings,
    "import-embeddings": ImportEmbeddingsSettings,
    "export-embeddings": ExportEmbeddingsSettings,
    "index": IndexSettings,
    "tune-index": TuneSettings,
    "update-index": UpdateSettings,
    "search": SearchSettings,
    "evaluate": EvaluateSettings,
}

MADE_AGAIN = {
    "embeddings": "dprkit encode-corpus --repair, "
    "or import-embeddings --restart for imported vectors"
}
"""kind of artifact -> what makes damaged files of it again, where --restart alone is not best."""
