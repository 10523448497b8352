"""A process that forks others which save versions, and ends them early: it has loaded what they need once.

Each line on standard input is an order, which one line of JSON answers: ``{"root", "saves", "writers"}`` lets so many
processes save so many versions of ``"key"`` each; with ``"step"`` the only one is killed before its step of that
number, a change of the file system or the opening of a file, or, with ``"fails"``, that step fails as on a full disk;
with ``"delay"`` it is killed after so many seconds. With ``"attached"``, the folder of an evaluation, that and settings
are attached to the latest version instead.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import torch

import pellucid
from pellucid import ExplanationSettings, ModelRegistry
from pellucid.errors import PellucidError
from tests.models.registries.helpers import tiny

STEPS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "fcntl.flock", "shutil.rmtree"}


FAILED = 3
SETTINGS = ExplanationSettings("saliency", target=1)


@dataclass(frozen=True)
class Order:
    """What a process is to do."""

    root: str
    saves: int = 1
    key: str = "chest"
    attached: str | None = None
    step: int | None = None
    fails: bool = False


def end_at(step: int, failing: str | None) -> None:
    """Let this process be killed before its step of this number, or, of those in a folder, let that one fail."""
    numbers = count(1)

    def before(event: str, arguments: tuple[object, ...]) -> None:
        if event not in STEPS or (failing or "") not in str(arguments) or next(numbers) != step:
            return
        if failing is None:
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(errno.ENOSPC, "No space left on device")

    sys.addaudithook(before)


def write(order: Order) -> None:
    """Save versions of a model, and note each after it is saved; or attach to one."""
    torch.set_num_threads(1)
    registry, model = ModelRegistry(order.root), tiny()
    if order.step is not None:
        end_at(order.step, order.root if order.fails else None)
    if order.attached is not None:
        registry.attach(order.key, explanation=SETTINGS, evaluation=order.attached)
        return
    for _ in range(order.saves):
        version = registry.save(order.key, model).version
        with Path(f"{order.root}.done").open("a") as file:
            file.write(f"{version}\n")


def forked(order: Order) -> int:
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        write(order)
        code = 0
    except PellucidError:
        code = FAILED
    finally:
        os._exit(code)


def obey(writers: int = 1, delay: float | None = None, **order: Any) -> dict[str, object]:
    start = time.monotonic()
    children = [forked(Order(**order)) for _ in range(writers)]
    if delay is not None:
        time.sleep(delay)
        for child in children:
            os.kill(child, signal.SIGKILL)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    return {"codes": codes, "seconds": time.monotonic() - start}


if __name__ == "__main__":
    torch.set_num_threads(1)  # a pool of threads does not survive a fork
    pellucid.model_info(tiny())
    for line in sys.stdin:
        sys.stdout.write(json.dumps(obey(**json.loads(line))) + "\n")
        sys.stdout.flush()
