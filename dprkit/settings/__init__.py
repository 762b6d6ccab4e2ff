"""The settings of every stage: one frozen class a stage, one sentence a field.

Recipes are YAML; where a setting's value comes from is decided in `Recipe.stage`: flag, then
--set, then the recipe, then the default.
"""

from dprkit.settings.convert import ConvertSettings
from dprkit.settings.data import DownloadSettings, SelectSettings
from dprkit.settings.embeddings import (
    EncodeSettings,
    ExportEmbeddingsSettings,
    ImportEmbeddingsSettings,
)
from dprkit.settings.evaluation import EvaluateSettings
from dprkit.settings.fields import Setting, about, fields_of, record_of, required
from dprkit.settings.indexes import IndexSettings, TuneSettings, UpdateSettings
from dprkit.settings.search import SearchSettings
from dprkit.settings.stages import STAGES
from dprkit.settings.training import TrainSettings
from dprkit.settings.values import BUNDLED, bundled, convert, real_path

__all__ = [
    "BUNDLED",
    "STAGES",
    "ConvertSettings",
    "DownloadSettings",
    "EncodeSettings",
    "EvaluateSettings",
    "ExportEmbeddingsSettings",
    "ImportEmbeddingsSettings",
    "IndexSettings",
    "SearchSettings",
    "SelectSettings",
    "Setting",
    "TrainSettings",
    "TuneSettings",
    "UpdateSettings",
    "about",
    "bundled",
    "convert",
    "fields_of",
    "real_path",
    "record_of",
    "required",
]
