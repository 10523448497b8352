"""The notebook's viewer in a real browser: each control is used, and the image is the one that it should be.

Voila runs the notebook and serves the widgets alone; JupyterLab shows the notebook, whose cell is run as a user does.
Run by ``make test-viewer``.
"""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image as Pillow

from tests.viewer.browsing import CHROMIUM, browser

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytest.importorskip("playwright", reason="Playwright is not installed: make test-viewer")
pytestmark = pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="Chromium is not installed: make test-viewer")
ROOT = Path(__file__).parents[2]
CELL = """
import torch, pellucid
from tests.networks import TinyCNN, images, seeded
volumes = images(2, 3, (16, 24, 30)).sigmoid()
model = seeded(TinyCNN, 3).eval()
names = ["<b>well</b>", "mass", "nodule", "scar"]
found = [pellucid.explain(model, volumes, method, "all", classes=names) for method in ("gradcam", "saliency")]
view = pellucid.viewer(found, volumes)
view
"""
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
_PATIENCE = 60


@dataclass(frozen=True)
class Server:
    """What serves a notebook: the words of its command, what answers when it is there, and where the notebook is."""

    module: str
    words: tuple[str, ...]
    probe: str
    path: str


SERVERS = {
    "voila": Server("voila", ("view.ipynb", "--no-browser", "--Voila.ip=127.0.0.1"), "voila/static/none", ""),
    "jupyterlab": Server(
        "jupyterlab",
        ("--no-browser", "--ServerApp.ip=127.0.0.1", "--IdentityProvider.token=", "--ServerApp.allow_root=True"),
        "api/none",
        "lab/tree/view.ipynb",
    ),
}


@pytest.fixture(params=SERVERS)
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The notebook on a server."""
    import nbformat

    served = SERVERS[request.param]
    pytest.importorskip(served.module, reason=f"{served.module} is not installed: make install")
    folder = tmp_path / "notebook"
    folder.mkdir()
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)], metadata={"kernelspec": KERNEL})
    nbformat.write(notebook, folder / "view.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", served.module, *served.words, f"--port={port}"]
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    settings = {**os.environ, "PYTHONPATH": paths, "HOME": str(folder), "IPYTHONDIR": str(folder)}
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, env=settings, stdout=log, stderr=log)
        try:
            root = f"http://127.0.0.1:{port}"
            _wait_for(f"{root}/{served.probe}", server, folder / "log")
            yield f"{root}/{served.path}"
        finally:
            server.terminate()
            server.wait(30)


def _wait_for(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the server answers."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=5)
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.3)
    raise AssertionError(log.read_text())


def test_each_control_changes_the_image(address: str, tmp_path: Path) -> None:
    space: dict[str, object] = {}
    exec(CELL.replace("\nview\n", "\n"), space)
    here = {one.description: one for one in space["view"].children if hasattr(one, "description")}
    drawn, caption = space["view"].children[-2:]
    with browser() as started:
        page = started.new_context(viewport={"width": 900, "height": 900}).new_page()
        page.goto(address, timeout=1000 * _PATIENCE)
        if "/lab/" in address:
            _run_the_cell(page)
        page.wait_for_selector("img.widget-image", timeout=1000 * _PATIENCE)
        controls = page.locator(".widget-dropdown select")

        def agrees() -> None:
            """The browser shows what the same controls give here."""
            end = time.monotonic() + _PATIENCE
            expected = np.asarray(Pillow.open(io.BytesIO(drawn.value)))
            while time.monotonic() < end:
                shown = np.asarray(Pillow.open(io.BytesIO(_bytes_of_image(page))).convert("RGB"))
                if shown.shape == expected.shape and (shown == expected).all():
                    break
                time.sleep(0.2)
            np.testing.assert_array_equal(shown, expected)
            page.get_by_text(caption_text(caption)).wait_for(timeout=1000 * _PATIENCE)

        agrees()
        assert controls.count() == 3
        seen = [drawn.value]
        for index, name in enumerate(("image", "method", "class")):
            controls.nth(index).select_option(index=1)
            here[name].index = 1
            agrees()
            seen.append(drawn.value)
        for name, key in (("opacity", "ArrowRight"), ("slice", "ArrowLeft")):
            handle = page.locator(".widget-hslider").filter(has_text=name).locator(".noUi-handle")
            handle.press(key)
            control = here[name]
            control.value += control.step if key == "ArrowRight" else -control.step
            agrees()
            seen.append(drawn.value)
        assert len(set(seen)) == len(seen) == 6
        assert page.locator("b", has_text="well").count() == 0
        folder = Path(os.environ.get("PELLUCID_WIDGET_IMAGES", tmp_path))
        page.screenshot(path=str(folder / f"widget-{'lab' if '/lab/' in address else 'voila'}.png"))


def _run_the_cell(page: Page) -> None:
    """Run the notebook's cell as a user does: click into it, and press Shift and Enter."""
    cell = page.locator(".jp-Notebook .jp-CodeCell .cm-content")
    cell.wait_for(timeout=1000 * _PATIENCE)
    page.get_by_text("Python 3 (ipykernel) | Idle").or_(page.get_by_title("Kernel status: Idle")).first.wait_for(
        timeout=1000 * _PATIENCE
    )
    cell.click()
    page.keyboard.press("Shift+Enter")


def caption_text(caption: object) -> str:
    import html

    return html.unescape(caption.value)


def _bytes_of_image(page: object) -> bytes:
    """The bytes of the image that the widget shows."""
    found = page.evaluate(
        "async () => Array.from(new Uint8Array(await (await fetch(document.querySelector('img.widget-image').src))"
        ".arrayBuffer()))"
    )
    return bytes(found)
