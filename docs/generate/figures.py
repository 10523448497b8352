"""Draws the example images of the methods' pages: a drawn radiograph, and every method's map of it for two networks.

They are cached in docs/.cache until the package or this file changes.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import costs  # this folder is importable while MkDocs loads its hooks
import method_pages
import PIL.Image
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import pellucid
from pellucid import phantom
from pellucid.core import catalogue
from pellucid.core.method import Method

HERE = Path(__file__).parent
CACHE = HERE.parent / ".cache"
PACKAGE = Path(pellucid.__file__).parent

TARGET, OTHER = "nodule", "consolidation"
SIDE = 256
FEW = {"masks": 600, "samples": 8, "steps": 16}
"""Options of a method that are reduced for the examples: fewer passes than by default."""

ALIKE = 0.01
"""The share of a fine map's pixels that are drawn at full strength."""

CAPTION = (
    f"A drawn radiograph with a {TARGET} (white outline), which is explained, and a {OTHER} (dashed), which is not. "
    "The networks are small trained ones of `pellucid.phantom`. The image was selected by their predictions, with the "
    "findings in different lungs, and not by the maps. In maps at the resolution of the image, the strongest 1 % of "
    "the pixels are drawn at full strength. One image proves nothing: see [which map to trust](../trust.md)."
)


def drawn() -> dict[tuple[str, str], Path]:
    """The images' files by (method, network), ("", "") for the radiograph; drawn if they are not cached."""
    folder = CACHE / _version()
    made = {key: folder / name for key, name in _names().items()}
    if not all(path.is_file() for path in made.values()):
        shutil.rmtree(CACHE, ignore_errors=True)  # images of other versions
        folder.mkdir(parents=True, exist_ok=True)
        with costs.one_thread():
            _draw(made)
    return made


def _networks() -> dict[str, nn.Module]:
    return {"CNN": phantom.unguided_cnn(), "ViT": phantom.unguided_vit()}


def _names() -> dict[tuple[str, str], str]:
    names = {("", ""): "phantom.webp"}
    for about in method_pages.methods():
        for network in ["ViT"] if about.reads_attention else ["CNN", "ViT"]:
            names[about.name, network] = f"{about.slug}-{network.lower()}.webp"
    return names


def _version() -> str:
    """A digest of everything that the images depend on."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for path in sorted(PACKAGE.rglob("*")):
        if path.suffix in (".py", ".safetensors"):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _draw(made: dict[tuple[str, str], Path]) -> None:
    networks = _networks()
    image, outlines = _case(networks)
    for (name, network), path in made.items():
        shown = _large(image)
        if name:
            model = networks[network]
            explanation = pellucid.explain(
                model, _prepared(model, image), method=_with_fewer_passes(name), targets=TARGET
            )
            shown = pellucid.overlay(_visible(explanation), image)[0]
        _save(shown, outlines, path)


def _visible(explanation: pellucid.Explanation) -> pellucid.Explanation:
    """A map at the image's resolution, clipped at its strongest pixels: a few would make all others invisible."""
    heatmaps = explanation.heatmaps
    if explanation.attributions.shape != heatmaps.shape:
        return explanation
    most = heatmaps.flatten(2).quantile(1 - ALIKE, dim=2)[..., None, None].clamp(min=1e-6)
    return replace(explanation, heatmaps=(heatmaps / most).clamp(max=1))


def _case(networks: dict[str, nn.Module]) -> tuple[Tensor, Tensor]:
    """The radiograph (1, 1, H, W) for which both networks are most certain, and the masks of its findings (2, H, W).

    Only radiographs with the findings in different lungs are considered, so that their maps can be distinguished.
    """
    phantoms = phantom.radiographs(64, seed=11, findings=(TARGET, OTHER))
    kinds = [phantom.FINDINGS.index(kind) for kind in (TARGET, OTHER)]
    right = _middles(phantoms.masks[:, kinds]) > phantoms.masks.shape[-1] / 2
    certainty = torch.stack([_probabilities(model, phantoms.images) for model in networks.values()]).amin(0)
    index = int(certainty.where(right[:, 0] != right[:, 1], 0).argmax())
    return phantoms.images[index : index + 1], phantoms.masks[index, kinds]


def _middles(masks: Tensor) -> Tensor:
    """The mean column of each mask (..., H, W)."""
    columns = masks.sum(-2).float()
    return (columns * torch.arange(columns.shape[-1])).sum(-1) / columns.sum(-1).clamp(min=1)


def _probabilities(model: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return model(_prepared(model, images)).sigmoid()[:, phantom.FINDINGS.index(TARGET)]


def _prepared(model: nn.Module, images: Tensor) -> Tensor:
    preprocessing = pellucid.model_info(model).preprocessing
    return images if preprocessing is None else preprocessing.normalise(images)


def _with_fewer_passes(name: str) -> Method:
    cls = catalogue.find(name)
    return cls(**{key: value for key, value in FEW.items() if key in catalogue.options(cls)})


def _large(image: Tensor) -> PIL.Image.Image:
    return PIL.Image.fromarray((image[0, 0] * 255).byte().numpy())


def _save(image: PIL.Image.Image, outlines: Tensor, path: Path) -> None:
    """Write an image at ``SIDE`` pixels with the findings' outlines, the second one dashed."""
    large = image.convert("RGB").resize((SIDE, SIDE), PIL.Image.Resampling.BICUBIC)
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    dashes = ((rows + columns) % 10 < 5) & ((rows - columns) % 10 < 8)
    target, other = (_outline(mask) for mask in outlines)
    line = PIL.Image.fromarray(((target | (other & dashes)) * 255).byte().numpy())
    large.paste((255, 255, 255), mask=line)
    large.save(path, quality=90)


def _outline(mask: Tensor) -> Tensor:
    """A line of 2 pixels around a mask (H, W), at ``SIDE`` pixels."""
    smooth = F.interpolate(mask[None, None].float(), (SIDE, SIDE), mode="bilinear", align_corners=False)
    inside = (smooth > 0.5).float()
    grown = F.max_pool2d(inside, 5, stride=1, padding=2)
    return ((grown > 0) & (inside == 0))[0, 0]
