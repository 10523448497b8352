"""``Explainer``: from a model and images to an ``Explanation``, with all options given beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from torch import nn

from pellucid.core import catalogue
from pellucid.core.allocator import keep_memory
from pellucid.core.choice import Choice
from pellucid.core.default_device import on_cpu_by_default
from pellucid.core.deprecation import positional_fields_deprecated
from pellucid.core.explanation import Explanation
from pellucid.core.grade import GRADE, WORTH, measured_worth
from pellucid.core.habits import pointing, pointing_fields
from pellucid.core.head import check_head
from pellucid.core.inputs import Inputs
from pellucid.core.method import Method
from pellucid.core.runtime import Runtime
from pellucid.core.target import Request, Targets
from pellucid.models.discovery.layers import share_of
from pellucid.models.session.session import Session
from pellucid.models.session.thread_state import kept
from pellucid.models.sources import ModelInfo, model_info
from pellucid.run import cautions
from pellucid.run.arguments import check_fuse, check_layers, check_method, check_names, check_output, check_runtime
from pellucid.run.batching import explained
from pellucid.run.checks import check_checks, check_head_of, check_target_of, measured
from pellucid.run.chosen import Chosen, chosen
from pellucid.run.facts import Facts
from pellucid.run.fusing import SUM
from pellucid.run.given import Given, batch_of
from pellucid.run.opening import Opened, opened
from pellucid.run.pointing import check_model
from pellucid.run.targets import targets_of
from pellucid.run.tuned import Trial, resolved


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
    _named: bool = field(default=True, init=False, repr=False, compare=False)
    """Whether layers that are given were named, not chosen by measurement."""

    def __post_init__(self) -> None:
        """Refuse values that are not possible, before any work; "auto" is what it stands for from then on."""
        check_model(self.model)
        self._take(chosen(self.model, self.method, self.layers, self.choice))
        check_layers(self.layers, self.model)
        check_names("classes", self.classes)
        check_names("checks", self.checks)
        check_runtime(self.runtime)
        check_fuse(self.fuse)
        check_head(self.head)
        check_output(self.output)
        check_method(method_of(self), self.layers)
        check_checks(self.checks, method_of(self))
        check_head_of(self.checks, self.head)

    def _take(self, found: Chosen | None) -> None:
        """Take the method and the layers that were chosen; those that were found together are added."""
        if found is None:
            return
        named = found.layers is self.layers
        taken = {"method": found.method, "layers": found.layers, "choice": None, "_why": found.why, "_named": named}
        if not named and len(found.layers or ()) > 1:
            taken["fuse"] = SUM
        for name, value in taken.items():
            object.__setattr__(self, name, value)

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
        if self.runtime.keep_memory:
            keep_memory()
        batch, info = batch_of(self.model, images), model_info(self.model)
        request = named_targets(self, targets, batch.inputs)
        check_head_of(self.checks, info.head if self.head == "auto" else self.head)
        check_target_of(self.checks, request)
        cautions.range_of(info, batch.inputs)
        runtime, trial = resolved(self.model, method_of(self), self.runtime)

        def work() -> Explanation:
            at = opened(self.model, batch.inputs, runtime, self.head, self.output)
            found = self._explained(at, request, facts_of(self, at.session, at.image, trial), info)
            return found.with_images(() if found.is_sequence else batch.images)

        return kept(work)

    def _explained(self, at: Opened, request: Targets, facts: Facts, info: ModelInfo) -> Explanation:
        """The maps of a batch and the figures beside them, with warnings of what had to be assumed."""
        session, image = at.session, at.image
        share = share_of(session, image, facts.layers) if facts.layers else None
        cautions.joined_layers(session, image, facts.layers)
        if self.layers is None:
            cautions.found_layers(facts.layers, share)
        else:
            cautions.named_layers(session, image, facts.layers, share)
            if facts.fuse == SUM and self._named:
                cautions.summed_layers(session, image, facts.places)
        targets = at.read(request)
        found = explained(session, replace(facts, share=share), at.inputs, targets)
        cautions.head(session, image, at.known, info, found)
        figures = measured(self.checks, session, at.inputs, targets, facts.each_place, found)
        stated: dict[str, Any] = {"region": True} if targets.within is not None else {}  # targets hold its class alone
        if GRADE in figures:
            stated[WORTH] = measured_worth(found.method, info.spec)
        return replace(found, checks={**found.checks, **figures}, provenance={**found.provenance, **stated})


def at_found(explainer: Explainer) -> Explainer:
    """An explainer whose layers were found before: no caller named them, and nobody is warned of them."""
    found = copy(explainer)
    object.__setattr__(found, "_named", False)  # frozen
    return found


def method_of(explainer: Explainer) -> Method:
    """The method of an explainer; a name stands for the method with its defaults."""
    return catalogue.find(explainer.method)() if isinstance(explainer.method, str) else explainer.method


def named_targets(explainer: Explainer, request: Request, inputs: Inputs) -> Targets:
    """The targets of a call, with the names of the classes; ``inputs`` are as the caller gave them."""
    named = tuple(explainer.classes) if explainer.classes is not None else model_info(explainer.model).classes
    return targets_of(request, named, inputs)


def facts_of(explainer: Explainer, session: Session, image: Inputs, trial: Trial | None = None) -> Facts:
    """What is the same for all batches: the layers, and where they lie. It costs passes the first time only."""
    found = Facts.of(method_of(explainer), explainer.layers, explainer.fuse, session, image)
    return replace(found, trial=trial, why=explainer._why)
