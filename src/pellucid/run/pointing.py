"""What to write where something was given that is no model or no images: the ends of messages."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FunctionType
from typing import Any

from PIL import Image as Pillow
from torch import Tensor, nn

from pellucid.errors import OptionError

_Kind = Callable[[Any], bool]
_Text = Callable[[Any], str]


def check_model(model: object) -> None:
    """Raise unless this is a network.

    Raises:
        OptionError: it is something else; the message says how a model is had from it.
    """
    if isinstance(model, nn.Module):
        return
    cure = next((text(model) for kind, text in _MODELS if kind(model)), "")
    raise OptionError(f"model must be a torch.nn.Module, got {type(model).__name__}{cure}")


def instead_of_images(given: object) -> str:
    """What to write for something that was given as images, as the end of a message."""
    return next((text(given) for kind, text in _IMAGES if kind(given)), "")


def _is_path(one: object) -> bool:
    return isinstance(one, (str, os.PathLike))


def _read(path: Any) -> str:
    reader = "read_series" if Path(path).is_dir() else "read_image"
    return f": read it first, pellucid.explain(model, pellucid.{reader}({str(path)!r}))"


def _loaded(spec: Any) -> str:
    import timm
    import torchvision

    name = str(spec)
    if Path(name).is_file():
        return f": load it, pellucid.load_model(checkpoint={name!r})"
    if name in torchvision.models.list_models():
        name = f"torchvision:{name}"
    elif timm.is_model(name):
        name = f"timm:{name}"
    known = ":" in name
    return f": load it, {'' if known else 'as '}pellucid.load_model({name if known else 'torchvision:resnet18'!r})"


def _of_pipeline(pipeline: Any) -> str:
    takes = hasattr(pipeline, "image_processor")
    images = ", pipe.image_processor(image, return_tensors='pt')['pixel_values']" if takes else ", images"
    return f": take the network within, pellucid.explain({'pipe' if takes else 'it'}.model{images})"


def _of_pillow(image: Pillow.Image) -> str:
    if image.mode in ("L", "RGB"):
        return ": write numpy.asarray(image)"
    if image.mode.startswith(("I", "F")):
        return ": its levels are more than 256, so read the file with pellucid.read_image(path)"
    return ": write numpy.asarray(image.convert('RGB'))"


def _of_file(file: Any) -> str:
    if isinstance(getattr(file, "name", None), str):
        return ": read it first, pellucid.explain(model, pellucid.read_image(file.name))"
    return ": of a photograph write numpy.asarray(PIL.Image.open(file).convert('RGB'))"


def _of_dataset(dataset: Any) -> str:
    if getattr(dataset, "filename", None):
        return ": read its file, pellucid.explain(model, pellucid.read_image(dataset.filename))"
    return ": save it, dataset.save_as('image.dcm'), and give pellucid.read_image('image.dcm')"


def _of_items(items: Any) -> str:
    if all(isinstance(one, Tensor) and one.ndim == 3 for one in items) and items:
        return ": write torch.stack(images)"
    if items and isinstance(items[0], Tensor):
        return ": of a pair of images and labels give the images, batch[0]"
    return instead_of_images(items[0]).replace(": ", ": of each, ", 1) if items else ": give at least one image"


def _is_dataset(one: object) -> bool:
    from pydicom import Dataset

    return isinstance(one, Dataset)


def _is_transform(one: object) -> bool:
    """Whether this is one of torchvision's transforms, some of which are modules."""
    return type(one).__module__.startswith("torchvision.transforms")


def _is_a(kind: type | tuple[type, ...]) -> _Kind:
    return lambda one: isinstance(one, kind)


def _is_loader(one: object) -> bool:
    return hasattr(one, "__iter__") and hasattr(one, "dataset")


def _always(text: str) -> _Text:
    return lambda _: text


_TRANSFORMED = ": give what it returns, pellucid.explain(model, transform(image)[None])"
_FIRST = ": the model comes first, pellucid.explain(model, images)"
_MODELS: tuple[tuple[_Kind, _Text], ...] = (
    (_is_path, _loaded),
    (_is_a(Tensor), _always(_FIRST)),
    (_is_a(type), lambda one: f": create it, {one.__name__}()"),
    (_is_a(FunctionType), lambda one: f": call it, {one.__name__}()"),
    (lambda one: isinstance(getattr(one, "model", None), nn.Module), _of_pipeline),
    (_is_a(Mapping), _always(": of a file of weights write pellucid.load_model(checkpoint=path)")),
)
"""What is taken for a model, and what to write instead."""
_IMAGES: tuple[tuple[_Kind, _Text], ...] = (
    (_is_path, _read),
    (_is_a(Pillow.Image), _of_pillow),
    (_is_dataset, _of_dataset),
    (lambda one: hasattr(one, "read"), _of_file),
    (_is_a((list, tuple)), _of_items),
    (
        lambda one: hasattr(one, "image_processor"),
        _always(": its model comes first, then images as a tensor"),
    ),
    (_is_loader, _always(": give a batch of it, next(iter(loader))[0]")),
    (_is_transform, _always(_TRANSFORMED)),
    (_is_a(nn.Module), _always(_FIRST)),
    (callable, _always(_TRANSFORMED)),
)
"""What is taken for images, and what to write instead."""
