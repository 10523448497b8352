# ruff: noqa: A005  (imported as tests.statistics only)
