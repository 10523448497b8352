"""What an attack asks of a network: its scores and its maps for changed pixels, with their gradients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pellucid.core.answer import Answer
from pellucid.core.attack import Objective, Outputs, Slope, no_maps
from pellucid.core.inputs import Inputs, chunks
from pellucid.core.target import Targets
from pellucid.errors import GradientError, OptionError, counted, message_of, warn
from pellucid.models.engine import Pass
from pellucid.models.session.derivatives import as_float, explain_failure
from pellucid.models.session.hooks import at_rest
from pellucid.models.session.session import Session
from pellucid.run.differentiable import differentiable_maps
from pellucid.run.facts import Facts
from pellucid.run.pixels import Pixels


@dataclass(frozen=True, eq=False)
class ModelSubject:
    """The ``Subject`` of a session's network: images ``inputs``, their ``pixels``, and the ``answer`` for them.

    ``targets`` are resolved, one label for each image. ``facts``: how maps are made, for an attack that moves them.
    ``slopes``: which images (B,) were asked for a slope, and which had one that is not 0 everywhere.
    """

    session: Session
    inputs: Inputs
    scaled: Pixels
    answer: Answer
    targets: Targets
    facts: Facts | None
    slopes: tuple[Tensor, Tensor]

    @classmethod
    def of(
        cls, session: Session, inputs: Inputs, scaled: Pixels, answer: Answer, targets: Targets, facts: Facts | None
    ) -> ModelSubject:
        """A subject of which no slope was asked yet."""
        none = torch.zeros(len(inputs), dtype=torch.bool, device=scaled.pixels.device)
        return cls(session, inputs, scaled, answer, targets, facts, (none, none.clone()))

    @property
    def pixels(self) -> Tensor:
        """The images as they are."""
        return self.scaled.pixels

    @property
    def low(self) -> Tensor:
        """Black: 0."""
        return self.pixels.new_zeros(())

    @property
    def high(self) -> Tensor:
        """White: 1."""
        return self.pixels.new_ones(())

    @property
    def widest(self) -> float:
        """From black to white."""
        return 1.0

    def logits(self, pixels: Tensor, rows: Tensor) -> Tensor:
        """The logits (N, C) of changed images."""
        with torch.no_grad():
            found = [
                self.session.call(self.session.prepared(self.inputs_of(pixels[part], rows[part])))
                for part in self._parts(len(rows))
            ]
        return as_float(torch.cat(found))

    def outputs(self, pixels: Tensor, rows: Tensor) -> Outputs:
        """Logits and maps of changed images, without gradients."""
        each = [self._plain(pixels[part], rows[part]) for part in self._parts(len(rows))]
        logits, maps = (torch.cat(one) for one in zip(*each, strict=True))
        return Outputs(rows, logits, lambda: maps)

    def slope(self, pixels: Tensor, rows: Tensor, objective: Objective, beta: float | None = None) -> Slope:
        """An objective's values and gradients at changed images, a few at a time."""
        session = self.session if beta is None else replace(self.session, beta=beta)
        parts = [self._slope(session, pixels[part], rows[part], objective) for part in self._parts(len(rows))]
        values, gradients, logits = (
            torch.cat([getattr(one, name) for one in parts]) for name in ("values", "gradients", "logits")
        )
        return Slope(values, gradients, logits)

    def inputs_of(self, pixels: Tensor, rows: Tensor) -> Inputs:
        """The network's inputs for changed images."""
        others = self.inputs.map_each(lambda tensor: tensor[rows.to(tensor.device)])
        return others.with_images(self.scaled.input_of(pixels, rows))

    def _parts(self, count: int) -> list[slice]:
        return [slice(*part) for part in chunks(count, self.session.runtime.batch_size)]

    def _plain(self, pixels: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The logits, and the maps, or nothing in their place without a method."""
        whole = self._pass(self.session, self.inputs_of(pixels, rows))
        maps = self._maps(whole, rows).detach() if self.facts is not None else pixels.new_zeros(len(rows))
        return as_float(whole.scores().detach()), maps

    def _slope(self, session: Session, pixels: Tensor, rows: Tensor, objective: Objective) -> Slope:
        leaf = pixels.detach().clone().requires_grad_()
        found = self._of_scores if self.facts is None else self._of_maps
        with torch.enable_grad(), _explained_failures():
            values, gradients, logits = found(session, leaf, rows, objective)
        if gradients is None and self.facts is not None:
            raise _no_slope(self.facts)
        if gradients is None:
            raise GradientError(
                "an attack was asked for; no gradient of the model's score reaches the images: a part of the model "
                "runs under no_grad or inference_mode, a detach, or not in torch: turn that off"
            )
        asked, sloped = self.slopes
        asked[rows] = True
        sloped[rows] |= gradients.flatten(1).ne(0).any(1)
        return Slope(values.detach(), gradients, as_float(logits.detach()))

    def _of_scores(self, session: Session, leaf: Tensor, rows: Tensor, objective: Objective) -> _Found:
        """An objective of the scores alone, with a plain pass."""
        with at_rest(session.network):  # in the backward pass, too: a checkpoint runs the network again there
            logits = session.call(session.prepared(self.inputs_of(leaf, rows)))
            wide = _wide(logits).requires_grad_()
            values = objective(Outputs(rows, wide, no_maps))
            return values, _through(values, wide, logits, leaf), logits

    def _of_maps(self, session: Session, leaf: Tensor, rows: Tensor, objective: Objective) -> _Found:
        """An objective of scores and maps, with a pass that can be differentiated twice."""
        whole = self._pass(session, self.inputs_of(leaf, rows)).differentiable()
        maps = self._differentiable(whole, rows)  # first: its pass gives the scores as well
        logits = whole.scores()
        values = objective(Outputs(rows, as_float(logits), lambda: maps))
        gradients = torch.autograd.grad(values.sum(), leaf, allow_unused=True)[0] if values.requires_grad else None
        return values, gradients, logits

    def warn_of_flat(self) -> None:
        """Warn of images of which no slope was found: what an attack returns of them is no attack.

        Of maps, some are empty, which have none: only where no map has one is it the network or the method.
        """
        asked, sloped = self.slopes
        flat, count = int((asked & ~sloped).sum()), int(asked.sum())
        if flat == 0 or (self.facts is not None and flat < count):
            return
        cause = (
            "the network rounds or compares, or is too sure of its answer for its type of numbers"
            if self.facts is None
            else f"the maps of method {self.facts.method.name!r} are empty, or made of functions without a slope"
        )
        warn(
            f"an attack was asked for; {flat} of {counted(count, 'image')} have a slope of 0 at every pixel, so that "
            f"they are unchanged or only have the random start, and that they did not move says nothing: {cause}"
        )

    def _differentiable(self, whole: Pass, rows: Tensor) -> Tensor:
        """The maps (N, *space) with their graph, or an error where they have none."""
        maps = self._maps(whole, rows)
        if self.facts is not None and not maps.requires_grad:
            raise _no_slope(self.facts)
        return maps

    def _pass(self, session: Session, inputs: Inputs) -> Pass:
        occurrences = self.facts.occurrences if self.facts is not None else ()
        return Pass(session, session.on_device(inputs), occurrences, batch_size=session.runtime.batch_size)

    def _maps(self, whole: Pass, rows: Tensor) -> Tensor:
        """The maps (N, *space) of the labels."""
        if self.facts is None:
            return no_maps()
        found: Tensor = differentiable_maps(self.facts, whole, self.targets.rows(rows))[:, 0]
        return found


_Found = tuple[Tensor, Tensor | None, Tensor]
"""An objective's values (N,), their gradients at the pixels, None where there are none, and the logits (N, C)."""
_LEAST = 1e-30
"""The least factor of a gradient: a product with a smaller one is 0 as the network's numbers have it."""


def _wide(logits: Tensor) -> Tensor:
    """The logits in float64, where a device has it: of a sure answer the loss and its slope are 0 in fewer digits."""
    plain = logits.detach()
    return plain.clone() if plain.device.type == "mps" else plain.double()


def _through(values: Tensor, wide: Tensor, logits: Tensor, leaf: Tensor) -> Tensor | None:
    """The gradients of values (N,) of ``wide`` logits at the leaf, or a positive multiple where they would be 0.

    What goes back through the network has 1 as its largest part: the slope of a sure answer is too small for half
    precision, and often for float32.
    """
    if not logits.requires_grad:
        return None
    (slopes,) = torch.autograd.grad(values.sum(), wide)
    sizes = slopes.flatten(1).abs().amax(1)
    unit = slopes / _column(sizes.clamp(min=torch.finfo(sizes.dtype).tiny), slopes)
    (gradients,) = torch.autograd.grad(logits, leaf, unit.to(logits.dtype), allow_unused=True)
    return None if gradients is None else gradients * _column(sizes.clamp(min=_LEAST), gradients)


def _column(values: Tensor, like: Tensor) -> Tensor:
    return values.to(like).reshape(-1, *(1,) * (like.ndim - 1))


def _no_slope(facts: Facts) -> OptionError:
    cure = (
        "a part of the network has none (no_grad, detach, rounding): turn that off"
        if facts.method.name in _DIFFERENTIABLE
        else f"use a method that is differentiable, such as {' or '.join(map(repr, _DIFFERENTIABLE))}"
    )
    return OptionError(
        f"an attack on the map of method {facts.method.name!r} was asked for; no gradient of that map reaches the "
        f"images: {cure}"
    )


_DIFFERENTIABLE = ("gradcam", "saliency")
"""Methods whose maps have a slope wherever the network has one."""


@contextmanager
def _explained_failures() -> Iterator[None]:
    """Names what a gradient fails at: a checkpoint, a write in place, a derivative that torch has not."""
    try:
        yield
    except GradientError:
        raise
    except RuntimeError as error:
        explain_failure(error, "the images")
        if not str(error).startswith("derivative for "):
            raise
        raise GradientError(
            f"an attack on a map made of gradients was asked for; torch says: {message_of(error)}: use a method "
            "without gradients, or a network without that function"
        ) from error
