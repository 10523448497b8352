"""``choose``: the method and the layers that are faithful to a network, by measurement on images, without masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from pellucid.choosing.fillings import Filling, from_others, named, same_scenes, squares
from pellucid.choosing.grading import Grades, grades
from pellucid.choosing.maps import Maps
from pellucid.choosing.measuring import Measured, measured, wholes
from pellucid.choosing.pairs import GRADIENTS, PERTURBING, Pair, pairs_of
from pellucid.choosing.subjects import Subjects
from pellucid.choosing.trust import agreed, is_ahead_of_chance, trials
from pellucid.core import catalogue
from pellucid.core.choice import Choice, GradedPair, ReplacementTrial
from pellucid.core.head import HEADS, check_head
from pellucid.core.inputs import Inputs
from pellucid.core.method import Method
from pellucid.core.provenance import digest, versions
from pellucid.core.replacement import References
from pellucid.core.runtime import Runtime
from pellucid.core.target import Request, Targets
from pellucid.errors import OptionError, PellucidError, ShapeError
from pellucid.models.checkpoints.untrained import untrained
from pellucid.models.discovery.layers import recommended
from pellucid.models.discovery.sequences import form_of
from pellucid.models.session.session import Session
from pellucid.models.session.thread_state import kept
from pellucid.models.sources import model_info
from pellucid.run.evaluate import clean_logits
from pellucid.run.explain import as_tensor, read_by
from pellucid.run.given import Given, batch_of
from pellucid.run.pointing import check_model

FIRST = 0.02
"""The fraction of the pixels in the first stage."""
FRACTIONS = (0.01, 0.02, 0.05, 0.1)
"""The fractions in the second stage."""
SECOND = 5
"""The pairs of the first stage that enter the second."""
FEWEST = 8
"""Images with fewer of which nothing is chosen."""
TIE = 0.01
"""Grades that differ by no more count as equal: the cheaper pair is chosen, then the convention."""


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
    pairs of gradient methods are graded by one replacement; in the second the best five and methods that perturb, by
    all replacements that passed, four fractions, and insertion beside deletion.

    Args:
        model: the network. It comes back as it was.
        images: as for ``explain``; 8 at least, of one size.
        targets: one class for each image, as for ``explain``.
        candidates: methods by name or with their options; None takes those of gradients, and in the second stage
            Score-CAM, Ablation-CAM and occlusion.
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
    batch = batch_of(model, images)
    given = Inputs.of(batch.values)
    _check(given, counterparts, patients)
    info = model_info(model)
    request = Targets(as_tensor(targets), info.classes).fitted(len(given), given.images.shape[2:])
    settings = replace(runtime or Runtime(), seed=seed)

    def work() -> Choice:
        session = Session.of(model, settings, head, info.head, info.output if output is None else output)
        inputs = given.in_form(form_of(session, session.prepared(given[:1])))
        image = session.prepared(inputs[:1])
        session.modules(tuple(layers or ()))
        read = read_by(session, image, request)
        check_probabilities(read)
        resolved = read.resolved(clean_logits(session, inputs))
        subjects = Subjects(session, inputs, resolved, resolved.head)
        fillings = _fillings(subjects, reference, counterparts, seed)
        asked = _Asked(subjects, image, fillings, candidates, list(layers or ()), patients, full, seed)
        found = untrained(model.state_dict())
        choice = asked.none(f"the network is not trained: {found}", []) if found else asked.choice()
        return replace(choice, weights_sha256=digest(model), versions=dict(versions()), passes=subjects.passes.count)

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


def _fillings(
    subjects: Subjects, reference: References | None, counterparts: Tensor | None, seed: int
) -> dict[str, Filling]:
    found = named(seed)
    if reference is not None:
        if reference.images.shape[1:] != subjects.inputs.images.shape[1:]:
            raise ShapeError(
                f"a reference of {tuple(reference.images.shape)} was given; its images must have the size of those "
                f"that are explained, {tuple(subjects.inputs.images.shape[1:])}"
            )
        found["tissue"] = from_others(reference.images, _donors(subjects, reference, seed))
    if counterparts is not None:
        found["same scene"] = same_scenes(counterparts)
    return found


def _donors(subjects: Subjects, reference: References, seed: int) -> Tensor:
    """The numbers of the reference images for each image, (P, draws): without the class, and none of the images."""
    images = subjects.inputs.images
    logits = clean_logits(subjects.session, subjects.inputs[:1])
    classes = subjects.targets.indices(logits)[:, 0] if not callable(subjects.targets.request) else torch.tensor([-1])
    usable = reference.without(classes.cpu().expand(len(images)))
    same = torch.stack([(reference.images.to(images) == image).flatten(1).all(1) for image in images]).cpu()
    usable &= ~same
    if not bool(usable.any(1).all()):
        raise OptionError("a reference was given; for some image no reference is without its class: give more")
    order = torch.rand(usable.shape, generator=torch.Generator().manual_seed(seed)).masked_fill(~usable, torch.inf)
    chosen = order.argsort(dim=1)
    counts = usable.sum(1, keepdim=True)
    return chosen.gather(1, torch.arange(reference.draws).expand(len(images), -1) % counts)


@dataclass(frozen=True, eq=False)
class _Asked:
    """What was asked, and the steps to an answer."""

    subjects: Subjects
    image: Inputs
    fillings: Mapping[str, Filling]
    candidates: Sequence[str | Method] | None
    layers: list[str]
    patients: Sequence[object] | None
    full: bool
    seed: int

    def choice(self) -> Choice:
        """Test what replaces, grade the pairs, and choose."""
        session, image = self.subjects.session, self.image
        whole = wholes(self.subjects, self.fillings)
        tried = trials(self.subjects, whole, self.fillings, recommended(session, image)[-1], self.seed)
        usable = sorted((one for one in tried if not one.refused), key=lambda one: one.distance)
        if not usable:
            return self.none("no replacement can be trusted on these images", tried)
        pairs = self._pairs(GRADIENTS if self.candidates is None else self.candidates, self.candidates is not None)
        for one in usable:  # the most data-like first
            found = self._measured(pairs, [one.name], (FIRST,), insertion=False)
            judged = agreed(one, found, self._generator())
            tried = [judged if other.name == one.name else other for other in tried]
            if not judged.refused and not self._is_ahead(found, one.name):
                reason = "the marked pixels do no more than as many at random places"
                return self.none(f"{reason} (by {one.name})", tried, self._rows(pairs, grades(found, [one.name]), 1))
            if not judged.refused:
                return self._chosen(pairs, found, one.name, tried)
        return self.none("no replacement can be trusted on these images", tried)

    def none(self, reason: str, tried: Sequence[ReplacementTrial], rows: Sequence[GradedPair] = ()) -> Choice:
        """No choice, and why."""
        ordered = sorted(rows, key=lambda one: -one.grade)
        return Choice(tuple(ordered), tuple(tried), None, f"no choice: {reason}", len(self.subjects), 0)

    def _chosen(self, pairs: Sequence[Pair], found: Measured, name: str, tried: Sequence[ReplacementTrial]) -> Choice:
        first = grades(found, [name])
        rows = self._rows(pairs, first, 1)
        best, graded, names = list(pairs), first, [name]
        if self.full:
            names = [one.name for one in tried if not one.refused]
            order = np.argsort(-first.values)[:SECOND]
            best = [pairs[number] for number in order]
            if self.candidates is None:
                best += self._pairs(PERTURBING, are_named=False)
            full = self._measured(best, names, FRACTIONS, insertion=True)
            tried = [one if one.refused else agreed(one, full, self._generator()) for one in tried]
            names = [one.name for one in tried if not one.refused] or [name]
            graded = grades(full, names)
            rows = [
                *self._rows(best, graded, 2),
                *(row for row, pair in zip(rows, pairs, strict=True) if pair not in best),
            ]
        return self._decided(best, graded, rows, tried)

    def _decided(
        self, pairs: Sequence[Pair], graded: Grades, rows: Sequence[GradedPair], tried: Sequence[ReplacementTrial]
    ) -> Choice:
        able = [number for number in range(len(pairs)) if not pairs[number].excluded]
        able = able or list(range(len(pairs)))  # none is left: the layers' shares are stated
        top = max(able, key=lambda number: graded.values[number])
        near = [number for number in able if graded.values[number] >= graded.values[top] - TIE]
        won = min(
            near, key=lambda number: (rows[number].passes, not rows[number].is_convention, -graded.values[number])
        )
        others = [number for number in able if number != won]
        reason = self._ahead(graded, rows, won, others)
        ordered = sorted(rows, key=lambda row: (-row.stage, -row.grade))
        return Choice(
            tuple(ordered),
            tuple(tried),
            ordered.index(rows[won]),
            reason,
            len(self.subjects),
            self.subjects.passes.count,
        )

    def _ahead(self, graded: Grades, rows: Sequence[GradedPair], won: int, others: Sequence[int]) -> str:
        """How clearly the chosen pair is ahead."""
        if not others:
            return f"{rows[won]} is the only candidate"
        second = max(others, key=lambda number: graded.values[number])
        apart = graded.difference(won, second, self.patients, self._generator())
        return (
            f"chosen: {rows[won]}; its grade is {graded.values[won] - graded.values[second]:+.3f} from that of "
            f"{rows[second]} ({apart}). Faithful to the network is not right about the disease."
        )

    def _pairs(self, methods: Sequence[str | Method], are_named: bool) -> list[Pair]:
        """The pairs that explain the first image; ``are_named``: those that do not are an error, else left out."""
        found = []
        for pair in pairs_of(self.subjects.session, self.image, methods, self.layers):
            try:
                found.append(replace(pair, passes=self._passes(pair)))
            except PellucidError:
                if are_named:
                    raise
        return found

    def _measured(
        self, pairs: Sequence[Pair], names: Sequence[str], fractions: Sequence[float], insertion: bool
    ) -> Measured:
        chosen = {name: self.fillings[name] for name in names}
        return measured(self.subjects, Maps.of(pairs, self.subjects), chosen, fractions, insertion)

    def _is_ahead(self, found: Measured, name: str) -> bool:
        numbers = torch.arange(len(self.subjects))
        images = self.subjects.prepared(numbers).images
        holes = squares(images.shape[2:], len(images), FIRST, torch.Generator().manual_seed(self.seed + 1))
        filled = self.fillings[name](images, numbers)
        at_random = self.subjects.scores(filled.without(holes.to(images.device), 0), numbers).numpy()
        return is_ahead_of_chance(found, name, at_random, self._generator())

    def _rows(self, pairs: Sequence[Pair], graded: Grades, stage: int) -> list[GradedPair]:
        rows = []
        for number, pair in enumerate(pairs):
            interval = graded.interval(number, self.patients, self._generator())
            rows.append(
                GradedPair(
                    pair.method.name,
                    pair.layers,
                    float(graded.values[number]),
                    interval.low,
                    interval.high,
                    pair.passes,
                    pair.share,
                    stage,
                    pair.excluded,
                    pair.is_convention,
                )
            )
        return rows

    def _passes(self, pair: Pair) -> float:
        maps, targets = Maps.of([pair], self.subjects), self.subjects.targets.images(0, 1)
        return float(_counted(self.subjects.session, lambda: list(maps.each(self.subjects, self.image, targets))))

    def _generator(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)


def _counted(session: Session, call: Callable[[], object]) -> int:
    """The images that a call sends through a session's network, which is a copy that belongs to it."""
    counts: list[int] = []

    def count(_module: nn.Module, args: tuple[object, ...], kwargs: Mapping[str, object]) -> None:
        first = next((one for one in (*args, *kwargs.values()) if isinstance(one, Tensor)), None)
        counts.append(1 if first is None else len(first))

    handle = session.network.register_forward_pre_hook(count, with_kwargs=True)
    try:
        call()
    finally:
        handle.remove()
    return sum(counts)
