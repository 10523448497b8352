"""Runs in a real MLflow server: read back through its client, out of reach, frozen, without room, and synced once."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import resnet18
from typer.testing import CliRunner

import pellucid
from pellucid import phantom, tracking
from pellucid.cli.main import app
from pellucid.errors import PellucidWarning, TransferError
from pellucid.tracking import journaled as module
from pellucid.tracking.destination import Stamp
from pellucid.tracking.destinations.mlflow import MLflow
from pellucid.tracking.journal import JOURNAL
from pellucid.tracking.journaled import journaled
from pellucid.tracking.syncing import sync
from tests.mlflow_server import Server

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing a run waits for a slow machine as well."""
    monkeypatch.setattr(module, "PATIENCE", 300.0)


@pytest.fixture
def client(mlflow_server: Server) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(mlflow_server.uri)


def runs_of(client: Any, experiment: str) -> dict[str, Any]:
    """The runs of an experiment by name."""
    found = client.get_experiment_by_name(experiment)
    runs = client.search_runs([found.experiment_id])
    assert len(runs) == len({run.info.run_name for run in runs}), "a run was made twice"
    return {run.info.run_name: run for run in runs}


def test_an_explanation_is_read_back(mlflow_server: Server, client: Any, tmp_path: Path) -> None:
    model = phantom.unguided_cnn()
    images = pellucid.model_info(model).preprocessing.normalise(phantom.radiographs(2, seed=1).images)
    logged = client.create_logged_model(client.create_experiment("read back"), name="chest")
    run = tracking.mlflow(
        mlflow_server.uri, experiment="read back", run_name="night", folder=tmp_path, model_id=logged.model_id
    )
    for step in (1, 2):
        tracking.log_explanation(pellucid.explain(model, images, "saliency", 0), images, tracker=run, step=step)
    child = run.child("within")
    child.metrics({"hits": 0.5})
    run.close()
    found = runs_of(client, "read back")
    night = found["night"]
    assert (night.info.status, night.data.params["method"]) == ("FINISHED", "saliency")
    assert "layers" not in night.data.params  # saliency looks at none
    assert [one.step for one in client.get_metric_history(night.info.run_id, "explanation/degenerate")] == [1, 2]
    assert found["within"].data.tags["mlflow.parentRunId"] == night.info.run_id
    drawn = [one.path for one in client.list_artifacts(night.info.run_id, "images") if one.path.endswith(".png")]
    assert sorted(path.split("+timestamp")[0] for path in drawn) == [
        f"images/explanation~{image}~nodule+step+{step}" for image in (0, 1) for step in (1, 2)
    ]
    with Image.open(client.download_artifacts(night.info.run_id, drawn[0], str(tmp_path))) as image:
        assert image.size[0] >= 128
    figures = {one.key: one.value for one in client.get_logged_model(logged.model_id).metrics}
    assert figures["explanation/degenerate"] == 0


def test_asking_again_draws_none_of_the_training_s_random_numbers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """MLflow waits a random time before it does: our thread drew from Python's generator while a training went on."""
    for name, value in {"MAX_RETRIES": "3", "BACKOFF_FACTOR": "0", "BACKOFF_JITTER": "0.01"}.items():
        monkeypatch.setenv(f"MLFLOW_HTTP_REQUEST_{name}", value)
    runs = MLflow("http://127.0.0.1:9").connect()
    state = random.getstate()
    with pytest.raises(TransferError):
        runs.begin(Stamp("run", 0, 0, tmp_path), "night", None)
    assert random.getstate() == state


def noise(step: int) -> Image.Image:
    """An image whose file is larger than half of the full disk."""
    return Image.fromarray(np.random.default_rng(step).integers(0, 255, (200, 200, 3), dtype=np.uint8))


@pytest.fixture
def small_disks(tmp_path: Path) -> None:
    """File systems of a few bytes may be mounted here."""
    (tmp_path / "disk").mkdir()
    if not mounted(tmp_path / "disk"):
        pytest.skip("to mount a small file system takes rights that this user does not have")
    subprocess.run(["umount", str(tmp_path / "disk")], check=True)


def mounted(place: Path, options: str = "size=200k") -> bool:
    """Mount a file system in memory, if that is allowed."""
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    try:
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    except OSError:
        return False


@pytest.mark.usefixtures("small_disks")
def test_the_server_s_disk_is_full(
    mlflow_server: Server, client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Really: what no longer fits is kept here, whole, and what was accepted before is not sent again."""
    run = tracking.mlflow(mlflow_server.uri, experiment="disk full", run_name="disk full", folder=tmp_path)
    run.metrics({"loss": 1.0}, 0)
    wait_for(lambda: client.get_experiment_by_name("disk full") is not None)
    with failing(mlflow_server, "disk full"):
        for step in range(1, 4):
            run.image("case-0", noise(step), step)
            run.metrics({"loss": 1.0 / step}, step)
        monkeypatch.setattr(module, "PATIENCE", 5.0)
        with pytest.warns(PellucidWarning, match="pellucid mlflow sync"):
            run.close()
        assert len(list(run.folder.glob("*.png"))) == 3
        assert sum(path.stat().st_size for path in (mlflow_server.folder / "artifacts").rglob("*")) < 204_800
    ended()
    (done,) = sync(tmp_path)
    assert (done.error, done.refused) == ("", 0)
    assert done.sent >= 4
    assert [(one.sent, one.error, one.refused) for one in sync(tmp_path)] == [(0, "", 0)]
    found = runs_of(client, "disk full")["disk full"]
    history = client.get_metric_history(found.info.run_id, "loss")
    assert [(one.step, one.value) for one in history] == [(0, 1.0), *((step, 1.0 / step) for step in range(1, 4))]
    drawn = [one.path for one in client.list_artifacts(found.info.run_id, "images") if one.path.endswith(".png")]
    assert len(drawn) == 3
    for path in drawn:
        step = int(path.partition("+step+")[2].partition("+")[0])
        with Image.open(client.download_artifacts(found.info.run_id, path, str(tmp_path))) as image:
            np.testing.assert_array_equal(np.asarray(image), np.asarray(noise(step)))


@pytest.mark.parametrize("ending", ["killed", "frozen", "without room"])
def test_a_server_that_fails_in_the_middle(
    mlflow_server: Server, client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    run = tracking.mlflow(mlflow_server.uri, experiment=ending, run_name=ending, folder=tmp_path)
    run.metrics({"loss": 1.0}, 0)
    wait_for(lambda: client.get_experiment_by_name(ending) is not None)
    with failing(mlflow_server, ending):
        for step in range(1, 6):
            run.metrics({"loss": 1.0 / step}, step)
            run.image("case-0", Image.new("RGB", (16, 16), "red"), step)
        run.parameters({"method": "gradcam"})
        monkeypatch.setattr(module, "PATIENCE", 1.0)
        with pytest.warns(PellucidWarning, match="pellucid mlflow sync"):
            run.close()
    ended()
    for _ in range(2):
        assert [(one.error, one.refused) for one in sync(tmp_path)] == [("", 0)]
    assert [one.sent for one in sync(tmp_path)] == [0]
    found = runs_of(client, ending)[ending]
    assert (found.info.status, found.data.params) == ("FINISHED", {"method": "gradcam"})
    history = client.get_metric_history(found.info.run_id, "loss")
    assert [(one.step, one.value) for one in history] == [(0, 1.0), *((step, 1.0 / step) for step in range(1, 6))]
    drawn = [one.path for one in client.list_artifacts(found.info.run_id, "images")]
    assert len(drawn) == 10  # five images, each with its small copy


def ended() -> None:
    """Wait for the thread that sends: its last request ends when the server is back."""
    for thread in threading.enumerate():
        if thread.name == "pellucid-mlflow":
            thread.join(90)


class failing:  # noqa: N801  # used as a context
    """A server that fails while this is open."""

    def __init__(self, server: Server, ending: str) -> None:
        self.server, self.ending = server, ending
        self.artifacts, self.away = server.folder / "artifacts", server.folder / "away"

    def __enter__(self) -> None:
        if self.ending == "killed":
            self.server.kill()
        elif self.ending == "frozen":
            self.server.signal(signal.SIGSTOP)
        else:
            self.artifacts.mkdir(exist_ok=True)
            self.artifacts.rename(self.away)
            if self.ending == "disk full":
                self.artifacts.mkdir()
                assert mounted(self.artifacts)
            else:  # nothing can be created in what is no folder
                self.artifacts.write_text("")

    def __exit__(self, *_: object) -> None:
        if self.ending == "killed":
            self.server.start()
        elif self.ending == "frozen":
            self.server.signal(signal.SIGCONT)
        elif self.ending == "disk full":
            shutil.copytree(self.artifacts, self.away, dirs_exist_ok=True)
            subprocess.run(["umount", str(self.artifacts)], check=True)
            self.artifacts.rmdir()
            self.away.rename(self.artifacts)
        else:
            self.artifacts.unlink()
            self.away.rename(self.artifacts)


def wait_for(condition: Any) -> None:
    """Wait until something is true."""
    pause = threading.Event()
    for _ in range(600):
        if condition():
            return
        pause.wait(0.1)
    raise AssertionError("it did not become true")


def test_commands_log_what_they_write(mlflow_server: Server, client: Any, tmp_path: Path) -> None:
    Image.new("L", (128, 128), 90).save(tmp_path / "MILLER_JANE.png")
    model = ["--model", "pellucid.phantom:unguided_cnn", "--mlflow", mlflow_server.uri]
    given = [str(tmp_path / "MILLER_JANE.png"), "--method", "gradcam", "--method", "saliency"]
    for command, arguments in {
        "explain": [*given, "--output", str(tmp_path / "maps")],
        "evaluate": ["phantoms:6", "--methods", "saliency", "-o", str(tmp_path / "judged")],
        "robustness": ["phantoms:3", "--changes", "noise", "--metric", "pearson", "-o", str(tmp_path / "moved")],
    }.items():
        done = CliRunner().invoke(app, [command, *arguments, *model])
        assert done.exit_code == 0, done.output
        assert "View run" not in done.output
    experiment = client.get_experiment_by_name("pellucid").experiment_id
    runs = client.search_runs([experiment])
    outer = {one.info.run_name: one for one in runs if one.info.run_name.startswith("pellucid ")}
    within = {name: [one for one in runs if parent_of(one) == outer[name].info.run_id] for name in outer}
    names = {name: {one.info.run_name for one in each} for name, each in within.items()}
    assert names["pellucid explain"] == {"gradcam", "saliency"}
    assert {"saliency", "mean_mask", "random"} <= names["pellucid evaluate"]
    assert names["pellucid robustness"] == {"gradcam"}
    for name, report in {"explain": "index.html", "evaluate": "report.html", "robustness": "report.html"}.items():
        sent = [one.path for one in client.list_artifacts(outer[f"pellucid {name}"].info.run_id, "report")]
        assert f"report/{report}" in sent
    (gradcam,) = (one for one in within["pellucid explain"] if one.info.run_name == "gradcam")
    assert gradcam.data.params["layers"] == "network.layer4"
    assert len(gradcam.data.params["SHA-256 of the weights"]) == 64
    (judged,) = (one for one in within["pellucid evaluate"] if one.info.run_name == "saliency")
    assert 0 <= judged.data.metrics["label/pointing_game"] <= 1
    (moved,) = within["pellucid robustness"]
    assert len(client.get_metric_history(moved.info.run_id, "noise/ssim")) > 2
    shown = [one.path for one in client.list_artifacts(gradcam.info.run_id, "images")]
    assert not any("MILLER" in text for text in [*shown, *gradcam.data.params.values()])


def parent_of(run: Any) -> str | None:
    """The run that a run is within."""
    found: str | None = run.data.tags.get("mlflow.parentRunId")
    return found


def test_a_command_whose_server_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.2)
    Image.new("L", (128, 128), 90).save(tmp_path / "scan.png")
    given = [str(tmp_path / "scan.png"), "--model", "pellucid.phantom:unguided_cnn", "--output", str(tmp_path / "maps")]
    done = CliRunner().invoke(app, ["explain", *given, "--mlflow", "http://user:secret@127.0.0.1:9"])
    assert done.exit_code == 0
    (line,) = (one for one in done.stderr.splitlines() if "mlflow" in one)
    assert f"pellucid mlflow sync {tmp_path / 'maps' / 'tracking'}" in line
    assert "secret" not in line
    assert (tmp_path / "maps" / "index.html").is_file()
    assert not any("secret" in file.read_text(errors="replace") for file in (tmp_path / "maps").rglob("*.jsonl"))


class Denying(BaseHTTPRequestHandler):
    """A server that knows nobody."""

    def _deny(self) -> None:
        self.send_response(401)
        self.end_headers()

    do_GET = do_POST = _deny  # noqa: N815  # the names that the standard library calls

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Print nothing."""


@pytest.fixture
def denying() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Denying)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join(10)


def test_wrong_credentials(denying: str, tmp_path: Path, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 5.0)  # the whole of it is waited for; MLflow is imported already
    run = tracking.mlflow(denying, folder=tmp_path)
    run.metrics({"loss": 1.0})
    with pytest.warns(PellucidWarning, match=r"the server refuses \(401\).*MLFLOW_TRACKING_TOKEN"):
        run.close()
    done = CliRunner().invoke(app, ["mlflow", "sync", str(tmp_path)])
    assert done.exit_code == 3
    (line,) = done.stderr.splitlines()
    assert "(401)" in line


BLOCKED = """
import sys
class Hiding:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in {blocked!r} else self.finder.find_spec(name, path, target)
    def __getattr__(self, name):
        return getattr(self.finder, name)
sys.meta_path[:] = [Hiding(finder) for finder in sys.meta_path]
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
from PIL import Image
from pellucid import tracking
from pellucid.tracking import journaled
journaled.PATIENCE = 300.0
run = tracking.mlflow({uri!r}, experiment="skinny", folder={folder!r})
run.metrics({{"loss": 1.0}})
run.image("case", Image.new("L", (8, 8)))
run.close()
"""
LACKING = {"sqlalchemy", "alembic", "flask", "docker", "pyarrow", "pandas", "sklearn", "graphene", "huey"}
"""What the whole of MLflow brings and mlflow-skinny does not."""


def blocked(uri: str, folder: Path) -> str:
    """What a process writes to the standard error that logs a run without the packages that skinny lacks."""
    script = BLOCKED.format(blocked=LACKING, uri=uri, folder=str(folder))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    return done.stderr


def test_the_slim_client_is_enough(mlflow_server: Server, client: Any, tmp_path: Path) -> None:
    assert blocked(mlflow_server.uri, tmp_path) == ""
    (run,) = runs_of(client, "skinny").values()
    assert run.data.metrics == {"loss": 1.0}
    assert len(client.list_artifacts(run.info.run_id, "images")) == 2


def test_a_database_needs_the_whole_of_mlflow(tmp_path: Path) -> None:
    written = blocked(f"sqlite:///{tmp_path / 'own.db'}", tmp_path / "runs").splitlines()[-1]
    assert "MissingPackageError: a run in MLflow was asked for, in sqlite:///" in written
    assert written.endswith("pip install mlflow, or give the address of a server")
    assert not (tmp_path / "runs").exists()


def test_sync_of_a_folder_without_runs(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["mlflow", "sync", str(tmp_path)])
    assert (done.exit_code, len(done.stderr.splitlines())) == (3, 1)
    assert "no run was logged there" in done.stderr


def test_sync_to_another_address(mlflow_server: Server, client: Any, tmp_path: Path) -> None:
    """Where a server has moved: what the first address did not take is sent to the second, once."""
    run = journaled(tmp_path / "runs", "moved", [])
    run.metrics({"loss": 0.25})
    header, rest = (run.folder / JOURNAL).read_text().split("\n", 1)
    known = json.loads(header) | {"destinations": [["mlflow", MLflow("http://127.0.0.1:9", "moved").facts()]]}
    (run.folder / JOURNAL).write_text(f"{json.dumps(known)}\n{rest}")
    done = [CliRunner().invoke(app, ["mlflow", "sync", str(tmp_path), "--mlflow", mlflow_server.uri]) for _ in range(2)]
    assert [one.stdout for one in done] == ["2 entries of 1 run sent\n", "0 entries of 1 run sent\n"]
    assert runs_of(client, "moved")["moved"].data.metrics == {"loss": 0.25}


def test_a_run_of_others_is_continued_and_left_to_them(mlflow_server: Server, client: Any, tmp_path: Path) -> None:
    """A trainer's run that was not reached: synced later, it is the same run, and its end stays the trainer's."""
    experiment = client.create_experiment("continued")
    theirs = client.create_run(experiment, run_name="theirs").info.run_id
    client.set_terminated(theirs, "FAILED")
    run = journaled(tmp_path, "night", [])
    run.metrics({"drift": 0.5}, 1)
    run.close()
    header, rest = (run.folder / JOURNAL).read_text().split("\n", 1)
    facts = MLflow(mlflow_server.uri, "continued", continued=theirs).facts()
    known = json.loads(header) | {"destinations": [["mlflow", facts]]}
    (run.folder / JOURNAL).write_text(f"{json.dumps(known)}\n{rest}")
    assert [(one.sent, one.error) for one in sync(tmp_path)] == [(3, "")]
    found = runs_of(client, "continued")
    assert list(found) == ["theirs"]
    assert (found["theirs"].info.status, found["theirs"].data.metrics) == ("FAILED", {"drift": 0.5})


def test_figures_go_to_the_page_of_the_model_that_was_read(
    mlflow_server: Server, client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it is called by: a registered version stands for a logged model."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server.uri)
    logged = client.create_logged_model(client.create_experiment("of a model"), name="net")
    (tmp_path / "net").mkdir()
    torch.save(resnet18(num_classes=3).state_dict(), tmp_path / "net" / "weights.pt")
    client.log_model_artifacts(logged.model_id, str(tmp_path / "net"))
    client.finalize_logged_model(logged.model_id, "READY")
    client.create_registered_model("net")
    client.create_model_version("net", f"models:/{logged.model_id}", model_id=logged.model_id)
    Image.new("L", (64, 64), 90).save(tmp_path / "scan.png")
    given = [str(tmp_path / "scan.png"), "--model", "models:/net/1", "--output", str(tmp_path / "maps")]
    done = CliRunner().invoke(app, ["explain", *given, "--mlflow", "default"])
    assert done.exit_code == 0, done.output
    assert "degenerate" in {one.key for one in client.get_logged_model(logged.model_id).metrics}
