"""The tuned runtime of a model, method and machine: stored in a cache file, used by ``precision="auto"``."""

from __future__ import annotations

import hashlib
import json
import platform
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import platformdirs
import torch
from torch import nn

from pellucid.core import catalogue
from pellucid.core.method import Method
from pellucid.core.runtime import AUTO, PRECISIONS, Runtime
from pellucid.export.writing import write
from pellucid.models.session.placement import device_of
from pellucid.run.weights import digest_of

AGREEMENT = 0.999
"""The lowest correlation of each heatmap with float32's at which a runtime may be used."""


@dataclass(frozen=True)
class Trial:
    """A runtime that was measured.

    ``time`` and ``forward`` are the times of an explanation and of a prediction, relative to float32's. ``agreement``
    is the lowest correlation of an image's heatmap with float32's. ``error`` is the reason where nothing could be
    measured.
    """

    precision: str
    channels_last: bool
    compile: bool
    time: float = float("nan")
    forward: float = float("nan")
    agreement: float = float("nan")
    error: str = ""

    @property
    def agrees(self) -> bool:
        """Whether the heatmaps agree with float32's."""
        return self.agreement >= AGREEMENT

    def applied(self, runtime: Runtime) -> Runtime:
        """The runtime with this trial's precision, memory format and compilation."""
        return replace(runtime, precision=self.precision, channels_last=self.channels_last, compile=self.compile)


def resolved(model: nn.Module, method: Method, runtime: Runtime) -> tuple[Runtime, Trial | None]:
    """Resolve the precision "auto": to the stored trial and its runtime, or to float32 where nothing is stored."""
    if runtime.precision != AUTO:
        return runtime, None
    trial = remembered(model, method, runtime)
    return (replace(runtime, precision="float32") if trial is None else trial.applied(runtime)), trial


def for_scores(runtime: Runtime) -> Runtime:
    """The runtime in which "auto" is the model's own precision: what is fastest was measured for a method's maps."""
    return replace(runtime, precision=None) if runtime.precision == AUTO else runtime


def remember(model: nn.Module, method: Method, runtime: Runtime, trial: Trial) -> Path:
    """Store a trial for "auto", for models with these weights, this method, and machines like this one."""
    path = _file(model, method, runtime)
    facts = asdict(trial) | {"method": method.name, "machine": machine(model, runtime)}
    write(path.parent, {path.name: json.dumps(facts, indent=2).encode()}, overwrite=True)
    return path


def remembered(model: nn.Module, method: Method, runtime: Runtime) -> Trial | None:
    """The stored trial; None where there is none, or its heatmaps do not agree."""
    with suppress(OSError, ValueError, KeyError, TypeError):  # a broken file counts as none
        facts = json.loads(_file(model, method, runtime).read_text(encoding="utf-8"))
        time, forward, agreement = (float(facts[name]) for name in ("time", "forward", "agreement"))
        flags = facts["channels_last"] is True, facts["compile"] is True
        trial = Trial(facts["precision"], *flags, time, forward, agreement)
        return trial if trial.agrees and trial.precision in PRECISIONS else None
    return None


def machine(model: nn.Module, runtime: Runtime) -> dict[str, str]:
    """The properties of this machine and its software that the measured times depend on."""
    device = device_of(model, runtime)
    gpu = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if gpu else f"{device.type} {platform.machine()}",
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": str(torch.get_num_threads()),
        "torch": torch.__version__,
    }


def _file(model: nn.Module, method: Method, runtime: Runtime) -> Path:
    key = [digest_of(model), method.name, catalogue.settings(method), machine(model, runtime)]
    name = hashlib.sha256(json.dumps(key, default=str).encode()).hexdigest()
    return platformdirs.user_cache_path("pellucid") / "tuned" / f"{name}.json"
