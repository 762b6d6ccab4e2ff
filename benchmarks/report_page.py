"""How fast a report's page is in headless Chromium: python benchmarks/report_page.py report.html

First paint, the list of questions there to use, and from an act to the document that shows it (and
to the frame after that): a filter, a word in the search box, an order, a question opened, the next
one. Medians of `--rounds`, the slowest beside it. CHROMIUM names another browser.
"""

from __future__ import annotations

import argparse
import os
import statistics
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ACT = """async ([selector, act, awaited]) => {
  const before = document.querySelector(awaited)?.textContent;
  const start = performance.now();
  const target = document.querySelector(selector);
  if (act.key) target.dispatchEvent(new KeyboardEvent("keydown", { key: act.key, bubbles: true }));
  else if (act.value !== undefined) {
    target.value = act.value;
    target.dispatchEvent(new Event(act.event, { bubbles: true }));
  } else target.click();
  while (document.querySelector(awaited)?.textContent === before) {
    if (performance.now() > start + 5000) return [NaN, NaN];
    await new Promise((done) => (act.wait ? setTimeout(done) : queueMicrotask(done)));
  }
  document.body.offsetHeight;
  const shown = performance.now() - start;
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  return [shown, performance.now() - start];
}"""
CHIP = ".chip:nth-of-type({})"
COUNT, LIST, TITLE = ".count", ".list", ".ranking .title"
ACTS = [
    ("a filter", CHIP.format(1), {}, COUNT),
    ("a second filter", CHIP.format(3), {}, COUNT),
    ("a filter less", CHIP.format(1), {}, COUNT),
    ("no filter", CHIP.format(3), {}, COUNT),
    ("a word searched", "input[type=search]", {"value": "th", "event": "input"}, COUNT),
    ("a longer word", "input[type=search]", {"value": "the", "event": "input"}, LIST),
    ("no word", "input[type=search]", {"value": "", "event": "input"}, COUNT),
    (
        "by contrast",
        ".select:nth-of-type(4) select",
        {"value": "contrast", "event": "change"},
        LIST,
    ),
    ("as in the file", ".select:nth-of-type(4) select", {"value": "file", "event": "change"}, LIST),
    ("a question opened", ".row:nth-of-type(5)", {"wait": True}, TITLE),
    ("the next one", "body", {"key": "j", "wait": True}, ".opened-question h2"),
]


def opened(page: Page, url: str) -> dict[str, float]:
    """Milliseconds from the start of the navigation until the page is there."""
    page.goto("about:blank")
    page.goto(url, wait_until="commit")
    page.wait_for_selector(".row", timeout=60_000)
    usable = page.evaluate("performance.now()")
    page.wait_for_load_state("load", timeout=60_000)
    paint, whole = page.evaluate(
        "[performance.getEntriesByName('first-contentful-paint')[0].startTime,"
        " performance.timing.domContentLoadedEventEnd - performance.timing.navigationStart]"
    )
    return {"first paint": paint, "list of questions": usable, "whole file read": whole}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    url = args.report.resolve().as_uri() + "#questions"
    found: dict[str, list[float]] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 1360, "height": 900})
        for _ in range(args.rounds):
            for name, value in opened(page, url).items():
                found.setdefault(name, []).append(value)
            for name, selector, act, awaited in ACTS:
                shown, painted = page.evaluate(ACT, [selector, act, awaited])
                found.setdefault(name, []).append(shown)
                found.setdefault(f"{name}, painted", []).append(painted)
        heap = page.evaluate("performance.memory.usedJSHeapSize / 1e6")
        browser.close()
    print(f"{args.report.stat().st_size / 1e6:.1f} MB, {args.rounds} rounds; heap {heap:.0f} MB")
    for name, times in found.items():
        print(f"{name:<28}{statistics.median(times):9.1f} ms{max(times):9.1f} slowest")


if __name__ == "__main__":
    main()
