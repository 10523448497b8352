"""``GradCAM`` and ``GradCAMPlusPlus`` of the published API."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pellucid.core.attribution import Attribution
from pellucid.core.default_device import on_cpu_by_default
from pellucid.core.inputs import Inputs
from pellucid.core.method import Method
from pellucid.core.space import heatmap, upsample
from pellucid.core.target import Request, Targets
from pellucid.core.view import WHOLE
from pellucid.errors import LayerError, OptionError, ShapeError, TargetError, did_you_mean
from pellucid.methods.eigen_smooth import EigenSmooth
from pellucid.methods.gradcam import GradCAM as GradCAMFormula
from pellucid.methods.gradcam_plusplus import GradCAMPlusPlus as GradCAMPlusPlusFormula
from pellucid.models.discovery.places import in_network_order, places_of
from pellucid.models.discovery.profile import ModelProfile
from pellucid.models.discovery.recording import profile_of
from pellucid.models.engine import Pass
from pellucid.models.session.session import Session, modules_of, unwrapped
from pellucid.models.session.thread_state import kept
from pellucid.run.fusing import HEATMAP_FUSIONS
from pellucid.xai.config import GradCAMConfig
from pellucid.xai.visualization import ImageLike, blended

Heatmap = npt.NDArray[np.float32]


class GradCAM:
    """Grad-CAM with the published interface; ``pellucid.methods.gradcam.GradCAM`` computes it.

    After a call, ``gradients`` and ``activations`` hold the captured tensors (B, C, H, W) by layer name.
    No hook stays on the model between calls, so ``hooks`` is empty.
    """

    _formula: Method = GradCAMFormula()

    def __init__(self, model: nn.Module, config: GradCAMConfig) -> None:
        self.model = model
        self.config = config
        self.target_layers = _found(model, config.target_layers)
        self.activations: dict[str, Tensor] = {}
        self.gradients: dict[str, Tensor] = {}
        self.hooks: list[Any] = []

    @on_cpu_by_default
    def generate_heatmap(
        self, input_tensor: Tensor, class_idx: int | None = None, target_layer: str | None = None
    ) -> Heatmap:
        """The heatmap (H, W) float32 of one image (C, H, W) or (1, C, H, W).

        ``class_idx`` None is the predicted class. ``target_layer`` may be any layer of the model; the default is
        the last configured layer in network order.
        """
        image = one_image(input_tensor)
        self._forget()
        layers = list(self.target_layers if target_layer is None else _found(self.model, [target_layer]))
        found = self._attributions(image, _request(class_idx), layers)
        return self._finished(found[-1], image)[0]

    @on_cpu_by_default
    def generate_batch_heatmaps(self, input_batch: Tensor, class_indices: Sequence[int] | None = None) -> list[Heatmap]:
        """The heatmaps of a batch (B, C, H, W), ``batch_size`` images per pass, equal to those of single images."""
        check_floating(input_batch)
        if input_batch.ndim != 4:
            raise ShapeError(f"Input batch must be 4D tensor, got {input_batch.ndim}D")
        given = len(input_batch) if class_indices is None else len(list(class_indices))
        if given != len(input_batch):
            raise TargetError(f"class_indices: {given} were given for {len(input_batch)} images")
        maps: list[Heatmap] = []
        self._forget()
        for start in range(0, len(input_batch), self.config.batch_size):
            part = slice(start, start + self.config.batch_size)
            request = "predicted" if class_indices is None else list(class_indices[part])
            found = self._attributions(input_batch[part], request, list(self.target_layers))
            maps += self._finished(found[-1], input_batch)
        return maps

    @on_cpu_by_default
    def get_multi_layer_heatmap(
        self, input_tensor: Tensor, class_idx: int | None = None, aggregation: str = "mean"
    ) -> Heatmap:
        """The mean, max or weighted mean of all configured layers' heatmaps, (H, W), from one pass."""
        if aggregation not in HEATMAP_FUSIONS:
            raise OptionError(f"Invalid aggregation: {aggregation}. Choose from {list(HEATMAP_FUSIONS)}")
        image = one_image(input_tensor)
        self._forget()
        found = self._attributions(image, _request(class_idx), list(self.target_layers))
        maps = np.stack([self._finished(attribution, image)[0] for attribution in found])
        fused: Heatmap = HEATMAP_FUSIONS[aggregation](torch.from_numpy(maps)).numpy()
        return fused

    @on_cpu_by_default
    def visualize(
        self, image: ImageLike, heatmap: Heatmap, alpha: float = 0.5, colormap: int = 2, return_pil: bool = False
    ) -> Any:
        """The heatmap blended with the image: uint8 (H, W, 3) in OpenCV's BGR order, or an RGB PIL image.

        ``image``: a tensor, an array (uint8, or float in [0, 1]) or a PIL image, grey or colour.
        ``colormap``: one of OpenCV's; 2 is ``cv2.COLORMAP_JET``. It needs the ``xai`` extra.
        """
        return blended(image, heatmap, alpha, colormap, return_pil)

    def remove_hooks(self) -> None:
        """Do nothing but clear ``hooks``: no hook stays on the model after a call."""
        self.hooks.clear()

    def _method(self) -> Method:
        return EigenSmooth(self._formula) if self.config.eigen_smooth else self._formula

    def _attributions(self, images: Tensor, request: Request, layers: list[str]) -> list[Attribution]:
        """The attribution at each layer, in network order, from one pass."""
        return kept(lambda: self._of_layers(Inputs.of(images), Targets(request), layers))

    def _of_layers(self, inputs: Inputs, targets: Targets, layers: list[str]) -> list[Attribution]:
        session = Session.of(self.model, self.config.runtime)
        profile = profile_of(session, session.prepared(inputs[:1]))
        ordered = in_network_order(session, profile, layers)
        for layer in ordered:
            _check_whole(session, profile, layer)
        whole = Pass(session, inputs, ordered, batch_size=self.config.batch_size)
        return [self._attribution(_Adjusted.of_pass(whole.at(layer), self.config), targets) for layer in ordered]

    def _attribution(self, probe: _Adjusted, targets: Targets) -> Attribution:
        attribution = self._method().attribute(probe, targets)
        activations, gradients = probe.activations_and_gradients(targets)
        for captured, new in ((self.activations, activations), (self.gradients, gradients)):
            before = [captured[probe.layer]] if probe.layer in captured else []
            captured[probe.layer] = torch.cat([*before, new[:, 0].detach()])
        return attribution

    def _forget(self) -> None:
        """Clear what an earlier call captured."""
        self.activations, self.gradients = {}, {}

    def _finished(self, attribution: Attribution, images: Tensor) -> list[Heatmap]:
        """The maps at the configured size and scale."""
        size = self.config.output_size or tuple(images.shape[-2:])
        mode = self.config.interpolation_mode
        values = attribution.values.detach().float()
        if self.config.normalize_heatmap:
            return list(heatmap(values, size, mode)[:, 0].cpu().numpy())
        finite = values.isfinite().flatten(1).all(1)[:, None, None, None]
        maps = upsample(torch.where(finite, values, torch.zeros_like(values)), size, mode)
        return list(maps[:, 0].cpu().numpy())


class GradCAMPlusPlus(GradCAM):
    """Grad-CAM++ with the published interface; ``pellucid.methods.gradcam_plusplus.GradCAMPlusPlus`` computes it."""

    _formula = GradCAMPlusPlusFormula()


@dataclass(frozen=True, eq=False)
class _Adjusted(Pass):
    """A probe with the configured changes to the gradients."""

    config: GradCAMConfig = field(default_factory=GradCAMConfig)

    @classmethod
    def of_pass(cls, own: Pass, config: GradCAMConfig) -> _Adjusted:
        """The same pass with a configuration."""
        return cls(own.session, own.inputs, own.layers, own.layer, own.batch_size, record=own.record, config=config)

    def activations_and_gradients(self, targets: Targets) -> tuple[Tensor, Tensor]:
        """The layer's output, and the gradients with the configured changes."""
        activations, gradients = super().activations_and_gradients(targets)
        gradients = gradients.abs() if self.config.use_abs_gradients else gradients
        return activations, gradients.relu() if self.config.relu_on_gradients else gradients


def _check_whole(session: Session, profile: ModelProfile, layer: str) -> None:
    """Refuse a layer that sees more or other than the image as a whole, over which maps are drawn here."""
    places = places_of(session, profile, layer)
    if len(places) > 1 or places[0].view != WHOLE:
        raise LayerError(
            f"layer {layer!r} was asked for; it sees the image cropped, mirrored or several times, and this interface "
            "draws one map over the whole image: use pellucid.explain"
        )


def _request(class_idx: int | None) -> Request:
    # Any integer type, such as the 0-dimensional tensor that argmax() returns.
    is_number = class_idx is not None and hasattr(class_idx, "__index__") and not isinstance(class_idx, bool)
    return "predicted" if class_idx is None else operator.index(class_idx) if is_number else class_idx


def check_floating(tensor: Tensor) -> None:
    """Raise unless this is a floating-point tensor."""
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
        got = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
        raise ShapeError(f"a floating tensor, preprocessed for the model, was expected, got {got}")


def one_image(tensor: Tensor) -> Tensor:
    """One image as a batch of one, from (C, H, W) or (1, C, H, W)."""
    check_floating(tensor)
    if tensor.ndim not in (3, 4):
        raise ShapeError(f"Input must be 3D or 4D tensor, got {tensor.ndim}D")
    if tensor.ndim == 3:
        return tensor[None]
    if len(tensor) != 1:
        raise ShapeError(f"one image was expected, got a batch of {len(tensor)}: use generate_batch_heatmaps")
    return tensor


def _found(model: nn.Module, names: Sequence[str]) -> dict[str, nn.Module]:
    """The modules of these names, or an error with similar names and all convolutions."""
    network = unwrapped(model)
    found: dict[str, nn.Module] = {}
    missing: list[str] = []
    for name in names:
        try:
            found |= modules_of(network, [name])
        except LayerError:
            missing.append(name)
    if missing:
        known = dict(network.named_modules())
        convolutions = [name for name, module in known.items() if isinstance(module, nn.Conv2d)]
        hint = did_you_mean(missing[0], filter(None, known)) or ";"
        raise LayerError(f"Target layers not found: {missing}{hint} Conv2d layers: {convolutions}")
    return found
