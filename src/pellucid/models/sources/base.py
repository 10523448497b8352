"""What every source of models gives, and the table of them: a file here with a ``SOURCE`` is a source."""

from __future__ import annotations

import importlib
import pkgutil
import warnings
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from pellucid.errors import MissingPackageError, SourceError, message_of
from pellucid.models.checkpoints.reference import weightless
from pellucid.models.preprocessing import Preprocessing

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class ModelRequest:
    """A model that is asked for. ``auxiliary``: with the auxiliary heads that some networks train with."""

    name: str
    pretrained: bool = False
    num_classes: int | None = None
    in_channels: int | None = None
    auxiliary: bool | None = None


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a model.

    ``weights`` is "default", "random", "checkpoint", or None: not known. ``input_size`` is an image's, (C, *space),
    where the model or its source states it.
    """

    spec: str | None = None
    classes: tuple[str, ...] | None = None
    head: str | None = None
    preprocessing: Preprocessing | None = None
    checkpoint_sha256: str | None = None
    weights: str | None = None
    input_size: tuple[int, ...] | None = None


class Source(Protocol):
    """Where models of one prefix come from."""

    prefix: str
    brings_weights: bool
    """Whether a model has weights of its own where none are asked for: random ones otherwise."""

    def outline(self, request: ModelRequest) -> nn.Module:
        """Give the architecture, without memory where possible. ``SourceError``: no such name."""
        ...

    def build(self, request: ModelRequest) -> nn.Module:
        """Build the model. ``SourceError``: no such name, or it cannot be built."""
        ...

    def info(self, request: ModelRequest, model: nn.Module, /) -> ModelInfo:
        """Say what the source knows of a model that it built: classes, head, preprocessing, the input's size."""
        ...


@runtime_checkable
class Naming(Protocol):
    """A source whose models' files may hold other names than the models."""

    def named(self, state: dict[str, Tensor], outline: nn.Module) -> dict[str, Tensor]:
        """Give a file's weights by the architecture's names, as far as the source knows the file's."""
        ...


@cache
def sources() -> Mapping[str, Source]:
    """Every source by its prefix."""
    package = importlib.import_module("pellucid.models.sources")
    names = [entry.name for entry in pkgutil.iter_modules(package.__path__)]
    modules = [importlib.import_module(f"{package.__name__}.{name}") for name in names]
    found = [vars(module)["SOURCE"] for module in modules if "SOURCE" in vars(module)]
    return {source.prefix: source for source in found}


@contextmanager
def seeded() -> Iterator[None]:
    """Draw the same random weights every time, and leave the caller's random state alone."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        yield


@contextmanager
def downloading(spec: str) -> Iterator[None]:
    """Turn whatever goes wrong with pretrained weights into a ``SourceError`` of one line."""
    try:
        yield
    except Exception as error:  # every network library has errors of its own
        raise SourceError(
            f"{spec}: its pretrained weights could not be loaded ({message_of(error)}); try again, or use "
            f"weights='none'"
        ) from error


def outlined(build: Callable[[], nn.Module]) -> nn.Module:
    """Build a model without memory for its weights, or with some where its constructor computes with them."""
    try:
        with weightless():
            return build()
    except RuntimeError:
        return build()


def number_of_classes(model: nn.Module, head: str) -> int:
    """Give the number of rows of the last layer's weight."""
    return int(model.get_parameter(f"{head}.weight").shape[0])


def package(name: str, asked: str, extra: str = "zoo") -> Any:
    """Import an optional package, which an extra of ours installs. ``MissingPackageError``: it is not installed."""
    try:
        # One of them silences all warnings of the process as it is imported.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except ImportError:
        whole = name.partition(".")[0]
        raise MissingPackageError(
            f"{asked} needs {whole}, which is not installed: pip install 'pellucid[{extra}]'"
        ) from None
