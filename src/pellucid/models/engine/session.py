"""A model in custody, and the passes that are made through it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor, nn

from pellucid.core.catalogue import black_box_methods
from pellucid.core.head import class_logits, resolve_head
from pellucid.core.inputs import Images, cloned, cut, explained, repeated, with_explained
from pellucid.core.runtime import Runtime
from pellucid.errors import LayerError, SourceError, did_you_mean
from pellucid.models.engine.attention import AttentionTap
from pellucid.models.engine.capture import at_rest, first_tensor, not_run, watched
from pellucid.models.engine.compiling import Place, passed
from pellucid.models.engine.custody import custody, seed_all, unwrapped
from pellucid.models.engine.embedding import locate
from pellucid.models.engine.noise import noise_like
from pellucid.models.engine.placement import placed, reference
from pellucid.models.engine.trace import Key, Trace, key_of, remembered, structure_of, written
from pellucid.models.orders import token_orders
from pellucid.models.outputs import raw_logits
from pellucid.models.tokens import Layout, Places


class Session:
    """What may be done with a model while it is held: call it, look at its modules, trace a pass."""

    def __init__(
        self,
        model: nn.Module,
        network: nn.Module,
        asked_head: str,
        stated_head: str | None,
        runtime: Runtime,
        stand_ins: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.model = model
        """The caller's network, unwrapped: what is remembered is remembered for it."""
        self.network = network
        """What computes: the caller's network, or a private copy of it."""
        self.head = asked_head
        """How the logits of the last pass are read."""
        self.runtime = runtime
        self._heads = (asked_head, stated_head)
        self._stand_ins = dict(stand_ins or {})
        self._like = reference(network)

    @cached_property
    def _known(self) -> dict[str, nn.Module]:
        """The network's modules by all of their names. In large networks, to ask for them takes as long as a layer."""
        return dict(self.network.named_modules(remove_duplicate=False))

    @cached_property
    def _structure(self) -> int:
        return structure_of(self.model)

    @property
    def has_script(self) -> bool:
        """Whether a part of the network is TorchScript, whose functions and modules cannot be seen."""
        return any(isinstance(module, torch.jit.ScriptModule) for module in self.network.modules())

    def prepared(self, images: Images) -> Images:
        """The images where the network is, in its precision; the caller's own are left alone."""
        if isinstance(images, Mapping):
            return {name: self._prepared(tensor) for name, tensor in images.items()}
        return self._prepared(images)

    def _prepared(self, tensor: Tensor) -> Tensor:
        dtype = self._like.dtype if tensor.is_floating_point() else tensor.dtype
        tensor = tensor.to(self._like.device, dtype)
        return tensor.clone() if tensor.is_inference() else tensor

    def placed(self, images: Images) -> Images:
        """The images where the network is, in their own precision."""
        if isinstance(images, Mapping):
            return {name: tensor.to(self._like.device) for name, tensor in images.items()}
        return images.to(self._like.device)

    def call(self, images: Images) -> Tensor:
        """Logits of the classes, (B, C) or a map (B, C, *space), in the grad mode of the moment.

        A network that is not known to leave its input alone gets clones. Every pass draws the same random numbers.
        """
        trace = remembered(self.model).get(self.key(images))
        if trace is None or trace.writes_input:
            images = cloned(images)
        return self._called(images)

    def _called(self, images: Images) -> Tensor:
        named = dict(images) if isinstance(images, Mapping) else {}
        given = () if isinstance(images, Mapping) else (images,)
        seed_all(self.runtime.seed)
        if self._stand_ins:
            # Each place of a weight by one name: of two, the network would be left with a stand-in.
            answer = torch.func.functional_call(self.network, self._stand_ins, given, named, tie_weights=False)
        else:
            answer = self.network(*given, **named)
        return self._logits(answer, len(explained(images)))

    def _logits(self, answer: object, images: int) -> Tensor:
        logits = raw_logits(answer, images)
        self.head = resolve_head(*self._heads, logits.shape[1])
        return class_logits(logits, self.head)

    def as_written(self) -> Session:
        """The same session, for passes that are made once: nothing is compiled."""
        return Session(self.model, self.network, *self._heads, replace(self.runtime, compile=False), self._stand_ins)

    @property
    def compiles(self) -> bool:
        """Whether plain passes run compiled."""
        return self.runtime.compile and not self._stand_ins and not self.has_script

    def compiled(
        self, images: Images, layers: Sequence[str], graph: bool
    ) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """Logits, layers' outputs, and what gradients at these are taken with respect to; the pass runs compiled."""
        places = {layer: self._place(layer, images) for layer in layers}
        given = cloned(images) if self.trace(images).writes_input else images
        seed_all(self.runtime.seed)
        with at_rest(self.network):
            found = passed(self.network, given, places, graph, self.runtime.batch_size)
            with torch.set_grad_enabled(graph):
                logits = self._logits(found.answer, found.images)[: len(explained(images))]
        return logits, found.outputs, found.leaves

    def with_parameters(self, change: Callable[[Tensor], Tensor | None]) -> Session:
        """The same session with other values in the parameters that ``change`` has one for; its own stay."""
        values: dict[str, Tensor] = {}
        for name, module in self.network.named_modules():
            for own, parameter in module._parameters.items():
                value = None if parameter is None else change(parameter)
                if value is not None:
                    values[f"{name}.{own}" if name else own] = value
        return Session(self.model, self.network, *self._heads, self.runtime, values)

    def modules(self, names: Sequence[str]) -> dict[str, nn.Module]:
        """The network's modules of these names, or an error with near names."""
        return _modules(self._known, names)

    def in_order(self, names: Sequence[str], images: Images) -> tuple[str, ...]:
        """Layers in the order in which the network finishes them on these images."""
        places = {self._known[name]: place for place, name in enumerate(self.trace(images).shapes)}
        return tuple(sorted(names, key=lambda name: places.get(self.modules([name])[name], len(places))))

    def trace(self, images: Images) -> Trace:
        """What one of these images passes through; found once for an input shape."""
        if isinstance(self.model, torch.jit.ScriptModule):
            raise SourceError(
                "a TorchScript model was given; its layers cannot be looked into: use a method that needs its scores "
                f"alone ({', '.join(black_box_methods())}) or gradients at the picture (such as saliency), or give the "
                "nn.Module it was made from"
            )
        traces = remembered(self.model)
        key = self.key(images)
        if key not in traces:
            traces[key] = self._traced(cut(images, 0, 1))
        return traces[key]

    def _traced(self, image: Images) -> Trace:
        """A pass of one image, told module by module."""
        channels, *size = explained(image).shape[1:]
        trace = Trace(channels, Places(tuple(size), orders=token_orders(self.network)))
        given = cloned(image)
        with torch.no_grad(), watched(self.network, trace.note, trace.begin), AttentionTap(trace.attend):
            trace.answer = tuple(self._called(given).shape)
        trace.writes_input = written(given, image)
        self._locate(trace, image)
        return trace

    def _locate(self, trace: Trace, image: Images) -> None:
        """Find out where the patches stand among the tokens, if the network takes several images at a time."""

        def call(corners: Tensor) -> None:
            self._called(with_explained(repeated(image, len(corners)), corners))

        with torch.no_grad(), suppress(RuntimeError, ValueError, IndexError):
            locate(trace, self.network, noise_like(explained(image)), call)

    def sums(self, image: Images) -> dict[str, float]:
        """Each module's output in one number: what differs between two images depends on where they differ."""
        sums: dict[str, float] = {}

        def note(name: str, _module: nn.Module, output: object) -> None:
            tensor = first_tensor(output)
            sums[name] = 0.0 if tensor is None else float(tensor.sum(dtype=torch.float64))

        with torch.no_grad(), watched(self.network, note):
            self.call(image)
        return sums

    def key(self, images: Images) -> Key:
        """What may be remembered for images like these."""
        return key_of(self._structure, images)

    def layout(self, layer: str, shape: Sequence[int], images: Images) -> Layout:
        """How a layer's output lies on these images, or an error that says what came."""
        layout, one = self._laid(layer, images)
        if layout is None or list(shape) != _of_many(one, layout, len(explained(images))):
            raise _no_places(layer, shape)
        return layout

    def _place(self, layer: str, images: Images) -> Place:
        """A layer's output on these images, before it is known."""
        layout, one = self._laid(layer, images)
        if not one:
            raise not_run(layer)
        if layout is None:
            raise _no_places(layer, one)
        return Place(self.modules([layer])[layer], tuple(one), layout.batch_axis)

    def _laid(self, layer: str, images: Images) -> tuple[Layout | None, Sequence[int]]:
        """How a layer's output lies, if it has places, and its shape for one image."""
        trace = self.trace(images)
        module = self.modules([layer])[layer]
        name = next(name for name, one in self._known.items() if one is module)
        return (trace.layout(name, module), trace.shapes[name]) if name in trace.shapes else (None, ())


def _no_places(layer: str, shape: Sequence[int]) -> LayerError:
    return LayerError(
        f"layer {layer!r} was asked for; its output {tuple(shape)} has no places of a picture: "
        f"choose one whose output is (B, C, H, W), (B, H, W, C) or tokens (B, T, C)"
    )


def _of_many(shape: Sequence[int], layout: Layout, images: int) -> list[int]:
    """The shape for so many images of an output whose shape for one is known."""
    return [images if axis == layout.batch_axis else length for axis, length in enumerate(shape)]


@contextmanager
def opened(model: nn.Module, runtime: Runtime, head: str = "auto", stated_head: str | None = None) -> Iterator[Session]:
    """Hold a model alone for a while; afterwards it is as it was."""
    model = unwrapped(model)
    with custody(model):
        network = placed(model, runtime)
        yield Session(model, network, head, stated_head, runtime)


def modules(network: nn.Module, names: Sequence[str]) -> dict[str, nn.Module]:
    """A network's modules of these names, or an error with near names."""
    return _modules(dict(network.named_modules(remove_duplicate=False)), names)


def _modules(known: Mapping[str, nn.Module], names: Sequence[str]) -> dict[str, nn.Module]:
    return {name: known[_bare(name, known)] for name in names}


def _bare(name: str, known: Mapping[str, nn.Module]) -> str:
    """A layer's name as the unwrapped network knows it."""
    if name in known and name:
        return name
    for prefix in ("module.", "_orig_mod."):
        if name.startswith(prefix) and name.removeprefix(prefix):
            return _bare(name.removeprefix(prefix), known)
    raise LayerError(
        f"layer {name!r} was asked for; the model has none of that name{did_you_mean(name, filter(None, known))}"
    )
