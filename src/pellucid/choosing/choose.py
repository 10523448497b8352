"""``choose``: the method and the layers that are faithful to a network, by measurement on images, without masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from pellucid.choosing.fillings import Filling, from_others, named, same_scenes
from pellucid.choosing.stages import Stages, none
from pellucid.choosing.subjects import Subjects
from pellucid.core import catalogue
from pellucid.core.choice import Choice
from pellucid.core.head import HEADS, check_head
from pellucid.core.inputs import Inputs
from pellucid.core.method import Method
from pellucid.core.provenance import digest, versions
from pellucid.core.replacement import References
from pellucid.core.runtime import Runtime
from pellucid.core.target import Request, Targets
from pellucid.errors import OptionError, ShapeError
from pellucid.models.checkpoints.untrained import untrained
from pellucid.models.session.thread_state import kept
from pellucid.models.sources import model_info
from pellucid.run.evaluate import clean_logits
from pellucid.run.explain import as_tensor, read_by
from pellucid.run.given import Given, batch_of
from pellucid.run.opening import opened
from pellucid.run.pointing import check_model

FEWEST = 8
"""Images with fewer of which nothing is chosen."""


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
    full: bool = True,
    head: str = "auto",
    output: str | int | None = None,
    seed: int = 0,
    runtime: Runtime | None = None,
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
        reference: images of other patients; their tissue is one of the replacements.
        counterparts: the same scenes without the finding, (B, C, *space), where they can be had: the ideal replacement.
        patients: whose each image is, for the intervals.
        full: also the second stage.
        head: as for ``explain``.
        output: as for ``explain``.
        seed: of the noise, the random places and the halves.
        runtime: device, precision and batch size.

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
    given = Inputs.of(batch_of(model, images).values)
    _check(given, counterparts, patients)
    request = Targets(as_tensor(targets), model_info(model).classes).fitted(len(given), given.images.shape[2:])
    settings = replace(runtime or Runtime(), seed=seed)

    def work() -> Choice:
        at = opened(model, given, settings, head, output)
        at.session.modules(tuple(layers or ()))
        read = read_by(at.session, at.image, request)
        check_probabilities(read)
        clean = clean_logits(at.session, at.inputs)
        subjects = Subjects(at.session, at.inputs, read.resolved(clean), read.head)
        fillings = named(seed) | _given(subjects, clean, reference, counterparts, seed)
        new = untrained(model.state_dict())
        if new is not None:
            found = none(f"the network is not trained: {new}", len(subjects))
        else:
            found = Stages(subjects, fillings, candidates, tuple(layers or ()), patients, seed).choice(full=full)
        return replace(found, passes=subjects.passes.count, weights_sha256=digest(model), versions=dict(versions()))

    return kept(work)


def _check(given: Inputs, counterparts: Tensor | None, patients: Sequence[object] | None) -> None:
    count = len(given)
    if count < FEWEST:
        raise OptionError(f"{count} images were given; at least {FEWEST} are needed to choose by")
    if counterparts is not None and counterparts.shape != given.images.shape:
        raise ShapeError(
            f"counterparts of {tuple(counterparts.shape)} were given; images of {tuple(given.images.shape)} are "
            "explained, and both must have the same shape"
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
    if callable(targets.request) or HEADS[targets.head].probabilities is None:
        found = "a callable" if callable(targets.request) else f"values (head {targets.head!r})"
        raise OptionError(f"{found} is to be explained; choose needs a class's probability: give targets= and head=")


def _given(
    subjects: Subjects, clean: Tensor, reference: References | None, counterparts: Tensor | None, seed: int
) -> dict[str, Filling]:
    """The replacements that the caller brings, by name. ``clean`` are the raw outputs of the images."""
    found: dict[str, Filling] = {}
    if reference is not None:
        classes = subjects.targets.indices(clean)[:, 0]
        chosen, missing = reference.drawn(subjects.inputs.images, classes, torch.Generator().manual_seed(seed))
        if bool(missing.any()):
            raise OptionError("a reference was given; for some image no reference is without its class: give more")
        found["tissue"] = from_others(reference.images, chosen)
    if counterparts is not None:
        found["same scene"] = same_scenes(counterparts)
    return found
