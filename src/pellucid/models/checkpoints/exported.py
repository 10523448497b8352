"""Read the weights in what ``torch.export.save`` wrote (``.pt2``): plain bytes, and a JSON file that describes them.

The network itself, a graph of torch's operators, is not read.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.errors import CheckpointError
from pellucid.models.checkpoints.rebuilding import Stored, rebuild_tensor, refuse

FORMAT, CONTENT = "/archive_format", "pt2"
WEIGHTS = "/data/weights/"
CONFIG = "_weights_config.json"
LARGEST_CONFIG = 2**26
_DTYPES = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    12: torch.bool,
    13: torch.bfloat16,
}
"""The numbers that ``torch._export.serde.schema.ScalarType`` gives to types."""
_SAVE = "save the network's own weights: torch.save(program.state_dict, 'weights.pt')"


def is_exported(archive: zipfile.ZipFile) -> bool:
    """Whether an archive is one of torch.export's."""
    return any(name.endswith(FORMAT) and name.count("/") == 1 for name in archive.namelist())


def exported_weights(archive: zipfile.ZipFile, path: Path, total: int) -> dict[str, Tensor]:
    """Return the weights by their names in the network. ``total`` is the file's size in bytes.

    ``CheckpointError``, or any error that a broken file causes: they are not plain, or not there.
    """
    entries = archive.infolist()
    packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
    if packed or sum(entry.file_size for entry in entries) > total or len({e.filename for e in entries}) < len(entries):
        raise CheckpointError(f"{path}: compressed, hidden or repeated entries are not read; {_SAVE}")
    configs = [entry for entry in entries if WEIGHTS in entry.filename and entry.filename.endswith(CONFIG)]
    if len(configs) != 1 or configs[0].file_size > LARGEST_CONFIG:
        raise CheckpointError(f"{path}: one exported network was expected, got {len(configs)} with weights; {_SAVE}")
    stated = json.loads(archive.read(configs[0])).get("config")
    if not isinstance(stated, Mapping):
        raise refuse("the weights are not described")
    folder = configs[0].filename.rpartition("/")[0]
    stores: dict[tuple[str, int], Stored] = {}
    return {name: _tensor(archive, folder, each, stores) for name, each in stated.items()}


def _tensor(archive: zipfile.ZipFile, folder: str, stated: Any, stores: dict[tuple[str, int], Stored]) -> Tensor:
    about, name = stated["tensor_meta"], stated["path_name"]
    if stated.get("use_pickle") or not isinstance(about, Mapping) or not isinstance(name, str):
        raise refuse("a weight is pickled, and no plain bytes")
    if about["dtype"] not in _DTYPES:
        raise refuse("a weight is of a type that no network has")
    key = name, about["dtype"]
    if key not in stores:
        content = torch.from_numpy(np.frombuffer(bytearray(archive.read(f"{folder}/{name}")), np.uint8))
        stores[key] = Stored(content.untyped_storage(), _DTYPES[about["dtype"]])
    (offset,) = _numbers([about["storage_offset"]])
    return rebuild_tensor(stores[key], offset, _numbers(about["sizes"]), _numbers(about["strides"]))


def _numbers(stated: Sequence[Any]) -> list[int]:
    return [each["as_int"] for each in stated]
