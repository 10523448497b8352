"""``log_explanation``: an explanation in a run."""

from __future__ import annotations

from collections.abc import Sequence

from pellucid.core.explanation import Explanation
from pellucid.core.provenance import versions
from pellucid.core.style import Style
from pellucid.render.overlay import ImagesLike, overlay
from pellucid.tracking.tracker import Parameter, Tracker


def log_explanation(
    explanation: Explanation, images: ImagesLike, *, tracker: Tracker, key: str = "explanation", step: int = 0
) -> None:
    """Log an explanation: method, layers and versions, the overlays, and the share of maps that show nothing.

    ``images`` are those that were explained, as for ``pellucid.overlay``. The overlay of image b and class k is logged
    under ``key/b/class``, so that those of several steps are shown in a row; neither files nor patients are named.

    Raises:
        ShapeError: the images do not fit, or are volumes.
    """
    drawn = overlay(explanation, images, Style.alpha, Style.colormap, annotated=True)
    tracker.parameters(parameters_of(explanation))
    tracker.metrics({f"{key}/degenerate": float(explanation.degenerate.float().mean())}, step)
    classes = explanation.targets.shape[1]
    for number, image in enumerate(drawn):
        one = explanation[number // classes]
        tracker.image(f"{key}/{number // classes}/{one.label(number % classes)}", image, step)


def parameters_of(explanation: Explanation) -> dict[str, Parameter]:
    """The method, its layers and the versions."""
    made_by = {f"version.{name}": version for name, version in versions().items()}
    return {"method": explanation.method, **layers_of(explanation.layers), **made_by}


def layers_of(layers: Sequence[str]) -> dict[str, Parameter]:
    """The layers; nothing of a method that looks at none."""
    return {"layers": ", ".join(layers)} if layers else {}
