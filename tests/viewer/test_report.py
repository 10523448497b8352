"""The report of an evaluation in a real browser: on a phone, at a desk, and on paper. Run by ``make test-viewer``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pellucid.report.evaluation import write_report
from tests.report import evaluations
from tests.viewer.browsing import CHROMIUM, browser

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytest.importorskip("playwright", reason="Playwright is not installed: make test-viewer")
pytestmark = pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="Chromium is not installed: make test-viewer")
MADE = {
    "small": evaluations.small,
    "large": evaluations.large,
    "bare": lambda _: evaluations.bare(),
    "hostile": lambda folder: evaluations.named(evaluations.HOSTILE[0], folder),
    "long": lambda folder: evaluations.named("x" * 200, folder),
}

IMAGES = """Promise.all([...document.images].map(image => {
    image.loading = "eager"  // what is out of sight is loaded when it is scrolled to
    return image.decode().then(() => image.naturalWidth > 0, () => false)
}))"""
"""Whether each image of a page can be shown."""


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with browser() as started:
        yield started.new_page()


@pytest.fixture(scope="module", params=MADE)
def address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report of an evaluation."""
    folder = tmp_path_factory.mktemp(request.param)
    return write_report(MADE[request.param](folder), folder).as_uri()


@pytest.mark.parametrize("width", [320, 420, 1280])
def test_the_page_never_scrolls_sideways_and_breaks_no_rule_of_its_own(page: Page, address: str, width: int) -> None:
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("request", lambda request: said.append(request.url) if request.url.startswith("http") else None)
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(address)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert all(page.evaluate(IMAGES))
    assert said == []


def test_on_paper_details_are_open_and_no_box_is_cut(page: Page, address: str) -> None:
    page.set_viewport_size({"width": 688, "height": 900})  # A4 without the margins
    page.goto(address)
    page.emulate_media(media="print")
    shown = "[...document.querySelectorAll('details')].map(each => each.lastElementChild.checkVisibility())"
    assert all(page.evaluate(shown))
    assert page.evaluate("document.documentElement.scrollWidth") <= 688
    hidden = (
        "[...document.querySelectorAll('.scroll, .names')].filter(box => getComputedStyle(box).overflowX != 'visible')"
    )
    assert page.evaluate(f"{hidden}.length") == 0
    page.emulate_media(media="screen")


def test_the_keyboard_reaches_everything_and_gets_out_again(page: Page, address: str) -> None:
    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto(address)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    count = page.evaluate("document.querySelectorAll('a, summary, [tabindex]').length")
    reached = set()
    for _ in range(count + 2):
        reached.add(page.evaluate("[...document.querySelectorAll('*')].indexOf(document.activeElement)"))
        page.keyboard.press("Tab")
    visible = page.evaluate(
        "[...document.querySelectorAll('a, summary, [tabindex]')].filter(one => one.checkVisibility()).length"
    )
    assert len(reached - {-1}) >= visible - 1
