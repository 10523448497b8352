"""An explanation that is made again of a model that has learnt since: it costs what the method costs, and no more."""

from __future__ import annotations

from pellucid.core.explanation import Explanation
from pellucid.core.target import Request
from pellucid.models.session.thread_state import kept
from pellucid.run.batching import explained
from pellucid.run.explainer import Explainer, facts_of, method_of, named_targets
from pellucid.run.given import Given, batch_of
from pellucid.run.opening import opened
from pellucid.run.tuned import resolved


def explained_again(explainer: Explainer, images: Given, targets: Request = "predicted") -> Explanation:
    """Explain a batch by an explainer whose layers are named, and measure and warn of nothing beside the maps.

    ``explain`` measures with each new state of the parameters how much of the score passes through the layers, which
    takes 13 passes, and looks for other layers where none are named. The maps are the same.

    >>> import torch, pellucid
    >>> from torchvision.models import resnet18
    >>> explainer = pellucid.Explainer(resnet18(num_classes=3), layers=["layer4"], head="softmax")
    >>> images = torch.randn(1, 3, 64, 64)
    >>> torch.equal(explained_again(explainer, images).heatmaps, explainer(images).heatmaps)
    True
    """
    batch = batch_of(explainer.model, images)
    request = named_targets(explainer, targets, batch.inputs)
    runtime, trial = resolved(explainer.model, method_of(explainer), explainer.runtime)

    def work() -> Explanation:
        at = opened(explainer.model, batch.inputs, runtime, explainer.head, explainer.output)
        facts = facts_of(explainer, at.session, at.image, trial)
        found = explained(at.session, facts, at.inputs, at.read(request))
        return found.with_images(() if found.is_sequence else batch.images)

    return kept(work)
