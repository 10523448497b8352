"""A client of a hostile server in a process of its own, whose time and memory can be measured: prints JSON."""

from __future__ import annotations

import json
import logging
import resource
import sys
import time
from pathlib import Path

import typer

from pellucid.cli.console import guarded
from pellucid.cli.main import app
from pellucid.pacs.access import ServerAccess
from pellucid.pacs.dicomweb import parse_resource
from pellucid.pacs.fetching import fetch
from tests.pacs.hostile import INSTANCE, STUDY, TOKEN


def ask(asked: str, port: int, folder: Path, access: ServerAccess) -> int:
    """Push a folder to a server, or fetch an instance into the folder, and return the command's exit code."""
    if asked == "store":
        service = f"http://127.0.0.1:{port}/rs"
        options = ["--retries", str(access.retries), "--timeout", str(access.timeout)]
        return _code(lambda: app(["push", str(folder), "--dicomweb", service, *options]))
    address = f"dicomweb+http://127.0.0.1:{port}/rs/studies/{STUDY}/series/1.2.826.0.1.3680043.8.498.12"
    return _code(lambda: _fetch(f"{address}/instances/{INSTANCE}", folder, access))


def _fetch(address: str, folder: Path, access: ServerAccess) -> None:
    with guarded():
        for _ in fetch(parse_resource(address, access), folder):
            pass


def _code(command: object) -> int:
    try:
        command()
    except SystemExit as ending:
        return int(ending.code or 0)
    except typer.Exit as ending:
        return ending.exit_code
    return 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.DEBUG)
    asked, port, folder = sys.argv[1:]
    start = time.monotonic()
    code = ask(asked, int(port), Path(folder), ServerAccess(token=TOKEN, retries=0))
    sys.stderr.flush()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"code": code, "seconds": time.monotonic() - start, "peak": peak}))  # noqa: T201
