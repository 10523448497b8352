"""AttnLRP (Achtibat et al. 2024, arXiv:2402.05602): share the score out among the pixels, through the attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pellucid.core.attribution import Attribution
from pellucid.core.catalogue import method
from pellucid.core.inputs import Images, explained
from pellucid.core.method import Method
from pellucid.core.probe import Probe
from pellucid.core.target import Targets


@method("attnlrp")
@dataclass(frozen=True)
class AttnLRP(Method):
    """Attention-aware layer-wise relevance propagation.

    The class's logit z is relevance, which every layer shares out among its inputs. With x the network's input and
    ∂̃z/∂x its gradient where (AttnLRP's rules, as gradients)::

        a product of two activations (q kᵀ, A v, a gate) gives each of them half
        an activation function f has the derivative f(x) / x
        a norm's standard deviation is a constant
        the softmax, linear layers and sums are as they are (its first order; LRP-0)

        map = Σ over the channels of x ⊙ ∂̃z/∂x

    The map is (B, K, *space), on the picture's own grid, signed, in units of the logit. Biases and position
    embeddings keep shares of their own: ``explanation.checks["completeness_gap"]`` is z less the map's sum. A pixel
    of value 0 (after normalisation, the mean grey) gets nothing.

    What is no function of torch's (a kernel of its own, a norm that is written out by hand) passes as a plain
    gradient.

    When to use it: on transformers with a class token, where for the price of a gradient it pointed best at what was
    drawn; also on those that attend within windows (Swin).

    >>> import timm, torch, pellucid
    >>> vit = timm.create_model("vit_tiny_patch16_224", img_size=64, num_classes=5)
    >>> pellucid.explain(vit, torch.randn(1, 3, 64, 64), method="attnlrp").attributions.shape
    torch.Size([1, 1, 64, 64])
    """

    uses_layers: ClassVar[bool] = False
    uses_attention: ClassVar[bool] = True

    def attribute(self, probe: Probe, images: Images, targets: Targets) -> Attribution:
        """The maps (B, K, *space) of the targets."""
        relevance = probe.conserving().input_gradients(images, targets) * explained(images)[:, None]
        score = targets.scores(probe.scores(images))
        gap = score - relevance.flatten(2).sum(dim=2)
        return Attribution(relevance.sum(dim=2), checks={"completeness_gap": gap})
