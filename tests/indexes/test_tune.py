import json
import re
import shlex
import shutil

import pytest

from dprkit.errors import InputError, SettingsError
from dprkit.indexes.tune import tune_index
from dprkit.indexes.tuning_points import Point, draw, recommend
from dprkit.settings import TuneSettings
from dprkit.store.manifests import read_manifest
from tests.conftest import shell


def point(name, recall, p50, memory=10, p95=None):
    return Point(
        type=name,
        factory=name,
        recall=recall,
        build_seconds=1.0,
        bytes=10,
        memory=memory,
        p50_ms=p50,
        p95_ms=p95 or p50,
        per_second=100.0,
    )


@pytest.mark.parametrize(
    ("limits", "chosen"),
    [
        ({"target_recall": 0.9}, "fast"),
        ({"target_recall": 0.97}, "good"),
        ({"target_recall": 1.0}, "exact"),
        ({"target_recall": 0.9, "max_ram": "500MB"}, "good"),
        ({"target_recall": 1.0, "max_latency": 5.0}, None),
    ],
)
def test_the_quickest_that_keeps_to_the_limits_is_recommended(limits, chosen):
    points = [
        point("exact", 1.0, 20.0),
        point("good", 0.98, 2.0, memory=400_000_000),
        point("fast", 0.95, 1.0, memory=900_000_000),
        point("poor", 0.5, 0.1),
    ]
    found = recommend(points, TuneSettings(**limits))
    assert (found.type if found else None) == chosen


def labels_of(svg):
    """The labels of the x axes, as matplotlib writes them into comments."""
    label = r"<!-- (.*?) -->"
    ticks = re.split(r'id="xtick_\d+">', svg.partition('id="xtick_1"')[2])
    firsts = (re.search(label, tick.partition('id="ytick_')[0]) for tick in ticks)
    found = [first[1] for first in firsts if first]
    return [float(one) for one in found if one[0].isdecimal()]


@pytest.mark.parametrize("latencies", [(0.011, 0.014), (0.02, 3.0), (0.01, 900.0)])
def test_the_plot_has_few_labels_and_bars_that_begin_at_0(latencies):
    points = [point(f"t{n}", 0.9, p50) for n, p50 in enumerate(latencies)]
    labels = labels_of(draw(points, 0.95).decode())
    cut = labels.index(0)  # where the sizes begin
    assert 2 <= cut <= 8 and 2 <= len(labels[cut:]) <= 8
    assert labels[:cut] == sorted(set(labels[:cut]))


@pytest.fixture
def questions(tmp_path):
    path = tmp_path / "questions.txt"
    path.write_text("how tall is mount kilimanjaro\nwho painted the mona lisa\nwhere is paris\n")
    return path


def test_types_are_measured_and_one_is_recommended(small_index, questions, tmp_path):
    settings = TuneSettings(
        embeddings=str(small_index.parent / "embeddings"),
        questions=str(questions),
        output_dir=str(tmp_path / "tuning"),
        types=("flat", "ivf"),
        topk=5,
    )
    report = tune_index(settings)
    assert (report.passages, report.questions, [r.type for r in report.rows]) == (
        282, 3, ["flat", "ivf"],
    )  # fmt: skip
    flat, ivf = report.rows
    assert flat.recall == 1 and ivf.recall >= 0.99 and ivf.nprobe >= 1
    assert report.recommended in report.rows
    made = shell(*shlex.split(report.notes[0])[1:])  # as it would be pasted
    assert made.returncode == 0, made.stderr
    index = small_index.parent / f"index-{report.recommended.type}"
    assert read_manifest(index).settings["type"] == report.recommended.type
    shutil.rmtree(index)
    points = json.loads((tmp_path / "tuning" / "tuning.json").read_text())
    recalls = [p["recall"] for p in points if p["type"] == "ivf"]
    assert recalls == sorted(recalls)
    assert (tmp_path / "tuning" / "tuning.svg").read_text().count("<svg") == 1
    assert sorted(p.name for p in (tmp_path / "tuning").iterdir()) == [
        "manifest.json", "tuning.json", "tuning.svg",
    ]  # fmt: skip
    assert tune_index(settings) == report


def test_a_sample_is_spread_and_measured_instead(small_index, questions, tmp_path):
    report = tune_index(
        TuneSettings(
            embeddings=str(small_index.parent / "embeddings"),
            questions=str(questions),
            output_dir=str(tmp_path / "tuning"),
            types=("flat",),
            sample=50,
        )
    )
    assert (report.passages, report.rows[0].recall) == (50, 1)


def test_no_question_and_no_size_are_refused(small_index, tmp_path):
    (tmp_path / "q.txt").write_text("")
    wish = {
        "embeddings": str(small_index.parent / "embeddings"),
        "questions": str(tmp_path / "q.txt"),
        "output_dir": str(tmp_path / "tuning"),
    }
    with pytest.raises(SettingsError, match="no size"):
        tune_index(TuneSettings(**wish, max_ram="much"))
    with pytest.raises(InputError, match=r"q.txt"):
        tune_index(TuneSettings(**wish))
