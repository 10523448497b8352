"""Find whether a checkpoint says that its classes are findings each, or one of many: by its loss, task or names.

Nothing of it is trusted: what is neither counts as not stated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pellucid.models.checkpoints.stated import DEPTH, PARTS

_ENTRIES = ("head", "loss", "loss_fn", "loss_name", "loss_type", "criterion", "task", "task_type", "problem_type")
_ENDS = ("final_activation", "output_activation")
_FLAGS = ("multi_label", "multilabel", "is_multilabel", "multi_label_classification")
_FINDINGS = ("findings", "pathologies", "abnormalities")
"""Entries that name what may be present together."""
LONGEST = 200
"""Letters of the name of a loss or a task."""
_SEVERAL = ("bce", "binarycrossentropy", "multilabel", "sigmoid", "asymmetricloss")
_ONE = ("crossentropy", "nllloss", "singlelabel", "multiclass", "softmax")


def find_head(content: Any) -> str | None:
    """Return "sigmoid" or "softmax" where a checkpoint's content says which; None where it does not, or says both."""
    said = {head for mapping in _mappings(content, DEPTH) for head in _said(mapping)}
    return said.pop() if len(said) == 1 else None


def _mappings(content: Any, depth: int) -> Iterator[Mapping[Any, Any]]:
    """The content, and settings within it."""
    if not isinstance(content, Mapping):
        return
    yield content
    for name in (*PARTS, "training", "train", "loss") if depth else ():
        yield from _mappings(content.get(name), depth - 1)


def _said(settings: Mapping[Any, Any]) -> Iterator[str]:
    for name in (*_ENTRIES, *_ENDS):
        found = _of_text(settings.get(name))
        if found is not None:
            yield found
    for name in _FLAGS:
        if isinstance(settings.get(name), bool):
            yield "sigmoid" if settings[name] else "softmax"
    if any(isinstance(settings.get(name), (list, tuple)) and len(settings[name]) > 1 for name in _FINDINGS):
        yield "sigmoid"


def _of_text(text: Any) -> str | None:
    """The head that a loss or a task goes with, such as BCEWithLogitsLoss or multi-label classification."""
    if not isinstance(text, str) or len(text) > LONGEST:
        return None
    plain = re.sub(r"[^a-z]", "", text.lower())
    if any(part in plain for part in _SEVERAL):
        return "sigmoid"
    return "softmax" if any(part in plain for part in _ONE) else None
