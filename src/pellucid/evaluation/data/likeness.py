"""Finds images that are nearly the same, by a perceptual hash."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from scipy.fft import dctn
from torch.nn.functional import adaptive_avg_pool2d

from pellucid.core.image import Image

BITS = 512
DISTANCE = 24
"""Images whose hashes differ in at most this many bits are near-duplicates.

On 75 breast ultrasound images (2,775 pairs) this finds three pairs, all of them views of the same tissue moments apart;
the fourth such pair differs in 41 bits, the next one in 51. Copies of them as a JPEG of quality 20, at half or 1.5
times the size, or brighter (gamma .8) differ in at most 22 bits. A copy that is cropped or mirrored is not found. Of
11,175 pairs of drawn radiographs, which are much alike, the nearest differs in 36 bits. The usual hash of 64 bits, at a
distance of 4, takes 1 % of these pairs for the same image, and chains of them make one patient of many.
"""
_GRID = 32
_LOW = 16
_SMALL = 0.2
_LEAST = 0.01
"""Coefficients below this are rounding: an image that differs by one grey level of 255 in one half has one of .06."""
_WORDS, _BEGIN = 8, 2
_ONES = np.array([bin(number).count("1") for number in range(2**16)], dtype=np.uint8)
"""The number of bits of each 16-bit number."""
_PAIRS = 2**21
"""So many pairs are compared at a time."""

Words = npt.NDArray[np.uint64]


def perceptual_hash(image: Image) -> int:
    """512 bits that change little where an image is encoded, scaled or brightened anew.

    The image, of a volume the mean of its slices, is averaged to 32 × 32 grey values. Of their discrete cosine
    transform (type II) the 16 × 16 lowest frequencies without the mean are kept, c. The first 256 bits are whether
    c > .2 s, the others whether c < −.2 s, row by row, with s the root of the mean of c². So small coefficients,
    whose sign is chance, have no bit: smooth images have many of them.

    After Zauner 2010, Implementation and benchmarking of perceptual image hash functions (pHash), which has a bit for
    each of 64 coefficients: whether it is above their median.
    """
    pixels = image.pixels.mean(0)
    plane = pixels if len(image.size) == 2 else pixels.mean(0)
    grey = adaptive_avg_pool2d(plane[None, None], _GRID)[0, 0].double().numpy()
    low = dctn(grey, type=2, norm="ortho")[:_LOW, :_LOW].ravel()
    low[0] = 0  # the mean
    small = max(_LEAST, _SMALL * float(np.sqrt((low**2).sum() / (low.size - 1))))
    return int.from_bytes(np.packbits(np.concatenate([low > small, low < -small])).tobytes(), "big")


def near_pairs(hashes: Sequence[int], distance: int = DISTANCE) -> Iterator[tuple[int, int]]:
    """Pairs (i, j), i < j, of hashes that differ in at most ``distance`` bits, all that there are of different ones.

    Of equal hashes each is paired with the first. All different hashes are compared, some of their bits first: 10,000
    images take seconds, and memory grows with their number only.
    """
    firsts: dict[int, int] = {}
    for index, one in enumerate(hashes):
        if firsts.setdefault(one, index) != index:
            yield firsts[one], index
    order = list(firsts.values())
    content = b"".join(one.to_bytes(BITS // 8, "big") for one in firsts)
    words = np.frombuffer(content, dtype=np.uint64).reshape(-1, _WORDS)
    for first, second in _near(words, distance):
        yield order[first], order[second]


def _near(words: Words, distance: int) -> Iterator[tuple[int, int]]:
    step = max(1, _PAIRS // max(1, len(words)))
    for start in range(0, len(words), step):
        begun = _different(words[start : start + step, None, :_BEGIN], words[None, start:, :_BEGIN]) <= distance
        rows, columns = np.nonzero(np.triu(begun, 1))
        near = _different(words[start + rows], words[start + columns]) <= distance
        yield from zip((start + rows[near]).tolist(), (start + columns[near]).tolist(), strict=True)


def _different(one: Words, other: Words) -> npt.NDArray[np.uint16]:
    """The number of bits, over the last axis, in which words differ."""
    parts = np.ascontiguousarray(one ^ other).view(np.uint16)
    found: npt.NDArray[np.uint16] = _ONES[parts].sum(-1, dtype=np.uint16)
    return found


def groups_of(count: int, pairs: Iterator[tuple[int, int]]) -> list[int]:
    """The group of each of ``count`` things, as its lowest member: what pairs connect, in any number of steps.

    >>> groups_of(5, iter([(3, 4), (1, 3)]))
    [0, 1, 2, 1, 1]
    """
    parents = list(range(count))
    for pair in pairs:
        low, high = sorted(_root(parents, one) for one in pair)
        parents[high] = low
    return [_root(parents, one) for one in range(count)]


def _root(parents: list[int], one: int) -> int:
    while parents[one] != one:
        parents[one] = parents[parents[one]]
        one = parents[one]
    return one
