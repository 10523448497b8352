"""An explanation in a notebook: self-contained HTML without anything that could run."""

from __future__ import annotations

import base64
import dataclasses
import io
import pickle
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from torch import Tensor

import pellucid
from pellucid.core import display
from pellucid.core.caption import caption
from pellucid.core.explanation import Explanation
from pellucid.render.colour import colourise
from tests.networks import TinyCNN, images, seeded

HOSTILE = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "a & b", "'quoted'")
OPEN = {"img", "br"}
"""Elements without an end tag."""


class Page(HTMLParser):
    """The HTML as a browser parses it: elements and text; every element must be closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in OPEN:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    @property
    def drawn(self) -> list[np.ndarray]:
        found = []
        for tag, attributes in self.tags:
            if tag == "img":
                kind, _, data = str(attributes["src"]).partition(",")
                assert kind == "data:image/png;base64"
                found.append(np.asarray(Pillow.open(io.BytesIO(base64.b64decode(data, validate=True)))))
        return found


def page(explanation: Explanation) -> Page:
    return Page(explanation._repr_html_())


def explained(count: int = 1, targets: object = 1, rank: int = 2, **more: object) -> Explanation:
    sides = {2: 32, 3: (16, 8, 12)}[rank]
    return pellucid.explain(seeded(TinyCNN, rank), images(count, rank, sides), targets=targets, **more)


def with_heatmaps(explanation: Explanation, heatmaps: Tensor) -> Explanation:
    return dataclasses.replace(explanation, heatmaps=heatmaps)


def test_the_text_names_predictions_and_explained_classes() -> None:
    found = explained(2, "all", classes=["well", "mass", "nodule", "scar"])
    text = page(found).text
    assert text.startswith("gradcam at features.4 2 images × 4 maps")
    for index in range(2):
        best = int(found.logits[index].argmax())
        share = float(found.probabilities[index, best])
        assert f"image {index}: predicted {found.class_name(best)} ({best}), p = {share:.3f}" in text
        for column in range(4):
            assert f"explains {caption(found, index, column, found.why_degenerate[index][column])}" in text
    for name in ("well", "mass", "nodule", "scar"):
        assert text.count(f"explains {name}") == 2


def test_the_embedded_images_are_the_coloured_maps() -> None:
    found = explained(2, "all")
    parsed = page(found)
    shown = found.heatmaps[~found.degenerate]
    assert 0 < len(shown) < 8
    for one, heat in zip(parsed.drawn, shown, strict=True):
        np.testing.assert_array_equal(one, colourise(heat))


def test_an_empty_map_is_an_empty_box_of_its_size() -> None:
    found = explained()
    empty = dataclasses.replace(with_heatmaps(found, torch.zeros(1, 1, 20, 40)), why_degenerate=(("constant",),))
    parsed = page(empty)
    assert not parsed.drawn
    assert f"explains {caption(empty, reason='constant')}" in parsed.text
    (box,) = [str(attributes["style"]) for _, attributes in parsed.tags if "dashed" in str(attributes.get("style"))]
    assert "width:256px;height:128px" in box
    assert "background" not in box


def test_nothing_is_loaded_and_nothing_runs() -> None:
    found = explained(1, "all", classes=list(HOSTILE))
    html = found._repr_html_()
    parsed = Page(html)
    assert {tag for tag, _ in parsed.tags} <= {"div", "span", "b", "br", "img"}
    for _, attributes in parsed.tags:
        assert set(attributes) <= {"style", "alt", "src"}
        assert "url(" not in str(attributes.get("style"))
    assert all(
        str(attributes["src"]).startswith("data:image/png;base64,") for tag, attributes in parsed.tags if tag == "img"
    )
    assert not re.search(r"https?:|<script|<link|<style|@import|javascript:", html, re.IGNORECASE)


def test_names_are_escaped() -> None:
    found = dataclasses.replace(
        explained(1, "all", classes=list(HOSTILE)), method="<b>own</b>", layers=("<i>features</i>", "a&b")
    )
    parsed = page(found)
    for name in HOSTILE:
        assert f"explains {name}" in parsed.text
    assert parsed.text.startswith("<b>own</b> at <i>features</i>, a&b")
    assert sum(tag == "img" for tag, _ in parsed.tags) == 4
    assert [attributes["alt"] for tag, attributes in parsed.tags if tag == "img"] == [f"map for {n}" for n in HOSTILE]


@pytest.mark.parametrize(("count", "shown", "note"), [(8, 8, ""), (9, 8, "… and 1 image more"), (11, 8, "3 images")])
def test_eight_images_at_most(count: int, shown: int, note: str) -> None:
    parsed = page(explained(count))
    assert len(parsed.drawn) == shown
    assert note in parsed.text
    assert ("more" in parsed.text) == (count > 8)
    assert "image 7: predicted" in parsed.text
    assert "image 8: predicted" not in parsed.text


@pytest.mark.parametrize(("columns", "note"), [(4, ""), (5, "… and 1 map more"), (6, "… and 2 maps more")])
def test_four_maps_an_image_at_most(columns: int, note: str) -> None:
    targets = torch.arange(columns).remainder(4).expand(2, columns)
    parsed = page(explained(2, targets))
    assert parsed.text.count("explains") == 8
    assert parsed.text.count(note or "explains") == (2 if note else 8)
    assert ("more" in parsed.text) == bool(note)


def test_a_volume_is_shown_by_the_slice_of_its_peak() -> None:
    found = explained(1, rank=3)
    heat = torch.zeros(1, 1, 16, 8, 12)
    heat[0, 0, 11, 3, 4] = 1
    heat[0, 0, 2] = 0.5  # more in sum
    parsed = page(with_heatmaps(found, heat))
    assert parsed.text.endswith(f"explains {caption(found)}slice 11 of 16")
    np.testing.assert_array_equal(parsed.drawn[0], colourise(heat[0, 0, 11]))
    assert "slice" not in page(explained()).text


@pytest.mark.parametrize(
    ("reason", "value", "bias"),
    [("not finite", float("nan"), 0), ("constant", 0, 0), ("all evidence negative", 0, 1)],
)
def test_the_reason_of_an_empty_map_is_shown(reason: str, value: float, bias: float) -> None:
    model = seeded(TinyCNN).eval()
    with torch.no_grad():
        model.features[2].weight.zero_()
        model.features[2].bias.fill_(bias)
        model.features[3].running_mean.fill_(-1)  # so that every channel goes on
        model.features[3].weight.fill_(1)
        model.features[3].bias.fill_(1)
        model.fc.weight.fill_(-1)
    found = pellucid.explain(model, images(1) + value, "hirescam", 1, layers=["features.2"])
    assert found.why_degenerate == ((reason,),)
    assert f"shows nothing: {reason}" in page(found).text
    assert "shows nothing" not in page(explained()).text


def test_a_reason_from_a_file_is_escaped() -> None:
    hostile = dataclasses.replace(explained(), why_degenerate=(("<script>",),))
    assert "shows nothing: <script>" in page(hostile).text


def test_callables_and_methods_without_layers() -> None:
    found = explained(1, lambda logits: logits[:, 0], method="saliency")
    assert page(found).text.startswith("saliency 1 image × 1 map")
    assert "explains callable" in page(found).text


@pytest.mark.parametrize(("size", "expected"), [((8, 4), (256, 128)), ((1, 300), (1, 256)), ((1024, 512), (256, 128))])
def test_maps_of_every_size_are_shown_at_the_same_size(size: tuple[int, int], expected: tuple[int, int]) -> None:
    """Small ones are enlarged by the browser; large ones are made smaller, so that the page stays light."""
    heat = torch.rand(1, 1, *size, generator=torch.Generator().manual_seed(2))
    parsed = page(with_heatmaps(explained(), heat))
    (style,) = [str(attributes["style"]) for tag, attributes in parsed.tags if tag == "img"]
    assert f"width:{expected[1]}px;height:{expected[0]}px" in style
    assert parsed.drawn[0].shape[:2] == tuple(min(pair) for pair in zip(size, expected, strict=True))


def test_maps_that_need_gradients_are_drawn() -> None:
    found = explained()
    parsed = page(with_heatmaps(found, found.heatmaps.clone().requires_grad_()))
    np.testing.assert_array_equal(parsed.drawn[0], page(found).drawn[0])


def test_the_formatter_that_was_registered_last_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display, "_formatters", [])
    assert display.html(3) is None
    display.register_html(lambda shown: f"<i>{shown}</i>")
    display.register_html(lambda shown: f"<b>{shown}</b>")
    assert display.html(3) == "<b>3</b>"


def test_an_explanation_from_another_process_is_shown(tmp_path: Path) -> None:
    """Unpickling imports only ``pellucid`` and core; nothing has imported the renderer before."""
    (tmp_path / "one.pickle").write_bytes(pickle.dumps(explained()))
    script = "import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb'))._repr_html_())"
    command = [sys.executable, "-c", script, str(tmp_path / "one.pickle")]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert Page(printed.strip()).text.startswith("gradcam at features.4")
