# ruff: noqa: A005 — a folder of tests; the library's package is pellucid.io
