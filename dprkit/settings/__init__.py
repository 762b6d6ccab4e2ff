"""The settings of every stage: one frozen class a stage, one sentence a field.

Recipes are YAML; where a setting's value comes from is decided in `Recipe.stage`: flag, then
--set, then the recipe, then the default.
"""

import msgspec

from dprkit.settings.audit import AuditSettings
from dprkit.settings.comparison import CompareSettings
from dprkit.settings.convert import ConvertSettings
from dprkit.settings.data import DownloadSettings, SelectSettings
from dprkit.settings.embeddings import (
    EncodeSettings,
    ExportEmbeddingsSettings,
    ImportEmbeddingsSettings,
)
from dprkit.settings.evaluation import EvaluateSettings
from dprkit.settings.exporting import ExportDataSettings
from dprkit.settings.fields import Setting, fields_of, record_of, required
from dprkit.settings.import_data import ImportSettings
from dprkit.settings.indexes import IndexSettings, TuneSettings, UpdateSettings
from dprkit.settings.mining import MineSettings
from dprkit.settings.pushing import PushSettings
from dprkit.settings.reading import ReadSettings
from dprkit.settings.reporting import ReportSettings
from dprkit.settings.results import ConvertResultsSettings
from dprkit.settings.search import ExplainSettings, SearchSettings
from dprkit.settings.teaching import ScoreTeacherSettings
from dprkit.settings.train_reader import TrainReaderSettings
from dprkit.settings.training import TrainSettings
from dprkit.settings.values import BUNDLED, bundled, convert, real_path

__all__ = [
    "BUNDLED",
    "MADE_AGAIN",
    "STAGES",
    "AuditSettings",
    "CompareSettings",
    "ConvertResultsSettings",
    "ConvertSettings",
    "DownloadSettings",
    "EncodeSettings",
    "EvaluateSettings",
    "ExplainSettings",
    "ExportDataSettings",
    "ExportEmbeddingsSettings",
    "ImportEmbeddingsSettings",
    "ImportSettings",
    "IndexSettings",
    "MineSettings",
    "PushSettings",
    "ReadSettings",
    "ReportSettings",
    "ScoreTeacherSettings",
    "SearchSettings",
    "SelectSettings",
    "Setting",
    "TrainReaderSettings",
    "TrainSettings",
    "TuneSettings",
    "UpdateSettings",
    "bundled",
    "convert",
    "fields_of",
    "real_path",
    "record_of",
    "required",
]

STAGES: dict[str, type[msgspec.Struct]] = {
    "download": DownloadSettings,
    "import-data": ImportSettings,
    "select-data": SelectSettings,
    "export-data": ExportDataSettings,
    "train": TrainSettings,
    "train-reader": TrainReaderSettings,
    "convert": ConvertSettings,
    "push": PushSettings,
    "encode-corpus": EncodeSettings,
    "import-embeddings": ImportEmbeddingsSettings,
    "export-embeddings": ExportEmbeddingsSettings,
    "index": IndexSettings,
    "tune-index": TuneSettings,
    "update-index": UpdateSettings,
    "search": SearchSettings,
    "explain": ExplainSettings,
    "mine-negatives": MineSettings,
    "score-teacher": ScoreTeacherSettings,
    "evaluate": EvaluateSettings,
    "read": ReadSettings,
    "compare": CompareSettings,
    "report": ReportSettings,
    "convert-results": ConvertResultsSettings,
    "audit": AuditSettings,
}

MADE_AGAIN = {
    "embeddings": "dprkit encode-corpus --repair, "
    "or import-embeddings --restart for imported vectors"
}
"""kind of artifact -> what makes damaged files of it again, where --restart alone is not best."""
