"""A real viewer draws the objects: {CT, MR, CR, MG, US} × {SC, SR, SEG, PM}. Run by ``make test-viewer``.

OHIF, an archive and a headless browser, in a network of their own. The test looks at pixels: the colour that an object
adds to the viewport correlates with the map, and does not with its mirror images.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from tests.pacs.archive import WEB, archive, needed, store, version
from tests.viewer.browsing import CHROMIUM, Viewer, browser, save
from tests.viewer.comparing import Picture, blurred, colour, correlation, edge, mirrored, on_page, warmth
from tests.viewer.origin import origin
from tests.viewer.report import Report
from tests.viewer.studies import FINDING, IN_THE_PATIENT, MODALITIES, OBJECTS, PEAK, Study, study

pytest.importorskip("playwright", reason="Playwright is not installed: make test-viewer")
VIEWER = Path(os.environ.get("PELLUCID_VIEWER", "nowhere"))
"""The folder of the built viewer."""
pytestmark = [
    *needed("test-viewer"),
    pytest.mark.skipif(not VIEWER.is_dir(), reason="the viewer is not there: make test-viewer"),
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="Chromium is not installed: make test-viewer"),
]
SERIES = {"pm": 9001, "sc": 9002, "seg": 9003, "sr": 9004}
AT_LEAST, AT_MOST = 0.6, 0.3
"""The correlation with the map, and with its mirror images."""


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Study]:
    folder = tmp_path_factory.mktemp("studies")
    return {modality: study(modality, folder / modality) for modality in MODALITIES}


@pytest.fixture(scope="module")
def report() -> Iterator[Report]:
    """The matrix, written where ``PELLUCID_VIEWERS_PAGE`` says."""
    made = Report()
    yield made
    if "PELLUCID_VIEWERS_PAGE" in os.environ:
        made.write(Path(os.environ["PELLUCID_VIEWERS_PAGE"]))


@pytest.fixture(scope="module")
def pages(studies: dict[str, Study], report: Report, tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """A function that gives a new page of the viewer with a study."""
    with archive(tmp_path_factory.mktemp("orthanc")), origin(VIEWER, WEB) as address, browser() as started:
        for one in studies.values():
            for path in one.files:
                store(path)
        report.versions = {
            "OHIF": os.environ.get("PELLUCID_VIEWER_VERSION", "?"),
            "Chromium": started.version,
            "Orthanc": version(),
        }

        def opened(modality: str) -> Viewer:
            viewer = Viewer(started.new_context(viewport={"width": 1280, "height": 800}).new_page())
            viewer.open(f"{address}/viewer?StudyInstanceUIDs={studies[modality].uid}")
            return viewer

        yield opened


def expected(one: Study, kind: str, heat: Picture) -> Picture:
    """What the viewer should draw of a map."""
    if kind == "sc":
        return on_page(heat, one.objects["sc"][0].pixel_array.shape[:2])
    if kind == "seg":
        return (heat >= 0.5 * heat.max()).astype(np.float32)
    return edge(heat) if kind == "sr" else heat


def drawn(kind: str, before: Picture, after: Picture) -> Picture:
    """The colour that the object adds to the grey image in the viewport; a capture is in colour itself."""
    if kind == "sc":
        return warmth(after)
    added = np.clip(colour(after) - colour(before), 0, None)
    return blurred(added) if kind == "sr" else added


@pytest.mark.parametrize("kind", OBJECTS)
@pytest.mark.parametrize("modality", MODALITIES)
def test_the_viewer_draws_the_map(
    modality: str, kind: str, pages: object, studies: dict[str, Study], report: Report
) -> None:
    one = studies[modality]
    if modality not in IN_THE_PATIENT and kind in ("seg", "pm"):
        assert "take sc or sr" in one.refused[kind]
        report.add(modality, kind, "not written: no geometry")
        return
    viewer = pages(modality)
    viewer.go_to(PEAK if modality in IN_THE_PATIENT else 0)
    before = viewer.shown()
    viewer.show(SERIES[kind])
    if modality in IN_THE_PATIENT:
        viewer.go_to(PEAK)
    viewer.shown()
    save(viewer.page, VIEWER.parents[1] / "screenshots" / f"{modality}-{kind}.png")
    assert not viewer.failed
    if kind == "sr":
        assert viewer.text() == f"Probability of {FINDING}: 0.69 1"
    viewer.hide_text()
    after = viewer.shown()
    assert viewer.errors == []
    found = drawn(kind, before, after)
    right, *wrongs = (correlation(found, expected(one, kind, heat)) for heat in (one.heat, *mirrored(one.heat)))
    wrong = max(wrongs)
    report.add(modality, kind, f"{right:.2f} (mirrored {wrong:.2f})")
    assert (right >= AT_LEAST, wrong <= AT_MOST) == (True, True), (right, wrong)
    viewer.page.context.close()


def test_a_wrong_picture_is_noticed(studies: dict[str, Study]) -> None:
    """The comparison, without a viewer: a mirrored map, a shifted one, noise and a blank page fail."""
    heat = studies["CT"].heat
    tall = np.asarray(Pillow.fromarray(heat).resize((954, 715)), np.float32)
    canvas = np.zeros((742, 955), np.float32)
    canvas[13:728, 0:954] = tall
    assert correlation(canvas, heat) > 0.99
    for other in mirrored(canvas):
        assert correlation(other, heat) < AT_MOST
    assert correlation(np.roll(canvas, 240, axis=1), heat) < AT_LEAST
    noise = np.random.default_rng(0).random(canvas.shape, np.float32)
    assert abs(correlation(noise, heat)) < AT_MOST
