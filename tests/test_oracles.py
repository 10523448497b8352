"""``benchmarks.oracles`` runs every file beside it whose name begins so."""

from __future__ import annotations

from pathlib import Path

from benchmarks import oracles


def test_each_family_has_rows() -> None:
    """Read, not imported: the other libraries are in the environment of ``make bench``."""
    folder = Path(oracles.__file__).parent
    texts = {name: (folder / f"{name}.py").read_text() for name in oracles.families()}
    assert len(texts) >= 4
    assert all("\ndef rows() -> " in text for text in texts.values()), texts.keys()
