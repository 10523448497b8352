"""``explain`` and ``Explainer``: from a model and images to an ``Explanation``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Literal, NoReturn

import torch
from torch import Tensor, nn

from pellucid.core import catalogue
from pellucid.core.allocator import keep_memory
from pellucid.core.attribution import Attribution
from pellucid.core.choice import Choice
from pellucid.core.default_device import on_cpu_by_default
from pellucid.core.deprecation import positional_deprecated, positional_fields_deprecated
from pellucid.core.explanation import Explanation
from pellucid.core.grade import GRADE, WORTH, measured_worth
from pellucid.core.habits import layer_names, pointing, pointing_fields
from pellucid.core.head import check_head, over_places, returned, score_names
from pellucid.core.inputs import Inputs
from pellucid.core.method import Method
from pellucid.core.runtime import Runtime
from pellucid.core.target import Request, Targets
from pellucid.errors import LayerError, OptionError, is_out_of_memory, warn
from pellucid.models.discovery.layers import recommended, share_of
from pellucid.models.discovery.places import in_network_order, places_of
from pellucid.models.discovery.profile import Place
from pellucid.models.engine import Pass
from pellucid.models.session.session import Session, unwrapped
from pellucid.models.session.thread_state import kept
from pellucid.models.sources import ModelInfo, model_info
from pellucid.run import cautions
from pellucid.run.assembly import FUSIONS, SUM, Facts, assembled
from pellucid.run.checks import check_head_of, check_names, check_target_of, measured
from pellucid.run.chosen import Chosen, chosen
from pellucid.run.given import Batch, Given, batch_of
from pellucid.run.opening import opened
from pellucid.run.pointing import check_model
from pellucid.run.tuned import Trial, resolved

_MAPS_AN_IMAGE = 16
"""Maps for each image of a full batch whose gradients are held at a time; 1,000 classes at once would take 6 GB."""


@on_cpu_by_default
@pointing
@positional_deprecated
def explain(  # noqa: PLR0913  # the whole of a call's options, all but the first by keyword
    model: nn.Module,
    images: Given,
    method: str | Method = "gradcam",
    targets: Request = "predicted",
    *,
    layers: Sequence[str] | Literal["auto"] | None = None,
    fuse: str = "mean",
    classes: Sequence[str] | None = None,
    head: str = "auto",
    output: str | int | None = None,
    checks: Sequence[str] = (),
    choice: Choice | None = None,
    runtime: Runtime | None = None,
) -> Explanation:
    """Show which pixels of ``images`` the model's output rests on.

    Args:
        model: the network. It comes back as it was: parameters, mode, hooks and gradients.
        images: an image of ``prepare`` or ``read_image``, or a list of them; one that is not prepared is, as by
            ``prepare``, and so is an array of uint8, (H, W) or (H, W, C). An array of floats (C, H, W) is the model's
            input, and a tensor a batch of it, (B, C, *space), 2-D or 3-D. Of a mapping of names to tensors the first
            is explained; the others have an entry for each image, or are shared by all, as the prompts of CLIP are.
        method: a name (``available_methods()``) or a ``Method`` with its options; or a prior (``pellucid.priors``),
            which never asks the model, to compare methods with. "auto" is the method, with its layers, that was chosen
            for these weights by measurement (``choose``), or where nothing was, gradcam; the provenance says which.
        targets: the classes to explain: "predicted", "all", a number or name, a list (one for each image), a tensor
            (B,) or (B, K), or a callable from what the model returns, (B, C), to scores (B,) or (B, K). The explained
            score is the class's logit, also where the network itself ends in a sigmoid or softmax. A network that
            outputs a map (B, C, *space) also takes a ``Region``; for any other target, a class's score is its mean
            over the map. Of a regression head, "higher" and "lower" are what a map is evidence for.
        layers: dotted names; None finds the deepest through which the score passes, or several that have it together.
            "auto" takes those at which the method's grade is best in the choice, or where there is none, as None.
        fuse: how several layers that are named are combined: the mean, maximum or weighted mean (later layers count
            more) of their heatmaps, or the sum of their unscaled attributions on the image's grid. Layers that are
            found are added.
        classes: the names of the classes; of a regression head, of the values, with their unit.
        head: how the model's outputs are read: as logits of one class of many (softmax), of several findings (sigmoid)
            or of one finding (binary), as probabilities (probability), as values (regression), or auto: what the
            network's last function, its number of outputs and its source say. Where these say nothing it is softmax,
            and a warning says so if a sigmoid would change the probability of a predicted or explained class by more
            than 0.1, unless there are 1,000 classes or more.
        output: which tensor that the model returns holds the class scores, by name ("disease", "heads.disease", "1") or
            position; None finds the only one that can.
        checks: figures to measure beside the maps, kept in ``explanation.checks``, (B, K) each: "share", how much of
            the score passes through the layers, by 13 passes of each image; "blur_fall", how far the score falls where
            the map is highest and the image is blurred there, by 1 + K passes; "grade", what part that is of what
            blurring the whole image does, by 2 + K passes.
        choice: the choice that "auto" takes; None takes what `pellucid choose` kept on this machine.
        runtime: device, precision, batch size and seed.

    Raises:
        LayerError, TargetError, OptionError, ShapeError: an argument has a value that is not possible.
        NoSpatialLayerError, NoAttentionError, GradientError, OutputError: the model lacks what the method needs.

    >>> import torch, pellucid
    >>> from torchvision.models import resnet18
    >>> explanation = pellucid.explain(resnet18(num_classes=3), torch.randn(2, 3, 64, 64), targets="all")
    >>> explanation.heatmaps.shape, explanation.attributions.shape
    (torch.Size([2, 3, 64, 64]), torch.Size([2, 3, 2, 2]))
    """
    settings = runtime or Runtime()
    explainer = Explainer(
        model,
        method,
        layers=layers,
        fuse=fuse,
        classes=classes,
        head=head,
        output=output,
        checks=checks,
        choice=choice,
        runtime=settings,
    )
    return explainer._explained(images, targets)


@pointing_fields
@positional_fields_deprecated
@dataclass(frozen=True)
class Explainer:
    """``explain`` with everything but the images and targets given beforehand: call it with each batch.

    >>> import torch, pellucid
    >>> from torchvision.models import resnet18
    >>> explainer = pellucid.Explainer(resnet18(num_classes=3), "hirescam", head="sigmoid")
    >>> explainer(torch.randn(2, 3, 64, 64), targets=[0, 2]).targets
    tensor([[0],
            [2]])
    """

    model: nn.Module
    method: str | Method = "gradcam"
    _: KW_ONLY
    layers: Sequence[str] | Literal["auto"] | None = None
    fuse: str = "mean"
    classes: Sequence[str] | None = None
    head: str = "auto"
    output: str | int | None = None
    checks: Sequence[str] = ()
    choice: Choice | None = None
    runtime: Runtime = field(default_factory=Runtime)
    _why: str | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse values that are not possible, before any work; "auto" is what it stands for from then on."""
        check_model(self.model)
        self._take(chosen(self.model, self.method, self.layers, self.choice))
        _check_names("layers", self.layers, layer_names(self.layers, unwrapped(self.model)))
        _check_names("classes", self.classes)
        _check_names("checks", self.checks)
        if not isinstance(self.runtime, Runtime):
            raise OptionError(f"runtime must be a pellucid.Runtime, got {self.runtime!r}")
        if self.layers is not None and not self.layers:
            raise OptionError("layers=[] was given; name at least one, or leave it out to have one found")
        if self.fuse not in FUSIONS:
            raise OptionError(f"fuse {self.fuse!r} was asked for; there are {', '.join(FUSIONS)}")
        check_head(self.head)
        if isinstance(self.output, bool) or not isinstance(self.output, (str, int, type(None))):
            raise OptionError(f"output must be a name or a position, got {self.output!r}")
        if not isinstance(self._chosen, Method):
            raise OptionError(f"method must be a name or a Method, got {self._chosen!r}{_instead_of(self._chosen)}")
        if self.layers and not self._chosen.uses_layers:
            raise OptionError(f"layers {list(self.layers)} were given; method {self._chosen.name!r} looks at none")
        check_names(self.checks, self._chosen)
        check_head_of(self.checks, self.head)

    def _take(self, found: Chosen | None) -> None:
        """Take the method and the layers that were chosen; those that were found together are added."""
        if found is None:
            return
        taken = {"method": found.method, "layers": found.layers, "choice": None, "_why": found.why}
        if found.layers is not self.layers and len(found.layers or ()) > 1:
            taken["fuse"] = SUM
        for name, value in taken.items():
            object.__setattr__(self, name, value)

    @property
    def _chosen(self) -> Method:
        return catalogue.find(self.method)() if isinstance(self.method, str) else self.method

    if not TYPE_CHECKING:  # else every misspelt name would be one to a type checker

        def __getattr__(self, name: str) -> NoReturn:
            """Point from captum's ``attribute`` and the like to the call."""
            if hasattr(type(self), name):  # a property failed: its own error
                object.__getattribute__(self, name)
            raise AttributeError(f"an Explainer has no {name!r}; call it: explainer(images, targets='predicted')")

    @on_cpu_by_default
    @pointing
    def __call__(self, images: Given, targets: Request = "predicted") -> Explanation:
        """Explain a batch; ``images`` and ``targets`` as for ``explain``."""
        return self._explained(images, targets)

    def _explained(self, images: Given, targets: Request) -> Explanation:
        if self.runtime.keep_memory:
            keep_memory()
        batch, info, request = self._asked(images, targets)
        check_head_of(self.checks, info.head if self.head == "auto" else self.head)
        check_target_of(self.checks, request)
        inputs = Inputs.of(batch.values)
        cautions.range_of(info, inputs)
        runtime, trial = resolved(self.model, self._chosen, self.runtime)

        def work() -> Explanation:
            at = opened(self.model, inputs, runtime, self.head, self.output)
            session, given, image = at.session, at.inputs, at.image
            facts = self._facts(session, image, trial)
            share = share_of(session, image, facts.layers) if facts.layers else None
            if self.layers is None:
                cautions.found_layers(facts.layers, share)
            else:
                cautions.named_layers(session, image, facts.layers, share)
            targets = read_by(session, image, request)
            facts = replace(facts, classes=targets.classes, share=share)
            found = Explanation.cat(_parts(session, facts, given, targets))
            cautions.head(session, image, info, found)
            each = [place for own in facts.places.values() for place in own]
            figures = measured(self.checks, session, given, targets, each, found)
            if targets.within is not None:  # said, as targets holds its class alone
                found = replace(found, provenance={**found.provenance, "region": True})
            if GRADE in figures:
                found = replace(found, provenance={**found.provenance, WORTH: measured_worth(found.method, info.spec)})
            shown = () if found.is_sequence else batch.images
            return replace(found, checks={**found.checks, **figures}).with_images(shown)

        return kept(work)

    def _asked(self, images: Given, targets: Request) -> tuple[Batch, ModelInfo, Targets]:
        """The batch that the images are, what is known of the model, and the targets with its classes' names."""
        batch, info = batch_of(self.model, images), model_info(self.model)
        inputs = Inputs.of(batch.values)
        names = tuple(self.classes) if self.classes is not None else info.classes
        return batch, info, Targets(as_tensor(targets), names).fitted(len(inputs), inputs.images.shape[2:])

    def _facts(self, session: Session, image: Inputs, trial: Trial | None = None) -> Facts:
        """What is the same for all batches: the layers, and where they lie. It costs passes the first time only."""
        layers = self._layers(session, image)
        places = {layer: places_of(session, image, layer) for layer in layers}
        _check_distinct(places)
        # Layers that were found because each has a part of the score are added.
        fuse = SUM if self.layers is None and len(layers) > 1 else self.fuse
        return Facts(self._chosen, places, fuse, None, session.runtime, trial, None, image.form, self._why)

    def _layers(self, session: Session, image: Inputs) -> tuple[str, ...]:
        """The layers to look at, in the order in which the network runs them; none for a method without."""
        if not self._chosen.uses_layers:
            return ()
        if self.layers is None:
            return recommended(session, image)
        layers = tuple(dict.fromkeys(self.layers))
        session.modules(layers)
        return in_network_order(session, image, layers) if len(layers) > 1 else layers


def _check_distinct(places: Mapping[str, Sequence[Place]]) -> None:
    """Refuse a layer that is named beside one of its own runs: it would count twice."""
    seen: dict[str, str] = {}
    for layer, own in places.items():
        for occurrence in (str(place.occurrence) for place in own):
            if occurrence in seen:
                raise LayerError(
                    f"layers {seen[occurrence]!r} and {layer!r} were given; both hold {occurrence!r}: give one"
                )
            seen[occurrence] = layer


def read_by(session: Session, image: Inputs, targets: Targets) -> Targets:
    """The targets with the head that the session's network turns out to have, and the names of its scores."""
    known = session.known(image)
    head = session.resolved_head(image)
    names = score_names(targets.classes, head, known.classes)
    return replace(targets, head=head, classes=names, returned=partial(returned, head=head, ending=known.ending))


def _parts(session: Session, facts: Facts, inputs: Inputs, targets: Targets) -> list[Explanation]:
    """Explain as many images at a time as the runtime says; half as many where that does not fit into memory."""
    parts: list[Explanation] = []
    start, count, asked = 0, len(inputs), session.runtime.batch_size
    size = asked
    while start < count:
        stop = min(start + size, count)
        try:
            parts.append(_part(session, facts, inputs[start:stop], targets.images(start, stop), size))
            start = stop
        except RuntimeError as error:
            if size == 1 or not is_out_of_memory(error):
                raise
            size //= 2
    if size < asked:
        warn(f"batch_size={asked} does not fit into memory; {size} at a time did")
    return parts


def _part(session: Session, facts: Facts, inputs: Inputs, targets: Targets, batch_size: int) -> Explanation:
    """Explain one batch: all layers from one pass, a chunk of the classes at a time."""
    whole = Pass(session, session.on_device(inputs), facts.occurrences, batch_size=batch_size)
    passes = [whole.at(occurrence) for occurrence in facts.occurrences] or [whole]
    step = max(1, _MAPS_AN_IMAGE * batch_size // len(inputs))
    chunks = [attributed(facts.method, passes, targets.columns(0, step))]
    logits = whole.scores().detach()
    total = targets.count(logits)
    for start in range(step, total if facts.method.class_specific else 0, step):
        chunks.append(attributed(facts.method, passes, targets.columns(start, start + step)))
    indices = targets.columns(0, total).indices(logits)
    size = tuple(inputs.images.shape[2:])
    return assembled(facts, whole.head, chunks, over_places(logits), indices, size)


def attributed(method: Method, passes: Sequence[Pass], targets: Targets) -> list[Attribution]:
    """The attributions of a chunk of classes, one an occurrence of a layer."""
    found = [method.attribute(one, targets) for one in passes]
    return found if method.uses_layers else [_on_image(found[0], passes[0])]


def _on_image(found: Attribution, whole: Pass) -> Attribution:
    """Maps of a method without layers; those of tokens are drawn on what the network sees of the image."""
    space = whole.inputs.images.shape[2:]
    if not isinstance(found, Attribution) or found.values.shape[2:] == space or not whole.view.axes:
        return found
    return replace(found, values=whole.view.drawn(found.values, space), on_image=True)


def _instead_of(method: object) -> str:
    """What to write for something that was given as a method, as the end of a message."""
    if isinstance(method, type) and issubclass(method, Method):
        return f": write {method.__name__}()"
    return f": write targets={method}" if isinstance(method, int) else ""


def _check_names(what: str, names: object, meant: str | None = None) -> None:
    """Raise unless these are None or a list of strings; ``meant`` are the names of what was given instead."""
    if names is None:
        return
    if isinstance(names, str):
        raise OptionError(f"{what} must be a list of names, got the string {names!r}: write [{names!r}]")
    cure = f": write {what}={meant}" if meant else ""
    if not isinstance(names, Sequence | nn.Module):
        raise OptionError(f"{what} must be a list of names, got {names!r}")
    wrong = [names] if isinstance(names, nn.Module) else [name for name in names if not isinstance(name, str)]
    if wrong and isinstance(wrong[0], nn.Module) and not meant:
        cure = ", which is none of the model's: pellucid.recommended_layers(model) has names"
    if wrong:
        raise OptionError(f"{what} must be a list of names, got one of type {type(wrong[0]).__name__}{cure}")


def as_tensor(targets: Request) -> Request:
    """NumPy arrays as tensors; everything else unchanged."""
    is_array = hasattr(targets, "__array__") and getattr(targets, "ndim", 0) > 0
    return torch.as_tensor(targets) if is_array and not isinstance(targets, Tensor) else targets
