"""The command line and a user's own models, as the tests of the commands have them."""

from __future__ import annotations

from tests.cli.conftest import model, pellucid

__all__ = ["model", "pellucid"]
