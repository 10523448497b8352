"""The networks and images of ``benchmarks.gates``: trained, with random weights, and trained from other seeds.

Another seed's weights are a file FOLDER/SEED/NAME.safetensors, as ``python -m pellucid.phantom.training`` writes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import pellucid
from benchmarks.gates_decided import Maps
from benchmarks.phantoms import STAGES
from pellucid import phantom
from pellucid.core.inputs import Inputs
from pellucid.core.method import Method
from pellucid.core.runtime import Runtime
from pellucid.errors import OptionError
from pellucid.models.session.session import Session
from pellucid.phantom.models import NETWORKS, SIDE, Classifier, untrained
from pellucid.phantom.training import VALIDATION_SEED, measure, normalised
from pellucid.run.explainer import Explainer
from pellucid.run.fusing import SUM
from pellucid.run.remade import Remaker

SEED = 80_000_000
IMAGES, RANDOM = 200, 5
"""The number of images, and of randomisations."""
ENOUGH, TESTED = 0.98, 1000
"""The AUC of each class from which on another seed counts, and the number of images that it is measured on."""
BATCH = 50


@dataclass(frozen=True, eq=False)
class Drawn:
    """Images (N, 1, H, W) as the networks take them, and the class (N,) that is explained of each."""

    images: Tensor
    classes: Tensor


@dataclass(frozen=True, eq=False)
class Candidate:
    """A bundled network, the folder of its other seeds, the images, and the device that maps are made on."""

    name: str
    folder: Path
    images: int = IMAGES
    random: int = RANDOM
    device: str = "auto"

    @property
    def runtime(self) -> Runtime:
        """Where maps are made."""
        return Runtime(device=self.device)

    @cached_property
    def trained(self) -> Classifier:
        """The bundled network."""
        return NETWORKS[self.name].trained()

    @cached_property
    def drawn(self) -> Drawn:
        """The first images with a finding."""
        exclusive = self.trained.head == "softmax"
        made = phantom.radiographs(2 * self.images + 20, self.side, SEED, exclusive=exclusive)
        chosen = made.labels.any(1).nonzero()[: self.images, 0]
        return Drawn(normalised(made.images[chosen]), made.labels[chosen].int().argmax(1) + int(exclusive))

    @property
    def side(self) -> int:
        """Pixels per side of the images."""
        return int(self.trained.preprocessing.get("size", (SIDE,))[0])

    @cached_property
    def at_random(self) -> tuple[nn.Module, ...]:
        """The network with random weights in all layers, once for each randomisation."""
        return tuple(randomised(self.trained, self.drawn.images[:1], seed) for seed in range(self.random))

    @cached_property
    def seeds(self) -> Mapping[str, Classifier]:
        """The networks of other seeds by the names of their folders."""
        files = sorted(self.folder.glob(f"*/{self.name}.safetensors"))
        return {file.parent.name: loaded(self.name, file) for file in files}

    def areas(self, network: Classifier) -> tuple[float, ...]:
        """The AUC of each class on new images."""
        exclusive = network.head == "softmax"
        return measure(network, phantom.radiographs(TESTED, self.side, VALIDATION_SEED, exclusive=exclusive)).auc

    def stages(self) -> dict[str, str]:
        """An early layer and one in the middle."""
        known = next(layers for part, layers in STAGES.items() if part in self.name)
        return {"early": known[0], "middle": known[len(known) // 2]}

    def found(self, method: Method) -> tuple[str, ...]:
        """The layers that are found if none is named."""
        return tuple(Explainer(self.trained, method, head=self.trained.head)(self.drawn.images[:1]).layers)

    def maps(self, network: nn.Module, method: Method, layers: tuple[str, ...] | None) -> Maps:
        """The maps of all images in a network, at these layers."""
        explainer = self.explainer(network, method, layers)
        each = zip(*(torch.split(one, BATCH) for one in (self.drawn.images, self.drawn.classes)), strict=True)
        return Maps.cat([Maps.of(explainer(images, targets=classes)) for images, classes in each])

    def explainer(self, network: nn.Module, method: Method, layers: tuple[str, ...] | None) -> Explainer:
        """A method at some layers of a network; several layers that were found are added, as where they were found."""
        fuse = SUM if layers and len(layers) > 1 else "mean"
        return Explainer(network, method, layers=layers, fuse=fuse, head=self.trained.head, runtime=self.runtime)

    def cascade(self, method: Method, layers: tuple[str, ...] | None, count: int) -> float:
        """``mprt`` of the first images, from the output down: its mean."""
        images = self.drawn.images[:count]
        found = self.explainer(self.trained, method, layers)(images, targets=self.drawn.classes[:count])
        scores = pellucid.evaluate(self.trained, images, found, metrics=["mprt"], runtime=self.runtime)
        return scores.figure("mprt")


def loaded(name: str, file: Path) -> Classifier:
    """A network with the weights of a file."""
    network = untrained(name)
    network.network.load_state_dict(load_file(file))
    return network.eval()


def randomised(network: nn.Module, image: Tensor, seed: int) -> nn.Module:
    """The network with random weights in all of its layers, which shares nothing that it has learnt."""
    explainer = Explainer(network, "saliency")
    session = Session.of(network, explainer.runtime)
    inputs = session.prepared(Inputs.of(image))
    [(_, made)] = Remaker.of(explainer, session, inputs).randomised(inputs, "all", seed)
    return made.session.network


def check_learnt(candidate: Candidate) -> dict[str, tuple[float, ...]]:
    """The AUCs of the networks of other seeds.

    Raises:
        OptionError: there is none, or one has not learnt the task.
    """
    if not candidate.seeds:
        raise OptionError(
            f"{candidate.folder}: no */{candidate.name}.safetensors there; train one with "
            f"python -m pellucid.phantom.training {candidate.name} --seed 1 --output {candidate.folder}/1"
        )
    found = {seed: candidate.areas(network) for seed, network in candidate.seeds.items()}
    for seed, areas in found.items():
        if min(areas) < ENOUGH:
            raise OptionError(
                f"{candidate.folder}/{seed}: an AUC of {min(areas):.3f} was measured, and {ENOUGH} is needed: train "
                "for longer"
            )
    return found
