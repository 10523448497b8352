"""The caption of a drawn map, for all files and displays: what the map explains and how, in one line of text."""

from __future__ import annotations

from collections.abc import Sequence

from pellucid.core.explanation import Explanation
from pellucid.core.grade import caption_text

NOT_FOR_DIAGNOSIS = "AI explanation, not for diagnosis"
SEPARATOR = " · "
_MAX_PART = 100
"""The most characters of a name: a class name of a file may be of any length."""


def caption(explanation: Explanation, image: int = 0, column: int = 0, reason: str | None = None) -> str:
    """The class with its probability, the method and its layers, the grade, and that the map is not for diagnosis.

    Of an image of a sequence it says which one.

    ``reason`` is why the map shows nothing, where it does not. A callable target has no class and no probability.
    """
    index = int(explanation.targets[image, column])
    parts = [explained_class(explanation, index)]
    if index >= 0:
        parts.append(explanation.reading(image, index).measure)
    parts.append(shortened(explained_by(explanation.method, explanation.layers)))
    if explanation.of_sequence is not None:
        parts.append(explanation.of_sequence)
    if reason is not None:
        parts.append(f"shows nothing: {shortened(reason)}")
    graded = caption_text(explanation, image, column)
    if graded is not None:
        parts.append(graded)
    return SEPARATOR.join([*parts, NOT_FOR_DIAGNOSIS])


def explained_class(explanation: Explanation, index: int) -> str:
    """The class that a map explains, such as "nodule (2)"; "callable target" for −1."""
    return "callable target" if index < 0 else class_text(explanation.class_name(index), index)


def class_text(name: str, index: int | None) -> str:
    """A class by its name and number: a name alone may occur twice, or have letters that a font does not have."""
    if index is None:
        return shortened(name)
    return f"class {index}" if name == str(index) else f"{shortened(name)} ({index})"


def explained_by(method: str, layers: Sequence[str]) -> str:
    """A method and the layers that it looked at."""
    return f"{method} at {', '.join(layers)}" if layers else method


def shortened(text: str) -> str:
    """A text cut to what a caption has room for."""
    return text if len(text) <= _MAX_PART else f"{text[: _MAX_PART - 1]}…"
