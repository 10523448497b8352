"""A process that forks explaining and pushing processes and kills them: it has loaded what they need once.

Each line on standard input is an order: the seconds until both are killed, or null to let them end one after the other,
and the arguments of ``pellucid explain`` and ``pellucid push``. One line of JSON answers it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time

import torch

from pellucid.cli.main import app


def run(arguments: list[str]) -> int:
    try:
        app(arguments)
    except SystemExit as ending:
        return int(ending.code or 0)
    return 0


def forked(arguments: list[str], again: bool = False) -> int:
    """Fork a process that runs a command, again and again if asked to; return its number."""
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        torch.set_num_threads(1)  # renews torch's pool, which two threads would do at once
        code = run(arguments)
        while again:
            code = run(arguments)
    finally:
        os._exit(code)


def ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def obey(delay: float | None, explain: list[str], push: list[str]) -> dict[str, object]:
    start = time.monotonic()
    if delay is None:
        codes = [ended(forked(arguments)) for arguments in (explain, push)]
    else:
        children = [forked(explain), forked(push, again=True)]
        time.sleep(delay)
        for child in children:
            os.kill(child, signal.SIGKILL)
        codes = [ended(child) for child in children]
    return {"codes": codes, "seconds": time.monotonic() - start}


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the commands print is no answer
    torch.set_num_threads(1)  # a pool of threads does not survive a fork
    for number, line in enumerate(sys.stdin):
        order = json.loads(line)
        if number == 0:
            run(order["explain"])
            run(order["push"])
        print(json.dumps(obey(**order)), file=answers, flush=True)
