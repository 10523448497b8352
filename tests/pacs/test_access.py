"""``ServerAccess``: what it refuses, what it hides, and the waiting time between attempts."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pellucid.errors import OptionError, TransferError
from pellucid.pacs.access import ServerAccess


@pytest.mark.parametrize("option", ["certificate", "key", "ca"])
def test_missing_files_are_refused(tmp_path: Path, option: str) -> None:
    with pytest.raises(OptionError, match=f"--{option} .*no such file"):
        ServerAccess(**{option: tmp_path / "none.pem"})


def test_the_token_is_not_shown() -> None:
    assert "secret" not in repr(ServerAccess(token="secret"))


def test_the_waiting_time_doubles(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)

    def busy() -> None:
        raise TransferError("busy", retry=True)

    with pytest.raises(TransferError):
        ServerAccess(retries=3, wait=0.5).retried(busy)
    assert waits == [0.5, 1, 2]
