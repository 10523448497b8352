"""Files that hold no weights that can be read: what each is, and what to do with it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from pellucid.errors import CheckpointError
from pellucid.models.checkpoints.rebuilding import Inert

ADAPTER = "adapter_config.json"
"""Peft writes this file beside an adapter's weights."""
PEFT = "base_model.model."
"""Peft puts this before the names of an adapter's weights."""
LARGEST_CONFIG = 2**20
WEIGHTS = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")
SEARCHED = 10_000  # files of a folder
SHARDS = ".index.json"
LEGACY = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the number that files of torch.save before 1.6 begin with
_ONNX = "convert the network to ONNX, and give spec='path/to/model.onnx'"
_UNPACK = "unpack it, and give the weights file in it"
_SAVE = "save the network's own: torch.save(model.state_dict(), 'weights.pt')"
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"\x28\xb5\x2f\xfd")
_STARTS: tuple[tuple[bytes, str, str], ...] = (
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes", _ONNX),
    (b"version https://git-lfs", "what Git LFS keeps in place of a file", "fetch the file with git lfs pull"),
    (b"<", "a web page", "download the file itself"),
    *((magic, "a compressed file", _UNPACK) for magic in _COMPRESSED),
)
"""How files begin that are no weights files, what they are, and what to do."""
OWN = "give the network as spec='path/to/file.py:factory', a function that returns it"
"""What always works."""


def words(name: str) -> str:
    """A name from a file in one line, cut."""
    return " ".join(name[:100].split())


def few(names: Sequence[str], count: int = 5) -> str:
    """Some names of a file in one line."""
    return ", ".join(words(name) for name in names[:count]) + (", …" if len(names) > count else "")


def whole_module(found: Inert, path: Path, key: str | None = None) -> CheckpointError:
    """Return the error for a pickled object where weights were expected."""
    return CheckpointError(
        f"{path}: weights were expected, got a whole pickled object ({found.asked[:80]!r}), which is not loaded "
        f"because that would run its code; {_convert(path)} takes the weights out of it without that; or, if you "
        f"trust it, save its state_dict() where its code is: {_saving(_load(path, key), path)}"
    )


def torchscript(path: Path) -> CheckpointError:
    """Return the error for a TorchScript archive."""
    load = f'torch.jit.load({json.dumps(str(path))}, map_location="cpu")'
    return CheckpointError(
        f"{path}: a TorchScript archive is not loaded because it holds code; {_convert(path)} takes the weights out of "
        f"it without running that; or, if you trust it, save its state_dict(): {_saving(load, path)}"
    )


def unconvertible(found: Inert, path: Path, key: str | None = None) -> CheckpointError:
    """Return the error for a pickled object whose weights are not where a module has them."""
    return CheckpointError(
        f"{path}: a network's weights were looked for in a pickled object ({found.asked[:80]!r}), which has none "
        f"where a module has them; if you trust it, save its state_dict() where its code is: "
        f"{_saving(_load(path, key), path)}"
    )


def _load(path: Path, key: str | None) -> str:
    """The code that loads a pickled object."""
    entry = "" if key is None else f"[{json.dumps(key)}]"
    return f'torch.load({json.dumps(str(path))}, map_location="cpu", weights_only=False){entry}'


def _convert(path: Path) -> str:
    return f"`pellucid convert {shlex.quote(str(path))}`"


def _saving(load: str, path: Path) -> str:
    """The command that saves a network's state dict beside its file."""
    target = json.dumps(str(path.with_name(f"{path.stem}-weights.pt")))
    code = f"import torch; model = {load}; torch.save(model.state_dict(), {target})"
    return f"python -c {shlex.quote(code)}"


def adapter(path: Path, found: str) -> CheckpointError:
    """Return the error for an adapter where a network's weights were expected."""
    return CheckpointError(
        f"{path}: a network's weights were expected, got an adapter's ({found}), which are added to it in a measure "
        "that they do not state; load both with peft, and save model.merge_and_unload().state_dict()"
    )


def folder(path: Path) -> CheckpointError:
    """Return the error for a folder: it names the weights files in it."""
    files = sorted(islice((file for file in path.rglob("*") if file.is_file()), SEARCHED))
    start = f"{path}: a weights file was expected, got "
    if any(file.suffix == ".distcp" for file in files):
        command = "python -m torch.distributed.checkpoint.format_utils dcp_to_torch"
        paths = f"{shlex.quote(str(path))} {shlex.quote(f'{path}-weights.pt')}"
        return CheckpointError(f"{start}a distributed checkpoint; make one file of it: {command} {paths}")
    if (path / "saved_model.pb").is_file():
        return CheckpointError(f"{start}a SavedModel of TensorFlow; {_ONNX}")
    found = [file for file in files if file.name.endswith(SHARDS)] or [f for f in files if f.suffix in WEIGHTS]
    if not found:
        return CheckpointError(f"{start}a folder without one; give the path of a file")
    model = f"spec={f'hf:{path}'!r}, " if _is_transformers(found[0].parent / "config.json") else ""
    others = few([str(file.relative_to(path)) for file in found[1:]])
    more = f", or another of the {len(found)} in it ({others})" if others else ""
    return CheckpointError(f"{start}a folder; give {model}checkpoint={str(found[0])!r}{more}")


def _is_transformers(config: Path) -> bool:
    """Whether a config.json is that of a model of transformers."""
    try:
        return config.stat().st_size < LARGEST_CONFIG and "model_type" in json.loads(config.read_text("utf-8"))
    except (OSError, ValueError, RecursionError, TypeError):
        return False


def foreign(path: Path, start: bytes) -> CheckpointError | None:
    """Return the error for a file that is no weights file by its name or its first bytes; None for any other."""
    if path.suffix.lower() == ".onnx":
        return CheckpointError(
            f"{path}: a weights file was expected, got an ONNX graph, which holds the network too; give "
            f"spec={str(path)!r}"
        )
    known = [(what, remedy) for magic, what, remedy in _STARTS if start.startswith(magic)]
    if start[:1] == b"\x80" and LEGACY not in start:
        known.append(("a pickle that torch.save did not write, as scikit-learn's", _SAVE))
    if not known:
        return None
    what, remedy = known[0]
    return CheckpointError(f"{path}: a weights file was expected, got {what}; {remedy}")


def foreign_zip(path: Path, names: Sequence[str]) -> CheckpointError | None:
    """Return the error for a zip file that torch.save did not write; None for one that it did."""
    if any(name.rpartition("/")[2] in ("data.pkl", "constants.pkl") for name in names):
        return None
    if any(name.endswith(".h5") for name in names):
        return CheckpointError(f"{path}: a weights file was expected, got a network of Keras; {_ONNX}")
    inside = [name for name in names if name.endswith(WEIGHTS)]
    what = f"a zip file with {few(inside)}" if inside else "a zip file that torch.save did not write"
    return CheckpointError(f"{path}: a weights file was expected, got {what}; {_UNPACK if inside else _SAVE}")


def no_weights(content: Any, path: Path) -> CheckpointError:
    """Return the error for a content that holds no named tensors."""
    entries = content if isinstance(content, Mapping) else {}
    keys = few([key for key in entries if isinstance(key, str)], 12) or f"a {type(content).__name__} without names"
    return CheckpointError(f"{path}: a network's weights were expected, got {keys}; {_SAVE}")
