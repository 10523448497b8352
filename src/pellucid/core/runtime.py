"""``Runtime``: the device, precision, batch size and seed that an explanation is computed with."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from pellucid.core.numbers import is_seed
from pellucid.errors import OptionError

AUTO = "auto"
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Runtime:
    """Device, precision, memory format, batch size, and the seed of all random numbers.

    ``device`` "auto" is the model's. ``precision`` None is the model's own; "auto" uses the precision, memory format
    and compilation that ``pellucid tune`` measured as fastest for this model, method and machine with maps that agree
    with float32's, and float32 where nothing was measured. For another device, precision or memory format a private
    copy of the model is used, which is refreshed when its parameters change; the caller's model never moves.
    ``compile``: predictions, and gradients at layers, run through ``torch.compile``, which takes about a minute the
    first time for each network, layer and input shape; passes that capture attention or go back to the image run
    uncompiled, and so do networks that end in a sigmoid or softmax of their own. ``batch_size`` is the number of images
    in one forward pass.

    ``keep_memory`` lets the whole process keep the memory that it frees, from the first explanation until it ends, as
    the command line does for itself: on Linux with glibc, predictions and explanations on a CPU then take a half to
    three quarters of the time. At most 1 GiB of free memory is kept at the end of each heap. Elsewhere it changes
    nothing.
    """

    device: str | torch.device = "auto"
    precision: str | None = None
    channels_last: bool = False
    batch_size: int = 32
    seed: int = 0
    compile: bool = False
    keep_memory: bool = False

    def __post_init__(self) -> None:
        """Refuse values that torch would refuse later, with a less clear message."""
        if self.precision not in (None, AUTO, *PRECISIONS):
            names = ", ".join((*PRECISIONS, AUTO))
            raise OptionError(f"precision {self.precision!r} was asked for; there are {names}")
        if not isinstance(self.batch_size, int) or self.batch_size < 1:
            raise OptionError(f"batch_size must be >= 1, got {self.batch_size!r}{_as_int(self.batch_size)}")
        if not is_seed(self.seed):
            raise OptionError(
                f"seed must be a whole number from 0 and below 2**63, got {self.seed!r}{_as_int(self.seed)}"
            )
        if self.device != "auto":
            _check_device(self.device)

    @property
    def dtype(self) -> torch.dtype | None:
        """The precision as a torch dtype; None is the model's own. "auto" has none before it is resolved."""
        return None if self.precision is None else PRECISIONS[self.precision]


def _as_int(value: object) -> str:
    """What to write for a whole number of NumPy or torch, as the end of a message."""
    return f": write int({value})" if not isinstance(value, int) and hasattr(value, "__index__") else ""


def _check_device(name: str | torch.device) -> None:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise OptionError(f"device {name!r} was asked for; torch has no such device ({reason})") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise OptionError(
            f"device {str(name)!r} was asked for; torch sees no GPU here: use device='cpu' or device='auto'"
        )
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise OptionError(f"device {str(name)!r} was asked for; torch sees {torch.cuda.device_count()} GPUs, from 0")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise OptionError(
            f"device {str(name)!r} was asked for; torch sees no such device: use device='cpu' or device='auto'"
        )
