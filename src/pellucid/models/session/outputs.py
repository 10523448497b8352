"""Find the class scores in a model's output, whatever its type."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import OutputError, did_you_mean

Choice = str | int | None
"""Which tensor of a model's output is asked for: by name ("disease", "heads.disease", "1"), by position, or found."""
_NAMES = ("logits", "out", "output", "scores", "predictions", "logits_per_image")
_SCORES = re.compile("logit|scor|prob|pred")
_NO_SCORES = re.compile("embed|emb$|feat|hidden|pool|token|latent|represent|attention|attn")
"""Parts of names of tensors, and those of what is no class score; the former decide where a name has both."""
_BOXES = ("boxes", "pred_boxes", "bboxes", "bbox", "proposals")


def raw_logits(output: Any, images: int, choice: Choice = None) -> Tensor:
    """The class scores (B, C) of a model's output: a tensor, dict, tuple or dataclass-like ModelOutput.

    ``choice`` names one of several tensors. Without it, those named logits, out, output, scores, predictions or
    logits_per_image come first, in this order. Of the rest it is the one that is (B, C) or (B,), one logit an image;
    without any, a map (B, C, H, W) or (B, C, D, H, W), as networks give that segment. Of a single image whose axes
    were squeezed away, () is its one logit and (C,) its classes. Half precision comes back as float32. A tensor whose
    name says that it is an embedding, such as image_embeds, pooler_output, features or tokens, is taken only by name.

    Raises:
        OutputError: there are no class scores, several tensors may be the class scores, the only one is an embedding
            by its name, or the model is a detector.
    """
    found = dict(_tensors(output))
    logits = _chosen(found, images, choice) if choice is not None else _found(output, found, images)
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def _found(output: Any, found: Mapping[str, Tensor], images: int) -> Tensor:
    for name in (name for name in _NAMES if name in _fields(output)):
        inner = dict(_tensors(_fields(output)[name], name))
        if _fitting(inner, images):
            return _only(inner, images)
    if any(name.rpartition(".")[2] in _BOXES for name in found):
        raise OutputError(
            f"class scores were expected from the model, got boxes ({_listed(found)}): it is a detector. Wrap it in a "
            "module that returns the score of one box, (B, 1), or choose a tensor with output="
        )
    if not _fitting(found, images):
        raise OutputError(
            f"class scores of shape (B, C) or a map of them (B, C, *space), here with B = {images}, were expected "
            f"from the model, got {_listed(found) or type(output).__name__}: wrap the model so that it returns them"
        )
    return _only(found, images)


def _only(found: Mapping[str, Tensor], images: int) -> Tensor:
    """The one tensor that may be the class scores; raises where several may."""
    fitting = _fitting(found, images)
    if len({id(found[name]) for name in fitting}) > 1:
        several = {name: found[name] for name in fitting}
        first = next(filter(_may_be_scores, several), next(iter(several)))
        raise OutputError(
            f"the model returns several tensors that may be class scores: {_listed(several)}; choose one, as in "
            f"output={first!r}"
        )
    if not any(map(_may_be_scores, fitting)) and not _is_state_of_nothing(found):
        name = next(iter(fitting))
        raise OutputError(
            f"class scores were expected from the model, got {_listed(found)}, where {name!r} is none by its name: "
            f"wrap the model so that it returns class scores, or explain it with output={name!r}"
        )
    return next(iter(fitting.values()))


def _may_be_scores(name: str) -> bool:
    """Whether a tensor's name, the last that is no number, leaves open that it holds class scores."""
    last = next((part for part in reversed(name.split(".")) if not part.isdigit()), "").casefold()
    return _SCORES.search(last) is not None or _NO_SCORES.search(last) is None


def _is_state_of_nothing(found: Mapping[str, Tensor]) -> bool:
    """Whether all that is returned is a "last hidden state" without tokens or places.

    So transformers' PP-LCNet calls the class scores of its classifier.
    """
    return [(name, tensor.ndim) for name, tensor in found.items()] == [("last_hidden_state", 2)]


def _chosen(found: Mapping[str, Tensor], images: int, choice: str | int) -> Tensor:
    """The tensor that was asked for, as class scores."""
    names = list(found)
    name = names[choice] if isinstance(choice, int) and -len(names) <= choice < len(names) else str(choice)
    if name not in found:
        raise OutputError(
            f"output {choice!r} was asked for; the model returns {_listed(found)}{did_you_mean(name, names)}"
        )
    fitting = _fitting({name: found[name]}, images)
    if not fitting:
        raise OutputError(
            f"output {choice!r} was asked for; it is {tuple(found[name].shape)}, and class scores are (B, C) or a map "
            f"of them (B, C, *space), here with B = {images}: choose another, or wrap the model"
        )
    return fitting[name]


def _fitting(found: Mapping[str, Tensor], images: int) -> dict[str, Tensor]:
    """Those of the likeliest shape that there is among them, as class scores."""
    tensors = found.items()
    listed = {n: t.reshape(images, -1) if t.ndim == 1 else t for n, t in tensors if _is_list(t, images)}
    maps = {name: t for name, t in tensors if t.ndim in (4, 5) and len(t) == images and t.numel()}
    flat = {name: t.reshape(1, -1) for name, t in tensors if t.ndim == 1 and images == 1}
    single = {name: t.reshape(1, 1) for name, t in tensors if t.ndim == 0 and images == 1}
    return listed or maps or flat or single


def _is_list(tensor: Tensor, images: int) -> bool:
    return tensor.ndim in (1, 2) and len(tensor) == images and tensor.numel() > 0


def _listed(found: Mapping[str, Tensor]) -> str:
    """Names and shapes, in a line."""
    return ", ".join(f"{name or 'a tensor'} {tuple(tensor.shape)}" for name, tensor in found.items())


def _tensors(output: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """The floating tensors of an output, by their names: keys, fields and positions, joined by dots."""
    if isinstance(output, Tensor):
        if output.is_floating_point():
            yield name, output
        return
    for key, item in _fields(output).items():
        yield from _tensors(item, f"{name}.{key}" if name else key)


def _fields(output: Any) -> dict[str, Any]:
    """What an output contains, by name; by position in a tuple or list without names."""
    if isinstance(output, Mapping):
        return {str(key): item for key, item in output.items()}
    if isinstance(output, (tuple, list)):
        names = getattr(output, "_fields", None) or range(len(output))
        return {str(name): item for name, item in zip(names, output, strict=True)}
    if is_dataclass(output):
        return {field.name: getattr(output, field.name, None) for field in fields(output)}
    return {}
