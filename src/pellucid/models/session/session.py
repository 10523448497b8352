"""A model during one explanation: the network that computes, its modules by name, and its logits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.core.default_device import as_called
from pellucid.core.head import COMBINED, HEADS, explains_returned, has_logits, resolve_head
from pellucid.core.inputs import Inputs
from pellucid.core.runtime import Runtime
from pellucid.core.torch_private import is_quantised, within_wrapper
from pellucid.errors import LayerError, did_you_mean
from pellucid.models.session.cache import remembered
from pellucid.models.session.derivatives import as_float
from pellucid.models.session.endings import EndingMode
from pellucid.models.session.lazy import lazy
from pellucid.models.session.occurrence import Occurrence
from pellucid.models.session.origins import OriginMode
from pellucid.models.session.outputs import Choice, raw_logits
from pellucid.models.session.placement import Stamp, network_of, reference, written
from pellucid.models.session.randomness import OwnRandomness, ProcessRandomness
from pellucid.models.session.refusals import refusals
from pellucid.models.session.softened import SoftenedMode
from pellucid.models.session.twin import OwnModules, own_tensors, twin

Key = tuple[object, ...]


@dataclass(frozen=True)
class CallFacts:
    """Facts about a network that the first call with inputs of a shape shows.

    ``classes``: the number of its raw logits. ``writes_input``: whether it changes its input in place. ``draws``:
    whether it draws random numbers. ``ending``: its last function where that makes probabilities of logits, or that it
    combines probabilities. ``is_linear``: whether the outputs are those of a linear layer, and so no probabilities.
    """

    classes: int
    writes_input: bool
    draws: bool
    ending: str | None
    is_linear: bool


@dataclass(frozen=True, eq=False)
class Session:
    """A model during one call.

    ``model`` is the caller's, unwrapped; what is found out is remembered for it. ``network`` computes: its modules are
    the session's own, so that hooks and modes on them are nobody else's. ``head`` and ``stated_head`` say how logits
    are read, as the caller and the model's source have it. ``output`` says which of the model's outputs they are.
    ``beta``: the network runs with softplus in place of ReLU, with this sharpness.
    """

    model: nn.Module
    network: nn.Module
    runtime: Runtime
    head: str = "auto"
    stated_head: str | None = None
    output: Choice = None
    beta: float | None = None

    @classmethod
    def of(
        cls,
        model: nn.Module,
        runtime: Runtime,
        head: str = "auto",
        stated_head: str | None = None,
        output: Choice = None,
    ) -> Session:
        """A session of a model, on the device and in the precision of the runtime."""
        model = unwrapped(model)
        return cls(model, network_of(model, runtime), runtime, head, stated_head, output)

    @lazy
    def _known(self) -> dict[str, nn.Module]:
        """The network's modules by all of their names. In a large network, listing them takes as long as a layer."""
        return dict(self.network.named_modules(remove_duplicate=False))

    @lazy
    def _structure(self) -> int:
        return structure_of(self.model)

    @lazy
    def weights(self) -> Stamp:
        """What was measured with the model's parameters holds as long as this is the same."""
        return written(self.model.parameters())

    @lazy
    def _like(self) -> Tensor:
        return reference(self.network)

    @lazy
    def has_script(self) -> bool:
        """Whether a part of the network is TorchScript, whose functions and modules cannot be intercepted."""
        return any(isinstance(module, torch.jit.ScriptModule) for module in self.network.modules())

    @lazy
    def is_quantised(self) -> bool:
        """Whether a part of the network is quantised, through which torch has no gradients."""
        return any(map(is_quantised, self.network.modules()))

    def prepared(self, inputs: Inputs) -> Inputs:
        """The inputs on the network's device, in its precision; the caller's own are left alone."""
        return inputs.map(self._prepared)

    def _prepared(self, tensor: Tensor) -> Tensor:
        dtype = self._like.dtype if tensor.is_floating_point() else tensor.dtype
        tensor = tensor.to(self._like.device, dtype)
        return tensor.clone() if tensor.is_inference() else tensor

    def on_device(self, inputs: Inputs) -> Inputs:
        """The inputs on the network's device, in their own precision."""
        return inputs.map(lambda tensor: tensor.to(self._like.device))

    def modules(self, names: Sequence[str]) -> dict[str, nn.Module]:
        """The network's modules of these names, or an error that suggests similar names.

        A name may also be that of an occurrence: a run, or an entry of the batch.
        """
        return {name: self._known[_bare(self.occurrence(name).layer, self._known)] for name in names}

    def occurrence(self, name: str) -> Occurrence:
        """The occurrence that a name is about: of a module of this name, the module itself."""
        return Occurrence(name) if name in self._known else Occurrence.of(name)

    def name_of(self, module: nn.Module) -> str:
        """The first of a module's names."""
        return next(name for name, one in self._known.items() if one is module)

    def key(self, inputs: Inputs) -> Key:
        """What is remembered for such inputs goes by this: the model's structure, the output, the inputs' shapes."""
        shapes = tuple(
            (name, tuple(tensor.shape) if name in inputs.shared else tuple(tensor.shape[1:]))
            for name, tensor in inputs.tensors.items()
        )
        return self._structure, self.output, explains_returned(self.head, self.stated_head), inputs.form, shapes

    def facts(self, inputs: Inputs) -> CallFacts | None:
        """The facts about calls with inputs like these; None before the first."""
        known = self._facts(inputs)
        return known.get(self._kind(inputs), next(iter(known.values()), None))

    def _facts(self, inputs: Inputs) -> dict[tuple[bool, bool], CallFacts]:
        return remembered(self.model, ("call", self.key(inputs)), dict)

    @staticmethod
    def _kind(inputs: Inputs) -> tuple[bool, bool]:
        """Batch or single image, with or without gradients: facts are kept for each, since they may differ."""
        return len(inputs) > 1, torch.is_grad_enabled()

    def known(self, inputs: Inputs) -> CallFacts:
        """What calls with inputs like these show, from a pass of the first of them where none was made yet."""
        found = self.facts(inputs)
        if found is not None:
            return found
        with torch.no_grad():
            self.call(inputs[:1])
        return next(iter(self._facts(inputs).values()))

    def head_for(self, known: CallFacts) -> str:
        """The head by which the raw logits of calls with these facts are read."""
        return resolve_head(self.head, self.stated_head, known.classes, known.ending)

    def call(self, inputs: Inputs) -> Tensor:
        """Logits of the classes, (B, C) or a map (B, C, *space), in the current grad mode.

        A network that is not known to leave its input alone gets a copy. Every pass draws the same random numbers, and
        none of the process's own. Of a network that ends in a sigmoid or softmax, they are the logits before it.
        """
        facts = self._facts(inputs).get(self._kind(inputs))
        if facts is None:
            return self._first(inputs)
        with ExitStack() as stack:
            if facts.draws:
                stack.enter_context(self._randomness())
            return self._run(inputs.cloned() if facts.writes_input else inputs, facts.ending)

    def _first(self, inputs: Inputs) -> Tensor:
        given, draws, kind = inputs.cloned(), self._randomness(), self._kind(inputs)
        with ExitStack() as stack:
            stack.enter_context(draws)
            if not self.has_script:
                stack.enter_context(OwnModules(self.model, self.network))
            stack.enter_context(refusals(self.network, inputs.images, self.has_script))
            raw, ending, is_linear = self._with_ending(given)
        facts = CallFacts(raw.shape[1], _written(given, inputs), draws.count > 0, ending, is_linear)
        self._facts(inputs)[kind] = facts
        return self.read(raw, ending)

    def _randomness(self) -> OwnRandomness | ProcessRandomness:
        return (ProcessRandomness if self.has_script else OwnRandomness)(self.runtime.seed)

    def _run(self, inputs: Inputs, ending: str | None) -> Tensor:
        if ending is None or not has_logits(ending):
            return self.read(self._raw(inputs), ending)
        with EndingMode() as mode:
            raw = self._raw(inputs)
        return self.read(as_float(mode.logits_of(raw, ending)), ending)

    def _raw(self, inputs: Inputs) -> Tensor:
        with as_called(), nullcontext() if self.beta is None else SoftenedMode(self.beta):
            return self.raw(self.network(*inputs.positional, **inputs.named), len(inputs))

    def _with_ending(self, inputs: Inputs) -> tuple[Tensor, str | None, bool]:
        """The raw logits, those before a last function that makes probabilities of them, and that function's name.

        And whether they are those of a linear layer.
        """
        if self.has_script or explains_returned(self.head, self.stated_head):
            return self._raw(inputs), None, False
        with EndingMode() as mode, OriginMode() as origins:
            raw = self._raw(inputs)
        ending, origin = mode.ending_of(raw), origins.origin_of(raw)
        if ending is not None:
            return as_float(mode.logits_of(raw, ending)), ending, False
        return raw, COMBINED if origin == "probabilities" else None, origin == "linear"

    def raw(self, output: Any, images: int) -> Tensor:
        """The raw logits in the network's output for a batch of ``images``."""
        return raw_logits(output, images, self.output)

    def read(self, raw: Tensor, ending: str | None = None) -> Tensor:
        """Logits of the classes from a network's raw logits."""
        return HEADS[resolve_head(self.head, self.stated_head, raw.shape[1], ending)].scores(raw)

    def sharing_parameters(self) -> Session:
        """The same session with a network that uses the model's own parameters, so that gradients reach them.

        On another device or in another precision the parameters remain copies.
        """
        if reference(self.network).data_ptr() != reference(self.model).data_ptr():
            return self
        own = {id(tensor): tensor for tensor in own_tensors(self.model)}
        return replace(self, network=twin(self.model, own))

    def with_parameters(self, change: Callable[[Tensor], Tensor | None]) -> Session:
        """The same session with new values for the parameters for which ``change`` returns one."""
        values = {id(parameter): change(parameter) for parameter in self.network.parameters()}
        changed = {number: value for number, value in values.items() if value is not None}
        return self.with_tensors({number: nn.Parameter(one, requires_grad=False) for number, one in changed.items()})

    def with_tensors(self, changed: Mapping[int, Tensor]) -> Session:
        """The same session with a network whose parameters and buffers of these ids are others. All else is shared."""
        own = {id(tensor): tensor for tensor in own_tensors(self.network)}
        return replace(self, network=twin(self.network, own | dict(changed)))


def unwrapped(model: nn.Module) -> nn.Module:
    """The network within DataParallel, DistributedDataParallel and torch.compile."""
    while True:
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model = model.module
        elif (within := within_wrapper(model)) is not None:
            model = within
        else:
            return model


def modules_of(network: nn.Module, names: Sequence[str]) -> dict[str, nn.Module]:
    """A network's modules of these names, or an error that suggests similar names."""
    known = dict(network.named_modules(remove_duplicate=False))
    return {name: known[_bare(name, known)] for name in names}


def _bare(name: str, known: Mapping[str, nn.Module]) -> str:
    """A layer's name in the unwrapped network."""
    if name in known and name:
        return name
    for prefix in ("module.", "_orig_mod."):
        if name.startswith(prefix) and name.removeprefix(prefix):
            return _bare(name.removeprefix(prefix), known)
    raise LayerError(
        f"layer {name!r} was asked for; the model has none of that name{did_you_mean(name, filter(None, known))}"
    )


def structure_of(model: nn.Module) -> int:
    """A hash of everything in a model that its passes depend on, except the tensors' values."""
    # With its type, since a new module may reuse the id of a deleted one.
    modules = tuple((name, id(module), type(module)) for name, module in model.named_modules())
    sizes = tuple(parameter.shape for parameter in model.parameters())
    # Its settings: a string (``global_pool``) selects what timm's transformers classify by.
    settings = tuple((key, value) for key, value in vars(model).items() if isinstance(value, str))
    switches = tuple(_switches(module) for module in model.modules())
    return hash((modules, sizes, settings, switches))


def _switches(module: nn.Module) -> tuple[object, ...]:
    """A module's boolean settings except its mode, and the id of a ``forward`` set on the instance."""
    own = vars(module)
    flags = tuple((name, value) for name, value in own.items() if type(value) is bool and name != "training")
    return (*flags, id(own.get("forward")))


def _written(given: Inputs, inputs: Inputs) -> bool:
    """Whether a network wrote into ``given``, its copies of the inputs.

    Versions and values are both compared: a write through ``.data`` does not change the version, and a write may leave
    this image's values equal.
    """
    pairs: Any = zip(given.tensors.values(), inputs.tensors.values(), strict=True)
    return any(new._version > 0 or not torch.equal(new, old) for new, old in pairs)
