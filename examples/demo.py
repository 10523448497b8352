"""The demo: a cat as a real network sees it, and a radiograph's reading and windowing. No network needed.

python examples/demo.py [FOLDER]
"""

from __future__ import annotations

import sys
from pathlib import Path

import pydicom.data
import skimage

import pellucid

HERE = Path(__file__).parent


def cat(folder: Path) -> str:
    """EfficientNet-Lite0 on a photograph: three methods, and what they should show."""
    model = pellucid.load_model(f"{HERE / 'efficientnet_lite0.py'}:build")
    photo = Path(skimage.__file__).parent / "data" / "chelsea.png"
    image = pellucid.prepare(model, pellucid.read_image(photo))
    lines = []
    for method in ("gradcam", "gradcam++", "hirescam"):
        explanation = pellucid.explain(model, image.values[None], method=method)
        path = folder / f"chelsea_{method.replace('++', '_plusplus')}.png"
        pellucid.overlay(explanation, image)[0].save(path)
        lines.append(f"  {path}")
    chance = float(explanation.probabilities[0, 285])
    return "\n".join(
        [
            f"1. A photograph of a cat. EfficientNet-Lite0 says {explanation.label(0)!r}, p = {chance:.2f}.",
            f"   The layer {explanation.layers[0]} was found without being named. Red lies on the cat's face: cheek,",
            "   eyes and forehead speak for the class, the background does not.",
            *lines,
        ]
    )


def radiograph(folder: Path) -> str:
    """An untrained DenseNet on a DICOM file: shown for reading and windowing only."""
    model = pellucid.load_model("torchvision:densenet121")
    scan = Path(pydicom.data.__file__).parent / "test_files" / "CT_small.dcm"
    image = pellucid.prepare(model, pellucid.read_image(scan))
    explanation = pellucid.explain(model, image.values[None])
    path = folder / "ct_random_weights.png"
    pellucid.overlay(explanation, image)[0].save(path)
    return "\n".join(
        [
            "2. A CT slice from a DICOM file, read and windowed, under the map of a DenseNet with RANDOM weights:",
            "   the map means nothing; it shows that the file is read and the map lies on the original grid.",
            f"  {path}",
        ]
    )


def main(folder: Path) -> None:
    """Write the pictures and say where they are and what they show."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in (cat, radiograph):
        print(part(folder))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo-output"))
