"""A pass of one batch through a network: the results that methods need, each computed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from pellucid.core.catalogue import gradient_free_methods
from pellucid.core.head import has_logits
from pellucid.core.inputs import Images, Inputs
from pellucid.core.probe import Order, Step, TokenGrid
from pellucid.core.rule import BackwardRule
from pellucid.core.target import Targets
from pellucid.core.view import View
from pellucid.errors import GradientError, LayerError
from pellucid.models.discovery.attention_dependence import plan_of, tokens_read
from pellucid.models.discovery.places import layout_of, places_of, view_of_all
from pellucid.models.discovery.profile import ModelProfile
from pellucid.models.discovery.recording import profile_of
from pellucid.models.discovery.rectifiers import rectified_to
from pellucid.models.discovery.tokens import Layout
from pellucid.models.engine.attention_fold import AttentionFold
from pellucid.models.engine.compiled import compiled_outputs
from pellucid.models.engine.early_exit import EarlyExit
from pellucid.models.engine.image_gradients import image_gradients
from pellucid.models.engine.replay import ForwardFromLayer
from pellucid.models.session.attention_mode import unfused
from pellucid.models.session.derivatives import as_float, hvp
from pellucid.models.session.hooks import at_rest
from pellucid.models.session.layer_pass import gradients_at, not_reached, outputs_at
from pellucid.models.session.lazy import lazy
from pellucid.models.session.occurrence import Occurrence
from pellucid.models.session.session import Session


@dataclass
class _Record:
    """The results computed for one batch so far, shared by the layers of a call."""

    logits: Tensor | None = None
    outputs: dict[str, Tensor] = field(default_factory=dict)
    leaves: dict[str, Tensor] = field(default_factory=dict)
    """The tensors with respect to which the gradients at the layers are taken."""
    has_graph: bool = False
    gradients: tuple[Targets, dict[str, Tensor]] | None = None
    fold: AttentionFold | None = None


@dataclass(frozen=True, eq=False)
class Pass:
    """The ``Probe`` of methods: one layer of a session's network, for one batch.

    ``layers`` are all layers of the call: their outputs and gradients come from one pass. ``batch_size`` is the most
    images that a pass may have.
    """

    session: Session
    inputs: Inputs
    layers: tuple[str, ...] = ()
    layer: str = ""
    batch_size: int = 32
    is_differentiable: bool = False
    record: _Record = field(default_factory=_Record)

    @classmethod
    def of(cls, session: Session, images: Images | Inputs, layers: Sequence[str] = (), layer: str = "") -> Pass:
        """A pass of some images, at ``layer`` or else at the last of ``layers``."""
        name = layer or (layers[-1] if layers else "")
        return cls(session, Inputs.of(images), tuple(layers), name, session.runtime.batch_size)

    def at(self, layer: str) -> Pass:
        """The same pass at another of its layers."""
        return replace(self, layer=layer)

    def on(self, images: Tensor | Inputs) -> Pass:
        """A new pass of other images, at the same layer."""
        inputs = images if isinstance(images, Inputs) else self.inputs.with_images(images)
        return replace(self, inputs=inputs, record=_Record())

    def differentiable(self) -> Pass:
        """The same pass, whose results keep their graph back to the images and the parameters."""
        session = self.session.sharing_parameters()
        return replace(self, session=session, is_differentiable=True, record=_Record())

    @property
    def view(self) -> View:
        """What the layer sees of the images; without a layer, what the network does."""
        if not self.layer:
            return view_of_all(self._profile)
        return places_of(self.session, self._profile, self.layer)[-1].view

    def generator(self) -> torch.Generator:
        """Random numbers on the CPU, seeded by the runtime: the same in every call."""
        return torch.Generator().manual_seed(self.session.runtime.seed)

    def scores(self) -> Tensor:
        """Logits of the classes, (B, C), of the pass that has run, or of a plain one."""
        record = self.record
        if record.logits is None and self._compiles:
            record.logits, *_ = compiled_outputs(self.session, self._prepared, (), False, self.batch_size)
        if record.logits is None:
            with self._grad_mode():
                record.logits = self.session.call(self._prepared)
        return record.logits

    def activations(self, rectified: bool = False) -> Tensor:
        """The layer's output, (B, 1, C, *grid); ``rectified``: after the ReLU that it goes through, if any."""
        if not self.record.outputs:
            self._run(graph=self.is_differentiable)
        output = self.record.outputs[self._captured]
        values = self._layout.spatial(as_float(output))[:, None]
        bound = rectified_to(self.session, self._prepared, self.layer) if rectified else None
        return values if bound is None else values.clamp(0, bound)

    def activations_and_gradients(self, targets: Targets) -> tuple[Tensor, Tensor]:
        """The layer's output (B, 1, C, *grid), and the scores' gradients with respect to it (B, K, C, *grid)."""
        record = self.record
        if record.gradients is None or record.gradients[0] is not targets:
            record.gradients = (targets, self._gradients(targets))
        gradients = self._spatial_gradients(record.gradients[1][self._captured])
        # Last: the gradients may have run the pass once more, and the outputs are those of that run.
        return self.activations(), gradients

    def hvp(self, targets: Targets) -> Tensor:
        """H A: the scores' second derivatives at the layer's output A, times A, (B, K, C, *grid)."""
        self._check_gradients()
        with unfused():  # fused attention has a first derivative only
            self._run(graph=True, compiled=False)
            self.record.gradients = (targets, self._gradients(targets))
            with torch.enable_grad():
                scores = targets.scores(self.scores())
                product = hvp(scores, self.record.outputs[self._captured], self.is_differentiable)
            return self._spatial_gradients(product)

    def input_gradients(self, targets: Targets, rule: BackwardRule | None = None) -> Tensor:
        """The scores' gradients with respect to the images, (B, K, C, *space), by a rule where one is given."""
        self._check_gradients()
        with self._unfused(), self._at_rest():
            gradients, logits = image_gradients(self.session, self._prepared, targets, rule, self.is_differentiable)
        if self.record.logits is None:
            self.record.logits = logits if self.is_differentiable else logits.detach()
        return gradients

    def fold_attention(self, step: Step, targets: Targets | None = None, order: Order = "forward") -> Tensor:
        """Fold the attention blocks with ``step``: (B, …) forward, (B, K, …) with gradients."""
        self._check_gradients()
        with self._grad_mode(), self._at_rest():
            folded, logits = _ORDERS[order](self._fold, step, targets or Targets("predicted"))
        self.record.logits = logits if self.is_differentiable else logits.detach()
        return folded

    def token_grid(self) -> TokenGrid:
        """The layout of the tokens whose attention is folded, and which of them the scores are read from."""
        self._check_gradients()  # which attention feeds which is read off gradients
        plan = plan_of(self.session, self._prepared)
        layout = plan.layout
        read = (0,) if plan.pools else tokens_read(self.session, self._prepared, layout)
        alone = tuple(token for token in read if token not in layout.tokens)
        return TokenGrid(layout.grid, layout.prefix, alone, len(alone) < len(read), layout.order)

    def forward_from_layer(self) -> Callable[[Tensor], Tensor]:
        """The network from the layer on, for one image: other layer outputs (N, C, *grid) → logits (N, classes)."""
        if not self.record.outputs:
            self._run(graph=False)
        with self._grad_mode():
            return ForwardFromLayer(self.session, self._prepared, self.layer, self._layout)

    def _check_gradients(self) -> None:
        if self.session.is_quantised:
            raise GradientError(
                "gradients were asked for; the model is quantised, and torch has none through it: use a method that "
                f"needs none ({', '.join(gradient_free_methods())}), or the model as it was before it was quantised"
            )

    @lazy
    def _prepared(self) -> Inputs:
        return self.session.prepared(self.inputs)

    @lazy
    def _profile(self) -> ModelProfile:
        return profile_of(self.session, self._prepared)

    @property
    def _compiles(self) -> bool:
        """Whether plain passes, and those with gradients at layers, run compiled.

        A last function that makes probabilities of logits is found by a function mode, which compiled code passes by.
        """
        session = self.session
        if not session.runtime.compile or self.is_differentiable or session.has_script:
            return False
        if any(session.occurrence(layer) != Occurrence(layer) for layer in self.layers):
            return False  # of several runs or entries
        return not has_logits(session.known(self._prepared).ending)

    @property
    def _fold(self) -> AttentionFold:
        if self.record.fold is None:
            self.record.fold = AttentionFold.of(self.session, self._prepared, self.is_differentiable)
        return self.record.fold

    @property
    def _layout(self) -> Layout:
        output = self.record.outputs[self._captured]
        return layout_of(self.session, self._profile, self.layer, output.shape, len(self.inputs))

    @property
    def _captured(self) -> str:
        """The name by which the layer's output is captured, as a whole where it has several entries."""
        return self.session.occurrence(self.layer).captured

    @property
    def _all_captured(self) -> tuple[str, ...]:
        """The names by which the outputs of all layers are captured."""
        return tuple(dict.fromkeys(self.session.occurrence(layer).captured for layer in self.layers))

    def _unfused(self) -> AbstractContextManager[object]:
        return unfused() if self.is_differentiable else nullcontext()

    def _at_rest(self) -> AbstractContextManager[object]:
        """Keep the parameters out of the graph, unless the results must be differentiable."""
        return nullcontext() if self.is_differentiable else at_rest(self.session.network)

    def _grad_mode(self) -> ExitStack:
        """Gradients on for a differentiable pass, off for others."""
        with ExitStack() as stack:
            stack.enter_context(torch.set_grad_enabled(self.is_differentiable))
            stack.enter_context(self._unfused())
            return stack.pop_all()

    def _run(self, graph: bool, whole: bool = False, compiled: bool = True) -> None:
        if not self.layers:
            raise LayerError(
                "a layer's output or gradients were asked for; the method looks at no layer (uses_layers = False): "
                "leave uses_layers out of its class, or ask for input_gradients"
            )
        record = self.record
        record.has_graph = graph
        if compiled and self._compiles and not whole:
            found = compiled_outputs(self.session, self._prepared, self._all_captured, graph, self.batch_size)
            record.logits, record.outputs, record.leaves = found
            return
        with self._unfused():
            record.logits, record.outputs = outputs_at(
                self.session, self._prepared, self._all_captured, graph, whole or self.is_differentiable
            )
        record.leaves = record.outputs

    def _gradients(self, targets: Targets) -> dict[str, Tensor]:
        """The gradients (K, *output) at all layers; images do not mix, so one pass serves the whole batch."""
        self._check_gradients()
        if not self.record.has_graph:
            self._run(graph=True)
        found = self._found(targets)
        if found is None:
            # The network has its own no_grad, which ends after the layer: record everything.
            self._run(graph=True, whole=True)
            found = self._found(targets)
        if found is None:
            raise not_reached(self.layers)
        return dict(zip(self._all_captured, found, strict=True))

    def _found(self, targets: Targets) -> list[Tensor] | None:
        leaves = [self.record.leaves[layer] for layer in self._all_captured]
        return gradients_at(targets, self.scores(), self.layers, leaves, self.is_differentiable)

    def _spatial_gradients(self, gradients: Tensor) -> Tensor:
        """Gradients (K, *output) at the layer's output as (B, K, C, *grid)."""
        layout = self._layout
        each = layout.own(gradients.movedim(layout.batch_axis + 1, 1), 1)
        values = replace(layout, batch_axis=0, entries=1).spatial(each.flatten(0, 1))
        return as_float(values).reshape(*each.shape[:2], *values.shape[1:]).transpose(0, 1)


def _forward(fold: AttentionFold, step: Step, _targets: Targets) -> tuple[Tensor, Tensor]:
    return fold.forward(step)


def _backward(fold: AttentionFold, step: Step, targets: Targets) -> tuple[Tensor, Tensor]:
    return fold.backward(step, targets)


def _early_exit(fold: AttentionFold, step: Step, targets: Targets) -> tuple[Tensor, Tensor]:
    return EarlyExit(fold).folded(step, targets)


_ORDERS: dict[Order, Callable[[AttentionFold, Step, Targets], tuple[Tensor, Tensor]]] = {
    "forward": _forward,
    "backward": _backward,
    "early_exit": _early_exit,
}
