"""Warnings of an image's results: maps that show nothing, with what to do, and identity that is burned in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pellucid.core.explanation import Explanation
from pellucid.core.image import Image
from pellucid.core.shown import why_empty

REMEDIES = {
    "all evidence negative": "no pixel is evidence for this class; explain another class, or show the evidence "
    "against it",
    "constant": "the layer gives every position the same value; try another layer, and check the weights",
    "evidence cancels out": "at this layer the gradient times the activation is 0 in every position, as before a layer "
    "norm; take another layer",
    "not finite": "the image or the weights hold NaN or infinite values; check both, and the precision",
}
_BY = {"all evidence negative": ": targets='predicted', or method='hirescam' with signed=True"}
"""How to do what a remedy says."""


def empty_maps(explanations: Sequence[Explanation], image: int, signed: bool) -> Iterator[str]:
    """Why maps of an image show nothing, and what to do."""
    for explanation in explanations:
        for column, reason in enumerate(why_empty(explanation, signed)[image]):
            if reason is not None:
                yield (
                    f"{explanation.method}: the map of class {explanation.label(image, column)} is empty ({reason}): "
                    f"{REMEDIES[reason]}{_BY.get(reason, '')}"
                )


def burned_in(images: Sequence[Image]) -> Iterator[str]:
    """That the pixels name the patient, where a file states it."""
    instances = [one for image in images for one in image.original.instances]
    if any(str(one.header.get("BurnedInAnnotation") or "") == "YES" for one in instances):
        yield "the file states that its pixels name the patient (Burned In Annotation); images made from it do, too"
