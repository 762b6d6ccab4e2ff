"""A browser, and a page opened in it that fails its test for any error or request."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.report.small_report import report


@pytest.fixture(scope="session")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def report_file(tmp_path_factory):
    """The small report; quotes and blanks in its name are nothing to a browser."""
    path = tmp_path_factory.mktemp("report") / 'it\'s a "report".html'
    path.write_bytes(report())
    return path


@pytest.fixture
def open_page(browser, report_file):
    """open_page(hash, path=…, script=…, **context) -> a page of a new context."""
    contexts, wrong = [], []

    def opened(place="", path=report_file, script=None, **options):
        options = {"viewport": {"width": 1360, "height": 900}} | options
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: wrong.append(f"dialog {dialog.message}"))
        address = path.as_uri()
        page.on(
            "request", lambda request: request.url.startswith(address) or wrong.append(request.url)
        )
        if script:
            page.add_init_script(script)
        page.goto(address + place)
        return page

    opened.wrong = wrong
    yield opened
    for context in contexts:
        for page in context.pages:
            assert page.evaluate("window.bad") is None
        context.close()
    assert wrong == []
