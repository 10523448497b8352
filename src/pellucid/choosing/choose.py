"""``choose``: the method and the layers that are faithful to a network, by measurement on images, without masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from pellucid.choosing.donors import Asked, Tissue, given, lent
from pellucid.choosing.fillings import named, same_scenes
from pellucid.choosing.locating import Located, set_aside
from pellucid.choosing.pairs import Pair, key_of
from pellucid.choosing.passes import pairs_to_try
from pellucid.choosing.stages import Stages, Told, none
from pellucid.choosing.subjects import Subjects
from pellucid.core import catalogue
from pellucid.core.choice import Choice
from pellucid.core.default_device import on_cpu_by_default
from pellucid.core.head import HEADS, check_head
from pellucid.core.inputs import Inputs
from pellucid.core.method import Method
from pellucid.core.provenance import versions
from pellucid.core.replacement import References
from pellucid.core.runtime import Runtime
from pellucid.core.target import Request, Targets
from pellucid.errors import OptionError, ShapeError
from pellucid.models.checkpoints.untrained import untrained
from pellucid.models.session.thread_state import kept
from pellucid.models.sources import model_info
from pellucid.run.given import Given, batch_of
from pellucid.run.opening import opened
from pellucid.run.pointing import check_model
from pellucid.run.targets import targets_of
from pellucid.run.tuned import for_scores
from pellucid.run.weights import digest_of

FEWEST = 8
"""Images with fewer of which nothing is chosen."""


@on_cpu_by_default
def choose(  # noqa: PLR0913  # the whole of a call's options, all but the first by keyword
    model: nn.Module,
    images: Given,
    *,
    targets: Request = "predicted",
    candidates: Sequence[str | Method] | None = None,
    layers: Sequence[str] | None = None,
    reference: References | None = None,
    counterparts: Tensor | None = None,
    patients: Sequence[object] | None = None,
    masks: Tensor | None = None,
    full: bool = True,
    head: str = "auto",
    output: str | int | None = None,
    seed: int = 0,
    runtime: Runtime | None = None,
    told: Told = lambda _passes: None,
) -> Choice:
    """Choose the method and the layers whose maps mark what the network's score rests on. No mask is asked for.

    Every pair of a method and layers is graded: how much of what the replacement of the whole image does to the score
    is done by replacing the pixels that its maps mark (``pellucid.choosing.grading``). What replaces is tested first,
    on the same images; where nothing can be trusted, nothing is chosen, and the reason is given. In the first stage
    pairs of methods with gradients or attention are graded by one replacement; in the second the best five and methods
    that perturb, by all replacements that passed, four fractions, and insertion beside deletion.

    Args:
        model: the network. It comes back as it was.
        images: as for ``explain``; 8 at least, of one size.
        targets: one class for each image, as for ``explain``.
        candidates: methods by name or with their options; None takes all that depend on the class and wrap no other
            method: in the second stage those, too, that ask for nothing but scores, in at most 512 passes an image.
        layers: the layers that every method is tried at; None takes those that are found, and some before them.
        reference: images of other patients; their tissue is one of the replacements. None takes the tissue of those of
            the images whose score of the explained class is at most .1: they are not scored, and ``Choice.donors``
            are their numbers.
        counterparts: the same scenes without the finding, (B, C, *space), where they can be had: the ideal replacement.
        patients: whose each image is, for the intervals.
        masks: where the finding is, (B, *space) bool, nowhere if it is not known. Half of the patients with a mask take
            no part in the choice; on their images the table shows how often each pair's peak hits, and its mass.
        full: also the second stage.
        head: as for ``explain``.
        output: as for ``explain``.
        seed: of the noise, the random places and the halves.
        runtime: device, precision and batch size.
        told: called with the number of passes of each stage before it starts.

    Raises:
        OptionError: fewer than 8 images, a method that does not exist, or scores that are no probabilities.
        ShapeError: the reference or ``counterparts`` do not fit the images.

    >>> import pellucid
    >>> from pellucid import phantom
    >>> model = phantom.exclusive_cnn_64()
    >>> drawn = phantom.radiographs(24, 64, seed=3, exclusive=True)
    >>> shown = drawn.labels.any(1)
    >>> images = pellucid.model_info(model).preprocessing.normalise(drawn.images[shown])
    >>> classes = drawn.labels[shown].int().argmax(1) + 1
    >>> found = choose(model, images, targets=classes, candidates=["gradcam", "hirescam", "saliency"], full=False)
    >>> found.best.grade > found.pairs[-1].grade
    True
    """
    check_model(model)
    check_head(head)
    check_candidates(candidates)
    inputs = batch_of(model, images).inputs
    _check(inputs, counterparts, patients, masks)
    if isinstance(layers, str):
        raise OptionError(f"layers must be a list of names, got the string {layers!r}: write [{layers!r}]")
    request = targets_of(targets, model_info(model).classes, inputs)
    settings = replace(for_scores(runtime or Runtime()), seed=seed)

    def work() -> Choice:
        at = opened(model, inputs, settings, head, output)
        at.session.modules(tuple(layers or ()))
        read = at.read(request)
        check_probabilities(read)
        _check_form(at.inputs, masks, counterparts, reference)
        new = untrained(model.state_dict())
        if new is not None:
            return none(f"the network is not trained: {new}", len(inputs))
        everyone = Subjects.of(at.session, at.inputs, read)
        _check_one(everyone.targets.count(everyone.raw))
        asked = Asked(at.inputs.images, everyone.classes(), patients)
        choosing, aside = set_aside(asked, None if masks is None else masks.cpu(), seed)
        if len(choosing) < FEWEST:
            raise OptionError(f"{len(choosing)} images are left to choose by; {FEWEST} are needed: give more of them")
        tissue = _tissue(asked.chosen(choosing), everyone.probabilities()[choosing], reference, seed)
        scored = choosing[tissue.scored]
        fillings = {**named(seed), **tissue.filling()}
        if counterparts is not None:
            fillings["same scene"] = same_scenes(counterparts[scored])
        subjects = everyone.some(scored)
        pairs, later, deepest = pairs_to_try(subjects, candidates, tuple(layers or ()))
        stages = Stages(subjects, fillings, pairs, later, deepest, asked.chosen(scored).patients, seed, told)
        found = stages.choice(full=full)
        if masks is not None and found.pairs:
            found = _located(
                found, everyone.some(aside), masks[aside].cpu(), [*pairs, *later], asked.chosen(aside).patients
            )
        lent_by = tuple(choosing[list(tissue.lent)].tolist())
        return replace(found, passes=everyone.passes.count, donors=lent_by)

    return replace(kept(work), weights_sha256=digest_of(model), versions=versions())


def _check_form(inputs: Inputs, *given: object) -> None:
    if inputs.form != "images" and any(one is not None for one in given):
        raise OptionError(
            "masks, counterparts or a reference were given for sequences of images; they are of single images: leave "
            "them out, or give the images one by one"
        )


def _check_one(count: int) -> None:
    if count != 1:
        raise OptionError(f"targets of {count} classes an image were given; choose takes one class of each image")


def _tissue(asked: Asked, seen: Tensor, reference: References | None, seed: int) -> Tissue:
    return lent(asked, seen, FEWEST, seed) if reference is None else given(asked, reference, seed)


def _located(
    found: Choice, subjects: Subjects, masks: Tensor, pairs: Sequence[Pair], patients: Sequence[object] | None
) -> Choice:
    """The choice with what its pairs find in images that took no part in it."""
    some = masks.flatten(1).any(1).nonzero()[:, 0]
    if not len(some):
        return found
    whose = None if patients is None else [patients[number] for number in some.tolist()]
    shown = {pair.key for pair in found.pairs}
    tried = [pair for pair in pairs if key_of(pair) in shown]
    return Located.of(subjects.some(some), masks[some], tried, whose).added_to(found)


def _check(
    inputs: Inputs, counterparts: Tensor | None, patients: Sequence[object] | None, masks: Tensor | None
) -> None:
    count = len(inputs)
    if count < FEWEST:
        raise OptionError(f"{count} images were given; at least {FEWEST} are needed to choose by")
    if counterparts is not None and counterparts.shape != inputs.images.shape:
        raise ShapeError(
            f"counterparts of {tuple(counterparts.shape)} were given; images of {tuple(inputs.images.shape)} are "
            "explained, and both must have the same shape"
        )
    expected = (count, *inputs.images.shape[2:])
    if masks is not None and (masks.shape != expected or masks.dtype != torch.bool):
        raise ShapeError(
            f"masks of {tuple(masks.shape)} {masks.dtype} were given; {expected} of torch.bool was expected"
        )
    if patients is not None and len(patients) != count:
        raise ShapeError(f"{len(patients)} patients were given for {count} images: give one for each")


def check_candidates(candidates: Sequence[str | Method] | None) -> None:
    """Raise ``OptionError`` unless methods are named that exist."""
    if isinstance(candidates, (str, Method)) or candidates == []:
        raise OptionError(f"candidates={candidates!r} was given; it must be a list of at least one method, or left out")
    for one in candidates or ():
        if isinstance(one, str):
            catalogue.find(one)


def check_probabilities(targets: Targets) -> None:
    """Raise ``OptionError`` unless scores are probabilities: the bounds of what replaces are in their unit."""
    if targets.within is not None:
        raise OptionError("a Region is to be explained; choose needs a class's probability: give targets= without it")
    if callable(targets.request) or HEADS[targets.head].probabilities is None:
        found = "a callable" if callable(targets.request) else f"values (head {targets.head!r})"
        raise OptionError(f"{found} is to be explained; choose needs a class's probability: give targets= and head=")
