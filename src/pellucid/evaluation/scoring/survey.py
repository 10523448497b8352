"""The first look at a data set: what each image holds, where its findings are on the grid, what the model predicts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pellucid.core.image import Image
from pellucid.errors import DataError, OptionError, PellucidError
from pellucid.evaluation.case import Case, Exclusion, Outline
from pellucid.evaluation.data.patients import Fingerprint, fingerprint
from pellucid.evaluation.scoring.failing import reason_of
from pellucid.evaluation.scoring.frame import in_frame, packed, spacing_in_frame
from pellucid.evaluation.scoring.network import Network, Predicted
from pellucid.evaluation.scoring.opening import Opened, opened
from pellucid.evaluation.scoring.tolerance import NO_SPACING
from pellucid.models.preprocessing import Preprocessing

FAILS = "the model fails on the image"
OUT_OF_VIEW = "the finding lies outside of what the model sees"
Progress = Callable[[str, int, int], None]
"""(what is done, how many of it are, of how many)."""


def silent(_what: str, _done: int, _of: int) -> None:
    """Report no progress."""


@dataclass(frozen=True, eq=False)
class Marked:
    """A finding as a data set states it: its label there, its mask on the grid, packed, and the share that it covers.

    The share is 0 where the mask is empty.
    """

    label: str
    mask: bytes
    area: float


@dataclass(frozen=True, eq=False)
class Surveyed:
    """A case whose image can be read.

    ``space`` and ``spacing`` are those of the grid; ``content`` is a digest of the network's input, and
    ``fingerprint`` tells whose the image is. ``probabilities`` are the model's, None without one.
    """

    case: Case
    space: tuple[int, ...]
    spacing: tuple[float, ...] | None
    content: str
    fingerprint: Fingerprint
    marked: tuple[Marked, ...]
    excluded: tuple[Exclusion, ...]
    probabilities: tuple[float, ...] | None = None


@dataclass(frozen=True, eq=False)
class Survey:
    """All cases that can be read, and those that cannot; ``predicted`` has the classes and the head of the model."""

    cases: tuple[Surveyed, ...]
    excluded: tuple[Exclusion, ...]
    predicted: Predicted | None


def surveyed(
    cases: Sequence[Case], preprocessing: Preprocessing, network: Network | None, batch_size: int, progress: Progress
) -> Survey:
    """Look at each case once: one pass of the model for each image."""
    found: list[Surveyed] = []
    excluded: list[Exclusion] = []
    last: Predicted | None = None
    done = 0
    for batch in _batches(opened(cases, preprocessing), batch_size):
        done += len(batch)
        excluded += [one.exclusion for one in batch if one.exclusion is not None]
        read = [one for one in batch if one.image is not None]
        looked = [_looked(one.case, one.image) for one in read if one.image is not None]
        if looked and network is not None:
            predicted, failed = _predicted(network, read)
            excluded += failed
            last = predicted or last
            if last is None:
                raise DataError(f"the model fails on the first images ({failed[0].detail}): check its input")
            network = network.of_head(last.head)
            each = iter(predicted.probabilities.double().tolist() if predicted is not None else ())
            without = {one.name for one in failed}
            looked = [replace(one, probabilities=tuple(next(each))) for one in looked if one.case.name not in without]
        found += looked
        progress("looking at images", done, len(cases))
    return Survey(tuple(found), tuple(excluded), last)


def _predicted(network: Network, read: Sequence[Opened]) -> tuple[Predicted | None, list[Exclusion]]:
    """What the network predicts of images; where it fails on them together, of each alone, without those it fails on.

    Raises:
        OptionError: its outputs are no probabilities.
    """
    try:
        return network.predicted(torch.stack([one.values for one in read])), []
    except PellucidError:
        raise
    except Exception as error:  # networks are anyone's code
        reason = reason_of(error)
    if len(read) == 1:
        return None, [Exclusion(read[0].case.name, FAILS, reason, failed=True)]
    found, failed = zip(*(_predicted(network, [one]) for one in read), strict=True)
    known = [one for one in found if one is not None]
    together = replace(known[0], probabilities=torch.cat([one.probabilities for one in known])) if known else None
    return together, [one for each in failed for one in each]


def with_spacing(survey: Survey) -> Survey:
    """The same, but images with a finding that state no spacing, which a tolerance in mm needs, are left out."""
    return replace(survey, cases=tuple(_with_spacing(one) for one in survey.cases))


def _with_spacing(one: Surveyed) -> Surveyed:
    if one.spacing is not None or not one.marked:
        return one
    return replace(one, marked=(), excluded=(*one.excluded, Exclusion(one.case.name, NO_SPACING)))


def _batches(images: Iterator[Opened], size: int) -> Iterator[list[Opened]]:
    """Consecutive images of one shape; those that could not be read fit anywhere."""
    batch: list[Opened] = []
    shape: torch.Size | None = None
    for one in images:
        own = None if one.image is None else one.values.shape
        if len(batch) == size or (batch and own is not None and shape is not None and own != shape):
            yield batch
            batch, shape = [], None
        batch.append(one)
        shape = own if own is not None else shape
    if batch:
        yield batch


def _looked(case: Case, image: Image) -> Surveyed:
    marked: list[Marked] = []
    excluded: list[Exclusion] = []
    for label, outline in case.findings.items():
        try:
            marked.append(_marked(label, outline, image))
        except DataError as error:
            reason = str(error)
            excluded.append(Exclusion(case.name, reason, error.detail, failed=reason != OUT_OF_VIEW))
    return Surveyed(
        case,
        image.size,
        spacing_in_frame(image),
        content(image.values),
        fingerprint(image.original),
        tuple(marked),
        tuple(excluded),
    )


def _marked(label: str, outline: Outline, image: Image) -> Marked:
    whole = outline.mask(image.original)
    mask = in_frame(whole, image.geometry)
    if bool(whole.any()) and not bool(mask.any()):
        raise DataError(OUT_OF_VIEW)
    return Marked(label, packed(mask), float(mask.double().mean()))


def content(values: Tensor) -> str:
    """A digest of a tensor's values."""
    return hashlib.sha256(values.contiguous().numpy().tobytes()).hexdigest()


def one_space(cases: Sequence[Surveyed], why: str = "where findings usually are can only be said") -> tuple[int, ...]:
    """The size of the grid, which all images have in common; ``why`` they have to begins the message's reason.

    Raises:
        OptionError: they differ.
    """
    sizes = sorted({one.space for one in cases})
    if len(sizes) > 1:
        first, last = (" × ".join(map(str, size)) for size in (sizes[0], sizes[-1]))
        raise OptionError(
            f"the images are of {len(sizes)} sizes, such as {first} and {last}; {why} of images of one size: "
            "give --size HEIGHT,WIDTH, or a model whose preprocessing has a size"
        )
    return sizes[0]
