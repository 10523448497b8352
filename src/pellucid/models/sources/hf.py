"""``hf:google/vit-base-patch16-224``, ``hf:folder`` or ``hf:vit``: the image classifiers of transformers."""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from pellucid.errors import MissingPackageError, PellucidWarning, SourceError, did_you_mean, message_of
from pellucid.models.checkpoints import ADAPTER, adapter
from pellucid.models.sources.base import ModelInfo, ModelRequest, downloading, outlined, package
from pellucid.models.stated_preprocessing import from_transformers

NAMES = "transformers.models.auto.modeling_auto"
_WITHOUT = "DISABLE_SAFETENSORS_CONVERSION"


class HuggingFaceSource:
    """A checkpoint of the hub (``owner/name``) or in a folder, or a model type with its default configuration.

    Weights are read from safetensors files only, and no code of the checkpoint's is run.
    """

    prefix = "hf"
    brings_weights = False
    states_preprocessing = True

    def outline(self, request: ModelRequest) -> nn.Module:
        """Build the architecture, if possible without memory for its weights. ``SourceError``: no such name."""
        config = _config(request)
        return outlined(lambda: _from_config(request, config))

    def build(self, request: ModelRequest) -> nn.Module:
        """Build the model. ``SourceError``: no such name, it takes more than images, or it cannot be loaded."""
        config = _config(request)
        return _from_pretrained(request, config) if request.pretrained else _from_config(request, config)

    def info(self, request: ModelRequest, model: nn.Module) -> ModelInfo:
        """Return what the configuration states, and the preprocessing of the image processor beside the weights."""
        return replace(from_config(model.config), preprocessing=_preprocessing(request))

    def named(self, state: dict[str, Tensor], outline: nn.Module) -> dict[str, Tensor]:
        """Return a file's weights under the model's own names: since version 5 transformers saves other names."""
        try:
            revert = package("transformers.core_model_loading", "hf").revert_weight_conversion
        except (MissingPackageError, AttributeError):
            return state
        own = outline.state_dict()
        now = {id(value): name for name, value in own.items()}
        names = {saved: now[id(value)] for saved, value in revert(outline, dict(own)).items() if id(value) in now}
        return {key if key in own else names.get(key, key): value for key, value in state.items()}


def _config(request: ModelRequest) -> Any:
    """Return the configuration with the requested sizes."""
    transformers = package("transformers", f"hf:{request.name}")
    sizes = {} if request.num_classes is None else {"num_labels": request.num_classes}
    if request.name in _types():
        if request.pretrained:
            raise SourceError(
                f"hf:{request.name} is a type of model, which has no weights of its own; name a checkpoint such as "
                "hf:google/vit-base-patch16-224"
            )
        config = transformers.AutoConfig.for_model(request.name, **sizes)
    elif Path(request.name, ADAPTER).is_file():
        raise adapter(Path(request.name), ADAPTER)
    elif "/" in request.name or Path(request.name).is_dir():
        with _reading(request.name):
            config = transformers.AutoConfig.from_pretrained(request.name, trust_remote_code=False, **sizes)
    else:
        raise SourceError(
            f"hf:{request.name} is no transformers image classifier{did_you_mean(request.name, _types())}; give a "
            "type such as hf:vit, a checkpoint as in hf:google/vit-base-patch16-224, or a folder with a config.json"
        )
    _check(request.name, config)
    parts: list[Any] = [config, getattr(config, "vision_config", None)]
    for each in parts:
        if request.in_channels is not None and hasattr(each, "num_channels"):
            each.num_channels = request.in_channels
    config.architectures = config.architectures or []  # transformers iterates over it
    return config


def _types() -> Any:
    return package(NAMES, "hf").MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES


def _check(name: str, config: Any) -> None:
    """Refuse a model that does not classify images, or that needs more inputs than images."""
    known = package(NAMES, "hf").MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING
    if type(config) not in known:
        raise SourceError(
            f"hf:{name} is a model of type {config.model_type}, and transformers has no image classifier of that "
            f"type{did_you_mean(config.model_type, _types())}"
        )
    kinds = known[type(config)]
    kind = kinds[0] if isinstance(kinds, tuple | list) else kinds
    takes = list(inspect.signature(kind.forward).parameters)[1:]
    if takes[0] not in ("pixel_values", "inputs") or "spatial_shapes" in takes:
        raise SourceError(
            f"hf:{name}: {kind.__name__} takes {', '.join(takes[:3])} and not images alone; wrap it in a model "
            "that takes (B, C, H, W), and give path/to/file.py:factory"
        )


def _from_config(request: ModelRequest, config: Any) -> nn.Module:
    transformers = package("transformers", f"hf:{request.name}")
    try:
        model: nn.Module = transformers.AutoModelForImageClassification.from_config(config, trust_remote_code=False)
    except ImportError as error:  # some models need packages of their own
        raise MissingPackageError(f"hf:{request.name}: {message_of(error)}") from None
    except Exception as error:  # values in the configuration that make no model
        text = f"{type(error).__name__}: {message_of(error)}"
        raise SourceError(
            f"hf:{request.name}: no model can be made from its configuration ({text}); correct it"
        ) from error
    return model.float()


def _from_pretrained(request: ModelRequest, config: Any) -> nn.Module:
    auto = package("transformers", f"hf:{request.name}").AutoModelForImageClassification
    with downloading(f"hf:{request.name}"), _as_they_are():
        model, report = auto.from_pretrained(
            request.name,
            config=config,
            use_safetensors=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=request.num_classes is not None,
            output_loading_info=True,
        )
    if missing := sorted(report["missing_keys"]):
        warnings.warn(
            f"hf:{request.name} has no weights for {', '.join(missing[:4])}; they are random, and so is what the model "
            "answers: name a checkpoint that was trained to classify",
            PellucidWarning,
            stacklevel=2,
        )
    network: nn.Module = model.float()
    return network


@contextmanager
def _as_they_are() -> Iterator[None]:
    """Keep transformers from asking a public service to convert weights that are not safetensors."""
    before = os.environ.get(_WITHOUT)
    os.environ[_WITHOUT] = "1"
    try:
        yield
    finally:
        os.environ.pop(_WITHOUT)
        os.environ.update({} if before is None else {_WITHOUT: before})


@contextmanager
def _reading(name: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # the hub's, the file's and transformers' own
        raise SourceError(
            f"hf:{name}: its config.json could not be read ({message_of(error)}); check the name and the network, or "
            "name a folder that holds one"
        ) from error


def from_config(config: Any) -> ModelInfo:
    """Return what a transformers configuration states about classes, head and input size; nothing for any other."""
    if not isinstance(getattr(config, "id2label", None), Mapping):
        return ModelInfo()
    several = getattr(config, "problem_type", None) == "multi_label_classification"
    return ModelInfo(classes=_classes(config), head="sigmoid" if several else None, input_size=_input_size(config))


def _input_size(config: Any) -> tuple[int, ...] | None:
    """Return (C, H, W) if a configuration has an image size: one number, or two."""
    for part in (config, getattr(config, "vision_config", None)):
        size = getattr(part, "image_size", None)
        sides = (size, size) if isinstance(size, int) else tuple(size) if isinstance(size, list | tuple) else ()
        if len(sides) == 2:
            return (getattr(part, "num_channels", 3), *sides)
    return None


def _classes(config: Any) -> tuple[str, ...] | None:
    """Return the class names, unless they are the placeholders of transformers."""
    names = [str(config.id2label[index]) for index in sorted(config.id2label)]
    real = any(name != f"LABEL_{index}" for index, name in enumerate(names))
    return tuple(names) if real and len(names) == config.num_labels else None


def _preprocessing(request: ModelRequest) -> Any:
    if not request.pretrained and not Path(request.name, "preprocessor_config.json").is_file():
        return None
    processors = package("transformers", f"hf:{request.name}").AutoImageProcessor
    try:
        processor = processors.from_pretrained(request.name, trust_remote_code=False)
        found = from_transformers(processor, f"transformers image processor of {request.name}")
    except Exception:  # no processor, or none that makes one tensor from an image: nothing is known then
        return None
    return found and found.for_channels(request.in_channels or found.channels)


SOURCE = HuggingFaceSource()
