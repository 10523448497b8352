"""A process that forks others which save versions, and kills them: it has loaded what they need once.

Each line on standard input is an order, which one line of JSON answers: ``{"root", "saves", "writers"}`` lets so many
processes save so many versions each; with ``"step"`` the only one is killed before its step of that number, a change
of the file system or the opening of a file, or with ``"delay"`` after so many seconds.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from itertools import count
from pathlib import Path

import torch

import pellucid
from pellucid import ModelRegistry
from tests.models.registries.helpers import tiny

STEPS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "fcntl.flock", "shutil.rmtree"}


def kill_at(step: int) -> None:
    """Let this process be killed before its step of this number."""
    numbers = count(1)

    def before(event: str, arguments: tuple[object, ...]) -> None:
        if event in STEPS and next(numbers) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(before)


def save(root: str, saves: int, step: int | None) -> None:
    """Save versions of one model, and note each after it is saved."""
    torch.set_num_threads(1)
    registry, model = ModelRegistry(root), tiny()
    if step is not None:
        kill_at(step)
    for _ in range(saves):
        version = registry.save("chest", model).version
        with Path(f"{root}.done").open("a") as file:
            file.write(f"{version}\n")


def forked(root: str, saves: int, step: int | None) -> int:
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        save(root, saves, step)
        code = 0
    finally:
        os._exit(code)


def obey(
    root: str, saves: int = 1, writers: int = 1, step: int | None = None, delay: float | None = None
) -> dict[str, object]:
    start = time.monotonic()
    children = [forked(root, saves, step) for _ in range(writers)]
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
