"""An explanation: the maps, with the evidence that they rest on."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from pellucid.core import head as heads
from pellucid.errors import ImageError

_ARRAYS = ("heatmaps", "attributions", "logits", "targets", "degenerate")
_FORMAT = "pellucid explanation 1"
_MOST_BYTES = 2**31
"""What an explanation's file may hold unpacked."""


@dataclass(frozen=True, eq=False)
class Explanation:
    """Which pixels made the model say so, for B images and K classes each.

    | field | shape | |
    | --- | --- | --- |
    | ``heatmaps`` | (B, K, *space) float32 | in [0, 1], at the input's size; 1 is the strongest evidence |
    | ``attributions`` | (B, K, *grid) float32 | on the layer's grid, unscaled: comparable between images |
    | | | (with several layers: the last one's in network order) |
    | ``logits`` | (B, C) float32 | of the same forward pass |
    | ``targets`` | (B, K) int64 | the class that each map explains; −1 for a callable |
    | ``degenerate`` | (B, K) bool | the map shows nothing: its heatmap is zeros, ``why_degenerate`` says why |
    | ``method``, ``layers`` | | the method's name; the layers' in network order |
    | ``head``, ``classes`` | | how the logits are read (softmax, sigmoid, binary); names, where known |
    | ``by_layer`` | | each layer's own explanation, from the same pass |
    | ``provenance`` | | the method's parameters, versions, precision, seed |
    """

    heatmaps: Tensor
    attributions: Tensor
    logits: Tensor
    targets: Tensor
    degenerate: Tensor
    why_degenerate: tuple[tuple[str | None, ...], ...]
    method: str
    layers: tuple[str, ...]
    head: str = "softmax"
    classes: tuple[str, ...] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    by_layer: Mapping[str, Explanation] = field(default_factory=dict)

    @property
    def probabilities(self) -> Tensor:
        """The classes' probabilities, (B, C): softmax of the logits, or each one's sigmoid."""
        return heads.probabilities(self.logits, self.head)

    def label(self, image: int, column: int = 0) -> str:
        """The name of the class that a map explains, else its number; "callable" for a callable target."""
        index = int(self.targets[image, column])
        return "callable" if index < 0 else self.class_name(index)

    def class_name(self, index: int) -> str:
        """The name of a class, else its number."""
        return self.classes[index] if self.classes is not None else str(index)

    def one(self, image: int, column: int) -> Explanation:
        """The explanation of one image by one of its maps, still with axes of 1 for both."""
        maps = {name: getattr(self, name)[image, column][None, None] for name in _ARRAYS if name != "logits"}
        return replace(
            self,
            **maps,
            logits=self.logits[image][None],
            why_degenerate=((self.why_degenerate[image][column],),),
            by_layer={layer: own.one(image, column) for layer, own in self.by_layer.items()},
        )

    def __len__(self) -> int:
        """The number of images, B."""
        return len(self.logits)

    def save(self, file: str | os.PathLike[str] | BinaryIO) -> None:
        """Write everything but ``by_layer`` to one compressed .npz file, without pickle."""
        import numpy as np

        arrays = {name: getattr(self, name).detach().cpu().numpy() for name in _ARRAYS}
        facts = {name: getattr(self, name) for name in ("method", "layers", "head", "classes", "why_degenerate")}
        facts |= {"format": _FORMAT, "provenance": dict(self.provenance)}
        arrays["facts"] = np.array(json.dumps(facts))
        if isinstance(file, (str, os.PathLike)):
            with Path(file).open("wb") as opened:
                np.savez_compressed(opened, **arrays)
        else:
            np.savez_compressed(file, **arrays)


def _check_arrays(arrays: dict[str, Tensor]) -> None:
    """Raise ``ValueError`` unless these are an explanation's arrays, of shapes that belong together."""
    maps = tuple(arrays["targets"].shape)
    fitting = {
        "heatmaps": arrays["heatmaps"].shape[:2] == maps and arrays["heatmaps"].ndim in (4, 5),
        "attributions": arrays["attributions"].shape[:2] == maps and arrays["attributions"].ndim in (4, 5),
        "logits": arrays["logits"].ndim == 2 and len(arrays["logits"]) == maps[0],
        "targets": len(maps) == 2 and arrays["targets"].dtype == torch.int64,
        "degenerate": tuple(arrays["degenerate"].shape) == maps and arrays["degenerate"].dtype == torch.bool,
    }
    wrong = [name for name, fits in fitting.items() if not fits]
    if wrong:
        raise ValueError(f"{wrong[0]} of shape {tuple(arrays[wrong[0]].shape)} do not fit targets {maps}")


def load_explanation(path: str | os.PathLike[str]) -> Explanation:
    """Read what ``Explanation.save`` wrote. No pickle is run; any other file is an ``ImageError``."""
    import numpy as np

    try:
        # numpy leaves a file open that it opens itself and cannot read.
        with Path(path).open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            if sum(entry.file_size for entry in file.zip.infolist()) > _MOST_BYTES:
                raise ImageError(f"{path}: holds more than {_MOST_BYTES} bytes; an explanation was expected")
            facts = json.loads(str(file["facts"]))
            if facts["format"] != _FORMAT:
                raise ImageError(f"{path}: written as {facts['format']!r}; this version reads {_FORMAT!r}")
            arrays: dict[str, Any] = {name: torch.from_numpy(file[name]) for name in _ARRAYS}
        _check_arrays(arrays)
        heads.check_head(facts["head"])
        return Explanation(
            **arrays,
            why_degenerate=tuple(tuple(row) for row in facts["why_degenerate"]),
            method=facts["method"],
            layers=tuple(facts["layers"]),
            head=facts["head"],
            classes=tuple(facts["classes"]) if facts["classes"] is not None else None,
            provenance=facts["provenance"],
        )
    except ImageError:
        raise
    except Exception as error:  # from zipfile, zlib and the tokenizer that numpy reads headers with: of every kind
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ImageError(f"{path}: an explanation's .npz was expected, this is none ({reason})") from None
