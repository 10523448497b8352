"""``explain``: which pixels of images a model's output rests on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import nn

from pellucid.core.choice import Choice
from pellucid.core.default_device import on_cpu_by_default
from pellucid.core.deprecation import positional_deprecated
from pellucid.core.explanation import Explanation
from pellucid.core.habits import pointing
from pellucid.core.method import Method
from pellucid.core.runtime import Runtime
from pellucid.core.target import Request
from pellucid.run.explainer import Explainer
from pellucid.run.given import Given


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
            score is the class's logit, also where the network itself ends in a sigmoid or softmax; of probabilities
            that it combines, such as a mean of two networks', it is the probability. A network that outputs a map
            (B, C, *space) also takes a ``Region``; for any other target, a class's score is its mean over the map. Of a
            regression head, "higher" and "lower" are what a map is evidence for.
        layers: dotted names; None finds the deepest through which the score passes, or several that have it together.
            "auto" takes those at which the method's grade is best in the choice, or where there is none, as None.
        fuse: how several layers that are named are combined: the mean, maximum or weighted mean (later layers count
            more) of their heatmaps, or the sum of their unscaled attributions on the image's grid, for layers beside
            one another: a warning names two of which one depends on the other, as their evidence counts twice. Layers
            that are found are added.
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
        runtime=runtime or Runtime(),
    )
    return explainer(images, targets)
