"""The documentation's commands, so that they take less time."""

from __future__ import annotations

from collections.abc import Sequence

SIDES = {"explain": "64", "evaluate": "64", "tune": "64", "robustness": "32"}
"""The input size of these commands; robustness takes many passes."""
FEWER = {"choose": ("--candidates", "saliency,gradcam", "--first-stage")}
"""What leaves out most of the work of these commands."""
SIZELESS = ("--checkpoint", "torchvision:resnet18")
"""What names a network of images of any size."""


def quick(words: Sequence[str]) -> list[str]:
    """The same command with small images, unless it or a factory states a size, and with less to try."""
    command, *rest = words
    if "--seconds" in rest:
        rest[rest.index("--seconds") + 1] = "0"  # takes less than to tell the settings apart
    stated = any(one == "--size" or ".py:" in one for one in rest)
    if command in SIDES and not stated and any(one in rest for one in SIZELESS):
        rest += ["--size", SIDES[command]]
    return [command, *rest, *FEWER.get(command, ())]
