"""Pages to look at in a browser: of a folder of results as a whole, with a table of all maps, and of data sets.

>>> import pellucid
>>> pellucid.report.write_index("results")  # doctest: +SKIP
[PosixPath('results/index.html'), PosixPath('results/results.csv')]

``write_report`` makes the report of a ``pellucid.evaluation.Evaluation``, ``write_robustness`` that of a
``pellucid.robustness.Robustness``. The page and the table of a folder are made
from the ``…_metadata.json`` files in it and below it, so they hold the results of all runs that
wrote there. ``pellucid explain`` writes them at its end.
"""

from __future__ import annotations

from pellucid.report.evaluation import write_report
from pellucid.report.index import check_index, write_index
from pellucid.report.robustness import write_robustness

__all__ = ["check_index", "write_index", "write_report", "write_robustness"]
