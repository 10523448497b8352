"""A data set in, a verdict out: whether maps are better than knowing nothing, on images whose findings are known.

``read_data`` makes ``Data`` of files: cases, and what is excluded. ``measured`` scores the maps of a model, or maps
made before, for ``Measured``: a value for each finding. ``judged`` makes an ``Evaluation`` of it by a plan: verdicts,
figures, controls. ``write`` makes the report, tables and figures.
"""
