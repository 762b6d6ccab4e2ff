"""The plot of a training run."""

from __future__ import annotations

import json
import re

from dprkit.training.curves import draw_curves


def test_the_steps_of_a_short_run_are_whole_numbers(tmp_path):
    lines = [
        {"step": step, "epoch": 1, "loss": 3.0 - step, "accuracy": 0.5, "lr": 1e-5}
        for step in (1, 2, 3)
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    svg = draw_curves(tmp_path / "metrics.jsonl").decode()
    firsts = (
        re.search(r"<!-- (.*?) -->", tick.partition('id="ytick_')[0])
        for tick in re.split(r'id="xtick_\d+">', svg)[1:]
    )
    steps = [first[1] for first in firsts if first]
    assert {"1", "2", "3"} <= set(steps)
    assert all(re.fullmatch(r"[-\u2212]?\d+", label) for label in steps), steps
