"""The base class of explanation methods: frozen options, and one formula."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pellucid.core import habits
from pellucid.core.attribution import Attribution
from pellucid.core.concept import Concept
from pellucid.core.images_probe import takes_images, without_images
from pellucid.core.probe import Probe
from pellucid.core.target import Targets
from pellucid.errors import OptionError

MadeFrom = Literal["model", "image", "masks", "nothing"]
"""What a map is made from. All but "model" are priors, which never ask the model."""


class Method(ABC):
    """An explanation method. Subclasses are frozen dataclasses whose fields are the method's options.

    Methods are plain differentiable expressions: no detach, no numpy, no write into what the probe gives.
    ``uses_layers`` says whether the method looks at a layer (and so whether one has to be chosen),
    ``uses_gradients`` and ``uses_attention`` whether it needs these: a method that uses none of the three asks the
    network for its scores alone. ``class_specific`` says whether the map depends on the class (else every class gets
    the same one). ``signed`` says whether negative values speak against the class; else there are none, or their sign
    says nothing of the class. ``concept`` is what DICOM calls such maps; None where it has no code for them.
    ``made_from`` is "model"; of a prior, with which methods are compared, it is "image" (alone), "masks" (of other
    images) or "nothing".
    """

    name: ClassVar[str] = ""
    uses_layers: ClassVar[bool] = True
    uses_gradients: ClassVar[bool] = True
    uses_attention: ClassVar[bool] = False
    class_specific: ClassVar[bool] = True
    signed: ClassVar[bool] = False
    concept: ClassVar[Concept | None] = None
    made_from: ClassVar[MadeFrom] = "model"

    if not TYPE_CHECKING:  # type checkers read the options from the fields

        def __new__(cls, *given: object, **named: object) -> Self:
            """Refuse a model and layers, which methods of other libraries are created with."""
            habits.check_options(cls, given, named)
            return super().__new__(cls)

    def __init_subclass__(cls) -> None:
        """Adapt a method of the older form, and refuse calls of another library's."""
        super().__init_subclass__()
        attribute = vars(cls).get("attribute")
        if attribute is not None:
            adapted = without_images(cls.__name__, attribute) if takes_images(attribute) else attribute
            cls.attribute = habits.of_a_probe(adapted)  # type: ignore[method-assign]  # the same call

    @abstractmethod
    def attribute(self, probe: Probe, targets: Targets) -> Attribution:
        """The maps (B, K, *grid) of the targets, or (B, 1, *grid) of a method that is not class-specific."""


def wrap(wrapper: Method, inner: object) -> None:
    """Settle a wrapper around a method: it uses what the inner one does, and its maps are of that kind."""
    if not isinstance(inner, Method):
        name = type(wrapper).__name__
        raise OptionError(f"{name} wraps a Method, got {inner!r}: write {name}(GradCAM())")
    for fact in ("uses_layers", "uses_gradients", "uses_attention", "class_specific", "concept"):
        object.__setattr__(wrapper, fact, getattr(inner, fact))  # frozen


def keep_sign(wrapper: Method, inner: Method) -> None:
    """Settle the sign of a wrapper whose map has the inner method's sign, such as a mean of its maps."""
    object.__setattr__(wrapper, "signed", inner.signed)  # frozen
