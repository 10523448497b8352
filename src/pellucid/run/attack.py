"""``attack``: images changed within a budget, to move what a network answers, or the map of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pellucid.core.answer import Answer, check_answers
from pellucid.core.attack import ATTACKS, Attack, all_rows, settings
from pellucid.core.attacked import Attacked
from pellucid.core.default_device import on_cpu_by_default
from pellucid.core.explanation import Explanation
from pellucid.core.head import check_head, over_places
from pellucid.core.inputs import Inputs
from pellucid.core.method import Method
from pellucid.core.region import Region
from pellucid.core.runtime import Runtime
from pellucid.core.target import Request, Targets
from pellucid.errors import GradientError, OptionError, TargetError
from pellucid.models.preprocessing import Preprocessing
from pellucid.models.session.derivatives import as_float
from pellucid.models.session.thread_state import kept
from pellucid.models.sources import model_info
from pellucid.run.arguments import check_runtime
from pellucid.run.batching import explained
from pellucid.run.explainer import Explainer, facts_of
from pellucid.run.facts import Facts
from pellucid.run.given import Given, batch_of
from pellucid.run.logits import clean_logits
from pellucid.run.opening import opened
from pellucid.run.pixels import Pixels, normalisation_of
from pellucid.run.pointing import check_model
from pellucid.run.subject import ModelSubject
from pellucid.run.targets import targets_of
from pellucid.run.tuned import for_scores


@on_cpu_by_default
def attack(  # noqa: PLR0913  # the whole of a call's options, all but the first by keyword
    model: nn.Module,
    images: Given,
    attack: str | Attack = "pgd",
    labels: Request | None = None,
    method: str | Method | None = None,
    *,
    layers: Sequence[str] | None = None,
    preprocessing: Preprocessing | None = None,
    head: str = "auto",
    output: str | int | None = None,
    runtime: Runtime | None = None,
) -> Attacked:
    """Change images within a budget, to move what the model answers, or the map of its answer.

    The budget is measured in pixels in [0, 1], before normalisation, and holds to the last bit; so does the range.

    Args:
        model: the network, which must be differentiable. It comes back as it was.
        images: as for ``explain``.
        attack: a name (``pellucid.attacks``) or an ``Attack`` with its options, such as
            ``pellucid.attacks.PGD(epsilon=2 / 255)``.
        labels: the classes or findings (B,) whose answers are attacked, as ``targets`` of ``explain``. None: the
            predicted class, or the most probable finding. Of a finding, the answer is whether the model takes it to be
            there. An image whose class is predicted otherwise has moved from the start: attacks on maps leave it as it
            is.
        method: how maps are made, by name or as a ``Method``: attacks on maps need one. For an attack on predictions,
            the maps before and after come along.
        layers: as for ``explain``.
        preprocessing: how pixels were normalised. None: as the prepared images or the model state it. Where neither
            does it must be given: ``pellucid.Preprocessing()`` says that the model takes pixels in [0, 1] as they are.
        head: as for ``explain``. The loss is the cross-entropy of softmax, the binary cross-entropy of the finding of
            sigmoid and binary, and −log p of probability.
        output: as for ``explain``.
        runtime: device, precision and batch size.

    Raises:
        OptionError: the normalisation is not known, the attack needs a method or other classes, the method's map is
            not differentiable, or the head gives values.
        ShapeError: pixels are outside [0, 1].
        TargetError: labels do not fit the images or the model.
        GradientError: no gradient of the score reaches the images, the map cannot be differentiated once more, or
            scores are not finite.

    >>> import torch, pellucid
    >>> from torchvision.models import resnet18
    >>> model, images = resnet18(num_classes=3), torch.rand(2, 3, 64, 64)
    >>> found = pellucid.attack(model, images, "fgsm", preprocessing=pellucid.Preprocessing())
    >>> bool((found.linf <= 8 / 255).all())
    True
    """
    check_model(model)
    check_head(head)
    chosen = _chosen(attack)
    asked = Runtime() if runtime is None else runtime
    check_runtime(asked)
    settings = for_scores(asked)
    explainer = _explainer(model, chosen, method, layers, head, output, settings)
    batch = batch_of(model, images)
    info = model_info(model)
    _check_labels(labels, info.classes)
    known = normalisation_of(preprocessing, batch.images, info)
    request = targets_of("predicted" if labels is None else labels, info.classes, batch.inputs)

    def work() -> Attacked:
        at = opened(model, batch.inputs, settings, head, output)
        session, image = at.session, at.image
        inputs = session.on_device(at.inputs)
        targets = at.read(request)
        clean = as_float(over_places(clean_logits(session, inputs)))
        check_answers(targets.head, clean.shape[1])
        targets = targets.resolved(clean)
        answer = Answer.of(targets.head, _labels(targets, clean), clean)
        facts = None if explainer is None else facts_of(explainer, session, image)
        pixels = Pixels.of(inputs.images, known)
        _check_finite(clean, "images")
        subject = ModelSubject.of(session, inputs, pixels, answer, targets, facts if chosen.moves_map else None)
        return _found(chosen, subject, clean, facts)

    return kept(work)


def _check_labels(labels: object, classes: Sequence[str] | None) -> None:
    """Refuse what ``explain`` takes as targets, and an attack does not."""
    if isinstance(labels, Region):
        raise TargetError("labels were given as a Region; an attack takes the classes of whole images: give numbers")
    if callable(labels):
        raise TargetError("labels were given as a function; an attack takes one class for each image: give numbers")
    if isinstance(labels, str) and labels not in ("predicted", "all") and classes is None:
        raise TargetError(f"label {labels!r} was given; the model states no names of its classes: give its number")


def _chosen(attack: object) -> Attack:
    """An attack by its name, or as it was given."""
    found = ATTACKS.find(attack)() if isinstance(attack, str) else attack
    if isinstance(found, type) and issubclass(found, Attack):
        raise OptionError(f"attack {found.__name__} was given as a class; write {found.__name__}()")
    if not isinstance(found, Attack):
        raise OptionError(f"attack must be a name or an Attack of pellucid.attacks, got {found!r}")
    return found


def _explainer(  # the options that an explainer takes, too
    model: nn.Module,
    attack: Attack,
    method: str | Method | None,
    layers: Sequence[str] | None,
    head: str,
    output: str | int | None,
    runtime: Runtime,
) -> Explainer | None:
    """What makes the maps; None where none are asked for."""
    if method is not None:
        return Explainer(model, method, layers=layers, head=head, output=output, runtime=runtime)
    if attack.moves_map:
        raise OptionError(f"attack {attack.name!r} moves a map, and no method was given: give method='gradcam'")
    if layers is not None:
        raise OptionError(f"layers {list(layers)} were given, and no method that looks at them: give method='gradcam'")
    return None


def _check_finite(logits: Tensor, what: str) -> None:
    bad = (~torch.isfinite(logits)).any(dim=1).nonzero()[:, 0].tolist()
    if bad:
        raise GradientError(
            f"an attack was asked for; the model's scores of {what} {bad[:5]} are not finite: leave those images out, "
            "or mend the weights"
        )


def _checked(found: object, clean: Tensor, attack: str) -> Tensor:
    """What an attack's search returned, if it is an image for each in the range of pixels."""
    if not isinstance(found, Tensor) or found.shape != clean.shape:
        what = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise OptionError(f"attack {attack!r} returned {what}; its search returns images of shape {tuple(clean.shape)}")
    if not ((found >= 0) & (found <= 1)).all():  # nor NaN
        raise OptionError(f"attack {attack!r} returned pixels outside [0, 1]: its search keeps to subject.low and high")
    return found.detach()


def _labels(targets: Targets, clean: Tensor) -> Tensor:
    """The labels (B,) that are attacked."""
    found = targets.indices(clean)
    if found.shape[1] != 1 or (found < 0).any():
        raise TargetError(
            f"labels for {found.shape[1]} classes an image were given; an attack takes one: give a number, a name or "
            "a list with one for each image"
        )
    return found[:, 0]


def _type_of(subject: ModelSubject) -> torch.dtype:
    """The type of the images that come back: the given one, unless the network's holds more."""
    given = subject.inputs[:1]
    return torch.promote_types(given.images.dtype, subject.session.prepared(given).images.dtype)


def _found(attack: Attack, subject: ModelSubject, clean: Tensor, facts: Facts | None) -> Attacked:
    """The result of an attack, with what the network says of the changed images as they are, without any stand-in."""
    rows = all_rows(subject)
    pixels = _checked(attack.search(subject), subject.pixels, attack.name)
    logits, changed = over_places(subject.logits(pixels, rows)), subject.inputs_of(pixels, rows)
    _check_finite(logits, "changed images")
    subject.warn_of_flat()
    return Attacked(
        images=changed.given.to(_type_of(subject)),
        pixels=changed.with_images(pixels).given,
        clean=changed.with_images(subject.pixels).given,
        labels=subject.answer.labels,
        moved=~subject.answer.holds(logits, rows),
        logits=logits,
        clean_logits=clean,
        explanation=_explained(subject, changed, facts),
        clean_explanation=_explained(subject, subject.inputs, facts),
        attack=attack.name,
        options=settings(attack),
    )


def _explained(subject: ModelSubject, inputs: Inputs, facts: Facts | None) -> Explanation | None:
    """The maps of the labels as ``explain`` makes them; None without a method."""
    if facts is None:
        return None
    return explained(subject.session, facts, inputs, subject.targets)
