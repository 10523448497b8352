"""``path/to/file.py:factory``: the user's own model, returned by a function in the user's own file."""

from __future__ import annotations

import importlib.util
import inspect
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from pellucid.core.head import HEADS
from pellucid.errors import OptionError, SourceError, did_you_mean, message_of
from pellucid.models.operators import declaring
from pellucid.models.preprocessing import Preprocessing, takes_volumes
from pellucid.models.sources.assumed import ORIENTATION
from pellucid.models.sources.base import ModelInfo, ModelRequest
from pellucid.models.sources.known import known_of


class FileSource:
    """A function in a Python file that returns a model.

    It may take ``num_classes`` and ``in_channels``. The model may have ``classes`` (names), ``head`` (as ``explain``
    takes it), ``output`` (the name of the tensor with the class scores) and ``preprocessing`` (a
    ``Preprocessing``, or a dict with mean, std, size, crop, range, orientation, spacing). What ``load_model`` knows of
    a model that it returned to the factory stays known.
    """

    prefix = "file"
    path_form = "path/to/file.py:factory"
    brings_weights = True
    states_preprocessing = True

    def takes_path(self, spec: str) -> bool:
        """Whether a specification names a Python file."""
        return spec.endswith(".py") or spec.rpartition(":")[0].endswith(".py")

    def outline(self, request: ModelRequest) -> nn.Module:
        """Return the model as the factory makes it without arguments. ``SourceError``: no file, no such function."""
        return _run(request.name, {})

    def build(self, request: ModelRequest) -> nn.Module:
        """Run the factory. ``SourceError``: no file, no such function, an error in it, or not a model."""
        return _run(request.name, {"num_classes": request.num_classes, "in_channels": request.in_channels})

    def info(self, request: ModelRequest, model: nn.Module) -> ModelInfo:
        """Return what the model's own attributes state."""
        return info_of(request.name, model)


def info_of(name: str, model: nn.Module) -> ModelInfo:
    """What the attributes of a model that a factory of this name returned state."""
    classes, head = getattr(model, "classes", None), getattr(model, "head", None)
    output = getattr(model, "output", None)
    if isinstance(head, str) and head not in HEADS:
        raise SourceError(f"{name}: the model's head is {head!r}; it may be {', '.join(HEADS)}")
    given = getattr(model, "preprocessing", None)
    known = known_of(model)
    own = replace(
        known,
        classes=tuple(map(str, classes)) if isinstance(classes, list | tuple) else known.classes,
        head=head if isinstance(head, str) else known.head,
        output=output if isinstance(output, str | int) else known.output,
    )
    if isinstance(given, Mapping):
        states_orientation, stated = "orientation" in given, from_mapping(given, name)
    elif isinstance(given, Preprocessing):
        states_orientation, stated = given.orientation is not None, given
    else:  # none, or a layer of the network's own
        return own
    assumed = () if states_orientation or not takes_volumes(model) else (ORIENTATION,)
    return replace(own, preprocessing=stated, assumed=assumed, input_size=None)


def _run(name: str, sizes: dict[str, int | None]) -> nn.Module:
    path, _, function = name.rpartition(":")
    if name.endswith(".py") or not path:
        raise SourceError(f"{name!r} names no function; name the one that returns the model, as in {name}:build")
    file = Path(path)
    if not file.is_file():
        raise SourceError(f"{name}: no file {path}; give path/to/file.py:factory")
    with _importable(file.resolve().parent):
        return made_by(name, partial(_load, file, function), sizes)


def made_by(name: str, load: Callable[[], Callable[..., Any]], sizes: dict[str, int | None]) -> nn.Module:
    """The model of a factory of this name, which ``load`` returns. ``SourceError``: an error in it, or no model."""
    # What the user's code prints must not get into the command's output.
    with _errors_of(name), redirect_stdout(sys.stderr):
        model = declaring(partial(_made, load, sizes))
    if not isinstance(model, nn.Module):
        raise SourceError(f"{name}: an nn.Module was expected, got {type(model).__name__}; return the model")
    return model


def _made(load: Callable[[], Callable[..., Any]], sizes: dict[str, int | None]) -> object:
    factory = load()
    return factory(**_accepted(factory, sizes))


def _load(file: Path, function: str) -> Callable[..., Any]:
    spec = importlib.util.spec_from_file_location(f"pellucid_user_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise SourceError(f"{file}: a Python file was expected; give path/to/file.py:factory")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickle look it up there
    spec.loader.exec_module(module)
    found = vars(module).get(function)
    if not callable(found):
        names = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise SourceError(f"{file} has no function {function!r}{did_you_mean(function, names)}; it has {names}")
    return found  # type: ignore[no-any-return]


def _accepted(factory: Callable[..., Any], sizes: dict[str, int | None]) -> dict[str, int]:
    parameters = inspect.signature(factory).parameters
    return {key: size for key, size in sizes.items() if size is not None and key in parameters}


def from_mapping(given: Mapping[str, Any], source: str) -> Preprocessing:
    """Read a model's ``preprocessing``: ``mean``, ``std``, ``size`` (int, (H, W) or (D, H, W)), ``crop``, ``range``.

    Of volumes also ``orientation`` (axis codes; None: as stored) and ``spacing``.

    ``SourceError``: an unknown key, or a value that is no number or sequence of numbers.
    """
    known = ("mean", "std", "size", "crop", "range", "orientation", "spacing")
    unknown = set(given) - set(known)
    if unknown:
        raise SourceError(f"{source}: preprocessing takes {', '.join(known)}, got {sorted(map(str, unknown))}")
    try:
        mean, std = (_numbers(given.get(key)) for key in ("mean", "std"))
        size, crop = (_size(given.get(key)) for key in ("size", "crop"))
        limits = _limits(given.get("range", (0.0, 1.0)))
    except (TypeError, ValueError) as error:
        raise SourceError(f"{source}: preprocessing takes numbers or sequences of them, got {given}") from error
    sides = [side for entry in (size, crop) if entry is not None for side in np.atleast_1d(entry).tolist()]
    if min(sides, default=1) < 1 or min(std or (1.0,)) <= 0 or len(mean or ()) not in (0, len(std or mean or ())):
        raise SourceError(
            f"{source}: preprocessing takes sizes and std above 0, and as many means as stds, got {dict(given)}"
        )
    channels, crop = len(mean or std or (0, 0, 0)), (crop, crop) if isinstance(crop, int) else crop
    axes = given.get("orientation"), given.get("spacing")
    try:
        return Preprocessing(size, crop, mean, std, "bilinear", channels, source, limits, *axes)
    except OptionError as error:
        raise SourceError(f"{source}: preprocessing: {error}") from None


def _limits(values: Any) -> tuple[float, float]:
    low, high = (float(value) for value in values)
    if not -math.inf < low < high < math.inf:
        raise ValueError(f"a range has two numbers, the lower first, got {values}")
    return low, high


def _numbers(values: Any) -> tuple[float, ...] | None:
    if values is None:
        return None
    return tuple(float(v) for v in values) if isinstance(values, Sequence) else (float(values),)


def _size(value: Any) -> int | tuple[int, ...] | None:
    if value is None or isinstance(value, int):
        return value
    lengths = tuple(int(length) for length in value)
    if len(lengths) not in (2, 3):
        raise ValueError(f"a size has two or three lengths, got {lengths}")
    return lengths


@contextmanager
def _errors_of(name: str) -> Iterator[None]:
    try:
        yield
    except SourceError:
        raise
    except (Exception, SystemExit) as error:
        raise SourceError(f"{name}: {type(error).__name__}: {message_of(error)}; correct the file") from error


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let the file import modules beside it, as if it were run as a script."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


SOURCE = FileSource()
