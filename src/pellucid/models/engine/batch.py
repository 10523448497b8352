"""What is known of one batch of images: every pass is made once, and shared by the views of its layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from pellucid.core.inputs import Images, cut, explained, with_explained
from pellucid.core.probe import Step, TokenGrid
from pellucid.core.target import Targets
from pellucid.errors import GradientError, NoAttentionError, TargetError
from pellucid.models.engine.attention import AttentionTap
from pellucid.models.engine.biases import BiasFold
from pellucid.models.engine.capture import noted, recording
from pellucid.models.engine.derivatives import NotReached, as_float, curvature, gradients
from pellucid.models.engine.guiding import Guiding
from pellucid.models.engine.replay import Onward
from pellucid.models.engine.search import noise_like, without_zeros
from pellucid.models.engine.session import Session
from pellucid.models.tokens import Layout, infer

T = TypeVar("T")


class Batch:
    """One batch in one session: its logits, its layers' outputs, and gradients on demand."""

    def __init__(
        self,
        session: Session,
        images: Images,
        layers: Sequence[str],
        differentiable: bool = False,
        guided: bool = False,
    ) -> None:
        self.session = session
        self.images = images
        self.layers = tuple(layers)
        self.differentiable = differentiable
        self.guided = guided
        self._prepared = session.prepared(images)
        self._logits: Tensor | None = None
        self._outputs: dict[str, Tensor] = {}
        self._has_graph = False
        self._gradients: tuple[Targets, dict[str, Tensor]] | None = None

    def logits(self) -> Tensor:
        """Logits of the classes, (B, C), of the pass that was made, or of a plain one."""
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
        whole = self._gradients[1][layer]
        spatial = self._spatial(layer, whole.flatten(0, 1))
        return spatial.reshape(*whole.shape[:2], *spatial.shape[1:])

    def attentions(self, step: Step) -> tuple[Tensor, TokenGrid]:
        """Fold the attention blocks, first block first; one block's weights are held at a time."""
        fold = _Fold(step, len(explained(self._prepared)))
        with self._grad_mode(whole=False), AttentionTap(fold):
            self._logits = self.session.call(self._prepared)
        return fold.result(), self._token_grid(fold.tokens)

    def curvature(self, layer: str, targets: Targets) -> Tensor:
        """H a, with a the layer's output and H the second derivatives of the scores there, (B, K, C, *grid)."""
        with sdpa_kernel(SDPBackend.MATH):  # fused attention has a first derivative only
            whole = self._second(layer, targets)
        spatial = self._spatial(layer, whole.flatten(0, 1))
        return spatial.reshape(*whole.shape[:2], *spatial.shape[1:])

    def _second(self, layer: str, targets: Targets) -> Tensor:
        self._has_graph = False
        self._gradients = (targets, self._all_gradients(targets))
        with torch.enable_grad():
            return curvature(targets.scores(self.logits()), self._outputs[layer], self.differentiable)

    def onward(self, layer: str) -> Onward:
        """What the network makes of other outputs of a layer; of a batch of one image."""
        if not self._outputs:
            self._run(graph=False)
        layout = self.session.layout(layer, self._outputs[layer].shape, self._prepared)
        with self._grad_mode(whole=False):
            return Onward(self.session, self._prepared, layer, layout)

    def input_gradient(self, targets: Targets) -> Tensor:
        """The scores' gradients with respect to the images, (B, K, C, *space)."""
        return self._from_images(targets, nullcontext, lambda scores, leaf: self._differentiated(scores, [leaf])[0])

    def bias_gradients(self, targets: Targets, step: Step) -> tuple[Tensor, Tensor]:
        """Bias × gradient of every layer, folded, and its sum over the network, (B, K)."""
        trace = self.session.trace(self._prepared)  # before the pass: it may take one

        def layout(output: Tensor, last: int | None) -> Layout | None:
            return infer(output.shape, trace.size, trace.grids, last)

        fold = BiasFold(layout, step)
        return self._from_images(targets, lambda: fold, partial(fold.run, graph=self.differentiable))

    def _from_images(
        self,
        targets: Targets,
        watching: Callable[[], AbstractContextManager[object]],
        ask: Callable[[Tensor, Tensor], T],
    ) -> T:
        """What ``ask`` makes of the scores (B, K) and the images, with the whole pass recorded between them."""
        for kept in (nullcontext, partial(recording, self.session.network)):
            with self._rule() as rule:
                with self._grad_mode(whole=True), kept(), watching(), rule:
                    images, leaf = self._with_leaf()
                    logits = self.session.call(images)
                    scores = _scores(targets, logits)
                if self._logits is None:
                    self._logits = logits if self.differentiable else logits.detach()
                if scores.requires_grad:
                    with suppress(NotReached):
                        return ask(scores, leaf)
        raise GradientError(
            "no gradient of the score reaches the images: a part of the model runs under inference_mode, a reentrant "
            "checkpoint or a detach; turn that off, or use a method that explains a later layer"
        )

    @contextmanager
    def _rule(self) -> Iterator[AbstractContextManager[object]]:
        """How gradients pass activation functions: a context for the pass; the rule holds until this one ends."""
        if not self.guided:
            yield nullcontext()
            return
        if any(isinstance(module, torch.jit.ScriptModule) for module in self.session.network.modules()):
            raise GradientError(
                "guided gradients were asked for; a part of the model is TorchScript, whose activation functions "
                "cannot be seen: use saliency"
            )
        guiding = Guiding()
        try:
            yield guiding
            if guiding.seen == 0:
                raise GradientError(
                    "guided gradients were asked for; the model runs no activation function that is known: use saliency"
                )
        finally:
            guiding.forget()

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
        with self._grad_mode(whole), noted(self.session.modules(self.layers), graph) as outputs:
            self._logits = self.session.call(self._prepared)
        missing = [layer for layer in self.layers if layer not in outputs]
        if missing:
            raise GradientError(f"layer {missing[0]!r} was asked for; the model does not run it, or it gives no tensor")
        self._outputs, self._has_graph = outputs, graph

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
        with torch.enable_grad():
            scores = _scores(targets, self.logits())
        if not scores.requires_grad:
            return None
        try:
            return self._differentiated(scores, [self._outputs[layer] for layer in self.layers])
        except NotReached:
            return None

    def _differentiated(self, scores: Tensor, leaves: list[Tensor]) -> list[Tensor]:
        """Gradients (B, K, …) of scores (B, K); images do not mix, so one pass serves the whole batch."""
        try:
            return gradients(scores, leaves, self.differentiable)
        except RuntimeError as error:
            if "checkpoint" in str(error):
                raise GradientError(
                    f"no gradient reaches layers {', '.join(self.layers)}: the model runs them under "
                    f"torch.utils.checkpoint; turn gradient checkpointing off"
                ) from error
            raise

    def _spatial(self, layer: str, output: Tensor) -> Tensor:
        layout = self.session.layout(layer, output.shape, self._prepared)
        return as_float(layout.spatial(output))

    def _token_grid(self, count: int) -> TokenGrid:
        trace = self.session.trace(self._prepared)
        layout = infer((1, count, 1), trace.size, trace.grids, None)
        if layout is None:
            raise NoAttentionError(
                f"attention over {count} tokens was found; they lie on no grid of the network ({trace.grids}): "
                f"use a method that explains a layer, such as gradcam"
            )
        return TokenGrid(layout.grid, layout.prefix, layout.prefix > 0 and self._reads_first_token(count))

    def _reads_first_token(self, count: int) -> bool:
        """Whether the score depends on the first token after the last block: whether that is a class token."""
        trace = self.session.trace(self._prepared)
        if trace.reads_first_token is None:
            tokens = (name for name, shape in reversed(trace.shapes.items()) if len(shape) == 3 and shape[1] == count)
            last = next(filter(None, tokens), None)
            trace.reads_first_token = last is None or self._first_token_counts(last)
        return trace.reads_first_token

    def _first_token_counts(self, layer: str) -> bool:
        """Whether a score has a gradient at the first token of a layer's output, tried on noise."""
        image = cut(self._prepared, 0, 1)
        noise = with_explained(image, noise_like(explained(image)))
        probing = Batch(without_zeros(self.session), noise, [layer])
        return bool(probing._all_gradients(Targets("predicted"))[layer][:, :, 0].any())


def _scores(targets: Targets, logits: Tensor) -> Tensor:
    """The scores (B, K); an error where a callable took them out of the graph."""
    scores = targets.scores(logits)
    if not scores.requires_grad and logits.requires_grad:
        raise TargetError(
            "the scores of the callable target have no gradient: compute them from the logits, undetached"
        )
    return scores


class _Fold:
    """Called with each block's attention; keeps what the step makes of it."""

    def __init__(self, step: Step, images: int) -> None:
        self._step = step
        self._images = images
        self._folded: Tensor | None = None
        self.tokens = 0

    def __call__(self, attention: Tensor) -> None:
        if attention.shape[0] != self._images or self.tokens not in (0, attention.shape[-1]):
            raise NoAttentionError(
                f"attention over the whole picture was asked for; this model attends within windows or stages "
                f"({tuple(attention.shape)}): use a method that explains a layer, such as gradcam"
            )
        self.tokens = attention.shape[-1]
        self._folded = self._step(self._folded, as_float(attention))

    def result(self) -> Tensor:
        if self._folded is None:
            raise NoAttentionError(
                "No attention maps captured: the model has no self-attention that could be read; "
                "use a method that explains a layer, such as gradcam"
            )
        return self._folded
