"""Models on a real MLflow server: every form of name, the digest, and nothing that they bring along is run."""

from __future__ import annotations

import hashlib
import os
import pickle
import sqlite3
import sys
import zipfile
from contextlib import closing
from pathlib import Path

import pytest
import torch
from torchvision.models import resnet18

import pellucid
from pellucid.errors import CheckpointError, SourceError, TransferError
from tests.mlflow_server import Server
from tests.models.mlflow_artifacts.conftest import Published

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*preprocessing", "ignore:.*mean and std"),
    pytest.mark.usefixtures("on_the_server"),
]
CLASSES = ("effusion", "nodule", "none")


def weights(published: Published) -> dict[str, torch.Tensor]:
    """The weights that were logged."""
    return torch.load(published.folder / "best.pt", weights_only=True)


@pytest.mark.parametrize(
    "form",
    [
        "models:/chest/1",
        "models:/chest@champion",
        "models:/chest/latest",
        "models:/{model}",
        "models:/{exported}",
        "runs:/{run}/checkpoints/best.pt",
        "runs:/{run}/checkpoints",
        "runs:/{run}/weights",
    ],
)
def test_a_model_is_loaded_by_each_form_of_its_name(published: Published, form: str, mlflow_server: Server) -> None:
    spec = form.format(run=published.run, model=published.model, exported=published.exported)
    modules, path = set(sys.modules), list(sys.path)
    model = pellucid.load_model(spec)
    logged = weights(published)
    assert model.state_dict().keys() == logged.keys()
    assert all(torch.equal(value, logged[key]) for key, value in model.state_dict().items())
    info = pellucid.model_info(model)
    assert info.spec == "torchvision:resnet18"
    if "chest" in form:  # an alias stands for what it is now
        assert info.registered == "models:/chest/1"
    assert len(info.checkpoint_sha256 or "") == 64
    if form.endswith("best.pt"):
        assert info.checkpoint_sha256 == hashlib.sha256((published.folder / "best.pt").read_bytes()).hexdigest()
    if form.startswith("models:") and "exported" not in form:
        assert info.classes == CLASSES
    assert not (published.folder / "ran").exists()
    assert path == sys.path
    assert not any(name.startswith(("mlflow.pytorch", "tricky")) for name in set(sys.modules) - modules)


def test_the_artifact_has_the_code_that_mlflow_would_import(published: Published) -> None:
    assert any(file.endswith("tricky_pickle_module.py") for file in published.files)
    assert any(file.endswith("pickle_module_info.txt") for file in published.files)


class Runs:
    """Runs a command where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.mark}",)


def test_a_hostile_artifact_runs_nothing(published: Published, mlflow_server: Server, tmp_path: Path) -> None:
    """Both tricks: a pickle that runs a command, and a module that its ``pickle_module_info.txt`` names."""
    artifacts = mlflow_server.folder / "artifacts"
    (stored,) = [path for path in artifacts.rglob("model.pth") if "models" in path.parts]
    before, info = stored.read_bytes(), stored.with_name("pickle_module_info.txt")
    known = info.read_text()
    info.write_text("tricky_pickle_module")
    try:
        stored.write_bytes(with_pickle(before, pickle.dumps({"model": Runs(tmp_path / "ran")})))
        with pytest.raises(CheckpointError):
            pellucid.load_model("models:/chest/1")
        stored.write_bytes(pickle.dumps(Runs(tmp_path / "ran")))
        with pytest.raises(CheckpointError):
            pellucid.load_model("models:/chest/1")
    finally:
        stored.write_bytes(before)
        info.write_text(known)
    assert not (tmp_path / "ran").exists()
    assert not (published.folder / "ran").exists()
    assert "tricky_pickle_module" not in sys.modules


def with_pickle(archive: bytes, content: bytes) -> bytes:
    """An archive of torch.save with another pickle in it."""
    import io

    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as given, zipfile.ZipFile(out, "w") as made:
        for entry in given.infolist():
            made.writestr(entry.filename, content if entry.filename.endswith("data.pkl") else given.read(entry))
    return out.getvalue()


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("models:/nobody/1", "has no version 1 of 'nobody'"),
        ("models:/chest/9", "has no version 9 of 'chest'"),
        ("models:/chest@nobody", "has no alias 'nobody' of 'chest'"),
        ("models:/m-" + "0" * 32, "has no logged model"),
        ("runs:/" + "0" * 32, "has no run"),
        ("runs:/{run}/elsewhere/best.pt", "has no artifact"),
        ("runs:/{run}", "files may be the network"),
        ("models:/chest", "names no version of a model"),
        ("models:/../chest/1", "names no model"),
        ("runs:/{run}/../../etc/passwd", "names no model"),
        ("runs:/{run}/checkpoints/be\x00st.pt", "names no model"),
    ],
)
def test_what_is_not_there_gets_one_line(published: Published, spec: str, reason: str) -> None:
    with pytest.raises(SourceError, match=reason) as raised:
        pellucid.load_model(spec.format(run=published.run))
    assert len(str(raised.value).splitlines()) == 1


def test_weights_for_a_network_of_ones_own(published: Published) -> None:
    model = pellucid.load_model("torchvision:resnet18", checkpoint=f"runs:/{published.run}/checkpoints/best.pt")
    assert torch.equal(model.fc.weight, weights(published)["fc.weight"])


def test_a_server_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:9")
    with pytest.raises(TransferError, match=r"127\.0\.0\.1:9") as raised:
        pellucid.load_model("models:/chest/1")
    assert "secret" not in str(raised.value)


def test_artifacts_that_are_with_a_server(
    published: Published, mlflow_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a server keeps is read from its database; its artifacts are with the server, which is said."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{mlflow_server.folder / 'mlflow.db'}")
    with pytest.raises(SourceError, match="the artifacts are with an MLflow server"):
        pellucid.load_model("models:/chest/1")


MOVED = (
    "UPDATE {table} SET {column} = replace({column}, 'mlflow-artifacts:', '{folder}')",
    (("runs", "artifact_uri"), ("logged_models", "artifact_location"), ("model_versions", "storage_location")),
)


@pytest.mark.parametrize(
    "form",
    ["models:/chest/1", "models:/chest@champion", "models:/chest/latest", "models:/{model}", "runs:/{run}/weights"],
)
def test_a_database(
    published: Published, mlflow_server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, form: str
) -> None:
    """MLflow's own tables, with artifacts in a folder, as where no server is between: read only."""
    own = tmp_path / "mlflow.db"
    with (
        closing(sqlite3.connect(mlflow_server.folder / "mlflow.db")) as known,
        closing(sqlite3.connect(own)) as database,
    ):
        known.backup(database)
        for table, column in MOVED[1]:
            folder = (mlflow_server.folder / "artifacts").as_uri()
            database.execute(MOVED[0].format(table=table, column=column, folder=folder))
        database.commit()
    before = own.read_bytes()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{own}")
    model = pellucid.load_model(form.format(run=published.run, model=published.model))
    assert all(torch.equal(value, weights(published)[key]) for key, value in model.state_dict().items())
    assert own.read_bytes() == before


def test_the_weights_are_those_of_a_network(published: Published) -> None:
    """The oracle: torchvision's own network with the logged weights gives the same logits."""
    images = torch.randn(1, 3, 64, 64)
    plain = resnet18(num_classes=3)
    plain.load_state_dict(weights(published))
    assert torch.equal(plain.eval()(images), pellucid.load_model("models:/chest/1")(images))
