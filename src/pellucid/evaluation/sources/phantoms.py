"""Drawn radiographs whose findings are known by construction: ``phantoms:150``, without a file."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pellucid.core.geometry import Geometry
from pellucid.core.image import Image
from pellucid.errors import DataError
from pellucid.evaluation.case import Case, Data, Outline
from pellucid.evaluation.form import Asked, Form, register_form
from pellucid.phantom import CLASSES, FINDINGS
from pellucid.phantom.scene import RADIOGRAPHS, Drawn, Request

_ASKED = re.compile(r"phantoms:(exclusive:)?([0-9]{1,9})(?::([0-9]{1,9}))?")
_MOST = 2**20
_SIZE = 128
_SPACE = (_SIZE, _SIZE)


@register_form("phantoms")
@dataclass(frozen=True)
class PhantomRadiographs(Form):
    """``phantoms:COUNT`` or ``phantoms:COUNT:SEED``: radiographs of 128 × 128 with at most two findings each.

    With ``phantoms:exclusive:COUNT`` each has one of the classes none, nodule, consolidation and cavity. Image i
    depends on the seed and on i only; each is of a patient of its own.
    """

    def recognises(self, asked: Asked) -> bool:
        """Whether the name begins with ``phantoms:``."""
        return asked.data.startswith("phantoms:")

    def read(self, asked: Asked) -> Data:
        """The radiographs as cases; none is drawn.

        Raises:
            DataError: the name has another form, or too many are asked for.
        """
        matched = _ASKED.fullmatch(asked.data)
        if matched is None or not 0 < int(matched.group(2)) <= _MOST:
            raise DataError(
                f"{asked.data[:80]} was asked for; write phantoms:COUNT or phantoms:exclusive:COUNT, and :SEED behind "
                f"it for others, with 1 to {_MOST:,} radiographs"
            )
        count, seed = int(matched.group(2)), int(matched.group(3) or 0)
        request = Request(count, _SPACE, seed, None, 0.0, exclusive=matched.group(1) is not None)
        return Data([_case(request, index) for index in range(count)], (), self.name, drawn=True)


def _case(request: Request, index: int) -> Case:
    phantom, kinds, name = Phantom(request, index), request.kinds(index), f"{index:05}"
    findings: dict[str, Outline] = {kind: Planted(phantom, kind) for kind in kinds}
    healthy = CLASSES[:1] if request.exclusive else ()
    return Case(name, phantom, tuple(kinds) or healthy, findings, patient=name)


@dataclass(frozen=True)
class Phantom:
    """Radiograph ``index`` of those that are asked for.

    >>> request = Request(9, (128, 128), seed=0, findings=None, marker=0.0, exclusive=True)
    >>> Phantom(request, 4).image()
    Image(1×128×128)
    """

    request: Request
    index: int

    def drawn(self) -> Drawn:
        """The radiograph with its findings, drawn anew at each call."""
        return RADIOGRAPHS.image(self.request, self.index)

    def image(self) -> Image:
        """The radiograph."""
        pixels = self.drawn().image[None]
        facts = {"format": "phantom", "seed": self.request.seed, "index": self.index, "inverted": False}
        return Image(pixels, pixels, Geometry.identity(self.request.space), facts, digest=self.digest())

    def digest(self) -> str:
        """The SHA-256 of what it is drawn from."""
        # without the number of radiographs, on which none depends
        return hashlib.sha256(f"{replace(self.request, count=1)} {self.index}".encode()).hexdigest()


@dataclass(frozen=True)
class Planted:
    """A finding of a phantom: its extent."""

    phantom: Phantom
    kind: str

    def mask(self, image: Image) -> Tensor:
        """The pixels of the finding. ``DataError``: the image has another size."""
        if image.size != self.phantom.request.space:
            raise DataError("its outline is stated for an image of another size")
        drawn = (lesion.mask for lesion in self.phantom.drawn().lesions if FINDINGS[lesion.kind] == self.kind)
        return torch.stack(list(drawn)).any(0)
