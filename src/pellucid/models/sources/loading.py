"""``load_model`` makes a model from its specification or weights file; ``model_info`` returns what is known of one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from pellucid.core.default_device import on_cpu_by_default
from pellucid.errors import CheckpointError, OptionError, SourceError, warn
from pellucid.models.checkpoints import (
    Checkpoint,
    Match,
    Names,
    chosen,
    classes_of,
    describe,
    load_into,
    matches,
    read_checkpoint,
    recognise,
)
from pellucid.models.checkpoints.heads import check_activation
from pellucid.models.checkpoints.names import unprefixed, unwrapped
from pellucid.models.checkpoints.pooling import ConcatPool, in_a_row
from pellucid.models.checkpoints.recognition import but_for_the_head
from pellucid.models.checkpoints.reference import AUXILIARY
from pellucid.models.checkpoints.untrained import untrained
from pellucid.models.preprocessing import Preprocessing, takes_volumes
from pellucid.models.sources.assumed import with_stated
from pellucid.models.sources.base import (
    Keeping,
    ModelInfo,
    ModelRequest,
    Naming,
    PathSource,
    Source,
    Stating,
    failures_of,
    seeded,
    sources,
)
from pellucid.models.sources.hf import from_config
from pellucid.models.stated_preprocessing import from_timm

WEIGHTS = ("none", "default")
_KNOWN: WeakKeyDictionary[nn.Module, ModelInfo] = WeakKeyDictionary()


@on_cpu_by_default
def load_model(
    spec: str | os.PathLike[str] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    weights: str = "none",
    num_classes: int | None = None,
    preprocessing: Preprocessing | None = None,
    weights_key: str | None = None,
    activation: str | None = None,
) -> nn.Module:
    """Make a model, in eval mode.

    Args:
        spec: a source's prefix and the model's name, as ``timm:vit_base_patch16_224``, or a path, as
            ``path/to/model.onnx`` or ``path/to/file.py:factory`` (which runs that file: your own code), or
            ``package.module:factory`` (which imports that module of an installed package). If it is left out, the
            architecture is the one that the checkpoint states or that its weights are recognised as.
        checkpoint: a weights file, or what names one in a registry, as ``models:/name/3``. The numbers of classes and
            of input channels are the checkpoint's.
        weights: "default" downloads pretrained weights; "none" without a checkpoint initialises them at random, the
            same every time.
        num_classes: the number of classes; None keeps the architecture's own.
        weights_key: which of several networks in the checkpoint: the key or prefix that its weights are under, as
            ``model_ema``; None takes the only one, or the plain one, with a warning that names the others.
        activation: what is between the linear layers of a head of several, as "gelu" or "none": weights do not show it,
            and None takes ReLU, with a warning.
        preprocessing: how images are prepared for it; None takes what the model, its source or the checkpoint states.

    Raises:
        SourceError: the specification names no model.
        CheckpointError: the weights file is unsafe, broken, or does not fit.
        OptionError: another argument has a value that is not possible.
    """
    _check(spec, checkpoint, weights, num_classes)
    check_activation(activation)
    spec = None if spec is None else os.fspath(spec)
    kept = _kept(spec if checkpoint is None else os.fspath(checkpoint), weights_key, checkpoint is None)
    if activation is not None and checkpoint is None and kept is None:
        raise OptionError(f"activation={activation!r} was given without a checkpoint, whose head it is for: give both")
    if not isinstance(preprocessing, Preprocessing | None):
        raise OptionError(f"preprocessing must be a pellucid.Preprocessing, got {type(preprocessing).__name__}")
    if kept is not None:
        model = from_checkpoint(spec if checkpoint is not None else None, kept, num_classes, activation)
    elif checkpoint is not None:
        model = from_checkpoint(spec, read_checkpoint(checkpoint, weights_key), num_classes, activation)
    else:
        model = _from_source(spec or "", weights, num_classes)
    if preprocessing is not None:
        state_preprocessing(model, preprocessing)
    return model


def state_preprocessing(model: nn.Module, preprocessing: Preprocessing, assumed: tuple[str, ...] = ()) -> None:
    """Let ``model_info`` return this preprocessing of a model that ``load_model`` made, and what of it is assumed."""
    known = replace(model_info(model), preprocessing=preprocessing, assumed=assumed)
    _KNOWN[model] = replace(known, input_size=preprocessing.input_size or known.input_size)


def _from_source(spec: str, weights: str, num_classes: int | None) -> nn.Module:
    source, name = find(spec)
    request = ModelRequest(name, weights == "default", num_classes)
    with seeded():
        model = source.build(request)
    if (source.brings_weights or request.pretrained) and known_of(model).weights is None:
        _warn_of_untrained(spec, model.state_dict(), "check that the trained network's weights are loaded")
    drawn = None if source.brings_weights else "random"  # what a model brings along is not known
    return remember(model, source, request, ModelInfo(spec, weights="default" if request.pretrained else drawn))


def _warn_of_untrained(what: str, state: Mapping[str, Tensor], cure: str) -> None:
    """Warn of weights that came from somewhere, and are those of a new network. Drawn ones are known to be random."""
    seen = untrained(state)
    if seen is not None:
        warn(f"{what}: {seen}, so that it was hardly trained, and its maps mean nothing: {cure}")


def model_info(model: nn.Module) -> ModelInfo:
    """Return what is known about a model; everything for one that ``load_model`` made, also inside a wrapper.

    For any other, the preprocessing is read from timm's ``pretrained_cfg``, and classes and head from the ``config`` of
    transformers.
    """
    for name in ("module", "_orig_mod"):
        inner = getattr(model, name, None)
        if model not in _KNOWN and isinstance(inner, nn.Module):
            return model_info(inner)
    if model in _KNOWN:
        return _KNOWN[model]
    if isinstance(getattr(model, "pretrained_cfg", None), dict):
        return _sized(ModelInfo(preprocessing=from_timm(model)))
    side = getattr(model, "image_size", None)  # torchvision's ViT
    known = from_config(getattr(model, "config", None))
    return replace(known, input_size=(3, side, side)) if isinstance(side, int) else known


def restate(model: nn.Module, head: str = "auto", output: str | int | None = None) -> nn.Module:
    """A model that ``load_model`` made, with what its user knows better than its source: its head and output."""
    known = model_info(model)
    head_known = known.head if head == "auto" else head
    _KNOWN[model] = replace(known, head=head_known, output=known.output if output is None else output)
    return model


def find(spec: str) -> tuple[Source, str]:
    """Return the source of a specification, and the model's name there. ``SourceError``: there is none."""
    known = sources()
    prefix, _, name = spec.partition(":")
    by_prefix = known.get(prefix) if name else None
    by_path = next((one for one in known.values() if isinstance(one, PathSource) and one.takes_path(spec)), None)
    for failure in failures_of(prefix, is_known=by_prefix is not None or by_path is not None):
        warn(failure)
    if by_prefix is not None:
        return by_prefix, name
    if by_path is not None:
        return by_path, spec
    if Path(spec).is_file():
        raise SourceError(f"{spec!r} is a file, and names no model: give it as checkpoint={spec!r} if it holds weights")
    raise SourceError(f"{spec!r} names no model; give one of {', '.join(forms())}")


def forms() -> list[str]:
    """How the sources' models are named: ``timm:…`` for a prefix, then the paths."""
    known = sources()
    paths = {prefix: source.path_form for prefix, source in known.items() if isinstance(source, PathSource)}
    return [*(f"{prefix}:…" for prefix in sorted(known.keys() - paths.keys())), *sorted(paths.values())]


def _check(spec: object, checkpoint: object, weights: str, num_classes: object) -> None:
    if spec is None and checkpoint is None:
        raise SourceError("no model was named: give a specification such as torchvision:resnet50, or a checkpoint")
    if weights not in WEIGHTS:
        raise OptionError(f"weights must be one of {', '.join(WEIGHTS)}, got {weights!r}")
    if weights == "default" and checkpoint is not None:
        raise OptionError("weights='default' and a checkpoint were both given; leave one of them out")
    if not isinstance(spec, (str, os.PathLike, type(None))):
        raise OptionError(f"a model's specification must be a string such as torchvision:resnet50, got {spec!r}")
    if num_classes is None:
        return
    if not isinstance(num_classes, int) or isinstance(num_classes, bool) or num_classes < 1:
        raise OptionError(f"num_classes must be a whole number and at least 1, got {num_classes!r}")


def _kept(given: str | None, key: str | None, is_spec: bool) -> Checkpoint | None:
    """The weights file that a specification names, such as that of a registry; None of any other."""
    prefix, _, name = (given or "").partition(":")
    source = sources().get(prefix) if name else None
    kept = source.checkpoint(name, key) if isinstance(source, Keeping) else None
    if kept is None and isinstance(source, Keeping) and not is_spec:
        raise CheckpointError(
            f"{given}: weights were expected, got a graph, which is a whole network; give spec={given!r}"
        )
    return kept


def from_checkpoint(
    spec: str | None, checkpoint: Checkpoint, num_classes: int | None, activation: str | None
) -> nn.Module:
    """Make the model of a weights file, of the architecture ``spec``; None: the stated or recognised one.

    ``CheckpointError``: the weights do not fit. ``OptionError``: ``num_classes`` are not as many as it has.
    """
    spec = spec or _architecture(checkpoint)
    source, name = find(spec)
    match = _fitted(source, name, spec, checkpoint.state)
    if activation is None and match.head is not None and match.head.activations:
        activation = checkpoint.activation
    match = match.activated(activation)
    if num_classes not in (None, match.num_classes):
        raise OptionError(
            f"num_classes={num_classes} was asked for, {checkpoint.path} has {match.num_classes}; leave it out"
        )
    auxiliary = any(key.startswith(AUXILIARY) for key in match.state)
    request = ModelRequest(name, False, match.num_classes, match.in_channels, auxiliary)
    with seeded():
        model = made = source.build(request)
    if match.row:
        model = in_a_row(made)
    if match.head is not None:
        model.set_submodule(match.target, match.head.built())
    if match.pool:
        model.set_submodule(match.pool, ConcatPool())
    load_into(model, match.state, checkpoint.path)
    for note in match.warnings:
        warn(f"{checkpoint.path}: {note}")
    _warn_of_untrained(str(checkpoint.path), match.state, "check that this is the trained network's file")
    known = ModelInfo(spec, checkpoint_sha256=checkpoint.sha256 or _digest(checkpoint.path), weights="checkpoint")
    remember(model, source, request, known, made)
    info = replace(_KNOWN[model], registered=checkpoint.registered, origin=checkpoint.origin)
    stated = classes_of(checkpoint.classes, match.num_classes)
    named = info.classes if isinstance(source, Stating) else None  # else those of the source's own weights
    _KNOWN[model] = info = replace(info, head=info.head or checkpoint.head, classes=named or stated or info.classes)
    if info.preprocessing is not None and isinstance(source, Stating):
        return model
    if checkpoint.prepared is not None:
        state_preprocessing(model, checkpoint.prepared, checkpoint.assumed)
    else:
        channels = request.in_channels or (info.preprocessing.channels if info.preprocessing else 3)
        _KNOWN[model] = with_stated(info, checkpoint.preprocessing, channels, takes_volumes(model))
    return model


def _fitted(source: Source, name: str, spec: str, state: dict[str, Tensor]) -> Match:
    """Return the weights by the names of an architecture; if they do not fit, as many as have them.

    A head of other layers takes the place of a library's, never that of the user's own network.
    """
    outline = source.outline(ModelRequest(name))
    reference = describe(spec, outline)
    variants = [state, unwrapped(state)]
    if isinstance(source, Naming):
        variants = [source.named(variant, outline) for variant in (state, unprefixed(state), *variants[1:])]
    own = isinstance(source, PathSource)
    headless: list[CheckpointError] = []
    for names in map(Names, variants):
        found = [match for match in matches(reference, names) if not (own and (match.head or match.problem))]
        if complete := [match for match in found if not match.problem]:
            return chosen(complete)
        headless += [but_for_the_head(match, names) for match in found[:1]]
    if headless:
        raise headless[0]
    return Match(reference, "", Names(variants[0]).closest(reference))


def _architecture(checkpoint: Checkpoint) -> str:
    """Return the specification of the architecture that a file states, or that its weights are recognised as."""
    try:
        return _stated(checkpoint) or recognise(checkpoint.state).spec
    except CheckpointError as error:
        if checkpoint.registered is None:
            raise
        message = f"{checkpoint.registered}: {error}, with checkpoint={str(checkpoint.path)!r}"
        raise CheckpointError(message, error.candidates) from None


def _stated(checkpoint: Checkpoint) -> str | None:
    """Return the specification of the architecture that a file states, if the weights fit it."""
    names = [name for name in (checkpoint.architecture, *checkpoint.others) if name]
    return next((spec for name in names for spec in _specs(name) if _fits(spec, checkpoint.state)), None)


def _specs(stated: str) -> Sequence[str]:
    # Only names of these libraries, never a path: a weights file must not choose code to run.
    bare = stated.isidentifier() or stated.replace(".", "_").replace("-", "_").isidentifier()
    prefix, _, name = stated.partition(":")
    if prefix in ("torchvision", "timm", "monai") and name:
        return [stated]
    return [f"torchvision:{stated}", f"timm:{stated}"] if bare and not stated.endswith(".py") else []


def _fits(spec: str, state: dict[str, Tensor]) -> bool:
    source, name = find(spec)
    try:
        reference = describe(spec, source.outline(ModelRequest(name)))
    except SourceError:
        return False
    names = (Names(variant) for variant in (state, unwrapped(state)))
    return any(not match.problem for each in names for match in matches(reference, each))


def remember(
    model: nn.Module, source: Source, request: ModelRequest, known: ModelInfo, made: nn.Module | None = None
) -> nn.Module:
    """Keep what is known of a model, and what its source states of it, or of the one ``made`` that it was built of."""
    own = _sized(source.info(request, model if made is None else made))
    digest, weights = known.checkpoint_sha256 or own.checkpoint_sha256, known.weights or own.weights
    _KNOWN[model] = replace(own, spec=known.spec, checkpoint_sha256=digest, weights=weights)
    return model.eval()


def known_of(model: nn.Module) -> ModelInfo:
    """What is known of a model that ``load_model`` made, such as one that a factory returns; nothing of any other."""
    return _KNOWN.get(model, ModelInfo())


def _sized(info: ModelInfo) -> ModelInfo:
    """The same with the input's size, where only the preprocessing states it."""
    known = info.preprocessing
    if info.input_size or known is None or known.crop is None:
        return info
    return replace(info, input_size=(known.channels, *known.crop))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
