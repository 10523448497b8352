"""Open the images of cases, ahead of their use, as the network takes them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from pellucid.core.image import Image
from pellucid.errors import DataError, OptionError, PellucidError
from pellucid.evaluation.case import Case, Exclusion
from pellucid.io.refusal import broken, one_line
from pellucid.models.preprocessing import Preprocessing
from pellucid.run.prefetch import Bounds, Prefetcher

_UNUSABLE = "the image cannot be used"
_WORKERS = max(2, min(8, os.cpu_count() or 1))
_WAITING = 8
_MAX_VALUES = 2**26
"""The most values that images which were read ahead hold, 256 MiB."""
Images = Mapping[int, Image]
"""Images that are open, by their number."""


@dataclass(frozen=True, eq=False)
class Opened:
    """A case with its image, prepared for the network; None with an exclusion where it could not be."""

    case: Case
    image: Image | None
    exclusion: Exclusion | None = None

    @property
    def values(self) -> Tensor:
        """The network's input (C, *space)."""
        if self.image is None:
            raise OptionError(f"{self.case.name} was asked for; its image could not be read")
        return self.image.values


def opened(cases: Sequence[Case], preprocessing: Preprocessing) -> Iterator[Opened]:
    """The cases in order, read and prepared in threads; an image that cannot be is an exclusion."""
    pool = ThreadPoolExecutor(_WORKERS)
    try:
        ahead = Prefetcher(
            pool, partial(_opened, preprocessing), cases, _weight, Bounds(_WAITING, _WORKERS, _MAX_VALUES)
        )
        for one in ahead:
            yield one
            ahead.release(one)
    finally:
        pool.shutdown(cancel_futures=True)


def opened_in_chunks(
    chunks: Sequence[Sequence[int]],
    case_of: Callable[[int], Case],
    preprocessing: Preprocessing,
    space: tuple[int, ...],
) -> Iterator[Images]:
    """The images of each chunk of cases' numbers, read ahead; all of them could be read before, on a grid (*space).

    Raises:
        DataError: one cannot be read any more.
    """
    each = [list(dict.fromkeys(chunk)) for chunk in chunks]
    images = opened([case_of(number) for chunk in each for number in chunk], preprocessing)
    for chunk in each:
        found: dict[int, Image] = {}
        for number in chunk:
            one = next(images)
            if one.image is None or one.image.size != space:
                raise DataError(f"{one.case.name} was read, and now cannot be: leave the images alone, and go on")
            found[number] = one.image
        yield found


def _opened(preprocessing: Preprocessing, case: Case) -> Opened:
    try:
        return Opened(case, preprocessing(case.source.image()))
    except PellucidError as error:
        return Opened(case, None, Exclusion(case.name, _UNUSABLE, one_line(str(error)), failed=True))
    except Exception as error:  # one bad file never ends a run
        return Opened(case, None, Exclusion(case.name, _UNUSABLE, broken(error), failed=True))


def _weight(one: Opened) -> int:
    return 0 if one.image is None else one.image.values.numel() + one.image.original.pixels.numel()
