# ruff: noqa: A005 — a folder of tests; the library's io room is pellucid.io
