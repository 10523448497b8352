"""Gradients at the images through the whole network, by torch's own backward or by a backward rule."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import torch
from torch import Tensor

from pellucid.core.catalogue import black_box_methods
from pellucid.core.inputs import Inputs
from pellucid.core.rule import BackwardRule, RulePass
from pellucid.core.target import Targets
from pellucid.errors import GradientError, MethodError
from pellucid.models.discovery.recording import profile_of
from pellucid.models.discovery.tokens import infer
from pellucid.models.session.derivatives import NotReached, all_used, as_float, explain_failure, gradients, scores_of
from pellucid.models.session.hooks import recorded
from pellucid.models.session.session import Session


def image_gradients(
    session: Session, inputs: Inputs, targets: Targets, rule: BackwardRule | None, graph: bool
) -> tuple[Tensor, Tensor]:
    """The scores' gradients with respect to the images, (B, K, C, *space), and the logits of the pass."""
    if rule is None:
        return _of_pass(session, inputs, targets, None, None, graph)
    if session.has_script:
        raise GradientError(
            f"{rule.asked} were asked for; a part of the model is TorchScript, whose functions cannot be seen: "
            f"use {rule.instead}"
        )
    # With tokens first, a function's output does not show which axis is the batch's: one image at a time.
    alone = not rule.batched and len(inputs) > 1 and profile_of(session, inputs).has_tokens_first
    parts = [slice(index, index + 1) for index in range(len(inputs))] if alone else [slice(0, len(inputs))]
    each = [_ruled(session, inputs[part], targets.images(part.start, part.stop), rule, graph) for part in parts]
    found, logits = zip(*each, strict=True)
    return torch.cat(found), torch.cat(logits)


def _ruled(
    session: Session, inputs: Inputs, targets: Targets, rule: BackwardRule, graph: bool
) -> tuple[Tensor, Tensor]:
    spatial = _spatial(session, inputs)
    try:
        found = _of_pass(session, inputs, targets, rule, spatial, graph)
        if rule.needed and not rule.applied():
            raise GradientError(f"{rule.asked} were asked for; the model runs no {rule.needed}: use {rule.instead}")
    finally:
        rule.end()
    return found


def _spatial(session: Session, inputs: Inputs) -> Callable[[Tensor, bool], Tensor | None]:
    """A function that a rule uses to bring values of an output's shape to (B, C, *grid)."""
    profile, count = profile_of(session, inputs), len(inputs)
    grids = profile.grids

    def spatial(values: Tensor, channels_last: bool) -> Tensor | None:
        if not profile.sees_whole:
            raise MethodError(
                "maps of all layers were asked for; the network sees parts, mirror images or single images of its "
                "input, on which they are not drawn: use input_x_gradient, or a method that explains one layer"
            )
        one = (1, *values.shape[1:]) if len(values) == count else values.shape
        layout = infer(one, grids, values.shape[-1] if channels_last else None, leaf=channels_last)
        return None if layout is None else layout.spatial(values)

    return spatial


def _of_pass(
    session: Session,
    inputs: Inputs,
    targets: Targets,
    rule: BackwardRule | None,
    spatial: Callable[[Tensor, bool], Tensor | None] | None,
    graph: bool,
) -> tuple[Tensor, Tensor]:
    """Gradients and logits of a pass recorded from the images; if none arrives, again with gradients on throughout."""
    for throughout in (False, True):
        images = inputs.images
        leaf = images if graph and images.requires_grad else images.detach().requires_grad_()
        with ExitStack() as stack:
            stack.enter_context(torch.enable_grad())
            if throughout:
                stack.enter_context(recorded(session.network))
            if rule is not None and spatial is not None:
                rule.begin(RulePass(leaf, spatial))
                stack.enter_context(rule)
            logits = session.call(inputs.with_images(leaf))
        scores = scores_of(targets, logits)
        found = _differentiated(scores, leaf, rule, graph) if scores.requires_grad else None
        if found is not None:
            return found.transpose(0, 1), logits
    raise GradientError(
        "no gradient of the score reaches the images: a part of the model runs under inference_mode, a reentrant "
        "checkpoint or a detach, or not in torch; turn that off, or use a method that explains a later layer, or "
        f"needs the scores alone, such as {' or '.join(black_box_methods())}"
    )


def _differentiated(scores: Tensor, leaf: Tensor, rule: BackwardRule | None, graph: bool) -> Tensor | None:
    """The gradients (K, *leaf) of scores (B, K); None if none arrives."""
    try:
        if rule is None or rule.batched:
            return gradients(scores, [leaf], graph)[0]
        return torch.stack([_of_class(score, leaf, rule, graph) for score in _columns(scores)])
    except NotReached:
        return None
    except RuntimeError as error:
        explain_failure(error, "the images")
        raise


def _columns(scores: Tensor) -> tuple[Tensor, ...]:
    with torch.enable_grad():
        return scores.unbind(1)


def _of_class(score: Tensor, leaf: Tensor, rule: BackwardRule, graph: bool) -> Tensor:
    """One class's gradient, float32 at least; ``rule.class_done`` is called after its backward pass."""
    with torch.enable_grad():
        total = score.sum()
    (gradient,) = all_used(torch.autograd.grad(total, [leaf], retain_graph=True, create_graph=graph, allow_unused=True))
    rule.class_done()
    return as_float(gradient)
