"""The notebook's viewer without a browser, and a notebook that nbconvert runs from the first cell to the last."""

from __future__ import annotations

import dataclasses
import html
import io
import re
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from nbconvert import HTMLExporter
from nbconvert.preprocessors import ExecutePreprocessor
from PIL import Image as Pillow

import pellucid
from pellucid.core.caption import caption
from pellucid.core.style import Style
from pellucid.errors import MissingPackageError, OptionError, ShapeError
from pellucid.render.volume import drawing
from tests.networks import TinyCNN, images, seeded
from tests.render.test_notebook import HOSTILE, explained
from tests.render.test_show import Views, found_on, read


def controls(view) -> dict[str, object]:
    return {one.description: one for one in view.children if hasattr(one, "description") and one.description}


def shown(view) -> np.ndarray:
    return np.asarray(Pillow.open(io.BytesIO(view.children[-2].value)))


def written(view) -> str:
    return html.unescape(view.children[-1].value)


def test_an_image_and_its_maps() -> None:
    both = [read((60, 48)), read((60, 48), 1)]
    first, second = found_on(*both), found_on(*both, method="saliency")
    view = pellucid.viewer([first, second])
    own = controls(view)
    assert list(own) == ["image", "method", "class", "opacity"]
    assert [text for text, _ in own["method"].options] == ["gradcam at features.4", "saliency"]
    for number, method, column, alpha in [(0, 0, 0, 0.5), (1, 0, 2, 0.5), (1, 1, 2, 0.2), (0, 1, 3, 1.0)]:
        own["image"].value, own["method"].value = number, method
        own["class"].value, own["opacity"].value = column, alpha
        found = (first, second)[method]
        one = found.one(number, column)
        np.testing.assert_array_equal(shown(view), np.asarray(pellucid.overlay(one, found.images[number], alpha)[0]))
        assert written(view) == caption(one, reason=one.why_degenerate[0][0])
        assert f", p = {float(found.probabilities[number, column]):.3f}" in own["class"].options[column][0]


def test_what_needs_no_choice_has_no_control() -> None:
    view = pellucid.viewer(explained(1, 1), images(1).sigmoid())
    assert list(controls(view)) == ["opacity"]
    method = [explained(1, 1), explained(1, "all")]
    own = controls(pellucid.viewer(method, images(1).sigmoid()))
    assert list(own) == ["method", "class", "opacity"]
    assert len(own["class"].options) == 1
    own["method"].value = 1
    own["class"].value = 3
    own["method"].value = 0
    assert (len(own["class"].options), own["class"].value) == (1, 0)


def test_a_volume_by_its_slices() -> None:
    volumes = images(1, 3, (16, 8, 12)).sigmoid()
    found = pellucid.explain(seeded(TinyCNN, 3).eval(), volumes, targets=torch.tensor([[0, 1]]))
    heat = torch.zeros(1, 2, 16, 8, 12)
    heat[0, 0, 11, 3, 4] = heat[0, 1, 5, 2, 2] = 1
    found = dataclasses.replace(found, heatmaps=heat, why_degenerate=((None, None),))
    view = pellucid.viewer(found, volumes)
    own = controls(view)
    assert (own["slice"].value, own["slice"].max) == (11, 15)
    own["class"].value = 1
    assert own["slice"].value == 5
    own["slice"].value, own["opacity"].value = 4, 0.7
    image = pellucid.Image(volumes[0], volumes[0], pellucid.Geometry.identity((16, 8, 12)))
    expected = drawing(image, heat[0, 1], Style(0.7)).plane(0, 4, 512)
    np.testing.assert_array_equal(shown(view), np.asarray(expected))


def test_a_sequence_by_its_images() -> None:
    views = images(3)[None].sigmoid()
    found = pellucid.explain(seeded(Views).eval(), views, targets=1)
    view = pellucid.viewer(found, views)
    assert view.children[-2].layout.width == "512px"
    own = controls(view)
    peak = int(found.heatmaps[0, 0].flatten(1).amax(1).argmax())
    assert (own["slice"].value, own["slice"].max) == (peak, 2)
    for number in range(3):
        own["slice"].value = number
        expected = pellucid.overlay(found.member(number), views[0, number])[0]
        np.testing.assert_array_equal(shown(view), np.asarray(expected))
        assert f"image {number + 1} of 3" in written(view)


def test_names_are_text() -> None:
    found = dataclasses.replace(explained(1, "all"), classes=HOSTILE)
    view = pellucid.viewer(found, images(1).sigmoid())
    assert "<" not in view.children[-1].value
    assert written(view).startswith(HOSTILE[0])


def test_what_cannot_be_viewed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match=r"without images; give those that were explained, pellucid\.viewer\(found, "):
        pellucid.viewer(explained())
    with pytest.raises(ShapeError, match="2 images were explained, 1 were given"):
        pellucid.viewer(explained(2), images(1))
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    text = "^the viewer was asked for; ipywidgets is not installed: pip install 'pellucid\\[notebook\\]'$"
    with pytest.raises(MissingPackageError, match=text):
        pellucid.viewer(explained(), images(1))


CELLS = [
    "import torch, pellucid\nfrom tests.networks import TinyCNN, images, seeded\nmodel = seeded(TinyCNN).eval()",
    "batch = images(2).sigmoid()\npellucid.explain(model, batch, head='softmax')",
    "found = pellucid.explain(model, batch, 'hirescam', 'all', head='softmax')\npellucid.show(found, batch)",
    "pellucid.overlay(found, batch)",
    "pellucid.viewer(found, batch)",
    "pellucid.Image(batch[0], batch[0], pellucid.Geometry.identity((32, 32)))",
]


def test_a_notebook_runs_from_first_cell_to_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", f"{root / 'src'}:{root}")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in CELLS])
    ExecutePreprocessor(timeout=300, kernel_name="python3").preprocess(notebook, {"metadata": {"path": str(tmp_path)}})
    page, _ = HTMLExporter().from_notebook_node(notebook)
    outputs = [cell.outputs[0].data for cell in notebook.cells if cell.outputs]
    pictures = [len(re.findall("<img ", data.get("text/html", ""))) for data in outputs]
    assert pictures == [2, 2 * 5, 8, 0, 0]
    assert "maps alone: pellucid.show(explanation, images)" in outputs[0]["text/html"]
    assert outputs[2]["text/plain"] == "<8 overlays of 32×32 pixels>"
    assert "application/vnd.jupyter.widget-view+json" in outputs[3]
    assert outputs[4]["text/plain"] == "Image(3×32×32)"
    assert page.count("data:image/png;base64,") >= 20
