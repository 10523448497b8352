"""``recommended_layers``: the layer that ``explain`` would use, found without images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from pellucid.core.default_device import on_cpu_by_default
from pellucid.core.inputs import Inputs
from pellucid.core.runtime import Runtime
from pellucid.errors import NoSpatialLayerError, PellucidError, ShapeError
from pellucid.models.discovery.layers import recommended, sample_images, share_of
from pellucid.models.discovery.passage import Group
from pellucid.models.discovery.profile import ModelProfile
from pellucid.models.discovery.recording import profile_of
from pellucid.models.discovery.sequences import form_of
from pellucid.models.session.placement import reference
from pellucid.models.session.session import Session
from pellucid.models.session.thread_state import kept
from pellucid.models.sources import model_info


@on_cpu_by_default
def recommended_layers(
    model: nn.Module, input_size: Sequence[int] | None = None, *, output: str | int | None = None
) -> list[str]:
    """The layers that ``explain`` would use: one name, or several that ``explain`` joins by a sum.

    ``input_size`` is (H, W), (D, H, W) or with the channels in front; without it, the size that
    the model states and then common sizes are tried. ``output`` names the tensor with the class scores where the model
    returns several. ``NoSpatialLayerError``: no layer has spatial positions.

    >>> from torchvision.models import densenet121
    >>> recommended_layers(densenet121())
    ['features.norm5']
    """
    return list(layer_tree(model, input_size, output).recommended)


@dataclass(frozen=True)
class LayerTree:
    """A model's profile, the layers that ``explain`` would use, and how much of the score passes through layers.

    ``shares`` has each layer that was measured: the recommended ones together under their names joined by a comma.
    """

    profile: ModelProfile
    recommended: Group
    shares: Mapping[str, float | None]


@on_cpu_by_default
def layer_tree(
    model: nn.Module, input_size: Sequence[int] | None = None, output: str | int | None = None, shares: bool = False
) -> LayerTree:
    """The profile of a model, and the layers that ``explain`` would use; with ``shares`` the share of every layer.

    That costs six passes of one image for each layer that has spatial positions.
    """
    if input_size is not None and not _is_size(input_size):
        raise ShapeError(f"input_size {input_size!r} was given; write whole numbers above 0, as in (3, 224, 224)")
    return kept(lambda: _found(model, input_size, output, shares))


def _found(model: nn.Module, input_size: Sequence[int] | None, output: str | int | None, shares: bool) -> LayerTree:
    tried: list[str] = []
    info = model_info(model)
    session = Session.of(model, Runtime(), "auto", info.head, info.output if output is None else output)
    for image in sample_images(session.network, input_size, info.input_size, reference(session.network)):
        try:
            return _tree(session, Inputs.of(image), shares)
        except PellucidError:
            raise
        except Exception as error:  # whatever the user's network raises
            # The network does not take this size; its message for the first one is what its author wants to see.
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            tried.append(f"{tuple(image.shape[1:])}: {reason}")
    raise NoSpatialLayerError(
        f"a pass of noise was tried with {len(tried)} input sizes; the model takes none of them "
        f"({tried[0] if tried else 'none fits its first layer'}): give input_size=(C, H, W), or (S, C, H, W) of a "
        "sequence of images"
    )


def _tree(session: Session, image: Inputs, shares: bool) -> LayerTree:
    image = image.in_form(form_of(session, image))
    chosen = recommended(session, image)
    profile = profile_of(session, image)
    known = {", ".join(chosen): share_of(session, image, chosen)}
    modules = dict(session.network.named_modules())
    placed = [name for name in profile.shapes if name and profile.layout(name, modules[name]) is not None]
    for name in placed if shares else []:
        known[name] = share_of(session, image, (name,))
    return LayerTree(profile, chosen, known)


def _is_size(size: object) -> bool:
    return isinstance(size, (tuple, list)) and bool(size) and all(isinstance(n, int) and n > 0 for n in size)
