"""``load_model`` makes a model from its specification or weights file."""

from __future__ import annotations

import os

from torch import nn

from pellucid.core.default_device import on_cpu_by_default
from pellucid.errors import CheckpointError, OptionError, SourceError
from pellucid.models.checkpoints import Checkpoint, read_checkpoint
from pellucid.models.checkpoints.heads import check_activation
from pellucid.models.checkpoints.untrained import warn_of_untrained
from pellucid.models.preprocessing import Preprocessing
from pellucid.models.sources.base import Keeping, ModelInfo, ModelRequest, seeded, sources
from pellucid.models.sources.finding import find
from pellucid.models.sources.known import known_of, remember, state_preprocessing
from pellucid.models.sources.weights_file import from_checkpoint

WEIGHTS = ("none", "default")


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


def _from_source(spec: str, weights: str, num_classes: int | None) -> nn.Module:
    source, name = find(spec)
    request = ModelRequest(name, weights == "default", num_classes)
    with seeded():
        model = source.build(request)
    if (source.brings_weights or request.pretrained) and known_of(model).weights is None:
        warn_of_untrained(spec, model.state_dict(), "check that the trained network's weights are loaded")
    drawn = None if source.brings_weights else "random"  # what a model brings along is not known
    return remember(model, source, request, ModelInfo(spec, weights="default" if request.pretrained else drawn))


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
