"""The stages by name."""

from __future__ import annotations

import msgspec

from dprkit.settings.data import DownloadSettings, SelectSettings
from dprkit.settings.exchange import ExportEmbeddingsSettings, ImportEmbeddingsSettings
from dprkit.settings.models import ConvertSettings
from dprkit.settings.retrieval import (
    EncodeSettings,
    EvaluateSettings,
    IndexSettings,
    SearchSettings,
    UpdateSettings,
)
from dprkit.settings.training import TrainSettings
from dprkit.settings.tuning import TuneSettings

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
