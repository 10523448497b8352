"""The demo: a cat as a real network sees it, and a radiograph's reading and windowing. No network needed.

python examples/demo.py [FOLDER]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import pydicom
import skimage

import pellucid

HERE = Path(__file__).parent
METHODS = {"gradcam": "Grad-CAM", "gradcam++": "Grad-CAM++", "hirescam": "HiResCAM"}


def cat(folder: Path) -> str:
    """EfficientNet-Lite0 on a photograph: three methods, and what they should show."""
    model = pellucid.load_model(f"{HERE / 'efficientnet_lite0.py'}:build")
    photo = Path(skimage.__file__).parent / "data" / "chelsea.png"
    image = pellucid.prepare(model, pellucid.read_image(photo))
    panels: list[tuple[PIL.Image.Image, str]] = [(PIL.Image.open(photo), "the picture")]
    for method, title in METHODS.items():
        explanation = pellucid.explain(model, image.values[None], method=method)
        panels.append((pellucid.overlay(explanation, image)[0], title))
    path = folder / "demo.png"
    side_by_side(panels).save(path)
    chance = float(explanation.probabilities.max())
    return "\n".join(
        [
            f"1. A photograph of a cat. EfficientNet-Lite0 says {explanation.label(0)!r}, p = {chance:.2f}.",
            f"   The layer {explanation.layers[0]} was found without being named. Red lies on the cat's face: cheek,",
            "   eyes and forehead speak for the class, the background does not.",
            f"   {path}",
        ]
    )


def radiograph(folder: Path) -> str:
    """An untrained DenseNet on a DICOM file: shown for reading and windowing only."""
    model = pellucid.load_model("torchvision:densenet121")
    scan = Path(pydicom.__file__).parent / "data" / "test_files" / "CT_small.dcm"
    image = pellucid.prepare(model, pellucid.read_image(scan))
    explanation = pellucid.explain(model, image.values[None])
    picture = PIL.Image.fromarray((image.original.pixels[0] * 255).byte().numpy())
    title = "random weights: the map means nothing"
    panels = [(picture, "read and windowed"), (pellucid.overlay(explanation, image)[0], title)]
    path = folder / "dicom.png"
    side_by_side([(panel.resize((384, 384)), text) for panel, text in panels]).save(path)
    return "\n".join(
        [
            "2. A CT slice from a DICOM file, read and windowed, and the map of a DenseNet with RANDOM weights on it:",
            "   the map means nothing; it shows that the file is read, and that the map lies on the original grid",
            "   (the border that the preprocessing cuts off was not seen by the network and is not coloured).",
            f"   {path}",
        ]
    )


def side_by_side(panels: Sequence[tuple[PIL.Image.Image, str]]) -> PIL.Image.Image:
    """Pictures of one height in a row, each over its title."""
    gap, font = 8, PIL.ImageFont.load_default(size=20)
    width, height = panels[0][0].size
    whole = PIL.Image.new("RGB", (len(panels) * (width + gap) - gap, height + 36), "white")
    draw = PIL.ImageDraw.Draw(whole)
    for index, (picture, title) in enumerate(panels):
        left = index * (width + gap)
        whole.paste(picture.convert("RGB"), (left, 0))
        draw.text((left + width // 2, height + 18), title, fill=(60, 60, 60), font=font, anchor="mm")
    return whole


def main(folder: Path) -> None:
    """Write the pictures and say where they are and what they show."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in (cat, radiograph):
        print(part(folder))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo-output"))
