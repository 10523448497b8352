"""Where the outputs of layers lie on the image: the occurrences of a layer, and errors for those without places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pellucid.core.catalogue import black_box_methods
from pellucid.core.view import View
from pellucid.errors import LayerError, NoAttentionError
from pellucid.models.discovery.profile import ModelProfile, Place, Run, is_linear
from pellucid.models.discovery.tokens import Layout
from pellucid.models.discovery.views import MOST_ENTRIES
from pellucid.models.session.hooks import not_run
from pellucid.models.session.occurrence import Occurrence
from pellucid.models.session.session import Session

_CONSTANT = "its output does not depend on the image"
_MIXED = "each of its positions is a mixture of the whole image, as a latent or a register is, and no cell of a grid"
_REORDERED = (
    "its positions are picked, sorted, moved, mirrored or cropped within the network, and are not where they lie in "
    "the image"
)


def layout_of(session: Session, profile: ModelProfile, layer: str, shape: Sequence[int], images: int) -> Layout:
    """The layout of a layer's output of this shape for a number of images, or an error that names the shape."""
    layout, one = one_image_layout(session, profile, layer)
    if layout is None or list(shape) != _of_many(one, layout, images):
        raise no_positions(layer, shape)
    return layout


def one_image_layout(session: Session, profile: ModelProfile, layer: str) -> tuple[Layout | None, Sequence[int]]:
    """The layout of a layer's output (None: no spatial positions), and its shape for one image.

    Of a layer that occurs several times: of the named occurrence, or of the last run that counts.
    """
    module = session.modules([layer])[layer]
    name = session.name_of(module)
    if name not in profile.shapes:
        return None, ()
    asked = session.occurrence(layer)
    run = asked.run or profile.counted(name)[-1]
    layout = profile.layout(name, module, run)
    layout = layout if layout is None or asked.entry is None else replace(layout, entry=asked.entry - 1)
    return layout, profile.runs[name][run - 1].shape


def places_of(session: Session, profile: ModelProfile, layer: str) -> tuple[Place, ...]:
    """The occurrences of a layer that count, or those of a run that is named, each with its place on the image.

    Raises:
        LayerError: the layer has no spatial positions, or they are no fixed places of the image.
    """
    module = session.modules([layer])[layer]
    name = session.name_of(module)
    if name not in profile.shapes:
        raise not_run(layer)
    found = _named(session, layer, profile.places(name, module))
    if not found:
        raise _unplaced(session, profile, session.occurrence(layer), layer, name)
    own = session.occurrence(layer).layer
    return tuple(replace(place, occurrence=replace(place.occurrence, layer=own)) for place in found)


def _named(session: Session, layer: str, places: Sequence[Place]) -> list[Place]:
    """Those of some places that a name is about: all of them where it is the layer's own."""
    asked = session.occurrence(layer)
    return [
        place
        for place in places
        if asked.run in (None, place.occurrence.run) and asked.entry in (None, place.occurrence.entry)
    ]


def _unplaced(session: Session, profile: ModelProfile, asked: Occurrence, layer: str, name: str) -> LayerError:
    """The error for a layer that cannot be drawn."""
    runs = len(profile.runs[name])
    if asked.run is not None and not 1 <= asked.run <= runs:
        return LayerError(f"layer {layer!r} was asked for; the layer runs {runs} times in a pass")
    if asked.run is not None and profile.runs_again(name):
        return LayerError(
            f"layer {layer!r} was asked for; the layer runs again and again on the same image, and its last run "
            f"counts: take {asked.layer!r}"
        )
    if profile.parts and profile.moves(name):
        return LayerError(
            f"layer {layer!r} was asked for; the network passes {profile.parts} parts of an image as entries of a "
            f"batch, and no more than {MOST_ENTRIES} are followed: use a method that looks at no layer, such as "
            f"{' or '.join(black_box_methods())}"
        )
    if profile.moves(name) and name not in profile.shuffled:
        return LayerError(
            f"layer {layer!r} was asked for; its positions are no fixed places of the image, as where several crops or "
            "mirror images are joined, or a crop that follows the image: name a layer before that, or use a method "
            f"that looks at no layer, such as {' or '.join(black_box_methods())}"
        )
    if profile.precedes_looks(name):
        return LayerError(
            f"layer {layer!r} was asked for; it comes before the network's first convolution, which does not see the "
            "image as it is, and where it lies in the image is not known: "
            f"{_instead(session, profile, 'take a later layer')}"
        )
    run = profile.runs[name][-1]
    if name in profile.shuffled or (run.is_mixed and len(run.shape) == 3):
        return LayerError(
            f"layer {layer!r} was asked for; {_why_unplaced(run, name in profile.moved)}: "
            f"{_instead(session, profile, 'take a layer before that')}"
        )
    return no_positions(layer, run.shape)


def _why_unplaced(run: Run, is_moved: bool) -> str:
    """Why a layer has no fixed places."""
    if is_moved or (run.is_reordered and not run.is_mixed):
        return _REORDERED
    return _MIXED if run.is_mixed else _CONSTANT


def _instead(session: Session, profile: ModelProfile, advice: str) -> str:
    """What to take instead of a layer that cannot be drawn: one that can, by the advice, or a method without layers."""
    fixed = _deepest_fixed(session, profile)
    other = f"{advice}, such as {fixed!r}, or use" if fixed else "use"
    return f"{other} a method that looks at no layer, such as {' or '.join(black_box_methods())}"


def _deepest_fixed(session: Session, profile: ModelProfile) -> str | None:
    """The last layer that has fixed places and is no linear one, which may be a branch; None where there is none.

    One before all that moves positions comes first: of those behind it, some may seem fixed by chance.
    """
    modules = dict(session.network.named_modules())
    names = [name for name in reversed(profile.shapes) if name in modules and name and not is_linear(modules[name])]
    order = list(profile.shapes)
    behind = {*order[next((at for at, name in enumerate(order) if name in profile.moved), len(order)) :]}
    names.sort(key=lambda name: profile.runs[name][-1].is_reordered or name in behind)
    return next((name for name in names if profile.places(name, modules[name])), None)


def check_tokens_are_fixed(profile: ModelProfile) -> None:
    """Raise ``NoAttentionError`` where the tokens that attend are not where they lie in the image."""
    if any(call.modules and call.modules[-1] in profile.shuffled for call in profile.attention_calls):
        raise NoAttentionError(
            "maps of the network's tokens were asked for; it picks, sorts, mirrors or mixes them, so that they are "
            "not where they lie in the image: use a method that explains a layer before that, such as gradcam, or one "
            f"that looks at no layer, such as {' or '.join(black_box_methods())}"
        )


def view_of_all(profile: ModelProfile) -> View:
    """The one view that the network has of the image.

    Raises:
        NoAttentionError: it has several, or none that is fixed.
    """
    if profile.view is None:
        raise NoAttentionError(
            "maps of the network's tokens were asked for; it passes several parts, mirror images or single images of "
            f"its input through them: use a method that explains a layer, such as gradcam, or one that looks at no "
            f"layer, such as {' or '.join(black_box_methods())}"
        )
    return profile.view


def no_positions(layer: str, shape: Sequence[int]) -> LayerError:
    """The error for a layer whose output has no spatial positions."""
    return LayerError(
        f"layer {layer!r} was asked for; its output {tuple(shape)} has no spatial positions: "
        f"choose one whose output is (B, C, H, W), (B, H, W, C) or tokens (B, T, C)"
    )


def in_network_order(session: Session, profile: ModelProfile, layers: Sequence[str]) -> tuple[str, ...]:
    """Layers in the order in which the network finishes them."""
    modules = session.modules(layers)
    finished = {name: index for index, name in enumerate(profile.shapes)}
    return tuple(sorted(layers, key=lambda layer: finished.get(session.name_of(modules[layer]), len(finished))))


def _of_many(shape: Sequence[int], layout: Layout, images: int) -> list[int]:
    """An output's shape for several images, from that for one image."""
    batch = images * layout.entries
    return [batch if axis == layout.batch_axis else length for axis, length in enumerate(shape)]
