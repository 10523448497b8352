"""Runs code where pellucid has not been imported yet: in processes forked from one that has loaded torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FORKING = """
import os, sys
import scipy.stats, timm, torch, torchvision  # which take longer to load than the code takes that is run
for code in sys.argv[1:]:
    child = os.fork()
    if not child:
        exec(code, {"__name__": "__main__"})
        sys.exit()
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        sys.exit(f"failed: {code}")
    print(end="\\0", flush=True)
"""


def fresh(*codes: str, folder: Path | None = None) -> list[str]:
    """What each piece of code prints, in a process of its own that ends with 0 and writes no error or warning."""
    command = [sys.executable, "-c", FORKING, *codes]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return [printed.strip() for printed in done.stdout.split("\0")[:-1]]
