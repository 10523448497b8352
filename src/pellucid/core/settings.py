"""``ExplanationSettings``: how the maps of a model are made, kept beside its version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypedDict

from pellucid.core import catalogue
from pellucid.core.head import check_head
from pellucid.core.method import Method
from pellucid.errors import CheckpointError, OptionError

MOST = 1000  # of layers, or of options
LONGEST = 1000


class Arguments(TypedDict):
    """Those arguments of ``pellucid.explain`` that settings state."""

    method: Method
    targets: str | int
    layers: tuple[str, ...] | None
    fuse: str
    head: str


@dataclass(frozen=True)
class ExplanationSettings:
    """The arguments of ``pellucid.explain`` that belong to a version of a model, in a form that JSON can hold.

    ``options`` are the method's, as texts, as the command line takes them (``--option steps=64``). ``layers`` are
    dotted names; None finds them. ``target`` is one class for all images: "predicted", "all", a name or a number.

    Raises:
        OptionError: one of them is of another type.

    >>> settings = ExplanationSettings("integrated_gradients", {"steps": "8"}, target="nodule", head="sigmoid")
    >>> settings.build()
    IntegratedGradients(steps=8, baseline=0.0)
    >>> ExplanationSettings.from_json(settings.to_json()) == settings
    True
    """

    method: str = "gradcam"
    options: Mapping[str, str] = field(default_factory=dict)
    layers: tuple[str, ...] | None = None
    target: str | int = "predicted"
    head: str = "auto"
    fuse: str = "mean"

    def __post_init__(self) -> None:
        layers, target = self.layers, self.target
        if not all(map(_is_text, (self.method, self.fuse))):
            raise OptionError(f"method and fuse must be names, got {self.method!r:.200} and {self.fuse!r:.200}")
        if not isinstance(self.options, Mapping) or not all(map(_is_text, (*self.options, *self.options.values()))):
            raise OptionError(f"options must be texts by name, as {{'steps': '64'}}, got {self.options!r:.200}")
        if isinstance(layers, str) or not (layers is None or all(map(_is_text, layers))):
            raise OptionError(f"layers must be a sequence of dotted names, got {layers!r:.200}")
        if not (_is_text(target) or (isinstance(target, int) and not isinstance(target, bool))):
            raise OptionError(f"target must be a class's name or number, got {target!r:.200}")
        if len(self.options) > MOST or len(layers or ()) > MOST:
            raise OptionError(f"at most {MOST} options and layers are kept: leave some out")
        check_head(self.head)
        object.__setattr__(self, "options", dict(self.options))
        object.__setattr__(self, "layers", None if layers is None else tuple(layers))

    def build(self) -> Method:
        """Return the method with its options. ``OptionError``: it is not installed, or lacks an option."""
        return catalogue.build(self.method, self.options)

    def arguments(self) -> Arguments:
        """Return the settings as arguments: ``pellucid.explain(model, images, **settings.arguments())``.

        ``OptionError``: the method is not installed, or lacks an option.
        """
        return {
            "method": self.build(),
            "targets": self.target,
            "layers": self.layers,
            "fuse": self.fuse,
            "head": self.head,
        }

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON has them."""
        return asdict(self) | {"layers": None if self.layers is None else list(self.layers)}

    @classmethod
    def from_json(cls, found: Any) -> ExplanationSettings:
        """Return the settings that ``to_json`` made.

        Raises:
            CheckpointError: it is something else.
        """
        try:
            return cls(**{"method": None, **found})
        except (OptionError, TypeError) as error:
            raise CheckpointError(
                f"the explanation settings in index.json cannot be read ({error!s:.200}): save the version again"
            ) from None


def _is_text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= LONGEST
