"""Turn the options of ``pellucid explain`` into a ``Job``."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from pellucid.cli.asked import FUSE, HEAD, METHOD, TARGET, Request
from pellucid.cli.asked_methods import check, named, with_chosen
from pellucid.cli.preparing import Preparation
from pellucid.core.choice import Choice
from pellucid.core.class_names import classes_named
from pellucid.core.head import check_head
from pellucid.core.method import Method
from pellucid.core.runtime import AUTO, Runtime
from pellucid.core.target import SameClasses
from pellucid.errors import OptionError, PellucidWarning
from pellucid.export import find
from pellucid.io.selection import parsed_options
from pellucid.io.window import asked_window
from pellucid.models.preprocessing import Preprocessing, takes_volumes
from pellucid.models.sources import load_model, model_info
from pellucid.models.sources.assumed import ORIENTATION, SIZE, VALUES, assumption, parts
from pellucid.models.sources.known import restate, state_preprocessing
from pellucid.render import colourise
from pellucid.run.checks import check_head_of
from pellucid.run.job import Job
from pellucid.run.layers import layer_tree
from pellucid.run.results import Results, model_facts
from pellucid.run.tuned import remembered


def prepared_job(request: Request) -> Job:
    """Check all options that can be checked without the model, then load the model."""
    by_default = METHOD if request.choice is None or request.layers == [AUTO] else AUTO
    request = replace(request, methods=request.methods or [by_default])
    choice = None if request.choice is None else Choice.load(request.choice)
    methods = named([name for name in request.methods if name != AUTO], request.options)
    check(methods, request)
    asked, head = request.targets or [TARGET], request.head or HEAD
    _targets(asked)
    for name in request.formats:
        find(name)
    colourise(torch.zeros(1, 1), request.style.colormap)
    check_head(head)
    if request.window is not None:
        asked_window(request.window, "CT")
    select = parsed_options(request.select)
    device = chosen_device(request.device)
    runtime = Runtime(device, _precision(request), batch_size=chosen_size(request.batch_size, device))
    classes = None if request.classes is None else class_names(request.classes)
    model = prepared_model(
        request.model, request.checkpoint, request.weights_key, request.activation, request.weights, device
    )
    restate(model, head, request.model_output)
    check_head_of(request.checks, model_info(model).head)
    methods, by_choice = with_chosen(model, methods, choice, request)
    for method in methods if request.fast else ():
        _warn_of_unmeasured(model, method, runtime)
    known = classes if classes is not None else model_info(model).classes
    targets = _targets(_split(asked, known or ()))
    facts = {**model_facts(model), **(request.taken.facts() if request.taken else {})}
    return Job(
        model=model,
        methods=methods,
        preprocessing=preprocessing(model, request.preparation),
        results=Results(
            request.output,
            request.formats,
            request.style,
            request.overwrite,
            facts,
            request.keep_identity,
            request.hidden,
            request.deidentifier,
            request.allow_seg_without_geometry,
        ),
        targets=targets,
        layers=None if request.layers == [AUTO] else request.layers,
        choice=choice,
        by_choice=by_choice,
        fuse=request.fuse or FUSE,
        checks=request.checks,
        classes=classes,
        head=head,
        runtime=runtime,
        window=request.window,
        frame=request.frame,
        select=select,
    )


def prepared_model(
    spec: str | None, checkpoint: Path | None, key: str | None, activation: str | None, weights: str, device: str
) -> nn.Module:
    """Load the model onto the device; warn of random weights."""
    model = load_model(spec, checkpoint, weights, weights_key=key, activation=activation)
    # The command owns the model, so it may move it; a caller's model is never moved.
    model.to(device)
    if model_info(model).weights == "random":
        warnings.warn(
            "the weights are random: neither the predictions nor the maps mean anything; give --checkpoint, or "
            "--weights default to download pretrained ones",
            PellucidWarning,
            stacklevel=2,
        )
    return model


def preprocessing(model: nn.Module, given: Preparation) -> Preprocessing:
    """The preprocessing that the user, the model or its source states; a warning says what is assumed of the rest."""
    info = model_info(model)
    known = info.preprocessing or Preprocessing(source="worked out from the network")
    volumes = takes_volumes(model)
    if given.nnunet_plans is not None:
        state_preprocessing(model, made := given.applied(known, 3 if volumes else 2))
        return made
    assumed = info.assumed if info.preprocessing is not None else parts(volumes)
    size: list[int] = []
    if info.preprocessing is None or (SIZE in assumed and known.resize is known.crop is None):
        channels, *size = input_size(model, given)
        known = known.for_channels(channels)
    made = given.applied(known, 3 if volumes else 2)
    if size and not given.sized and (made.spacing is None or info.input_size is not None):
        made = replace(made, resize=tuple(size))  # else the spacing decides on the size
    found = {
        SIZE: given.size is not None
        or (given.crop is not None and made.resize is None)  # else the size before the crop is assumed
        or (info.preprocessing is None and info.input_size is not None),
        VALUES: given.valued,
        ORIENTATION: given.orientation is not None,
    }
    missing = [part for part in assumed if not found[part]]
    if missing:
        who = "the checkpoint" if info.weights == "checkpoint" else "the model"
        cure = _IN_A_FILE if info.weights is None else ""
        message = assumption(who, missing, made, f"give {', '.join(_OPTIONS[part] for part in missing)}{cure}")
        warnings.warn(message, PellucidWarning, stacklevel=2)
    if given.stated:
        state_preprocessing(model, made)
    return made


_OPTIONS = {
    SIZE: "--size",
    VALUES: "--mean and --std",
    ORIENTATION: "--orientation and --spacing (as they are: --orientation stored)",
}
_IN_A_FILE = ", or set it in the `preprocessing` of the model that the factory returns"


def _precision(request: Request) -> str | None:
    if request.fast and request.precision is not None:
        raise OptionError(
            f"--fast and --precision {request.precision} were given; --fast chooses the precision: give one"
        )
    return AUTO if request.fast else request.precision


def _warn_of_unmeasured(model: nn.Module, method: Method, runtime: Runtime) -> None:
    if remembered(model, method, runtime) is None:
        warnings.warn(
            f"--fast was given; nothing was measured for {method.name}, this model and this machine, so float32 "
            f"is used: run `pellucid tune` with the same model and method first",
            PellucidWarning,
            stacklevel=2,
        )


def _targets(texts: Sequence[str]) -> str | int | SameClasses:
    """One target, or several for every image."""
    each = tuple(dict.fromkeys(int(text) if text.removeprefix("-").isdecimal() else text for text in texts))
    if len(each) > 1 and "all" in each:
        others = " ".join(f"--target {one}" for one in each if one != "all")
        raise OptionError(f"--target all and {others} were given; all contains every class: give --target all alone")
    return each[0] if len(each) == 1 else SameClasses(each)


def _split(texts: Sequence[str], classes: Sequence[str]) -> list[str]:
    """Targets with those divided that name several classes, as "effusion,nodule": names themselves may have commas."""
    return [part for text in texts for part in _parts(text, classes)]


def _parts(text: str, classes: Sequence[str]) -> list[str]:
    parts = [part.strip() for part in text.split(",")]
    if len(parts) == 1 or classes_named(text, classes):
        return [text]
    # Of a list with a mistake the error names the part.
    is_list = all(parts) and any(part.isdecimal() or part in WORDS or classes_named(part, classes) for part in parts)
    return parts if is_list else [text]


WORDS = ("predicted", "all")
"""Targets that are no class."""


def chosen_device(name: str) -> str:
    """Resolve the device "auto", to a GPU where there is one, else to the CPU, and "gpu", whatever kind there is."""
    kind = name.lower()
    if kind == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if kind != "gpu":
        return kind
    if torch.cuda.is_available():
        return "cuda"
    if torch.backends.mps.is_available():
        return "mps"
    raise OptionError("--device gpu was given; torch sees no GPU here: give --device cpu, and see `pellucid doctor`")


def chosen_size(asked: int | None, device: str) -> int:
    """The batch size; small by default on a CPU, where larger activations would be allocated anew in each pass."""
    return asked if asked is not None else 8 if device == "cpu" else 32


def class_names(path: Path) -> list[str]:
    """Read class names from a file: a JSON list, or one name per line."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise OptionError(f"--classes {path} was given; it cannot be read ({reason})") from None
    if text.lstrip().startswith("{"):
        raise OptionError(f"--classes {path} was given; it is a JSON object: write a list, in the order of the classes")
    if text.lstrip().startswith("["):
        try:
            names = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise OptionError(f"--classes {path} was given; it is not a JSON list ({error})") from None
        return [str(name) for name in names]
    return [line.strip() for line in text.splitlines() if line.strip()]


def input_size(model: nn.Module, given: Preparation) -> tuple[int, ...]:
    """The input size (C, *space) that the user or the model states, or else the first common size that it accepts."""
    stated = model_info(model).input_size
    if stated is not None:
        return stated
    sides = given.sides(3 if takes_volumes(model) else 2)
    if sides and given.channels:
        return (given.channels, *sides)
    profile = layer_tree(model, sides).profile
    return (profile.channels, *profile.grids.size)
