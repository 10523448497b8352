"""Tables of the documentation that are made of stored counts: their shares and intervals are those of the counts."""

from __future__ import annotations

import re

import pytest
from benchmarks import mosaic, results, unguided
from scipy.stats import binomtest

from pellucid.demo.study import Rate

_ROW = re.compile(r"\(?(\d+\.\d) % \((\d+)–(\d+)\)")


def expected(hits: int, count: int) -> tuple[str, str, str]:
    """SciPy's exact interval, in percent."""
    found = binomtest(hits, count).proportion_ci(0.95, "exact")
    return f"{100 * hits / count:.1f}", f"{100 * found.low:.0f}", f"{100 * found.high:.0f}"


def test_the_table_of_mosaics_is_made_of_its_counts() -> None:
    text = (results.FOLDER / f"{mosaic.NAME}.md").read_text()
    found = {line.split("`")[1]: _ROW.search(line).groups() for line in text.splitlines() if _ROW.search(line)}
    counts = results.read(mosaic.NAME)
    assert found == {name: expected(*counts[name]) for name in counts}


def test_the_tables_of_layers_are_made_of_their_counts() -> None:
    found = _ROW.findall((results.FOLDER / f"{unguided.NAME}.md").read_text())
    known = unguided.read().values()
    assert found == [expected(layer.hits, one.count) for one in known for layer in one.layers]


@pytest.mark.parametrize(("hits", "count"), [(0, 12), (9, 10), (24, 24), (0, 0)])
def test_the_demo_has_exact_intervals(hits: int, count: int) -> None:
    low, high = Rate("network", "method", hits, count).interval
    ends = binomtest(hits, count).proportion_ci(0.95, "exact") if count else (0.0, 1.0)
    assert (low, high) == pytest.approx(tuple(ends))
