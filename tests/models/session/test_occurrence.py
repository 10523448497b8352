"""Names of a layer's runs and entries."""

from __future__ import annotations

import pytest

from pellucid.models.session.occurrence import Occurrence


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("layer4", Occurrence("layer4")),
        ("layer4.0.conv1#2", Occurrence("layer4.0.conv1", 2)),
        ("encoder[3]", Occurrence("encoder", entry=3)),
        ("encoder#12[30]", Occurrence("encoder", 12, 30)),
        ("encoder#0", Occurrence("encoder#0")),  # counted from 1: a module may have such a name
        ("encoder[a]", Occurrence("encoder[a]")),
        ("", Occurrence("")),
    ],
)
def test_names_are_read_and_written(written: str, expected: Occurrence) -> None:
    assert Occurrence.of(written) == expected
    assert str(expected) == written


def test_an_entry_is_captured_with_its_run() -> None:
    assert Occurrence("encoder", 2, 3).captured == "encoder#2"
    assert Occurrence("encoder", entry=3).captured == "encoder"
