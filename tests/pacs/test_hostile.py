"""Hostile servers: nothing leaves for another place or counts as stored; time, memory and messages are bounded."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pellucid.pacs import dicomweb
from pellucid.pacs.access import ServerAccess
from pellucid.pacs.pushing import LEDGER
from tests.cli.conftest import ROOT
from tests.pacs.client import ask
from tests.pacs.hostile import HONEST, INSTANCE, PATIENT, STUDY, TOKEN, TRICKS, an_object, hostile

SECRETS = [PATIENT, TOKEN, STUDY, INSTANCE]
GIB = 2**20
"""In KiB, as the system counts the memory of a process."""


_SLOW = "(drips|is silent|continues|floods trailers|.* slowly)"
WORDS = {
    "redirects (3|to|with|within)": "redirects the request to|HTTP status 307",
    "(finds|gives) elsewhere": "redirects the request to http",
    _SLOW: "did not complete its answer",
    "(floods$|floods chunks|(finds|gives) a flood|finds (very|too))": "is longer than",
    "(truncates (a body|chunks)|claims)": "ended its answer early",
    "(compresses|inflates|gives compressed)": "compresses its answer",
    "(stores|says|has (no content|accepted)|stored (another|one))": "does not confirm that a.dcm is stored",
    "(stored and failed|failed)": "rejects a.dcm",
    "gives another (instance|series|study)": "another object than the one requested",
    "gives a bomb": "is longer than 1 MiB: give a higher --max-answer",
}
"""What a message says of tricks whose names match."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "a.dcm").write_bytes(an_object())
    return tmp_path / "results"


def check(folder: Path, stray: list[bytes], code: int, errors: str) -> None:
    assert stray == []
    assert code == 3
    assert not (folder / LEDGER).exists()
    assert [path.name for path in folder.rglob("*") if path.is_file()] in (["a.dcm"], [])
    assert not [secret for secret in SECRETS if secret.casefold() in errors.casefold()], errors


@pytest.mark.parametrize(("asked", "name"), TRICKS)
def test_with_small_limits(
    asked: str,
    name: str,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(dicomweb, "_MAX_DOCUMENT", 2**18)
    monkeypatch.setattr(dicomweb, "_MAX_PAGES", 20)
    monkeypatch.setenv("PELLUCID_TOKEN", TOKEN)
    timeout = 0.4 if re.match(_SLOW, name) else ServerAccess.timeout
    access = ServerAccess(token=TOKEN, retries=0, timeout=timeout, max_answer=1)
    with hostile(asked, name) as server:
        code = ask(asked, server.port, folder if asked == "store" else tmp_path / "kept", access)
    errors = capfd.readouterr().err
    check(folder, server.stray, code, errors)
    warned, failed = errors.splitlines()
    assert (warned[:8], failed[:6]) == ("warning:", "error:")
    for pattern, words in WORDS.items():
        assert not re.match(pattern, name) or re.search(words, failed), failed
    assert server.heads
    assert all(f"Bearer {TOKEN}" in head for head in server.heads)


@pytest.mark.parametrize(("asked", "name"), [(asked, name) for asked, table in HONEST.items() for name in table])
def test_honest_servers(asked: str, name: str, folder: Path, tmp_path: Path) -> None:
    with hostile(asked, name) as server:
        code = ask(asked, server.port, folder if asked == "store" else tmp_path / "kept", ServerAccess(retries=0))
    assert code == 0
    if asked == "store":
        assert (folder / LEDGER).exists()
    else:
        assert (tmp_path / "kept" / "series-1" / "0001.dcm").read_bytes() == an_object()


@pytest.mark.release
@pytest.mark.parametrize(("asked", "name"), TRICKS)
def test_with_the_limits_that_users_have(asked: str, name: str, folder: Path, tmp_path: Path) -> None:
    into = folder if asked == "store" else tmp_path / "kept"
    environment = {**os.environ, "PELLUCID_TOKEN": TOKEN}
    with hostile(asked, name) as server:
        command = [sys.executable, "-m", "tests.pacs.client", asked, str(server.port), str(into)]
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        output, errors = process.communicate(timeout=200)
    found = json.loads(output.splitlines()[-1])
    check(folder, server.stray, found["code"], errors + output)
    assert found["seconds"] < 60
    assert found["peak"] < GIB
    assert len(re.findall("^(error|warning):", errors, re.MULTILINE)) == 2
