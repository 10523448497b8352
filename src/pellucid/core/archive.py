"""Save an explanation to one compressed .npz file, and load it: no pickle, and no file is trusted."""

from __future__ import annotations

import io
import json
import os
import secrets
import stat
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from pellucid.core import head as heads
from pellucid.core.default_device import on_cpu_by_default
from pellucid.core.explanation import ARRAYS, Explanation
from pellucid.errors import ImageError, message_of

_CHECK = "check "
_LAYER = "layer "
_FACTS = ("method", "layers", "head", "classes", "why_degenerate")
_FORMAT = "pellucid explanation 2"
_FORMATS = ("pellucid explanation 1", _FORMAT)  # 1 was without by_layer
_MOST_BYTES = 2**31
"""The most bytes that an explanation's file may have when it is unpacked."""
_MOST_TEXT = 2**24
"""The most bytes that the JSON text in it may have."""


def save_explanation(explanation: Explanation, file: str | os.PathLike[str] | BinaryIO) -> None:
    """Write everything to one compressed .npz file. A path appears only when its file is complete."""
    import numpy as np

    arrays = _arrays(explanation)
    of_layers = {name: _arrays(own) for name, own in explanation.by_layer.items()}
    for index, own in enumerate(of_layers.values()):
        arrays |= {_of_layer(index, name): own[name] for name in own if not _are_equal(own[name], arrays[name])}
    facts = {**_facts(explanation), "format": _FORMAT, "provenance": dict(explanation.provenance)}
    facts["by_layer"] = [{"name": name, **_facts(own)} for name, own in explanation.by_layer.items()]
    arrays["facts"] = np.array(json.dumps(facts))
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    if isinstance(file, (str, os.PathLike)):
        write_file(Path(file), buffer.getvalue())
    else:
        file.write(buffer.getvalue())


def _arrays(explanation: Explanation) -> dict[str, Any]:
    """The arrays by their names in a file."""
    arrays = {name: getattr(explanation, name) for name in ARRAYS}
    arrays |= {f"{_CHECK}{name}": values for name, values in explanation.checks.items()}
    return {name: values.detach().cpu().numpy() for name, values in arrays.items()}


def _facts(explanation: Explanation) -> dict[str, Any]:
    """What a file holds as JSON."""
    return {name: getattr(explanation, name) for name in _FACTS}


def _of_layer(index: int, name: str) -> str:
    """The name in a file of a layer's own array; an array that is missing equals the whole explanation's."""
    return f"{_LAYER}{index} {name}"


def _are_equal(one: Any, other: Any) -> bool:
    """Whether two arrays are the same, NaN as NaN."""
    return bool(one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes())


def write_file(path: Path, content: bytes) -> None:
    """Write a file completely or not at all."""
    path = Path(os.path.realpath(path))  # a symbolic link is kept
    if path.exists() and not path.is_file():
        path.write_bytes(content)  # a pipe, for example, must not be replaced
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
    """Raise ``ValueError`` unless these arrays have the dtypes and shapes of one explanation."""
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
    """Raise ``ValueError`` unless these facts fit the arrays."""
    images, columns = arrays["targets"].shape
    why, classes = facts["why_degenerate"], facts["classes"]
    fitting = {
        "method": isinstance(facts["method"], str),
        "layers": _are_strings(facts["layers"]),
        "head": facts["head"] in heads.HEADS,
        "classes": classes is None or (_are_strings(classes) and len(classes) == arrays["logits"].shape[1]),
        "why_degenerate": isinstance(why, list)
        and len(why) == images
        and all(isinstance(row, list) and len(row) == columns for row in why)
        and all(reason is None or isinstance(reason, str) for row in why for reason in row),
    }
    wrong = [name for name, fits in fitting.items() if not fits]
    if wrong:
        raise ValueError(f"{wrong[0]} does not fit the arrays")


def _are_strings(items: object) -> bool:
    return isinstance(items, list) and all(isinstance(item, str) for item in items)


@on_cpu_by_default
def load_explanation(path: str | os.PathLike[str]) -> Explanation:
    """Read a file that ``Explanation.save`` wrote. No pickle is run.

    Raises:
        ImageError: the file is anything else, or cannot be read.
    """
    import numpy as np

    try:
        # NumPy does not close a file that it opened itself and cannot read.
        with Path(path).open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            sizes = {entry.filename: entry.file_size for entry in file.zip.infolist()}
            if sum(entry.file_size for entry in file.zip.infolist()) > _MOST_BYTES:
                raise ImageError(f"{path}: holds more than {_MOST_BYTES} bytes; an explanation was expected")
            if sizes["facts.npy"] > _MOST_TEXT:
                raise ImageError(f"{path}: its text holds more than {_MOST_TEXT} bytes; an explanation was expected")
            facts = json.loads(str(file["facts"]))
            if facts["format"] not in _FORMATS:
                raise ImageError(f"{path}: written as {facts['format']!r}; this version reads {' and '.join(_FORMATS)}")
            known = [name for name in file.files if name in ARRAYS or name.startswith((_CHECK, _LAYER))]
            arrays = {name: torch.from_numpy(file[name]) for name in known}
        return _unpacked(facts, arrays)
    except ImageError:
        raise
    except Exception as error:  # zipfile, zlib and NumPy's header parser raise errors of many kinds
        raise ImageError(f"{path}: an explanation's .npz was expected, this is none ({message_of(error)})") from None


def _unpacked(facts: Mapping[str, Any], arrays: Mapping[str, Tensor]) -> Explanation:
    """The explanation in a file, with each layer's own."""
    provenance = dict(facts["provenance"])
    own = {name: values for name, values in arrays.items() if name in ARRAYS or name.startswith(_CHECK)}
    whole = _one(facts, own, provenance)
    by_layer = {}
    for index, inner in enumerate(facts.get("by_layer", [])):
        of_layer = {name: arrays.get(_of_layer(index, name), values) for name, values in own.items()}
        by_layer[str(inner["name"])] = _one(inner, of_layer, provenance)
    return replace(whole, by_layer=by_layer)


def _one(facts: Mapping[str, Any], arrays: Mapping[str, Tensor], provenance: Mapping[str, Any]) -> Explanation:
    _check_arrays(arrays)
    _check_facts(facts, arrays)
    return Explanation(
        **{name: arrays[name] for name in ARRAYS},  # type: ignore[arg-type]  # the fields' own names
        why_degenerate=tuple(tuple(row) for row in facts["why_degenerate"]),
        method=facts["method"],
        layers=tuple(facts["layers"]),
        head=facts["head"],
        classes=tuple(facts["classes"]) if facts["classes"] is not None else None,
        provenance=provenance,
        checks={name.removeprefix(_CHECK): values for name, values in arrays.items() if name.startswith(_CHECK)},
    )
