"""A trainer's configuration and metrics as JSON has them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import asdict, is_dataclass
from enum import Enum
from pathlib import PurePath
from typing import Any

import numpy as np
from torch import Tensor

from pellucid.errors import OptionError

DEEPEST = 32


def plain(value: Any, name: str, depth: int = 0) -> Any:
    """Return a value of mappings, sequences, dataclasses, tensors and numbers as JSON has it.

    NaN and infinity are null.

    Raises:
        OptionError: it holds something else.

    >>> plain({"auroc": np.float32(0.5), "loss": float("nan"), "sides": (3, 4)}, "metrics")
    {'auroc': 0.5, 'loss': None, 'sides': [3, 4]}
    """
    if depth > DEEPEST:
        raise OptionError(f"{name} holds values more than {DEEPEST} deep: leave out what is within")
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value), name, depth + 1)
    if isinstance(value, Mapping):
        return {str(key): plain(one, f"{name}[{key!r:.100}]", depth + 1) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one, f"{name}[{number}]", depth + 1) for number, one in enumerate(value)]
    if isinstance(value, AbstractSet):
        return plain(sorted(value, key=str), name, depth + 1)
    if isinstance(value, Tensor | np.ndarray | np.generic):
        return plain(value.tolist(), name, depth + 1)
    return _scalar(value, name)


def _scalar(value: Any, name: str) -> Any:
    if isinstance(value, Enum):
        return _scalar(value.value, name)
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    raise OptionError(f"{name} is a {type(value).__name__}, which cannot be written as JSON: give it as text")
