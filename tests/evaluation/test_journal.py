"""The journal of scores: what was kept is there again, and what was not finished is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from pellucid.errors import WriteError
from pellucid.evaluation.scoring.journal import Journal


def test_records_are_there_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "scores"
    with Journal(path) as journal:
        kept = journal.keep("a", {"value": 1.5, "none": None})
        assert kept == {"value": 1.5, "none": None} == journal.get("a")
    with Journal(path) as journal:
        assert journal.get("a") == kept
        assert journal.get("b") is None
        journal.keep("b", {"value": 2})
    with Journal(path) as journal:
        assert (journal.get("a"), journal.get("b")) == (kept, {"value": 2})


@pytest.mark.parametrize(
    "end", [b'{"key": "b", "rec', b'{"key": "b", "record": {}}', b"\xff\xfe\n", b"[1]\n", b"\x00" * 99]
)
def test_a_line_that_was_not_finished_is_forgotten_and_overwritten(tmp_path: Path, end: bytes) -> None:
    path = tmp_path / "scores"
    with Journal(path) as journal:
        journal.keep("a", {"value": 1})
    path.write_bytes(path.read_bytes() + end)
    with Journal(path) as journal:
        assert journal.get("a") == {"value": 1}
        assert journal.get("b") is None
        journal.keep("c", {"value": 3})
    with Journal(path) as journal:
        assert (journal.get("a"), journal.get("c")) == ({"value": 1}, {"value": 3})


def test_without_a_path_records_are_in_memory(tmp_path: Path) -> None:
    with Journal(None) as journal:
        journal.keep("a", {"value": 1})
        assert journal.get("a") == {"value": 1}
    assert not list(tmp_path.iterdir())


def test_a_folder_in_its_way_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "scores").mkdir()
    with pytest.raises(WriteError, match="cannot be kept there"), Journal(tmp_path / "scores"):
        pass
