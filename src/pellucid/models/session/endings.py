"""The logits before a network's own last sigmoid or softmax, found in the pass that computes it.

A function mode follows what becomes of each sigmoid's and softmax's output: through views, copies, joins, bounds and
complements. Beside every such tensor it keeps what the same steps make of the logits. Where the class scores that a
network returns are such a tensor, the network ends in that function.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.core.functions import CLAMPS, SOFTMAXES
from pellucid.core.head import ENDINGS
from pellucid.core.torch_private import FunctionMode
from pellucid.errors import OutputError

_MAX_LARGE = 4
"""How many outputs with more than two axes are followed at a time: attention weights are such, too."""
_MAX_COLUMNS = 64
"""The most classes of a softmax of which single ones may be returned."""
_TOLERANCE = 1e-2
"""How far the last function of the logits may be from what the network returns: bounds and half precision move it."""


@dataclass(frozen=True)
class _Ended:
    """What a last function made, ``output``, and the logits that it made it of."""

    ending: str
    output: Tensor
    logits: Tensor


class EndingMode(FunctionMode):
    """While this is open, the logits before each sigmoid and softmax of a pass are kept."""

    def __init__(self) -> None:
        super().__init__()
        self._known: OrderedDict[int, _Ended] = OrderedDict()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Torch's hook for every function that is called."""
        named = kwargs or {}
        handler = _HANDLERS.get(func)
        return func(*args, **named) if handler is None else handler(self, func, args, named)

    def ending_of(self, output: Tensor) -> str | None:
        """The last function that made a tensor of logits; None if there is none, or it would make another tensor."""
        found = self.of(output)
        if found is None:
            return None
        again = ENDINGS[found.ending].function(found.logits)
        agrees = torch.allclose(again.float(), output.float(), rtol=0, atol=_TOLERANCE, equal_nan=True)
        return found.ending if agrees else None

    def logits_of(self, output: Tensor, ending: str) -> Tensor:
        """The logits that the network's last function made a tensor of.

        Raises:
            OutputError: in this pass, another function made it.
        """
        found = self.of(output)
        if found is None or found.ending != ending:
            raise OutputError(
                f"the network ended in a {ending} when it was first called, and does not in this pass: give "
                "head='probability' to explain what it returns"
            )
        return found.logits

    def of(self, tensor: Any) -> _Ended | None:
        """What is known of a tensor."""
        found = self._known.get(id(tensor))
        return found if found is not None and found.output is tensor else None

    def keep(self, ending: str, output: Any, logits: Tensor) -> Any:
        """Note what logits became."""
        if isinstance(output, Tensor):
            self._known[id(output)] = _Ended(ending, output, logits)
            large = [key for key, one in self._known.items() if one.output.ndim > 2]
            for key in large[:-_MAX_LARGE]:
                del self._known[key]
        return output


_Handler = Callable[[EndingMode, Any, Any, Any], Any]


def _ends(ending: str) -> _Handler:
    def handle(mode: EndingMode, func: Any, args: Any, named: Any) -> Any:
        given: Tensor = args[0] if args else named["input"]
        logits = given.clone() if func in IN_PLACE_SIGMOIDS else given
        return mode.keep(ending, func(*args, **named), logits)

    return handle


def _ends_over_classes(ending: str) -> _Handler:
    over_any = _ends(ending)

    def handle(mode: EndingMode, func: Any, args: Any, named: Any) -> Any:
        given: Tensor = args[0] if args else named["input"]
        axis = named.get("dim", args[1] if len(args) > 1 else None)
        is_classes = axis is not None and given.ndim > 1 and axis % given.ndim == 1
        return over_any(mode, func, args, named) if is_classes else func(*args, **named)

    return handle


def _passed_on(mode: EndingMode, func: Any, args: Any, named: Any) -> Any:
    """A view or a copy: of the logits, too."""
    output = func(*args, **named)
    known = mode.of(args[0]) if args else None
    if known is None:
        return output
    if not _keeps_classes(known, output):
        known = _of_columns(known)
    if known is None:
        return output
    logits = func(known.logits, *args[1:], **named)
    if isinstance(output, Tensor):
        return mode.keep(known.ending, output, logits)
    for part, own in zip(output, logits, strict=True):
        mode.keep(known.ending, part, own)
    return output


def _keeps_classes(known: _Ended, output: Any) -> bool:
    """Whether a view of a softmax over classes has them all, along the same axis."""
    if known.ending not in ("softmax", "log_softmax"):
        return True
    return isinstance(output, Tensor) and output.ndim > 1 and output.shape[1] == known.output.shape[1]


def _of_columns(known: _Ended) -> _Ended | None:
    """A softmax (B, C) as a sigmoid of each class against the rest: log p_k / (1 − p_k) = z_k − log Σ_{j≠k} exp z_j."""
    logits = known.logits
    if known.ending != "softmax" or logits.ndim != 2 or not 2 <= logits.shape[1] <= _MAX_COLUMNS:
        return None
    own = torch.eye(logits.shape[1], dtype=torch.bool, device=logits.device)
    rest = logits[:, None].expand(-1, len(own), -1).masked_fill(own, -torch.inf).logsumexp(dim=2)
    return _Ended("sigmoid", known.output, logits - rest)


def _joined(mode: EndingMode, func: Any, args: Any, named: Any) -> Any:
    """Several outputs next to each other, all of the same function."""
    output = func(*args, **named)
    parts = [mode.of(part) for part in (args[0] if args else named.get("tensors", ()))]
    known = [part for part in parts if part is not None]
    if known and len(known) == len(parts) and {part.ending for part in known} == {known[0].ending}:
        mode.keep(known[0].ending, output, func([part.logits for part in known], *args[1:], **named))
    return output


def _bounded(mode: EndingMode, func: Any, args: Any, named: Any) -> Any:
    """A probability that is kept away from 0 and 1 is that of the same logits."""
    known = mode.of(args[0]) if args else None
    output = func(*args, **named)
    return output if known is None else mode.keep(known.ending, output, known.logits)


def _complement(mode: EndingMode, func: Any, args: Any, named: Any) -> Any:
    """1 − σ(z) = σ(−z)."""
    output = func(*args, **named)
    if named or len(args) != 2:
        return output
    one, other = reversed(args) if func in _REVERSED else args
    known = mode.of(other)
    is_complement = known is not None and known.ending == "sigmoid" and isinstance(one, (int, float)) and one == 1
    return mode.keep("sigmoid", output, -known.logits) if known is not None and is_complement else output


def _exponential(mode: EndingMode, func: Any, args: Any, named: Any) -> Any:
    """Exp log σ(z) = σ(z), and so of a softmax."""
    output = func(*args, **named)
    known = mode.of(args[0]) if args else None
    ending = _OF_LOGARITHMS.get(known.ending) if known is not None else None
    return output if known is None or ending is None else mode.keep(ending, output, known.logits)


_OF_LOGARITHMS = {"logsigmoid": "sigmoid", "log_softmax": "softmax"}
SIGMOIDS = (torch.sigmoid, Tensor.sigmoid, F.sigmoid, torch.special.expit)
IN_PLACE_SIGMOIDS = frozenset((torch.sigmoid_, Tensor.sigmoid_))
_REVERSED = frozenset((torch.rsub, Tensor.__rsub__))
JOINS = (torch.cat, torch.concat, torch.concatenate, torch.stack, torch.hstack, torch.column_stack)
VIEWS = (
    *(torch.squeeze, torch.unsqueeze, torch.flatten, torch.reshape, torch.clone, torch.detach, torch.transpose),
    *(torch.permute, torch.movedim, torch.select, torch.narrow, torch.chunk, torch.split, torch.unbind),
    *(torch.index_select, Tensor.squeeze, Tensor.unsqueeze, Tensor.flatten, Tensor.reshape, Tensor.view),
    *(Tensor.clone, Tensor.detach, Tensor.transpose, Tensor.permute, Tensor.movedim, Tensor.select, Tensor.narrow),
    *(Tensor.chunk, Tensor.split, Tensor.unbind, Tensor.index_select, Tensor.__getitem__, Tensor.contiguous),
    *(Tensor.float, Tensor.double, Tensor.half, Tensor.bfloat16, Tensor.to, Tensor.type_as, Tensor.expand),
    *(Tensor.view_as, Tensor.reshape_as, Tensor.expand_as, Tensor.cpu),
)
_HANDLERS: dict[Any, _Handler] = {
    **dict.fromkeys((*SIGMOIDS, *IN_PLACE_SIGMOIDS), _ends("sigmoid")),
    F.logsigmoid: _ends("logsigmoid"),
    **dict.fromkeys(SOFTMAXES, _ends_over_classes("softmax")),
    **dict.fromkeys(
        (F.log_softmax, torch.log_softmax, Tensor.log_softmax, torch.special.log_softmax),
        _ends_over_classes("log_softmax"),
    ),
    torch.special.softmax: _ends_over_classes("softmax"),
    **dict.fromkeys(VIEWS, _passed_on),
    **dict.fromkeys(JOINS, _joined),
    **dict.fromkeys(CLAMPS, _bounded),
    **dict.fromkeys((torch.exp, Tensor.exp), _exponential),
    **dict.fromkeys((torch.sub, Tensor.sub, Tensor.__sub__, *_REVERSED), _complement),
}
