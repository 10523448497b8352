"""Shows a folder of results as a whole: a page to look at in a browser, and a table of all maps.

>>> import pellucid
>>> pellucid.report.write_index("results")  # doctest: +SKIP
[PosixPath('results/index.html'), PosixPath('results/results.csv')]

Both are made from the ``…_metadata.json`` files in the folder and below it, so they hold the results of all runs that
wrote there. ``pellucid explain`` writes them at its end.
"""

from __future__ import annotations

from pellucid.report.index import check_index, write_index

__all__ = ["check_index", "write_index"]
