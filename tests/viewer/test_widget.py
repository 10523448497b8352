"""The notebook's viewer in a real browser: each control is used, and the image is the one that it should be.

Voila runs the notebook and serves the widgets. Run by ``make test-viewer``.
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
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from tests.viewer.browsing import CHROMIUM, browser

pytest.importorskip("playwright", reason="Playwright is not installed: make test-viewer")
pytest.importorskip("voila", reason="Voila is not installed: make install")
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
_PATIENCE = 60


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with the notebook."""
    import nbformat

    folder = tmp_path_factory.mktemp("notebook")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    nbformat.write(notebook, folder / "view.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "voila", str(folder / "view.ipynb"), "--no-browser", f"--port={port}"]
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    settings = {**os.environ, "PYTHONPATH": paths, "HOME": str(folder), "IPYTHONDIR": str(folder)}
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([*command, "--Voila.ip=127.0.0.1"], cwd=folder, env=settings, stdout=log, stderr=log)
        try:
            yield _ready(f"http://127.0.0.1:{port}", server, folder / "log")
        finally:
            server.terminate()
            server.wait(30)


def _ready(address: str, server: subprocess.Popen[bytes], log: Path) -> str:
    """The address, once something listens there."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(f"{address}/voila/static/none", timeout=5)
        except urllib.error.HTTPError:
            return address
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
        page.screenshot(path=str(folder / "widget.png"))


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
