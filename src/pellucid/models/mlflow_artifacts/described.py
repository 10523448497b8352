"""What ``MLmodel`` states: the flavour of a model, where its weights are, and settings of its images and classes."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pellucid.errors import SourceError
from pellucid.models.mlflow_artifacts.names import is_component, shown_name

FILE = "MLmodel"
TORCH, ONNX = "pytorch", "onnx"
_DATA = {TORCH: ("model_data", "data"), ONNX: ("data", "model.onnx")}
"""By flavour: under which key its files are stated, and where they are if nothing is."""
_GENERIC = "python_function"
_LONGEST_VALUE = 6_000
"""Letters of a logged parameter; MLflow keeps no more."""

Settings = tuple[tuple[Mapping[str, Any], str], ...]
"""Settings, each with the name of where they are stated, the most certain first."""


@dataclass(frozen=True)
class Data:
    """Where the files of a flavour are among the artifacts."""

    flavour: str
    path: str


def data_in(description: Mapping[str, Any], uri: str) -> Data:
    """Return where the network is. ``SourceError``: the model is none of PyTorch or ONNX."""
    flavours = description.get("flavors")
    flavours = flavours if isinstance(flavours, Mapping) else {}
    known = next((name for name in _DATA if isinstance(flavours.get(name), Mapping)), None)
    if known is None:
        kinds = [shown_name(name) for name in flavours if isinstance(name, str) and name != _GENERIC]
        found = f"a model of {', '.join(kinds[:5])}" if kinds else "a model of no library"
        raise SourceError(
            f"{uri}: a network of PyTorch or ONNX was expected, got {found}; log one with mlflow.pytorch or mlflow.onnx"
        )
    key, usual = _DATA[known]
    path = flavours[known].get(key, usual)
    if not isinstance(path, str) or not all(map(is_component, path.split("/"))):
        raise SourceError(f"{uri}: {FILE} states its files at {shown_name(str(path))!r}, which is no plain path")
    return Data(known, path)


def settings_of(description: Mapping[str, Any], parameters: Mapping[str, str]) -> Settings:
    """Return what is stated of images and classes: by the model's metadata, its parameters, and its signature."""
    metadata = description.get("metadata")
    logged = {name: _value(text) for name, text in parameters.items()}
    found = [
        (metadata if isinstance(metadata, Mapping) else {}, f"the metadata of {FILE}"),
        (logged, "the logged parameters"),
        (_signature(description.get("signature")), "the signature"),
    ]
    return tuple((settings, place) for settings, place in found if settings)


def _value(text: str) -> Any:
    """A parameter's value: MLflow logs the text of whatever it was."""
    if len(text) > _LONGEST_VALUE:
        return None
    for reader in (json.loads, ast.literal_eval):
        try:
            return reader(text)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
    return text


def _signature(stated: object) -> Mapping[str, Any]:
    """The size of the images, if the model takes one tensor of them and states its size."""
    text = stated.get("inputs") if isinstance(stated, Mapping) else None
    inputs = _value(text) if isinstance(text, str) else None
    if not isinstance(inputs, list) or len(inputs) != 1:
        return {}
    tensor = inputs[0].get("tensor-spec") if isinstance(inputs[0], Mapping) else None
    shape = tensor.get("shape") if isinstance(tensor, Mapping) else None
    return {"input_size": _sides(shape)} if isinstance(shape, list) and _sides(shape) else {}


def _sides(shape: Sequence[Any]) -> list[int]:
    """Height and width, or depth too, of (B, C, *space); nothing where one of them is free."""
    sides = [side for side in shape[2:] if isinstance(side, int) and not isinstance(side, bool) and side > 1]
    return sides if len(sides) == len(shape) - 2 and len(sides) in (2, 3) else []
