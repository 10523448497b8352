"""An explanation: the maps, with the evidence that they rest on."""

from __future__ import annotations

import io
import json
import os
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from pellucid.core import head as heads
from pellucid.errors import ImageError

_ARRAYS = ("heatmaps", "attributions", "logits", "targets", "degenerate")
_CHECK = "check "
_LAYER = "layer "
_FACTS = ("method", "layers", "head", "classes", "why_degenerate")
_FORMAT = "pellucid explanation 2"
_FORMATS = ("pellucid explanation 1", _FORMAT)  # 1 was without by_layer
_MOST_BYTES = 2**31
"""What an explanation's file may hold unpacked."""
_MOST_TEXT = 2**24
"""What the facts in it may."""


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
    | ``checks`` | (B, K) each | figures by which a map can be judged, by name: ``completeness_gap`` (in logits) |
    | | | is what is missing to the sum that the method promises |
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
    checks: Mapping[str, Tensor] = field(default_factory=dict)
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

    def one(self, image: int, column: int | None = None) -> Explanation:
        """The explanation of one image, by one of its maps or by all; both axes stay, of 1 where one is taken."""
        columns = slice(None) if column is None else slice(column, column + 1)
        maps = {name: getattr(self, name)[image, columns][None] for name in _ARRAYS if name != "logits"}
        return replace(
            self,
            **maps,
            logits=self.logits[image][None],
            why_degenerate=(self.why_degenerate[image][columns],),
            checks={name: values[image, columns][None] for name, values in self.checks.items()},
            by_layer={layer: own.one(image, column) for layer, own in self.by_layer.items()},
        )

    def __len__(self) -> int:
        """The number of images, B."""
        return len(self.logits)

    def __repr__(self) -> str:
        """One line, without the numbers."""
        images, columns, *size = self.heatmaps.shape
        where = f" at {', '.join(self.layers)}" if self.layers else ""
        counts = f"{counted(images, 'image')} × {counted(columns, 'map')}"
        return f"Explanation({self.method}{where}: {counts}, {'×'.join(map(str, size))})"

    def _repr_html_(self) -> str:
        """What a notebook shows of it."""
        from pellucid.render.notebook import html

        return html(self)

    def save(self, file: str | os.PathLike[str] | BinaryIO) -> None:
        """Write everything to one compressed .npz file, without pickle; under its name it appears when it is whole."""
        import numpy as np

        arrays = self._packed()
        inner = {name: own._packed() for name, own in self.by_layer.items()}
        for index, own in enumerate(inner.values()):
            arrays |= {_inner(index, name): own[name] for name in own if not _equal(own[name], arrays[name])}
        facts = {**self._told(), "format": _FORMAT, "provenance": dict(self.provenance)}
        facts["by_layer"] = [{"name": name, **own._told()} for name, own in self.by_layer.items()]
        arrays["facts"] = np.array(json.dumps(facts))
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        if isinstance(file, (str, os.PathLike)):
            _write(Path(file), buffer.getvalue())
        else:
            file.write(buffer.getvalue())

    def _packed(self) -> dict[str, Any]:
        """The arrays by their names in a file."""
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        arrays |= {f"{_CHECK}{name}": values for name, values in self.checks.items()}
        return {name: values.detach().cpu().numpy() for name, values in arrays.items()}

    def _told(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _FACTS}


def counted(count: int, noun: str) -> str:
    """A number with its noun: 1 map, 2 maps."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _inner(index: int, name: str) -> str:
    """The name in a file of a layer's own array; one that is not there equals the whole explanation's."""
    return f"{_LAYER}{index} {name}"


def _equal(one: Any, other: Any) -> bool:
    """Whether two arrays are the same, NaN as NaN."""
    return bool(one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes())


def _write(path: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all."""
    path = Path(os.path.realpath(path))  # a link stays one
    if path.exists() and not path.is_file():
        path.write_bytes(content)  # a pipe, say, is not to be replaced
        return
    draft = path.with_name(f".part-{secrets.token_hex(8)}")
    try:
        with draft.open("xb") as opened:
            opened.write(content)
        if path.exists():
            draft.chmod(stat.S_IMODE(path.stat().st_mode))
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _check_arrays(arrays: Mapping[str, Tensor]) -> None:
    """Raise ``ValueError`` unless these are an explanation's arrays, of shapes that belong together."""
    maps = tuple(arrays["targets"].shape)
    fitting = {name: tuple(values.shape) == maps for name, values in arrays.items()}
    for name in ("heatmaps", "attributions"):
        fitting[name] = arrays[name].shape[:2] == maps and arrays[name].ndim in (4, 5) and arrays[name].numel() > 0
    fitting["logits"] = arrays["logits"].ndim == 2 and len(arrays["logits"]) == maps[0]
    fitting["targets"] = len(maps) == 2 and arrays["targets"].dtype == torch.int64
    fitting["degenerate"] &= arrays["degenerate"].dtype == torch.bool
    floating = {name: values.is_floating_point() for name, values in arrays.items()}
    wrong = [name for name in arrays if not fitting[name] or not (floating[name] or name in ("targets", "degenerate"))]
    if wrong:
        raise ValueError(f"{wrong[0]} of shape {tuple(arrays[wrong[0]].shape)} do not fit targets {maps}")
    count = arrays["logits"].shape[1]
    if ((arrays["targets"] < -1) | (arrays["targets"] >= count)).any():
        raise ValueError(f"targets name classes that are none of the {count}")


def _check_facts(facts: Mapping[str, Any], arrays: Mapping[str, Tensor]) -> None:
    """Raise ``ValueError`` unless these facts can be of these arrays."""
    images, columns = arrays["targets"].shape
    why, classes = facts["why_degenerate"], facts["classes"]
    fitting = {
        "method": isinstance(facts["method"], str),
        "layers": _are_texts(facts["layers"]),
        "head": facts["head"] in heads.HEADS,
        "classes": classes is None or (_are_texts(classes) and len(classes) == arrays["logits"].shape[1]),
        "why_degenerate": isinstance(why, list)
        and len(why) == images
        and all(isinstance(row, list) and len(row) == columns for row in why)
        and all(reason is None or isinstance(reason, str) for row in why for reason in row),
    }
    wrong = [name for name, fits in fitting.items() if not fits]
    if wrong:
        raise ValueError(f"{wrong[0]} does not fit the arrays")


def _are_texts(items: object) -> bool:
    return isinstance(items, list) and all(isinstance(item, str) for item in items)


def load_explanation(path: str | os.PathLike[str]) -> Explanation:
    """Read what ``Explanation.save`` wrote. No pickle is run; any other file is an ``ImageError``."""
    import numpy as np

    try:
        # numpy leaves a file open that it opens itself and cannot read.
        with Path(path).open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            sizes = {entry.filename: entry.file_size for entry in file.zip.infolist()}
            if sum(entry.file_size for entry in file.zip.infolist()) > _MOST_BYTES:
                raise ImageError(f"{path}: holds more than {_MOST_BYTES} bytes; an explanation was expected")
            if sizes["facts.npy"] > _MOST_TEXT:
                raise ImageError(f"{path}: its text holds more than {_MOST_TEXT} bytes; an explanation was expected")
            facts = json.loads(str(file["facts"]))
            if facts["format"] not in _FORMATS:
                raise ImageError(f"{path}: written as {facts['format']!r}; this version reads {' and '.join(_FORMATS)}")
            known = [name for name in file.files if name in _ARRAYS or name.startswith((_CHECK, _LAYER))]
            arrays = {name: torch.from_numpy(file[name]) for name in known}
        return _unpacked(facts, arrays)
    except ImageError:
        raise
    except Exception as error:  # from zipfile, zlib and the tokenizer that numpy reads headers with: of every kind
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ImageError(f"{path}: an explanation's .npz was expected, this is none ({reason})") from None


def _unpacked(facts: Mapping[str, Any], arrays: Mapping[str, Tensor]) -> Explanation:
    """The explanation that a file tells of, its layers' own within it."""
    provenance = dict(facts["provenance"])
    own = {name: values for name, values in arrays.items() if name in _ARRAYS or name.startswith(_CHECK)}
    whole = _one(facts, own, provenance)
    by_layer = {}
    for index, inner in enumerate(facts.get("by_layer", [])):
        of_layer = {name: arrays.get(_inner(index, name), values) for name, values in own.items()}
        by_layer[str(inner["name"])] = _one(inner, of_layer, provenance)
    return replace(whole, by_layer=by_layer)


def _one(facts: Mapping[str, Any], arrays: Mapping[str, Tensor], provenance: Mapping[str, Any]) -> Explanation:
    _check_arrays(arrays)
    _check_facts(facts, arrays)
    return Explanation(
        **{name: arrays[name] for name in _ARRAYS},  # type: ignore[arg-type]  # arrays by their own names
        why_degenerate=tuple(tuple(row) for row in facts["why_degenerate"]),
        method=facts["method"],
        layers=tuple(facts["layers"]),
        head=facts["head"],
        classes=tuple(facts["classes"]) if facts["classes"] is not None else None,
        provenance=provenance,
        checks={name.removeprefix(_CHECK): values for name, values in arrays.items() if name.startswith(_CHECK)},
    )
