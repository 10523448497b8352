"""Drives OHIF as a reader does: a study is opened, a thumbnail is clicked twice."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image as Pillow

from tests.viewer.comparing import Picture

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = "/usr/bin/chromium"
_SOFTWARE = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
"""WebGL without a graphics card. The sandbox cannot run as root; no page is from outside."""
_PATIENCE = 90
_STILL = 1.0


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=_SOFTWARE)
        try:
            yield started
        finally:
            started.close()


@dataclass
class Viewer:
    """A page of the viewer that shows a study; ``errors`` are those that the page did not handle."""

    page: Page
    errors: list[str] = field(default_factory=list)

    def open(self, address: str) -> None:
        """Open a study, and wait until its first series is drawn."""
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(address)
        self.page.get_by_text("Skip all").click(timeout=1000 * _PATIENCE)
        self.shown()

    def show(self, series_number: int) -> None:
        """Show a series as a reader does, and load it where the viewer asks."""
        thumbnail = self.page.locator("[data-cy^=study-browser-thumbnail]").filter(has_text=f"S:{series_number}")
        before = self.shown()
        thumbnail.first.dblclick(timeout=1000 * _PATIENCE)
        asking = self.shown(before)
        ask = self.page.get_by_role("button", name="Yes", exact=True)
        if ask.count():
            ask.click()
            self.shown(asking)
        # The viewer may add a report's outline after its last redraw; the next one, as of any zoom, shows it.
        self.page.evaluate("cornerstone.getRenderingEngines().forEach(engine => engine.render())")

    def go_to(self, index: int) -> None:
        """Go to a slice with the mouse wheel."""
        box = self._box()
        self.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        for _ in range(20):
            at = self.page.evaluate("cornerstone.getEnabledElements()[0].viewport.getCurrentImageIdIndex()")
            if at == index:
                break
            self.page.mouse.wheel(0, 100 if at < index else -100)
            self.shown()

    def shown(self, before: Picture | float = np.nan) -> Picture:
        """The viewport (H, W, 3) once it stands still, and differs from what it showed before."""
        end = time.monotonic() + _PATIENCE
        last, since = self._picture(), time.monotonic()
        while time.monotonic() < end:
            time.sleep(0.25)
            now = self._picture()
            if now is None or last is None or not np.array_equal(now, last):
                last, since = now, time.monotonic()
            elif time.monotonic() - since > _STILL and now.std() > 1 and not np.array_equal(now, before):
                return now
        raise AssertionError("the viewport does not stand still, is blank, or does not change")

    def text(self) -> str:
        """The text that is drawn on the image."""
        return " ".join(self.page.locator("svg text").all_text_contents())

    def hide_text(self) -> None:
        """Hide the text that is drawn on the image."""
        self.page.add_style_tag(content="svg text { display: none }")

    @property
    def failed(self) -> bool:
        """Whether the viewer shows its error page, or nothing."""
        is_blank = not self.page.locator(".cornerstone-canvas").count()
        return is_blank or bool(self.page.get_by_text("Something went wrong").count())

    def _box(self) -> dict[str, float]:
        return self.page.locator(".cornerstone-canvas").first.bounding_box()

    def _picture(self) -> Picture | None:
        if not self.page.locator(".cornerstone-canvas").count():
            return None
        content = self.page.screenshot(clip=self._box())
        return np.asarray(Pillow.open(io.BytesIO(content)).convert("RGB"), np.float32)


def save(page: Page, path: Path) -> None:
    """Keep a picture of the page."""
    path.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=str(path))
