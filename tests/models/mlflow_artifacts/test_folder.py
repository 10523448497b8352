"""Models in a folder of MLflow's: what is read, what is stated, and what is refused."""

import hashlib
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from pellucid.errors import CheckpointError, PellucidError, SourceError
from pellucid.models.mlflow_artifacts.described import settings_of
from pellucid.models.mlflow_artifacts.names import InRun, Logged, Registered, parsed
from pellucid.models.sources import load_model, model_info
from tests.models.mlflow_artifacts.kept import MODEL, RUN, artifacts, network, records
from tests.models.sources.helpers import holds, one_line


@pytest.fixture
def store(tmp_path, monkeypatch):
    """The artifacts of a model that a folder store keeps."""
    folder = artifacts(tmp_path / "artifacts")
    run = tmp_path / "run"
    run.mkdir()
    records(tmp_path / "mlruns", folder, run)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", str(tmp_path / "mlruns"))
    monkeypatch.delenv("MLFLOW_REGISTRY_URI", raising=False)
    return folder


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("models:/chest/3", Registered("chest", version="3")),
        ("models:/chest@best", Registered("chest", alias="best")),
        ("models:/a@b@best/data/x.pt", Registered("a@b", alias="best", path="data/x.pt")),
        ("models:/chest/Latest", Registered("chest")),
        ("models:/chest/Production", Registered("chest", stage="Production")),
        (f"models:/{MODEL}", Logged(MODEL)),
        (f"models:/{MODEL}/data", Logged(MODEL, "data")),
        (f"runs:/{RUN}/a/b.pt", InRun(RUN, "a/b.pt")),
        (f"runs:/{RUN}/", InRun(RUN)),
    ],
)
def test_names(uri, name):
    assert parsed(uri) == name


@pytest.mark.parametrize(
    "uri",
    [
        *("models:/", "models:/chest", "models:/..", "models:/../1", "models:/..@a", "models:/chest@..", "models:/@a"),
        *("models:/chest/1/../x", "models://host/chest/1", "models:/chest/1/a\nb", "models:/chest/1/" + "x" * 300),
        *("runs:/", "runs:/..", "runs:/x y", f"runs:/{RUN}/../x", f"runs:/{RUN}//x", f"runs:/{RUN}/a\\b"),
    ],
)
def test_names_that_lead_elsewhere(uri, store):
    with pytest.raises(SourceError) as error:
        parsed(uri)
    assert one_line(error)


@pytest.mark.parametrize("uri", ["models:/chest/1", "models:/chest@champion", "models:/chest/latest", f"runs:/{RUN}"])
def test_weights_of_a_whole_network(uri, store):
    model = load_model(uri)
    assert holds(model, network().state_dict())
    info = model_info(model)
    assert info.spec == "torchvision:squeezenet1_1"
    assert info.registered == (f"models:/{MODEL}" if uri.startswith("runs") else "models:/chest/1")
    assert info.checkpoint_sha256 == hashlib.sha256((store / "data" / "model.pth").read_bytes()).hexdigest()
    origin = {"server": os.environ["MLFLOW_TRACKING_URI"], "model_id": MODEL, "run_id": RUN, "file": "data/model.pth"}
    assert dict(info.origin) == origin


def test_what_is_stated(store):
    info = model_info(load_model(f"models:/{MODEL}"))
    assert info.classes == ("effusion", "nodule", "none")
    # The parameter of the run comes before the signature.
    assert info.preprocessing.resize == (64, 64)
    assert (info.preprocessing.mean, info.preprocessing.std) == ((0.4,) * 3, (0.2,) * 3)
    (Path(os.environ["MLFLOW_TRACKING_URI"]) / f"7/models/{MODEL}/params/image_size").unlink()
    assert model_info(load_model(f"models:/{MODEL}")).preprocessing.resize == (96, 80)


@pytest.mark.parametrize(
    "shape", ["[-1, 3]", "[-1, 3, -1, -1]", "[-1, 3, true, 9]", "[-1, 1, 2, 3, 4, 5]", "[[3]]", "null", "[" * 500]
)
def test_signatures_without_a_size(shape):
    text = f'[{{"tensor-spec": {{"shape": {shape}}}}}]'
    assert settings_of({"signature": {"inputs": text}}, {}) == ()


def test_settings_are_plain_values():
    stated = {"a": "[0.5, 1]", "b": "('x', 'y')", "c": "__import__('os')", "d": "x" * 10_000}
    assert settings_of({}, stated) == (
        ({"a": [0.5, 1], "b": ("x", "y"), "c": "__import__('os')", "d": None}, "the logged parameters"),
    )


def test_own_network_with_the_kept_weights(store, tmp_path):
    (tmp_path / "own.py").write_text("from torchvision.models import squeezenet1_1\ndef build(num_classes=9):\n"
                                     "    return squeezenet1_1(num_classes=num_classes)\n")  # fmt: skip
    model = load_model(f"{tmp_path}/own.py:build", checkpoint="models:/chest@champion")
    assert holds(model, network().state_dict())
    assert model_info(model).registered == "models:/chest/1"
    assert holds(load_model(checkpoint=Path("models:/chest/1")), network().state_dict())


def test_an_unknown_network_names_what_to_write(store):
    torch.save(torch.nn.Sequential(torch.nn.Linear(2, 3)), store / "data" / "model.pth")
    with pytest.raises(CheckpointError, match="checkpoint='models:/chest/1'"):
        load_model("models:/chest@champion")


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("models:/cest/1", "no registered model 'cest'; did you mean chest?"),
        ("models:/chest/2", "no version 2 of 'chest'"),
        ("models:/chest@nobody", "no alias 'nobody' of 'chest'"),
        ("models:/chest/Production", "no version of 'chest' in Production"),
        ("models:/m-" + "0" * 32, "no logged model"),
        ("runs:/abc/x", "no run abc"),
        (f"runs:/{RUN}/nte", "no artifact 'nte'; did you mean net?"),
        ("models:/chest/1/data/mdel.pth", "did you mean model.pth?"),
        ("models:/chest/1/MLmodel", "weights could not be read"),
    ],
)
def test_what_is_not_there(uri, said, store):
    with pytest.raises(PellucidError, match=said.replace("?", r"\?")) as error:
        load_model(uri)
    assert one_line(error)


@pytest.mark.parametrize(
    ("description", "said"),
    [
        ("flavors: {sklearn: {pickled_model: model.pkl}, python_function: {}}", "got a model of sklearn"),
        ("flavors: [1]", "got a model of no library"),
        ("flavors: {pytorch: {model_data: ../../other}}", "no plain path"),
        ("flavors: {pytorch: {model_data: /etc}}", "no plain path"),
        ("flavors: {pytorch: {model_data: elsewhere}}", "no network's file"),
        ("[" * 5000, "broken"),
        ("a: &a {b: 1}\nc: {<<: *a}", "a mapping of names"),
        ("!!python/object/apply:os.system ['touch {mark}']", "broken"),
        ("- 1", "a mapping of names"),
        ("x" * (2**20 + 1), "larger than"),
    ],
)
def test_descriptions_that_are_refused(description, said, store, tmp_path):
    (store / "MLmodel").write_text(description.replace("{mark}", str(tmp_path / "ran")))
    try:
        with pytest.raises(SourceError, match=said) as error:
            load_model("models:/chest/1")
    finally:
        assert not (tmp_path / "ran").exists()
    assert one_line(error)
    assert "pellucid-" not in str(error.value)


def test_several_files_are_named(tmp_path, store):
    run = tmp_path / "run"
    for name in ("epoch=1/epoch=1.ckpt", "best.pt", "notes.txt"):
        (run / name).parent.mkdir(exist_ok=True)
        torch.save({"state_dict": network().state_dict()}, run / name)
    with pytest.raises(SourceError, match=r"2 files may be the network \(best.pt, epoch=1/epoch=1.ckpt\)"):
        load_model(f"runs:/{RUN}")
    assert holds(load_model(f"runs:/{RUN}/epoch=1"), network().state_dict())
    assert holds(load_model(f"runs:/{RUN}/best.pt"), network().state_dict())


def test_a_run_with_plots_alone_has_its_model(tmp_path, store):
    (tmp_path / "run" / "loss.png").write_bytes(b"")
    assert model_info(load_model(f"runs:/{RUN}")).registered == f"models:/{MODEL}"
    (Path(os.environ["MLFLOW_TRACKING_URI"]) / f"7/models/{MODEL}/meta.yaml").unlink()
    with pytest.raises(SourceError, match="no network's file") as error:
        load_model(f"runs:/{RUN}")
    assert one_line(error)


def test_links_out_of_the_artifacts_are_not_followed(store, tmp_path):
    (store / "data" / "model.pth").rename(tmp_path / "outside.pth")
    (store / "data" / "model.pth").symlink_to(tmp_path / "outside.pth")
    with pytest.raises(SourceError, match="a link that leads out of the artifacts"):
        load_model("models:/chest/1")


def test_nothing_that_comes_with_the_weights_runs(store, tmp_path):
    ran = tmp_path / "ran"

    class Trick:
        def __reduce__(self):
            return Path.touch, (ran,)

    (store / "code").mkdir()
    (store / "code" / "my_pickle.py").write_text(f"open({str(ran)!r}, 'w')")
    (store / "data" / "pickle_module_info.txt").write_text("my_pickle")
    whole = network()
    whole.trick = Trick()
    torch.save(whole, store / "data" / "model.pth")
    before = list(sys.path)
    assert holds(load_model("models:/chest/1"), network().state_dict())
    torch.save(Trick(), store / "data" / "model.pth")
    with pytest.raises(CheckpointError, match="without weights"):
        load_model("models:/chest/1")
    assert not ran.exists()
    assert sys.path == before
    assert "my_pickle" not in sys.modules


@pytest.mark.parametrize(
    "location", ["//host/share/x", "\\\\host\\share", "file://host/x", "s3://b/x", "mlflow-artifacts:/x"]
)
def test_artifacts_elsewhere(location, store, tmp_path):
    records(tmp_path / "mlruns", location)
    with pytest.raises(SourceError, match=r"not read from here|set MLFLOW_TRACKING_URI") as error:
        load_model("models:/chest/1")
    assert one_line(error)


@pytest.mark.parametrize("uri", ["postgresql://user:secret@host/db", "databricks", "/no/such", "sqlite:///no.db"])
def test_stores_that_are_not_read(uri, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(SourceError) as error:
        load_model("models:/chest/1")
    assert one_line(error)
    assert "secret" not in str(error.value)


def test_no_store(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match="set MLFLOW_TRACKING_URI"):
        load_model("models:/chest/1")


def test_nothing_of_mlflow_is_imported_and_nothing_is_changed(store):
    code = """
        import json, logging, os, sys, warnings
        import pellucid.models.sources.loading, pellucid.models.mlflow_artifacts.reading, torchvision
        pellucid.load_model("torchvision:squeezenet1_1")
        kinds = "mlflow", "sqlalchemy", "flask", "pandas", "docker", "pyarrow", "sklearn"
        class Blocked:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in kinds:
                    raise ImportError(name)
        sys.meta_path.insert(0, Blocked())
        state = lambda: [list(sys.path), dict(os.environ), list(map(str, warnings.filters)), logging.root.handlers[:]]
        before = state()
        info = pellucid.model_info(pellucid.load_model("models:/chest/1"))
        print(json.dumps([info.registered, state() == before, [kind for kind in kinds if kind in sys.modules]]))
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=100)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == ["models:/chest/1", True, []]
