"""The demo page is complete and self-contained, and its figures are those of the maps."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from functools import partialmethod
from html.parser import HTMLParser

import pytest
import torch
from PIL import Image as Pillow
from typer.testing import CliRunner

from pellucid import phantom
from pellucid.cli.main import app
from pellucid.core import catalogue
from pellucid.core.choice import GradedPair
from pellucid.demo import real, study
from pellucid.demo.chosen import Chosen, chosen
from pellucid.demo.page import title, write_demo
from pellucid.methods.occlusion import Occlusion
from pellucid.render.embed import data_uri, outline

IMAGES = 2


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    steps = []
    with pytest.MonkeyPatch.context() as patch:
        # Nine windows an image, in place of 225: what stands on the page does not depend on their size.
        patch.setattr(Occlusion, "__init__", partialmethod(Occlusion.__init__, window=64, stride=32))
        patch.setattr("pellucid.demo.page.chosen", made_up)
        path = write_demo(tmp_path_factory.mktemp("demo") / "new" / "folder", IMAGES, steps.append)
    assert len(steps) == 4
    return path.read_text(encoding="utf-8")


def made_up(network: study.Network, _count: int) -> Chosen:
    """A choice that was not measured: what stands on the page does not depend on it."""
    pair = GradedPair("hirescam", ("network.layer1",), 0.9, 0.8, 1.0, 1)
    rates = [study.Rate(network.title, "auto", hits, 40) for hits in (37, 13)]
    return Chosen(network.title, 30, pair if "convolution" in network.title else None, "no choice: a reason", *rates)


def test_the_page_has_the_choices_with_their_hits(page):
    text = " ".join(re.sub(r"<[^>]+>", " ", page).split())
    assert "HiResCAM, at network.layer1 92 % 37 of 40 32 %" in text
    assert "nothing: no choice: a reason" in text


def test_a_choice_is_measured_on_images_that_did_not_choose():
    (network,) = study.networks(["unguided_cnn"], ["gradcam", "hirescam"])
    found = chosen(network, 14)
    assert found.images >= 8
    assert found.pair is not None or found.reason.startswith("no choice")
    assert found.rate.count == found.convention.count > 0
    assert found.convention.hits == study.rate(network, "gradcam", study.measured_images(14)).hits
    assert chosen(network, 2) is None


class Tags(HTMLParser):
    """Checks that every opened tag is closed, and collects the references of the page."""

    def __init__(self):
        super().__init__()
        self.open, self.references = [], []

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "img", "link", "br"):
            self.open.append(tag)
        self.references += [value for name, value in attributes if name in ("src", "href", "srcset", "data")]

    def handle_startendtag(self, tag, attributes):
        self.references += [value for name, value in attributes if name in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_well_formed_and_self_contained(page):
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert tags.references
    assert all(reference.startswith("data:image/png;base64,") for reference in tags.references)
    assert not re.search(r"https?://|url\(|@import|<script", page)


def test_the_page_shows_every_network_finding_and_method(page):
    networks = study.networks()
    for text in (*phantom.FINDINGS, "no finding", "random weights"):
        assert text in page
    assert all(f"{network.title.capitalize()}:" in page for network in networks)
    cases, maps = len(phantom.FINDINGS) + 1, sum(len(network.methods) for network in networks)
    assert page.count('<circle class="peak"') <= cases * maps + 1
    assert len(re.findall(r'<figcaption>[^<]+<br><span class="(?:hit|miss|neither)">', page)) == cases * maps
    assert all(f">{title(method)}<" in page for method in study.METHODS)


def test_methods_that_read_attention_are_left_out_where_there_is_none():
    cnn, vit = study.networks(("cnn", "vit"))
    assert {name for name in study.METHODS if catalogue.find(name).uses_attention} == {"rollout", "attnlrp"}
    assert set(vit.methods) - set(cnn.methods) == {"rollout", "attnlrp"}
    assert set(cnn.methods) < set(vit.methods) == set(study.METHODS)


def test_the_page_states_what_a_map_does_not_prove(page):
    assert "What it does not prove" in page
    assert "Not for diagnosis" in page


def test_the_page_says_which_maps_show_a_letter(page):
    (line,) = re.findall(r"<li>whether the network uses the lesion.*?</li>", page, re.S)
    assert "A letter is shown by Grad-CAM++, LayerCAM and maps of\npixels" in line
    assert "missed by Grad-CAM and HiResCAM" in line


def test_the_photograph_is_a_cat(page):
    assert "<b>Egyptian cat</b>" in page


def test_without_the_photographs_packages_the_page_names_the_extra(tmp_path, monkeypatch):
    networks = study.networks(("cnn",), ("gradcam",))
    monkeypatch.setattr(study, "networks", lambda *_: networks)
    monkeypatch.setattr(real, "find_spec", lambda _: None)
    assert "pip install &#39;pellucid[demo]&#39;" in write_demo(tmp_path, 1).read_text().replace("'", "&#39;")


def test_the_figures_are_those_of_the_maps(monkeypatch):
    monkeypatch.setattr(study, "HALF", 0.97)  # high enough that some findings count as missed
    networks, drawn = study.networks(study.TAUGHT), phantom.radiographs(6, seed=3)
    one = study.rate(networks[0], "gradcam", drawn)
    hits = count = 0
    for index in range(6):
        for finding in drawn.labels[index].nonzero()[:, 0].tolist():
            found = networks[0].explained("gradcam", drawn.images[index][None], finding)
            if found.probabilities[0, finding] >= 0.97:
                count += 1
                row, column = divmod(int(found.heatmaps.argmax()), 128)
                offsets = drawn.masks[index, finding].nonzero() - torch.tensor([row, column])
                hits += bool(offsets.square().sum(dim=1).min() <= 16)
    assert (one.hits, one.count) == (hits, count)
    assert 0 < count < int(drawn.labels.sum())


def test_the_command_prints_the_path_of_the_page(tmp_path, monkeypatch):
    monkeypatch.setattr("pellucid.demo.write_demo", lambda folder, images, progress: folder / f"{images}.html")
    done = CliRunner().invoke(app, ["demo", "--output", str(tmp_path), "--images", "7"])
    assert done.exit_code == 0
    assert f"{tmp_path / '7.html'}: open it in a browser" in done.stdout.replace("\n", "")


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    done = CliRunner().invoke(app, ["demo", "--output", str(tmp_path / "file" / "below"), "--images", "1"])
    assert done.exit_code == 3
    assert "Traceback" not in done.output
    assert done.stderr.strip().splitlines()[-1].startswith("error: ")


def test_an_outline_surrounds_a_mask():
    mask = torch.zeros(5, 6, dtype=torch.bool)
    mask[1:3, 2:5] = True
    edges = set(re.findall(r"M\d+ \d+[hv]1", outline(mask)))
    top = {f"M{x} 1h1" for x in (2, 3, 4)}
    assert len(edges) == 2 * (3 + 2)
    assert top | {"M2 1v1", "M5 2v1", "M4 3h1"} <= edges
    ET.fromstring(f"<path d='{outline(mask)}'/>")
    assert outline(torch.zeros(3, 3)) == ""


def test_an_image_in_the_page_is_unchanged():
    import base64
    import io

    image = Pillow.fromarray(torch.arange(12, dtype=torch.uint8).reshape(3, 4).numpy())
    data = base64.b64decode(data_uri(image).removeprefix("data:image/png;base64,"))
    assert Pillow.open(io.BytesIO(data)).tobytes() == bytes(range(12))
