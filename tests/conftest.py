"""Settings for all tests: one torch thread per worker, and what coverage is measured on."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence

import pytest
import torch
from hypothesis import HealthCheck, settings

from tests.mlflow_server import Server

# How long a machine takes to draw an example says nothing of the code.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

MEASURED = 2
"""The number of cases of a test during which coverage is measured. The others mostly run the same lines."""

if "PYTEST_XDIST_WORKER" in os.environ:
    # There are as many workers as cores, so more threads would compete for them.
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"  # for the commands that tests run


def pytest_collection_modifyitems(config: pytest.Config, items: Sequence[pytest.Item]) -> None:
    """Measure coverage on the first cases of each test: to trace a test adds a third to its time."""
    if not config.pluginmanager.hasplugin("_cov"):
        return  # nothing is measured
    seen: Counter[str] = Counter()
    for item in items:
        test = item.nodeid.partition("[")[0]
        seen[test] += 1
        if seen[test] > MEASURED:
            item.add_marker("no_cover")


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running MLflow server, one for all tests of a worker. A test that stops it starts it again."""
    server = Server.new(tmp_path_factory.mktemp("mlflow")).start()
    try:
        yield server
    finally:
        server.kill()
