"""What is known of one batch of images: every pass is made once, and shared by the views of its layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from pellucid.core.catalogue import black_box_methods
from pellucid.core.inputs import Images, cut, explained, with_explained
from pellucid.core.probe import GradientStep, Step, TokenGrid
from pellucid.core.target import Targets
from pellucid.errors import GradientError
from pellucid.models.engine.attending import Attending
from pellucid.models.engine.biases import BiasFold
from pellucid.models.engine.capture import at_rest, not_run, noted, recording
from pellucid.models.engine.derivatives import NotReached, as_float, curvature, gradients, refuse, scores_of
from pellucid.models.engine.noise import noise_like
from pellucid.models.engine.readouts import Readouts
from pellucid.models.engine.replay import Onward
from pellucid.models.engine.rules import Rule
from pellucid.models.engine.search import without_zeros
from pellucid.models.engine.session import Session
from pellucid.models.tokens import Layout, infer

T = TypeVar("T")
_LAST = 12
"""So many of the last layers are asked where the scores are read off."""


class Batch:
    """One batch in one session: its logits, its layers' outputs, and gradients on demand."""

    def __init__(
        self,
        session: Session,
        images: Images,
        layers: Sequence[str],
        differentiable: bool = False,
        rule: type[Rule] | None = None,
    ) -> None:
        self.session = session
        self.images = images
        self.layers = tuple(layers)
        self.differentiable = differentiable
        self.rule = rule
        self._prepared = session.prepared(images)
        self._logits: Tensor | None = None
        self._outputs: dict[str, Tensor] = {}
        self._leaves: dict[str, Tensor] = {}
        self._has_graph = False
        self._compiles = session.compiles and not differentiable
        self._gradients: tuple[Targets, dict[str, Tensor]] | None = None

    def logits(self) -> Tensor:
        """Logits of the classes, (B, C), of the pass that was made, or of a plain one."""
        if self._logits is None and self._compiles:
            self._logits, *_ = self.session.compiled(self._prepared, (), graph=False)
        if self._logits is None:
            with self._grad_mode(whole=False):
                self._logits = self.session.call(self._prepared)
        return self._logits

    def output(self, layer: str) -> Tensor:
        """A layer's output as (B, 1, C, *grid)."""
        if not self._outputs:
            self._run(graph=self.differentiable)
        return self._spatial(layer, self._outputs[layer])[:, None]

    def gradient(self, layer: str, targets: Targets) -> Tensor:
        """The scores' gradients with respect to a layer's output, (B, K, C, *grid)."""
        if self._gradients is None or self._gradients[0] is not targets:
            self._gradients = (targets, self._all_gradients(targets))
        return self._spatial_gradients(layer, self._gradients[1][layer])

    def attentions(self, step: Step) -> Tensor:
        """Fold the attention blocks, first block first; one block's weights are held at a time."""
        folded, self._logits = self._attending().folded(step)
        return folded

    def attentions_and_gradients(self, targets: Targets, step: GradientStep) -> Tensor:
        """Fold the blocks' attention and the scores' gradients at it, last block first, (B, K, …)."""
        with self._at_rest():
            folded, logits = self._attending().with_gradients(targets, step)
        self._logits = logits if self.differentiable else logits.detach()
        return folded

    def readouts(self, targets: Targets, step: GradientStep) -> Tensor:
        """Fold the blocks' attention and the gradients at it of the scores read off after each, (B, K, …)."""
        with self._at_rest():
            folded, self._logits = Readouts(self._attending()).folded(targets, step)
        return folded

    def _attending(self) -> Attending:
        return Attending(self.session, self._prepared, partial(self._grad_mode, whole=False), self.differentiable)

    def token_grid(self) -> TokenGrid:
        """How the tokens lie whose attention is folded."""
        plan = self._attending().plan
        layout = plan.layout
        read = (0,) if plan.pools else self._read(layout)
        alone = tuple(token for token in read if not layout.prefix <= token < layout.prefix + layout.cells)
        return TokenGrid(layout.grid, layout.prefix, alone, len(alone) < len(read), layout.order)

    def curvature(self, layer: str, targets: Targets) -> Tensor:
        """H a, with a the layer's output and H the second derivatives of the scores there, (B, K, C, *grid)."""
        with sdpa_kernel(SDPBackend.MATH):  # fused attention has a first derivative only
            return self._spatial_gradients(layer, self._second(layer, targets))

    def _second(self, layer: str, targets: Targets) -> Tensor:
        self._has_graph = self._compiles = False  # what was compiled has a first derivative only
        self._gradients = (targets, self._all_gradients(targets))
        with torch.enable_grad():
            return curvature(targets.scores(self.logits()), self._outputs[layer], self.differentiable)

    def onward(self, layer: str) -> Onward:
        """What the network makes of other outputs of a layer; of a batch of one image."""
        if not self._outputs:
            self._run(graph=False)
        layout = self._layout(layer)
        with self._grad_mode(whole=False):
            return Onward(self.session, self._prepared, layer, layout)

    def input_gradient(self, targets: Targets) -> Tensor:
        """The scores' gradients with respect to the images, (B, K, C, *space)."""
        whole = self._from_images(targets, nullcontext, lambda scores, leaf: self._differentiated(scores, [leaf])[0])
        return whole.transpose(0, 1)

    def bias_gradients(self, targets: Targets, step: Step) -> tuple[Tensor, Tensor]:
        """Bias × gradient of every layer, folded, and its sum over the network, (B, K)."""
        self._refuse_script("the biases' gradients", "input_x_gradient")
        trace = self.session.trace(self._prepared)  # before the pass: it may take one
        count = len(explained(self._prepared))
        if trace.has_tokens_first and count > 1:  # a function's answer does not say which of its axes is the images'
            each = [self._alone(index).bias_gradients(targets.images(index, index + 1), step) for index in range(count)]
            folded, total = (torch.cat(parts) for parts in zip(*each, strict=True))
            return folded, total

        def layout(output: Tensor, last: int | None) -> Layout | None:
            one = (1, *output.shape[1:]) if len(output) == count else output.shape
            return infer(one, trace.places, last, leaf=last is not None)

        fold = BiasFold(layout, step, count)
        return self._from_images(targets, lambda: fold, partial(fold.run, graph=self.differentiable))

    def _alone(self, index: int) -> Batch:
        """One of the images as a batch of its own."""
        image = cut(self.images, index, index + 1)
        return Batch(self.session, image, self.layers, self.differentiable, self.rule)

    def _from_images(
        self,
        targets: Targets,
        watching: Callable[[], AbstractContextManager[object]],
        ask: Callable[[Tensor, Tensor], T],
    ) -> T:
        """What ``ask`` makes of the scores (B, K) and the images, with the whole pass recorded between them."""
        for kept in (nullcontext, partial(recording, self.session.network)):
            with self._at_rest(), self._ruled() as rule:
                images, leaf = self._with_leaf()
                if rule is not None:
                    rule.begin(leaf)
                with self._grad_mode(whole=True), kept(), watching(), rule or nullcontext():
                    logits = self.session.call(images)
                    scores = scores_of(targets, logits)
                if self._logits is None:
                    self._logits = logits if self.differentiable else logits.detach()
                if scores.requires_grad:
                    with suppress(NotReached):
                        return ask(scores, leaf)
        raise GradientError(
            "no gradient of the score reaches the images: a part of the model runs under inference_mode, a reentrant "
            "checkpoint or a detach, or not in torch; turn that off, or use a method that explains a later layer, or "
            f"needs the scores alone, such as {' or '.join(black_box_methods())}"
        )

    def _at_rest(self) -> AbstractContextManager[None]:
        """The parameters take no part in what is recorded, unless the answers are to be differentiated."""
        return nullcontext() if self.differentiable else at_rest(self.session.network)

    @contextmanager
    def _ruled(self) -> Iterator[Rule | None]:
        """How gradients pass back: a context for the pass, if any; the rule holds until this one ends."""
        if self.rule is None:
            yield None
            return
        self._refuse_script(self.rule.asked, self.rule.instead)
        rule = self.rule()
        try:
            yield rule
            if rule.seen == 0:
                raise GradientError(f"{rule.asked} were asked for; the model runs no {rule.needed}: use {rule.instead}")
        finally:
            rule.forget()

    def _refuse_script(self, asked: str, instead: str) -> None:
        if self.session.has_script:
            raise GradientError(
                f"{asked} were asked for; a part of the model is TorchScript, whose functions cannot be seen: "
                f"use {instead}"
            )

    def _with_leaf(self) -> tuple[Images, Tensor]:
        """The images with the explained tensor needing a gradient."""
        tensor = explained(self._prepared)
        leaf = tensor if self.differentiable and tensor.requires_grad else tensor.detach().requires_grad_()
        return with_explained(self._prepared, leaf), leaf

    @contextmanager
    def _grad_mode(self, whole: bool) -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(torch.set_grad_enabled(whole or self.differentiable))
            if self.differentiable:
                # Fused attention has a first derivative only.
                stack.enter_context(sdpa_kernel(SDPBackend.MATH))
            yield

    def _run(self, graph: bool, whole: bool = False) -> None:
        if self._compiles and not whole:
            self._logits, self._outputs, self._leaves = self.session.compiled(self._prepared, self.layers, graph)
            self._has_graph = graph
            return
        with self._grad_mode(whole), noted(self.session.modules(self.layers), graph) as outputs:
            self._logits = self.session.call(self._prepared)
        missing = [layer for layer in self.layers if layer not in outputs]
        if missing:
            raise not_run(missing[0])
        self._outputs = self._leaves = outputs
        self._has_graph = graph

    def _all_gradients(self, targets: Targets) -> dict[str, Tensor]:
        if not self._has_graph:
            self._run(graph=True)
        found = self._reached(targets)
        if found is None:
            # The model has a no_grad of its own that ended after the layer: record everything.
            self._run(graph=True, whole=True)
            found = self._reached(targets)
        if found is None:
            raise GradientError(
                f"no gradient of the score reaches layers {', '.join(self.layers)}: they run under a reentrant "
                f"checkpoint, inference_mode or a detach; turn that off or choose a later layer"
            )
        return dict(zip(self.layers, found, strict=True))

    def _reached(self, targets: Targets) -> list[Tensor] | None:
        """The gradients at the layers; None if the graph does not lead from the scores to all of them."""
        scores = scores_of(targets, self.logits())
        if not scores.requires_grad:
            return None
        try:
            return self._differentiated(scores, [self._leaves[layer] for layer in self.layers])
        except NotReached:
            return None

    def _differentiated(self, scores: Tensor, leaves: list[Tensor]) -> list[Tensor]:
        """Gradients (K, *leaf) of scores (B, K); images do not mix, so one pass serves the whole batch."""
        try:
            return gradients(scores, leaves, self.differentiable)
        except RuntimeError as error:
            refuse(error, f"layers {', '.join(self.layers)}" if self.layers else "the images")
            raise

    def _spatial(self, layer: str, output: Tensor) -> Tensor:
        return as_float(self._layout(layer).spatial(output))

    def _spatial_gradients(self, layer: str, gradients: Tensor) -> Tensor:
        """Gradients (K, *output) at a layer's output as (B, K, C, *grid)."""
        layout = self._layout(layer)
        each = gradients.movedim(layout.batch_axis + 1, 1)
        values = replace(layout, batch_axis=0).spatial(each.flatten(0, 1))
        return as_float(values).reshape(*each.shape[:2], *values.shape[1:]).transpose(0, 1)

    def _layout(self, layer: str) -> Layout:
        return self.session.layout(layer, self._outputs[layer].shape, self._prepared)

    def _read(self, layout: Layout) -> tuple[int, ...]:
        """Off which tokens after the last block the scores are read: those of the prefix, and the first patch for all.

        Where there is no layer of these tokens to ask, the first token, or the patches where it is one of them.
        """
        trace = self.session.trace(self._prepared)
        if trace.read is None:
            modules = dict(self.session.network.named_modules())
            layouts = {name: trace.layout(name, modules[name]) for name in reversed(trace.shapes) if name in modules}
            fitting = {name: one for name, one in layouts.items() if one is not None and _is_of(one, layout)}
            counted = (self._counting(name, one) for name, one in islice(fitting.items(), _LAST))
            trace.read = next(filter(None, counted), (0,))
        return trace.read

    def _counting(self, layer: str, layout: Layout) -> tuple[int, ...]:
        """The tokens of a layer at which a score has a gradient, tried on noise; the patches as the first of them.

        None where no gradient comes to the layer.
        """
        image = cut(self._prepared, 0, 1)
        noise = with_explained(image, noise_like(explained(image)))
        probing = Batch(without_zeros(self.session.as_written()), noise, [layer])
        try:
            gradient = probing._all_gradients(Targets("predicted"))[layer][0].movedim(layout.batch_axis, 0)[0]
        except GradientError:
            return ()
        counts = (gradient != 0).any(dim=-1)
        patches = range(layout.prefix, layout.prefix + layout.cells)
        alone = [index for index in range(len(counts)) if counts[index] and index not in patches]
        return (*alone, layout.prefix) if counts[list(patches)].any() else tuple(alone)


def _is_of(layout: Layout, tokens: Layout) -> bool:
    """Whether a layer's output is of the same tokens."""
    return layout.kind == "tokens" and (layout.grid, layout.prefix) == (tokens.grid, tokens.prefix)
