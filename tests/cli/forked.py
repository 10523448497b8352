"""A process that forks ``pellucid`` commands: it has loaded what they need once.

Each line on standard input is a list of arguments to start a command with, or the number of a process to wait for. One
line of JSON answers it: the number of the process, or its exit code.
"""

from __future__ import annotations

import json
import os
import sys

import torch

import pellucid.cli.request
import pellucid.run.job  # noqa: F401  # loaded once, not in each process
from pellucid.cli.main import run
from pellucid.core import catalogue
from pellucid.export import exporters, find


def started(arguments: list[str]) -> int:
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        torch.set_num_threads(1)  # renews torch's pool, which two threads would do at once
        sys.argv = ["pellucid", *arguments]
        run()
    except SystemExit as ending:
        code = int(ending.code or 0)
    finally:
        os._exit(code)


def ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the commands print is no answer
    catalogue.load()
    for name in exporters():
        find(name)
    torch.set_num_threads(1)  # a pool of threads does not survive a fork
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps(started(order) if isinstance(order, list) else ended(order)), file=answers, flush=True)
