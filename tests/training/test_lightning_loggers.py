"""A real fit with two loggers, read back; and which package Lightning is."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from pytorch_lightning.loggers import CSVLogger, MLFlowLogger, TensorBoardLogger

from pellucid.tracking import journaled
from pellucid.training import ExplanationCallback
from tests.mlflow_server import Server
from tests.training.fitting import Module, data, plan, seed_everything, trainer

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec.*"),
]
STEPS = [3, 6]


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a fit waits for a slow machine as well."""
    monkeypatch.setattr(journaled, "PATIENCE", 300.0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_fit_of_two_epochs_with_two_loggers_is_read_back(mlflow_server: Server, tmp_path: Path) -> None:
    from mlflow import MlflowClient
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    loggers = [
        MLFlowLogger("training", "fit", mlflow_server.uri),
        TensorBoardLogger(tmp_path, "events"),
        CSVLogger(tmp_path, "table"),
    ]
    own, threads = ExplanationCallback(plan(drawn=2)), threading.active_count()
    seed_everything()
    made = trainer(tmp_path, [own], logger=loggers)
    made.fit(Module(), data(), data(shuffle=False))
    drift = own.monitor.figures.drift.estimate

    client = MlflowClient(mlflow_server.uri)
    run = client.get_run(loggers[0].run_id)
    assert run.data.params["pellucid/method"] == "saliency"
    for key in ("pellucid/drift", "pellucid/hit_rate", "pellucid/relevance_mass", "val_loss"):
        history = client.get_metric_history(run.info.run_id, key)
        assert [one.step for one in history if key != "val_loss"] == (STEPS if key != "val_loss" else []), key
        assert len(history) == 2
    assert run.data.metrics["pellucid/drift"] == pytest.approx(drift)
    drawn = [one.path for one in client.list_artifacts(run.info.run_id, "images")]
    for number in (0, 1):
        for step in STEPS:
            assert any(f"case-{number}~saliency+step+{step}" in path for path in drawn), drawn

    events = EventAccumulator(loggers[1].log_dir, {"images": 0, "scalars": 0}).Reload()
    assert [one.step for one in events.Scalars("pellucid/drift")] == STEPS
    assert events.Scalars("pellucid/drift")[-1].value == pytest.approx(drift, abs=1e-6)
    assert [one.step for one in events.Images("pellucid/case-1/saliency")] == STEPS

    header, *rows = (Path(loggers[2].log_dir) / "metrics.csv").read_text().splitlines()
    column = header.split(",").index("pellucid/drift")
    assert [float(row.split(",")[column]) for row in rows if row.split(",")[column]][-1] == pytest.approx(drift)
    assert threading.active_count() <= threads + 1  # TensorBoard's writer


ALIAS = """
import sys
import pytorch_lightning

class Unified(type(sys)):
    pass

unified = Unified("lightning")
unified.__path__ = []
unified.pytorch = pytorch_lightning
sys.modules["lightning"], sys.modules["lightning.pytorch"] = unified, pytorch_lightning
del sys.modules["pytorch_lightning"]

class Refused:
    def find_spec(self, name, path=None, target=None):
        if name == "pytorch_lightning":
            raise ImportError(name)

sys.meta_path.insert(0, Refused())
import pellucid
cls = pellucid.training.ExplanationCallback
assert issubclass(cls, pytorch_lightning.Callback)
print("pytorch_lightning" in sys.modules)
"""

NONE = """
import sys
import pellucid.training
print(sorted({"pytorch_lightning", "lightning", "transformers", "mlflow", "tensorboard"} & set(sys.modules)))
for name in ("pytorch_lightning", "lightning", "lightning.pytorch", "transformers"):
    sys.modules[name] = None
for name in ("ExplanationCallback", "TrainerExplanationCallback"):
    try:
        getattr(pellucid.training, name)
    except pellucid.PellucidError as error:
        print(error)
print(pellucid.training.Monitor.__name__)
"""


def output(code: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_other_name_of_the_package_works() -> None:
    assert output(ALIAS) == ["False"]


def test_no_trainer_is_imported_and_without_one_the_errors_say_what_to_install_and_the_rest_works() -> None:
    assert output(NONE) == [
        "[]",
        "pellucid.training.ExplanationCallback was asked for; pytorch_lightning is not installed: "
        "pip install 'pellucid[train]'",
        "pellucid.training.TrainerExplanationCallback was asked for; transformers is not installed: "
        "pip install 'pellucid[zoo]'",
        "Monitor",
    ]


def test_the_package_s_names() -> None:
    import pellucid

    assert pellucid.training.__all__ == sorted(pellucid.training.__all__)
    assert all(hasattr(pellucid.training, name) for name in pellucid.training.__all__)
    with pytest.raises(AttributeError, match=r"module 'pellucid.training' has no attribute 'Monitr'"):
        _ = pellucid.training.Monitr
