"""The settings of learning from a teacher: which are meant, and what is refused."""

from __future__ import annotations

from typing import Literal, NamedTuple

import msgspec

from dprkit.errors import SettingsError
from dprkit.settings import TrainSettings
from dprkit.settings.training import CANDIDATES, CONTRASTIVE_WEIGHT, TEACHER_ENTROPY

DistillLoss = Literal["kl", "kl-reverse", "margin-mse", "listwise"]
DrawnBy = Literal["first", "uniform", "teacher"]
OF_DISTILL = (
    "distill_loss",
    "contrastive_weight",
    "teacher_entropy",
    "candidates",
    "candidates_by",
)


class Distilling(NamedTuple):
    """How a model learns from a teacher."""

    share: float
    """The teacher's share of the loss; the rest is the contrastive one."""
    loss: DistillLoss
    temperature: float | None
    """What the model's scores are divided by against the teacher's; None: as for the labels."""
    teacher_temperature: float | Literal["auto"]
    entropy: float
    """What auto aims at."""
    candidates: int
    """Passages in the list of a question; 0: those that are drawn without a teacher."""
    by: DrawnBy


def distilling(settings: TrainSettings) -> Distilling | None:
    """How the settings let a model learn from a teacher; None: it does not.

    Raises SettingsError for settings that contradict each other or would have no effect.
    """
    if settings.objective == "distill" or (settings.distill_weight and not settings.objective):
        return _with_teacher(settings)
    if settings.distill_weight:
        raise SettingsError("--objective contrastive has no teacher; leave --distill-weight out")
    names = (*OF_DISTILL, "distill_temperature")
    given = [name for name in names if getattr(settings, name) is not None]
    if settings.teacher_temperature != TrainSettings().teacher_temperature:
        given.append("teacher_temperature")
    for name in given:
        flag = name.replace("_", "-")
        raise SettingsError(
            f"--{flag} is a setting of --objective distill; add that, or leave --{flag} out"
        )
    return None


def without_teacher(settings: TrainSettings) -> TrainSettings:
    """Settings with as many passages a question, for rows that no teacher has scored yet."""
    how = distilling(settings)
    if how is None:
        return settings
    usual = TrainSettings()
    names = ("objective", "distill_weight", "teacher_temperature", *OF_DISTILL)
    plain = msgspec.structs.replace(settings, **{name: getattr(usual, name) for name in names})
    if how.candidates:
        drawn = {"hard_negatives": how.candidates - 1, "negatives": 0}
        plain = msgspec.structs.replace(plain, **drawn)
    return plain


def _with_teacher(settings: TrainSettings) -> Distilling:
    share, contrastive = settings.distill_weight, settings.contrastive_weight
    if share and contrastive is not None:
        raise SettingsError(
            "--distill-weight and --contrastive-weight both say how the loss is shared; leave "
            "--distill-weight out"
        )
    if settings.teacher_entropy and settings.teacher_temperature != "auto":
        raise SettingsError(
            "--teacher-entropy is what --teacher-temperature auto aims at; give both, or leave it "
            "out"
        )
    if not share:
        share = 1 - (CONTRASTIVE_WEIGHT if contrastive is None else contrastive)
    return Distilling(
        share,
        settings.distill_loss or "kl",
        settings.distill_temperature,
        settings.teacher_temperature,
        settings.teacher_entropy or TEACHER_ENTROPY,
        settings.candidates or (CANDIDATES if settings.objective else 0),
        settings.candidates_by or "teacher",
    )
