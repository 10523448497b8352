"""Where maps come from: the classes that they explain, and what makes such maps of other images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor, nn

from pellucid.core import catalogue
from pellucid.core.explanation import Explanation
from pellucid.core.method import Method
from pellucid.core.runtime import Runtime
from pellucid.core.target import Request
from pellucid.errors import OptionError, TargetError
from pellucid.run.explainer import Explainer
from pellucid.run.judged_maps import with_columns


def request_of(explanation: Explanation | Tensor, targets: Request | None, axes: int) -> Request:
    """The classes that maps explain; ``axes`` is the number of axes of the images.

    Maps (B, *space), which have one axis fewer than the images, are of one class an image.
    """
    if targets is not None:
        return targets
    if isinstance(explanation, Explanation):
        if (explanation.targets < 0).any():
            raise TargetError("the Explanation is of a callable target, which it does not keep: give targets= again")
        if explanation.provenance.get("region"):
            raise TargetError("the Explanation is of a Region, which it does not keep: give targets= again")
        return explanation.targets
    maps = with_columns(explanation)
    return "predicted" if explanation.ndim == axes - 1 or maps.shape[1] == 1 else "all"


def check_classes(explanation: Explanation | Tensor, indices: Tensor) -> None:
    """Raise ``TargetError`` where maps of an Explanation are judged by other classes (B, K) than those they explain.

    A callable's, −1, may be any.
    """
    if not isinstance(explanation, Explanation):
        return
    differs = other_classes(explanation.targets, indices)
    if differs is not None:
        image, column = differs
        raise TargetError(
            f"targets={int(indices[image, column])} was asked for of image {image}; the Explanation is of class "
            f"{int(explanation.targets[image, column])} there: leave targets= out, or explain the class that is meant"
        )


def other_classes(first: Tensor, second: Tensor) -> tuple[int, int] | None:
    """The first image and column at which two tensors of classes (B, K) differ; −1, a callable's, may be any."""
    known = (first >= 0) & (second.to(first.device) >= 0)
    differing = ((first != second.to(first.device)) & known).nonzero()
    return (int(differing[0, 0]), int(differing[0, 1])) if len(differing) else None


def explainer_of(
    model: nn.Module,
    explanation: Explanation | Tensor,
    method: str | Method | None,
    runtime: Runtime,
    head: str,
    output: str | int | None,
) -> Callable[[], Explainer] | None:
    """How maps of changed images are made; None where only maps are known.

    A method draws the numbers that it drew for the maps: with the seed of the Explanation, or of the runtime.
    """
    known = explanation.provenance if isinstance(explanation, Explanation) else {}
    runtime = replace(runtime, seed=known.get("runtime", {}).get("seed", runtime.seed))
    if method is not None:
        given = Explainer(model, method, head=head, output=output, runtime=runtime)
        return lambda: given
    if not isinstance(explanation, Explanation):
        return None
    return lambda: Explainer(  # where it is needed: the method may be one that cannot be read back
        model,
        _same_method(explanation),
        layers=explanation.layers or None,
        fuse=explanation.provenance.get("fuse", "mean"),
        head=head,
        output=output,
        runtime=runtime,
    )


def _same_method(explanation: Explanation) -> Method:
    """The method that an Explanation was made by."""
    found = catalogue.remade(explanation.method, explanation.provenance.get("options", {}))
    if found is None:
        raise OptionError(
            f"maps are to be made again; the Explanation's method {explanation.method!r} cannot be built from what the "
            "Explanation says of its options: give method="
        )
    return found
