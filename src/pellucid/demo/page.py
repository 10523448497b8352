"""Writes the demo page: a single HTML file with all images, styles and figures in it."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from PIL import Image as Pillow
from torch import Tensor

from pellucid.core import catalogue
from pellucid.demo import real, study
from pellucid.demo.chosen import chosen
from pellucid.export.writing import check_writable, write
from pellucid.render.colour import blend, colourise
from pellucid.render.embed import data_uri, outline
from pellucid.report.templating import templates

IMAGES = 60
NAME = "pellucid-demo.html"
PHOTOGRAPH = ("gradcam", "hirescam", "layercam")


def write_demo(folder: Path, images: int = IMAGES, progress: Callable[[str], None] = lambda _: None) -> Path:
    """Write the page ``pellucid-demo.html`` into ``folder`` and return its path; ``progress`` receives each step.

    ``images``: the number of phantoms for the hit rates. ``WriteError``: the folder cannot be written to.
    """
    check_writable(folder)
    networks = study.networks()
    progress("drawn radiographs")
    shown = study.cases(networks)
    progress(f"hit rates on {images} more")
    rates = study.rates(networks, images, study.networks(study.TAUGHT))
    progress("methods chosen without masks")
    choices = [chosen(network, images) for network in networks]
    progress("a photograph and a DICOM file")
    photo, scan = real.photograph(PHOTOGRAPH), real.dicom("gradcam")
    text = _template().render(
        cases=[_case(case) for case in shown],
        rates=rates,
        groups=[_group(network.title, rates) for network in networks],
        choices=[one for one in choices if one is not None],
        photograph=photo,
        scan=scan,
        versions=_versions(),
    )
    write(folder, {NAME: text.encode()}, overwrite=True)
    return folder / NAME


def title(method: str) -> str:
    """The usual name of a method."""
    return catalogue.summary(catalogue.find(method)).partition(" (")[0]


def _template() -> Any:
    environment = templates("pellucid.demo")
    environment.filters |= {"title": title, "uri": data_uri, "percent": _percent}
    environment.globals |= {"meaning": study.METHODS, "half": study.HALF, "colours": data_uri(_colours())}
    return environment.get_template("page.html")


def _colours() -> Pillow.Image:
    """The colour scale, from no evidence to the most."""
    return Pillow.fromarray(colourise(torch.linspace(0, 1, 256).expand(8, -1)))


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


@dataclass(frozen=True, eq=False)
class _Figure:
    """A map over its image, with its peak and whether that hits."""

    method: str
    overlay: str
    peak: tuple[int, int] | None
    hit: bool | None


def _case(case: study.Case) -> dict[str, Any]:
    return {
        "finding": case.finding,
        "explained": case.explained,
        "side": case.image.shape[-1],
        "image": data_uri(_grey(case.image)),
        "truth": outline(case.mask),
        "readings": [(reading, _figures(case.image, reading.maps)) for reading in case.readings],
    }


def _figures(image: Tensor, maps: Sequence[study.Shown]) -> list[_Figure]:
    return [_Figure(one.method, data_uri(blend(image, one.heat)), one.peak, one.hit) for one in maps]


def _grey(image: Tensor) -> Pillow.Image:
    return Pillow.fromarray((image[0] * 255).round().byte().numpy())


def _group(network: str, rates: study.Rates) -> dict[str, Any]:
    """The hit rates of one network, the best method first."""
    rows = sorted((row for row in rates.rows if row.network == network), key=lambda row: -row.share)
    return {"network": network, "rows": rows, "skills": [s for s in rates.skills if s.network == network]}


def _versions() -> str:
    parts = [f"pellucid {version('pellucid')}", f"PyTorch {torch.__version__}", f"Python {platform.python_version()}"]
    return ", ".join(parts)
