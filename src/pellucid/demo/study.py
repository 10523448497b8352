"""Explains phantoms with the included networks: single cases, and the hit rate of each method's peak."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from torch import Tensor, nn

from pellucid import phantom
from pellucid.core import catalogue
from pellucid.core.choice import Choice
from pellucid.core.explanation import Explanation
from pellucid.core.method import Method
from pellucid.core.runtime import AUTO
from pellucid.errors import GradientError, NoAttentionError
from pellucid.metrics.pointing import peaks, pointing_hits, widened
from pellucid.models.sources import model_info
from pellucid.phantom.models import CELL, NETWORKS
from pellucid.run.explainer import Explainer
from pellucid.statistics.distributions import clopper_pearson

METHODS: Mapping[str, str] = {
    "gradcam": "where the features that support the finding are active in the network's last layer",
    "hirescam": "the same, feature by feature and cell by cell: for many networks, exactly the terms of the score",
    "layercam": "the same, with only the support for the finding in each cell",
    "occlusion": "how much the score falls when a small square of the image is covered",
    "rollout": "where the network's attention flows; the map is the same for every finding",
    "attnlrp": "the score, distributed over the pixels by going back through every attention block",
}
"""The methods that the demo shows, with an explanation for readers who know none of them."""
SHOWN = ("unguided_cnn", "unguided_vit")
"""The networks that the demo shows: they learnt from labels alone, as a user's network did."""
TAUGHT = ("cnn", "vit")
"""The same architectures, which were also taught where findings are."""
HALF = 0.5
"""The probability from which on a network reports a finding."""
HALF_A_CELL = CELL / 2
"""Half a cell of the networks' last grid, in pixels: the tolerance of a hit."""
_HEALTHY = "no finding"
_CASE_SEED = 20_000_000
_RATE_SEED = 30_000_000


@dataclass(frozen=True, eq=False)
class Network:
    """A network, the name that a reader sees, the methods that apply to it, and what "auto" is."""

    title: str
    model: nn.Module
    methods: tuple[str, ...]
    choice: Choice | None = None

    def explained(self, method: str | Method, images: Tensor, targets: Tensor | int) -> Explanation:
        """Explain images in [0, 1]."""
        preprocessing = model_info(self.model).preprocessing
        prepared = preprocessing.normalise(images) if preprocessing else images
        choice = self.choice if method == AUTO else None
        return Explainer(self.model, method, choice=choice)(prepared, targets=targets)


def networks(names: Sequence[str] = SHOWN, methods: Sequence[str] = tuple(METHODS)) -> list[Network]:
    """The included networks of these names, each with those of the methods that apply to it."""
    every = [Network(NETWORKS[name].title, NETWORKS[name].trained(), tuple(methods)) for name in names]
    return [replace(one, methods=tuple(name for name in methods if _applies(one, name))) for one in every]


def _applies(network: Network, method: str) -> bool:
    """Whether a method applies to a network: those that read attention may find none."""
    if not catalogue.find(method).uses_attention:
        return True
    try:
        network.explained(method, phantom.radiographs(1).images, 0)
    except (GradientError, NoAttentionError):
        return False
    return True


@dataclass(frozen=True, eq=False)
class Shown:
    """One map of a case: ``heat`` (H, W), its ``peak`` (row, column), and whether that hits.

    ``peak`` is None if the map is empty, ``hit`` if there is nothing to hit.
    """

    method: str
    heat: Tensor
    peak: tuple[int, int] | None
    hit: bool | None


@dataclass(frozen=True, eq=False)
class Reading:
    """One network's output for a case: probabilities by finding, and a map per method."""

    network: str
    probabilities: dict[str, float]
    maps: tuple[Shown, ...]

    def correct(self, finding: str) -> bool:
        """Whether the network is right about every finding."""
        return all((p >= HALF) == (name == finding) for name, p in self.probabilities.items())


@dataclass(frozen=True, eq=False)
class Case:
    """One phantom: the image (1, H, W), its finding or "no finding", the explained finding, and the mask (H, W)."""

    image: Tensor
    finding: str
    explained: str
    mask: Tensor
    readings: tuple[Reading, ...]


def cases(over: Sequence[Network]) -> list[Case]:
    """One phantom of each finding and one without, the first of their seeds."""
    return [_case(over, finding, offset) for offset, finding in enumerate((*phantom.FINDINGS, _HEALTHY))]


def _case(over: Sequence[Network], finding: str, offset: int) -> Case:
    planted = () if finding == _HEALTHY else (finding,)
    drawn = phantom.radiographs(1, seed=_CASE_SEED + offset, findings=planted)
    index = phantom.FINDINGS.index(finding) if planted else 0
    mask = drawn.masks[0, index]
    readings = tuple(_reading(network, drawn.images, mask, index) for network in over)
    return Case(drawn.images[0], finding, phantom.FINDINGS[index], mask, readings)


def _reading(network: Network, images: Tensor, mask: Tensor, finding: int) -> Reading:
    found = {method: network.explained(method, images, finding) for method in network.methods}
    first = next(iter(found.values()))
    probabilities = dict(zip(phantom.FINDINGS, first.probabilities[0].tolist(), strict=True))
    return Reading(network.title, probabilities, tuple(_shown(*one, mask) for one in found.items()))


def _shown(method: str, explanation: Explanation, mask: Tensor) -> Shown:
    heat = explanation.heatmaps[0]
    row, column = peaks(heat)[0].tolist()
    peak = None if explanation.degenerate.any() else (row, column)
    hit = bool(pointing_hits(heat, mask[None], HALF_A_CELL)) if mask.any() else None
    return Shown(method, heat[0], peak, hit)


@dataclass(frozen=True)
class Rate:
    """How often the peak of a method hits, among the findings that the network detects.

    ``taught``: the hit rate on the same architecture that was also taught where findings are, where it was measured.
    """

    network: str
    method: str
    hits: int
    count: int
    taught: float | None = None

    @property
    def share(self) -> float:
        """The hit rate; 0 without any finding."""
        return self.hits / self.count if self.count else 0.0

    @cached_property
    def interval(self) -> tuple[float, float]:
        """The exact 95 % interval of the hit rate."""
        return clopper_pearson(self.hits, self.count)


@dataclass(frozen=True)
class Skill:
    """A network's detections of a finding: ``found`` of ``present``, and ``alarms`` in ``absent`` images without it."""

    network: str
    finding: str
    found: int
    present: int
    alarms: int
    absent: int


@dataclass(frozen=True)
class Rates:
    """Hit rates on ``images`` phantoms, the hit rate of a random point, and the networks' detections."""

    images: int
    random: float
    rows: tuple[Rate, ...]
    skills: tuple[Skill, ...]


def rates(over: Sequence[Network], count: int, taught: Sequence[Network] = ()) -> Rates:
    """The hit rates on ``count`` new phantoms, for every finding that is present and detected.

    ``taught``: the networks of the same titles that were also taught where findings are.
    """
    drawn = measured_images(count)
    masks = drawn.masks[drawn.labels]
    random = float(widened(masks, HALF_A_CELL).float().mean()) if len(masks) else 0.0
    pairs = [(network, method) for network in over for method in network.methods]
    skills = tuple(skill for network in over for skill in _skills(network, drawn))
    beside = {network.title: network for network in taught}
    rows = []
    for network, method in pairs:
        other = beside.get(network.title)
        found = rate(network, method, drawn)
        rows.append(found if other is None else replace(found, taught=rate(other, method, drawn).share))
    return Rates(count, random, tuple(rows), skills)


def measured_images(count: int) -> phantom.Phantoms:
    """The radiographs that hit rates are measured on."""
    return phantom.radiographs(count, seed=_RATE_SEED)


def _skills(network: Network, drawn: phantom.Phantoms) -> list[Skill]:
    detected = network.explained(network.methods[0], drawn.images, 0).probabilities >= HALF
    figures = []
    for index, finding in enumerate(phantom.FINDINGS):
        present, positive = drawn.labels[:, index], detected[:, index]
        numbers = [int(part.sum()) for part in (positive & present, present, positive & ~present, ~present)]
        figures.append(Skill(network.title, finding, *numbers))
    return figures


def rate(network: Network, method: str | Method, drawn: phantom.Phantoms) -> Rate:
    """One method's hits on the true positives of a network: findings present, with a probability of at least 0.5."""
    hits = count = 0
    for finding, _ in enumerate(phantom.FINDINGS):
        present = drawn.labels[:, finding]
        if not present.any():
            continue
        found = network.explained(method, drawn.images[present], finding)
        positive = found.probabilities[:, finding] >= HALF
        masks = drawn.masks[present][:, finding]
        hit = pointing_hits(found.heatmaps[:, 0], masks, HALF_A_CELL)
        hits, count = hits + int((hit & positive).sum()), count + int(positive.sum())
    return Rate(network.title, method if isinstance(method, str) else method.name, hits, count)
