"""The page in a real browser: it opens, filters, expands, compares; no stranger's script runs."""

from __future__ import annotations

import json

import pytest

from tests.conftest import call
from tests.report.small_report import HITS, NAMES, QUESTIONS, place, ranks, report

VIEWS = {
    "#overview": ".figures",
    "#questions?only=miss": ".row",
    "#questions/q6": ".passage",
    "#training": "canvas",
}
slow = pytest.mark.slow
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True}


def texts(page, selector):
    return page.locator(selector).all_inner_texts()


def hit(rank, k=20):
    return 1 <= rank <= k


def shown(page):
    """The number of questions that the list shows."""
    page.wait_for_selector(".row, .empty")
    return int(page.locator(".count").inner_text().split()[0].replace(",", ""))


def test_a_report_opens_filters_and_shows_a_question(open_page):
    page = open_page()
    page.wait_for_selector(".figures")
    page.get_by_role("link", name="Questions").click()
    page.locator(".chip", has_text="miss at 20").click()
    assert shown(page) == sum(not hit(rank) for rank in ranks(0))
    page.locator(".row").first.click()
    page.wait_for_selector(".passage mark")


# --- figures --------------------------------------------------------------------------------------


@slow
def test_the_overview_has_the_figures_with_intervals_counts_and_remarks(open_page):
    page = open_page()
    share = sum(hit(rank, 5) for rank in ranks(0)) / QUESTIONS
    cell = page.locator(".figures tr", has_text="@5").locator("td").first.inner_text()
    assert f"{share:.4f}" in cell
    assert f"{share - 0.05:.3f} – {share + 0.05:.3f}" in cell
    assert f"n {QUESTIONS}" in cell and "3 tied at the cut" in cell
    assert "n 40" in page.locator(".figures tr", has_text="@5").locator("td").last.inner_text()
    undefined = page.locator(".figures tr", has_text="Average precision").locator("td")
    assert undefined.first.inner_text().strip() == "–"
    assert page.locator(".plot canvas").count() == 1
    assert page.locator(".plot svg .marked").count() == 2  # the recommended point, in both plots


@slow
def test_the_commands_of_a_system_are_copied_as_they_are_typed(open_page):
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy the commands of dense", exact=True).click()
    page.get_by_text("Copied").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == "dprkit evaluate --index 0\ndprkit 'second line'"


# --- the browser of questions ---------------------------------------------------------------------


@slow
def test_filters_show_the_questions_that_their_names_promise(open_page):
    page = open_page("#questions")
    a, b, c = (ranks(system) for system in range(3))
    chip = page.locator(".chip")
    assert shown(page) == QUESTIONS
    chip.filter(has_text="miss at 20").click()
    misses = [q for q in range(QUESTIONS) if not hit(a[q])]
    assert shown(page) == len(misses)
    assert f"question number {misses[0]} " in texts(page, ".row")[0]
    chip.filter(has_text="only B finds it").click()
    assert shown(page) == sum(not hit(a[q]) and hit(b[q]) for q in range(QUESTIONS))
    page.get_by_label("Depth k").select_option("5")
    assert shown(page) == sum(not hit(a[q], 5) and hit(b[q], 5) for q in range(QUESTIONS))
    page.get_by_text("clear").click()
    page.get_by_label("System B").select_option("2")
    page.locator(".chip", has_text="flipped").click()
    assert shown(page) == sum(hit(a[q], 5) != hit(c[q], 5) for q in range(40)) == 0
    assert "No question passes" in page.locator(".list").inner_text()


@slow
def test_a_search_looks_in_questions_answers_and_ids(open_page):
    page = open_page("#questions")
    search = page.get_by_role("searchbox")
    search.fill("TOPIC3 answer3")
    assert texts(page, ".question-text")[0].startswith("question number 3 of topic3")
    assert shown(page) == sum(
        q % 7 == 3 and str(q).startswith("3") for q in range(QUESTIONS)
    )  # 3, 31 and 38
    search.fill("emile q59")
    assert shown(page) == 1


@slow
def test_questions_are_ordered_by_what_two_systems_differ_in(open_page):
    page = open_page("#questions?order=contrast")
    a, b = ([rank and 1 / rank for rank in ranks(system)] for system in (0, 1))
    order = sorted(range(QUESTIONS), key=lambda q: (-abs(a[q] - b[q]), q))
    page.wait_for_selector(".row")
    first = [text.split()[2] for text in texts(page, ".question-text")[:10]]
    assert first == [str(q) for q in order[:10]]


@slow
def test_a_question_shows_all_rankings_with_the_match_lit_and_the_gold_passage(open_page):
    page = open_page("#questions/q6")  # rank 7 under A, 13 under B
    page.wait_for_selector(".passage")
    assert [name.split(" ", 1)[1] for name in texts(page, ".ranking h4")] == NAMES
    for system in range(3):
        ranking = page.locator(".ranking").nth(system)
        lit = ranking.locator(".passage", has=page.locator("mark"))
        assert lit.locator(".place").inner_text() == str(place(system, 6))
        assert lit.locator("mark").inner_text() == "Answer6"
        assert ranking.locator(".passage.gold .place").inner_text() == str(place(system, 6) + 1)
    # the same passage, under the other systems
    assert texts(page, ".ranking:nth-of-type(1) .passage.with-answer .elsewhere") == [
        "B: rank 13\nB 13",
        "C: rank 7\nC 7",
    ]
    assert texts(page, ".measures tbody td")[:2] == ["7", "8"]


@slow
def test_passages_below_the_first_are_folded_but_for_those_that_matter(open_page):
    page = open_page("#questions/q6")
    ranking = page.locator(".ranking").nth(1)
    places = ranking.locator(".place")
    places.first.wait_for()
    assert places.all_inner_texts() == [*map(str, range(1, 11)), "13", "14"]
    ranking.get_by_text("2 passages folded").click()
    places.nth(HITS - 1).wait_for()
    assert places.all_inner_texts() == [*map(str, range(1, HITS + 1))]
    assert page.locator(".ranking").first.locator(".place").count() == 10


@slow
def test_a_question_without_a_ranking_says_so(open_page):
    page = open_page("#questions/q50")
    page.get_by_text("No ranking of this question.").wait_for()
    page.goto(page.url.partition("#")[0] + "#questions/none")
    page.get_by_text("no question with the id none").wait_for()


@slow
def test_everything_is_reached_from_the_keyboard(open_page):
    page = open_page("#questions")
    page.wait_for_selector(".row")
    press = page.keyboard.press
    press("j")
    assert page.url.endswith("#questions/q0")
    press("j")
    press("ArrowDown")
    press("k")
    assert page.url.endswith("#questions/q1")
    assert page.locator(".row[aria-selected=true]").inner_text().startswith("question number 1 ")
    press("End")
    assert page.url.endswith(f"#questions/q{QUESTIONS - 1}")
    press("Enter")
    assert page.evaluate("document.activeElement.id") == "detail"
    press("Escape")
    assert page.url.endswith("#questions")
    press("/")
    page.keyboard.type("jot q7")  # letters of a search are no commands
    assert page.get_by_role("searchbox").input_value() == "jot q7"
    press("Escape")
    assert page.get_by_role("searchbox").input_value() == ""
    press("Escape")
    press("x")
    assert "a=1" in page.url and "b=0" in page.url
    press("?")
    page.wait_for_selector("dialog[open]")
    press("Escape")
    assert not page.locator("dialog[open]").count()
    press("3")
    assert page.get_by_role("link", name="Training").get_attribute("aria-current") == "page"


@slow
def test_a_link_opens_the_question_with_its_filters_and_back_leaves_it(open_page):
    page = open_page("#questions?only=miss&k=5&a=1&b=0")
    page.wait_for_selector(".row")
    count = shown(page)
    page.locator(".row").nth(1).click()
    page.wait_for_selector(".passage")
    link, title = page.url, page.locator("h2").inner_text()
    other = open_page(link[link.index("#") :])
    other.wait_for_selector(".passage")
    assert (other.locator("h2").inner_text(), shown(other)) == (title, count)
    assert other.locator(".chip[aria-pressed=true]").inner_text().startswith("miss at 5")
    page.go_back()
    page.wait_for_selector(".hint")


# --- strangers' text, and browsers ----------------------------------------------------------------


@slow
def test_scripts_in_titles_questions_passages_and_notes_are_text(open_page):
    page = open_page("#questions/q3")
    page.wait_for_selector(".passage")
    assert "<script>window.bad = 1</script>" in page.locator(".detail h2").inner_text()
    assert "<img src=x onerror=" in page.locator(".passage p").first.inner_text()
    assert page.locator("h1").inner_text().startswith("a report <script>")
    assert page.locator("main img, main script").count() == 0  # open_page looks for window.bad


@slow
def test_the_policy_runs_no_script_that_is_put_into_the_page(open_page):
    page = open_page()
    page.wait_for_selector(".figures")
    page.evaluate(
        "() => { const script = document.createElement('script');"
        " script.textContent = 'window.bad = 1'; document.body.append(script); }"
    )
    assert page.evaluate("window.bad") is None
    (said,) = open_page.wrong
    assert "Content Security Policy" in said
    open_page.wrong.clear()


@slow
def test_an_old_browser_gets_a_sentence(open_page):
    page = open_page(script="delete window.DecompressionStream")
    assert page.locator(".old-browser").is_visible()
    assert "too old" in page.locator(".old-browser").inner_text()
    assert not page.locator("#app").is_visible()


@slow
def test_a_browser_without_scripts_gets_a_sentence(open_page):
    page = open_page(java_script_enabled=False)
    assert "switched" in page.locator("noscript").inner_text()


@slow
def test_a_file_that_was_cut_off_says_so(open_page, tmp_path):
    path = tmp_path / "cut.html"
    path.write_bytes(report(whole=False))
    page = open_page("#questions/q1", path=path)
    assert "cut off" in page.get_by_role("alert").inner_text()


@pytest.mark.parametrize("parts", [("systems",), ("runs",), ("tuning",), ()])
@slow
def test_a_report_may_have_any_of_its_parts(open_page, tmp_path, parts):
    path = tmp_path / "part.html"
    path.write_bytes(report(parts))
    page = open_page(path=path)
    page.wait_for_selector("nav a[aria-current]")
    views = ["Overview", "Questions"] if "systems" in parts else []
    views = ["Training"] if parts == ("runs",) else views or ["Overview"]
    assert texts(page, "nav a") == views


@slow
def test_a_page_that_the_command_made_shows_what_the_files_say(open_page, work):
    done = call("report", "runs/dprkit/results", "runs/dprkit/model", "-o", "it's.html", "--json")
    assert done.exit_code == 0, done.stderr
    page = open_page(path=work / "it's.html")
    metrics = json.loads((work / "runs/dprkit/results/metrics.json").read_text())["metrics"]
    for k, share in metrics["answer_recall"].items():
        row = page.locator(".figures tr", has=page.get_by_text(f"@{k}", exact=True)).first
        assert f"{share:.4f}" in row.inner_text()
    lines = (work / "runs/dprkit/results/per_question.jsonl").read_text().splitlines()
    first = json.loads(lines[0])
    page.goto(page.url + f"#questions/{first['id']}")
    page.wait_for_selector(".passage")
    if rank := first["answer_rank"]:
        assert texts(page, ".passage:has(mark) .place")[0] == str(rank)
    page.keyboard.press("3")
    page.wait_for_selector(".plot canvas")


# --- training, themes, phones, paper --------------------------------------------------------------


@slow
def test_the_training_view_overlays_runs_and_hides_them(open_page):
    page = open_page("#training")
    page.wait_for_selector(".plot canvas")
    assert texts(page, "figcaption") == ["Loss", "Learning rate"]
    assert page.locator(".key").first.locator("li").count() == 5  # two lines a run, and the mark
    page.get_by_role("button", name="second", exact=True).click()
    assert page.locator(".key").first.locator("li").count() == 3
    page.get_by_role("slider").fill("0.9")
    page.get_by_role("button", name="first", exact=True).click()  # nothing is left to draw
    assert page.locator(".key").first.locator("li").count() == 0
    page.get_by_role("button", name="first", exact=True).click()
    page.locator("summary").first.click()
    assert "1.5" in page.locator("details[open] tbody").inner_text()


@slow
def test_the_theme_is_the_systems_until_it_is_chosen(open_page):
    page = open_page(color_scheme="dark")
    background = "getComputedStyle(document.documentElement).backgroundColor"
    assert page.evaluate(background) == "rgb(21, 23, 27)"
    page.emulate_media(color_scheme="light")
    page.wait_for_selector("html[data-theme=light]")
    assert page.evaluate(background) == "rgb(252, 251, 248)"
    page.get_by_role("button", name="Turn the page dark").click()
    page.reload()
    assert page.evaluate(background) == "rgb(21, 23, 27)"


@slow
def test_on_a_phone_systems_stand_behind_tabs(open_page):
    page = open_page("#questions", **PHONE)
    page.wait_for_selector(".row")
    assert not page.locator(".chip").first.is_visible()
    page.get_by_role("button", name="Filters").click()
    assert page.locator(".chip").first.is_visible()
    page.locator(".row").nth(2).click()
    page.wait_for_selector(".passage")
    assert not page.locator(".list").is_visible()
    assert page.locator(".ranking").count() == 1
    page.get_by_role("tab", name=NAMES[1]).click()
    assert page.locator(".ranking").get_attribute("aria-label") == f"Ranking of {NAMES[1]}"
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.get_by_role("button", name="All questions").click()
    assert page.locator(".list").is_visible()


@slow
def test_on_paper_there_are_figures_and_no_buttons(open_page):
    page = open_page(color_scheme="dark")
    page.wait_for_selector(".figures")
    page.emulate_media(media="print")
    assert page.locator(".figures").is_visible()
    assert not page.locator("nav").is_visible() and not page.locator(".copy").first.is_visible()
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(29, 30, 34)"


SETTINGS = {"light": {}, "dark": {"color_scheme": "dark"}, "phone": PHONE}


@pytest.mark.parametrize("setting", SETTINGS)
@slow
def test_axe_finds_nothing_serious(open_page, setting):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = open_page(**SETTINGS[setting])
    for view, there in VIEWS.items():
        page.goto(page.url.partition("#")[0] + view)
        page.wait_for_selector(there)
        assert serious(axe.Axe().run(page).response) == []


def serious(response):
    """What axe found that keeps somebody from using the page: rule, element, what to do."""
    return [
        (rule["id"], rule["nodes"][0]["html"], rule["nodes"][0].get("failureSummary"))
        for rule in response["violations"]
        if rule["impact"] in {"serious", "critical"}
    ]
