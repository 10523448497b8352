"""The protocols of model sources, and the registry of sources by prefix.

A source is an object ``SOURCE`` in a file of this folder, or in another package that names it in the entry point group
``pellucid.sources``. There is no list of them.
"""

from __future__ import annotations

import importlib
import pkgutil
import warnings
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cache
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from pellucid.core.plugins import Plugins
from pellucid.errors import MissingPackageError, SourceError, message_of
from pellucid.models.checkpoints.reading import Checkpoint
from pellucid.models.checkpoints.reference import weightless
from pellucid.models.operators import imported
from pellucid.models.preprocessing import Preprocessing

if TYPE_CHECKING:
    from collections.abc import Iterator

_SHOWN_CLASSES = 5
"""The most class names that a description shows."""


@dataclass(frozen=True)
class ModelRequest:
    """A request for a model. ``auxiliary``: with the auxiliary heads that some networks use in training."""

    name: str
    pretrained: bool = False
    num_classes: int | None = None
    in_channels: int | None = None
    auxiliary: bool | None = None


@dataclass(frozen=True)
class ModelInfo:
    """What is known about a model.

    ``weights`` is "default", "random", "checkpoint", or None where it is not known. ``input_size`` is the size of one
    image, (C, *space), where the model or its source states it. ``output`` says which tensor that the model returns
    holds the class scores, where there are several. ``assumed`` are the parts of the preprocessing that a checkpoint
    or model does not state: "input size" and "mean and std", which are those of other weights of the architecture, and
    "orientation and spacing" of volumes, which are taken as they are stored. ``registered`` is the model's name and
    version in a registry, as a specification; ``origin`` is what else is known of where it was fetched from, as names
    and values.
    """

    spec: str | None = None
    classes: tuple[str, ...] | None = None
    head: str | None = None
    preprocessing: Preprocessing | None = None
    checkpoint_sha256: str | None = None
    weights: str | None = None
    input_size: tuple[int, ...] | None = None
    output: str | int | None = None
    assumed: tuple[str, ...] = ()
    registered: str | None = None
    origin: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        """One line of what is known; of many classes their number."""
        facts = {each.name: getattr(self, each.name) for each in fields(self)}
        if self.classes is not None and len(self.classes) > _SHOWN_CLASSES:
            facts["classes"] = f"<{len(self.classes)} names>"
        if self.preprocessing is not None:
            facts["preprocessing"] = f"<{self.preprocessing.source}>"
        known = [
            f"{name}={fact if str(fact).startswith('<') else repr(fact)}"
            for name, fact in facts.items()
            if fact not in (None, ())
        ]
        return f"ModelInfo({', '.join(known)})"


class Source(Protocol):
    """A library or kind of file that models come from; specifications start with its ``prefix`` and a colon."""

    prefix: str
    brings_weights: bool
    """Whether a model has weights of its own even if none are requested; otherwise they are random."""

    def outline(self, request: ModelRequest) -> nn.Module:
        """Build the architecture, if possible without memory for its weights. ``SourceError``: no such name."""
        ...

    def build(self, request: ModelRequest) -> nn.Module:
        """Build the model. ``SourceError``: no such name, or it cannot be built."""
        ...

    def info(self, request: ModelRequest, model: nn.Module, /) -> ModelInfo:
        """Return what the source knows about a model that it built: classes, head, preprocessing, input size."""
        ...


@runtime_checkable
class PathSource(Protocol):
    """A source whose models are also named by the path of a file, without a prefix."""

    path_form: str
    """Such a path in a message, as ``path/to/model.onnx``."""

    def takes_path(self, spec: str) -> bool:
        """Whether a specification without a known prefix names a model of this source."""
        ...


@runtime_checkable
class Keeping(Protocol):
    """A source whose models are weights files, the architecture of which is the file's."""

    def checkpoint(self, name: str, key: str | None, /) -> Checkpoint | None:
        """Read the weights file of a model; ``key`` as in ``read_checkpoint``. None: ``build`` makes it, as of a graph.

        Raises:
            SourceError: no such model.
            CheckpointError: its file is missing, broken, unsafe, or holds no weights.
        """
        ...


@runtime_checkable
class Stating(Protocol):
    """A source whose models state their own preprocessing; that of any other source is its own weights', if known."""

    states_preprocessing: bool
    """True."""


@runtime_checkable
class Naming(Protocol):
    """A source whose weights files may use other parameter names than its models."""

    def named(self, state: dict[str, Tensor], outline: nn.Module) -> dict[str, Tensor]:
        """Return a file's weights under the architecture's parameter names, as far as the source knows them."""
        ...


_ADDED: dict[str, Source] = {}
"""The sources of other packages."""


@cache
def _own() -> Mapping[str, Source]:
    """The sources in this folder by their prefix."""
    package = importlib.import_module("pellucid.models.sources")
    names = sorted(entry.name for entry in pkgutil.iter_modules(package.__path__))
    modules = [importlib.import_module(f"{package.__name__}.{name}") for name in names]
    found: dict[str, Source] = {}
    for source in (vars(module)["SOURCE"] for module in modules if "SOURCE" in vars(module)):
        if source.prefix in found:
            raise SourceError(f"two files are sources of the prefix {source.prefix!r}: rename one of them")
        found[source.prefix] = source
    return found


def _use(entry: EntryPoint) -> None:
    """Import the source that an entry point names: the object itself, or a module with a ``SOURCE``."""
    loaded = entry.load()
    source = getattr(loaded, "SOURCE", loaded)
    prefix = getattr(source, "prefix", None)
    if prefix != entry.name:
        raise SourceError(f"{entry.value} is no source of the prefix {entry.name!r}: its prefix is {prefix!r}")
    if prefix in _own():
        raise SourceError(f"pellucid has a source {prefix!r} of its own: rename the other one")
    _ADDED[prefix] = source


_PLUGINS = Plugins("pellucid.sources", _use)


def sources() -> Mapping[str, Source]:
    """All sources by their prefix: those in this folder, and those that other packages add."""
    own = _own()
    _PLUGINS.load()
    return {**_ADDED, **own}


def failures_of(prefix: str, is_known: bool) -> list[str]:
    """Why the source of this prefix was left out, or all that were if no source has it; one line each."""
    return _PLUGINS.failures_of(prefix, is_known)


@contextmanager
def seeded(seed: int = 0) -> Iterator[None]:
    """Initialise weights with a fixed seed, and leave the caller's random state unchanged."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


@contextmanager
def downloading(spec: str) -> Iterator[None]:
    """Turn any error from loading pretrained weights into a ``SourceError`` of one line."""
    try:
        yield
    except Exception as error:  # every network library has errors of its own
        raise SourceError(
            f"{spec}: its pretrained weights could not be loaded ({message_of(error)}); try again, or use "
            f"weights='none'"
        ) from error


def outlined(build: Callable[[], nn.Module]) -> nn.Module:
    """Build a model without memory for its weights, or with it if the constructor computes with them."""
    try:
        with weightless():
            return build()
    except RuntimeError:
        return build()


def number_of_classes(model: nn.Module, head: str) -> int:
    """Return the number of rows of the last layer's weight."""
    return int(model.get_parameter(f"{head}.weight").shape[0])


def package(name: str, asked: str, extra: str = "zoo") -> Any:
    """Import an optional package that one of pellucid's extras installs. ``MissingPackageError``: it is missing."""
    try:
        # One of these packages silences all warnings of the process when it is imported.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return imported(name)
    except ImportError:
        whole = name.partition(".")[0]
        raise MissingPackageError(
            f"{asked} needs {whole}, which is not installed: pip install 'pellucid[{extra}]'"
        ) from None
