"""One pass of a network that captures the outputs of some layers, and the scores' gradients there."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pellucid.core.inputs import Inputs
from pellucid.core.target import Targets
from pellucid.errors import GradientError
from pellucid.models.session.derivatives import NotReached, explain_failure, gradients, scores_of
from pellucid.models.session.hooks import not_run, noted
from pellucid.models.session.session import Session


def outputs_at(
    session: Session, inputs: Inputs, layers: Sequence[str], graph: bool, whole: bool = False
) -> tuple[Tensor, dict[str, Tensor]]:
    """The logits of a pass and the layers' outputs; with ``graph`` the logits have gradients with respect to these.

    ``whole`` keeps gradients on from the start, for a network whose own ``no_grad`` ends after the layer.
    """
    with torch.set_grad_enabled(whole), noted(session.modules(layers), graph) as outputs:
        logits = session.call(inputs)
    missing = [layer for layer in layers if layer not in outputs]
    if missing:
        raise not_run(missing[0])
    return logits, outputs


def gradients_at(
    targets: Targets, logits: Tensor, layers: Sequence[str], leaves: Sequence[Tensor], graph: bool
) -> list[Tensor] | None:
    """The gradients (K, *output) at the layers; None if the graph does not lead from the scores to all of them."""
    scores = scores_of(targets, logits)
    if not scores.requires_grad:
        return None
    try:
        return gradients(scores, list(leaves), graph)
    except NotReached:
        return None
    except RuntimeError as error:
        explain_failure(error, f"layers {', '.join(layers)}")
        raise


def not_reached(layers: Sequence[str]) -> GradientError:
    """The error for layers that no gradient of the score reaches."""
    return GradientError(
        f"no gradient of the score reaches layers {', '.join(layers)}: they run under a reentrant checkpoint, "
        f"inference_mode or a detach; turn that off or choose a later layer"
    )


def arriving(
    session: Session, inputs: Inputs, layers: Sequence[str], targets: Targets
) -> tuple[Tensor, list[Tensor | None]]:
    """The logits of a pass, and the scores' gradients (K, *output) at the layers; None where none arrives.

    It takes a second pass where none arrives at any of them.
    """
    for whole in (False, True):
        logits, outputs = outputs_at(session, inputs, layers, graph=True, whole=whole)
        found = _arrived(targets, logits, layers, [outputs[layer] for layer in layers])
        if any(gradient is not None for gradient in found):
            break
    return logits, found


def _arrived(targets: Targets, logits: Tensor, layers: Sequence[str], leaves: Sequence[Tensor]) -> list[Tensor | None]:
    found = gradients_at(targets, logits, layers, leaves, graph=False)
    if found is not None:
        return [*found]
    scores = scores_of(targets, logits)
    if len(leaves) == 1 or not scores.requires_grad:
        return [None] * len(leaves)
    each = torch.autograd.grad(scores, leaves, torch.ones_like(scores), retain_graph=True, allow_unused=True)
    used = [leaf for leaf, gradient in zip(leaves, each, strict=True) if gradient is not None]
    known = iter((gradients_at(targets, logits, layers, used, graph=False) if used else None) or [])
    return [None if gradient is None else next(known) for gradient in each]
