"""The bundled networks on phantoms: single cases to look at, and how often each method's peak hits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor, nn

from pellucid import phantom
from pellucid.core import catalogue
from pellucid.core.explanation import Explanation
from pellucid.core.method import Method
from pellucid.metrics.pointing import peaks, pointing_hits, widened
from pellucid.metrics.statistics import wilson
from pellucid.models.sources import model_info
from pellucid.phantom.models import GRID
from pellucid.run.explain import Explainer

METHODS = ("gradcam", "hirescam", "layercam", "occlusion", "rollout", "attnlrp")
HALF = 0.5
"""The probability from which on a network is taken to say that a finding is there."""
_HEALTHY = "no finding"
_CASE_SEED = 20_000_000
_RATE_SEED = 30_000_000


@dataclass(frozen=True, eq=False)
class Network:
    """A bundled network, the name that a reader sees, and the methods that apply to it."""

    title: str
    model: nn.Module
    methods: tuple[str, ...]

    def explained(self, method: str | Method, images: Tensor, targets: Tensor | int) -> Explanation:
        """Explain images in [0, 1]."""
        preprocessing = model_info(self.model).preprocessing
        prepared = preprocessing.normalise(images) if preprocessing else images
        return Explainer(self.model, method)(prepared, targets=targets)


def networks() -> list[Network]:
    """Two of those that are bundled."""
    without_attention = tuple(name for name in METHODS if not catalogue.find(name).uses_attention)
    return [
        Network("convolutional network", phantom.cnn(), without_attention),
        Network("vision transformer", phantom.vit(), METHODS),
    ]


@dataclass(frozen=True, eq=False)
class Shown:
    """One map of a case, ``heat`` (H, W): ``peak`` (row, column), None where it shows nothing; ``hit``: did it hit.

    ``hit`` is None where there is nothing to hit.
    """

    method: str
    heat: Tensor
    peak: tuple[int, int] | None
    hit: bool | None


@dataclass(frozen=True, eq=False)
class Reading:
    """What one network says of a case, and why: probabilities by finding, and a map a method."""

    network: str
    probabilities: dict[str, float]
    maps: tuple[Shown, ...]

    def correct(self, finding: str) -> bool:
        """Whether the network says what was drawn, of every finding."""
        return all((p >= HALF) == (name == finding) for name, p in self.probabilities.items())


@dataclass(frozen=True, eq=False)
class Case:
    """One phantom: the image (1, H, W), the finding that was drawn ("no finding": none), its mask (H, W)."""

    image: Tensor
    finding: str
    asked: str
    mask: Tensor
    readings: tuple[Reading, ...]


def cases(over: Sequence[Network]) -> list[Case]:
    """One phantom of each finding, and one without any; the first that their seeds give."""
    return [_case(over, finding, index) for index, finding in enumerate((*phantom.FINDINGS, _HEALTHY))]


def _case(over: Sequence[Network], finding: str, index: int) -> Case:
    planted = () if finding == _HEALTHY else (finding,)
    drawn = phantom.radiographs(1, seed=_CASE_SEED + index, findings=planted)
    asked = phantom.FINDINGS.index(finding) if planted else 0
    mask = drawn.masks[0, asked]
    readings = tuple(_reading(network, drawn.images, mask, asked) for network in over)
    return Case(drawn.images[0], finding, phantom.FINDINGS[asked], mask, readings)


def _reading(network: Network, images: Tensor, mask: Tensor, asked: int) -> Reading:
    found = {method: network.explained(method, images, asked) for method in network.methods}
    first = next(iter(found.values()))
    probabilities = dict(zip(phantom.FINDINGS, first.probabilities[0].tolist(), strict=True))
    return Reading(network.title, probabilities, tuple(_shown(*one, mask) for one in found.items()))


def _shown(method: str, explanation: Explanation, mask: Tensor) -> Shown:
    heat = explanation.heatmaps[0]
    row, column = peaks(heat)[0].tolist()
    peak = None if explanation.degenerate.any() else (row, column)
    hit = bool(pointing_hits(heat, mask[None], half_a_cell(mask))) if mask.any() else None
    return Shown(method, heat[0], peak, hit)


def half_a_cell(images: Tensor) -> float:
    """Half a cell of the networks' last grid in pixels of images or masks (..., W): what a peak may be off by."""
    return images.shape[-1] / GRID / 2


@dataclass(frozen=True)
class Rate:
    """How often the peak of a method hits, of what the network found."""

    network: str
    method: str
    hits: int
    count: int

    @property
    def share(self) -> float:
        """The hit rate; 0 of nothing."""
        return self.hits / self.count if self.count else 0.0

    @cached_property
    def interval(self) -> tuple[float, float]:
        """Its 95 % interval."""
        return wilson(self.hits, self.count)


@dataclass(frozen=True)
class Skill:
    """How often a network finds what is there, and how often it says so of what is not."""

    network: str
    finding: str
    found: int
    there: int
    alarms: int
    absent: int


@dataclass(frozen=True)
class Rates:
    """Hit rates on ``images`` phantoms, what a dart thrown blindly would hit, and how good the networks are."""

    images: int
    blind: float
    rows: tuple[Rate, ...]
    skills: tuple[Skill, ...]


def rates(over: Sequence[Network], count: int) -> Rates:
    """The hit rates on ``count`` fresh phantoms, of every finding that is there and that the network finds."""
    drawn = phantom.radiographs(count, seed=_RATE_SEED)
    masks = drawn.masks[drawn.labels]
    blind = float(widened(masks, half_a_cell(drawn.images)).float().mean()) if len(masks) else 0.0
    pairs = [(network, method) for network in over for method in network.methods]
    skills = tuple(skill for network in over for skill in _skills(network, drawn))
    return Rates(count, blind, tuple(rate(network, method, drawn) for network, method in pairs), skills)


def _skills(network: Network, drawn: phantom.Phantoms) -> list[Skill]:
    says = network.explained(network.methods[0], drawn.images, 0).probabilities >= HALF
    figures = []
    for index, finding in enumerate(phantom.FINDINGS):
        there, said = drawn.labels[:, index], says[:, index]
        numbers = [int(part.sum()) for part in (said & there, there, said & ~there, ~there)]
        figures.append(Skill(network.title, finding, *numbers))
    return figures


def rate(network: Network, method: str | Method, drawn: phantom.Phantoms) -> Rate:
    """One method's hits over the true positives of a network: findings that are there, at a probability of 0.5."""
    hits = count = 0
    for finding, _ in enumerate(phantom.FINDINGS):
        there = drawn.labels[:, finding]
        if not there.any():
            continue
        found = network.explained(method, drawn.images[there], finding)
        positive = found.probabilities[:, finding] >= HALF
        masks = drawn.masks[there][:, finding]
        hit = pointing_hits(found.heatmaps[:, 0], masks, half_a_cell(masks))
        hits, count = hits + int((hit & positive).sum()), count + int(positive.sum())
    return Rate(network.title, method if isinstance(method, str) else method.name, hits, count)
