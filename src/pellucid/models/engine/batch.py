"""What is known of one batch of images: every pass is made once, and shared by the views of its layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from pellucid.core.probe import Images, Step, TokenGrid
from pellucid.core.target import Targets
from pellucid.errors import GradientError, NoAttentionError, TargetError
from pellucid.models.engine.attention import AttentionTap
from pellucid.models.engine.capture import noted
from pellucid.models.engine.search import noise_like, without_zeros
from pellucid.models.engine.session import Session
from pellucid.models.engine.trace import explained, one_image, with_explained
from pellucid.models.tokens import infer

_HALF_SCALES = (1024.0, 1.0, 1 / 1024)
"""float16 gradients are computed this much larger, or less where that overflows: powers of two, exact to undo."""


class Batch:
    """One batch in one session: its logits, its layers' outputs, and gradients on demand."""

    def __init__(self, session: Session, images: Images, layers: Sequence[str], differentiable: bool = False) -> None:
        self.session = session
        self.images = images
        self.layers = tuple(layers)
        self.differentiable = differentiable
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

    def input_gradient(self, targets: Targets) -> Tensor:
        """The scores' gradients with respect to the images, (B, K, C, *space)."""
        with self._grad_mode(whole=True):
            images, leaf = self._with_leaf()
            self._logits = logits = self.session.call(images)
            scores = targets.scores(logits)
        return self._differentiated(scores, [leaf])[0]

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
            scores = targets.scores(self.logits())
        if not scores.requires_grad and self.logits().requires_grad:
            raise TargetError(
                "the scores of the callable target have no gradient: compute them from the logits, undetached"
            )
        if not scores.requires_grad:
            return None
        try:
            return self._differentiated(scores, [self._outputs[layer] for layer in self.layers])
        except _NotReached:
            return None

    def _differentiated(self, scores: Tensor, leaves: list[Tensor]) -> list[Tensor]:
        """Gradients (B, K, …) of scores (B, K); images do not mix, so one pass serves the whole batch."""
        count = scores.shape[1]
        chosen = torch.eye(count, dtype=scores.dtype, device=scores.device)
        chosen = chosen[:, None, :].expand(count, *scores.shape)
        try:
            return self._scaled(scores, leaves, chosen)
        except RuntimeError as error:
            if "checkpoint" in str(error):
                raise GradientError(
                    f"no gradient reaches layers {', '.join(self.layers)}: the model runs them under "
                    f"torch.utils.checkpoint; turn gradient checkpointing off"
                ) from error
            raise

    def _scaled(self, scores: Tensor, leaves: list[Tensor], chosen: Tensor) -> list[Tensor]:
        """The gradients as float32 at least; of float16, scaled so that they neither vanish nor overflow."""
        if leaves[0].dtype != torch.float16:
            return [_float(gradient) for gradient in _vectorised(scores, leaves, chosen, self.differentiable)]
        for factor in _HALF_SCALES:
            whole = _vectorised(scores, leaves, chosen * factor, self.differentiable)
            if all(gradient.isfinite().all() for gradient in whole):
                break
        return [_float(gradient) / factor for gradient in whole]

    def _spatial(self, layer: str, output: Tensor) -> Tensor:
        layout = self.session.layout(layer, output.shape, self._prepared)
        return _float(layout.spatial(output))

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
        image = one_image(self._prepared)
        noise = with_explained(image, noise_like(explained(image)))
        probing = Batch(without_zeros(self.session), noise, [layer])
        return bool(probing._all_gradients(Targets("predicted"))[layer][:, :, 0].any())


class _NotReached(Exception):  # noqa: N818  # caught here, never seen
    """A leaf that the scores do not depend on."""


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
        self._folded = self._step(self._folded, _float(attention))

    def result(self) -> Tensor:
        if self._folded is None:
            raise NoAttentionError(
                "No attention maps captured: the model has no self-attention that could be read; "
                "use a method that explains a layer, such as gradcam"
            )
        return self._folded


def _vectorised(scores: Tensor, leaves: list[Tensor], chosen: Tensor, graph: bool) -> list[Tensor]:
    """One vector-Jacobian product a class; all at once where the network's backward allows it."""
    if len(chosen) > 1:
        try:
            found = torch.autograd.grad(
                scores, leaves, chosen, retain_graph=True, create_graph=graph, allow_unused=True, is_grads_batched=True
            )
            return [gradient.transpose(0, 1) for gradient in _all_used(found)]
        except RuntimeError:
            pass  # a backward that cannot be batched: one class at a time, below
    each = [
        _all_used(torch.autograd.grad(scores, leaves, one, retain_graph=True, create_graph=graph, allow_unused=True))
        for one in chosen
    ]
    return [torch.stack(column, dim=1) for column in zip(*each, strict=True)]


def _all_used(found: Sequence[Tensor | None]) -> list[Tensor]:
    used = [gradient for gradient in found if gradient is not None]
    if len(used) < len(found):
        raise _NotReached
    return used


def _float(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
