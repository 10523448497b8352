"""Logs models to an MLflow server as users do, in a process of its own: python publishing.py URI FOLDER.

It prints, as JSON, the identifiers of what it logged.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

TRICK = """
from pathlib import Path
Path({mark!r}).write_text("ran")
load = None
"""


def main(uri: str, folder: Path) -> None:
    """Log a whole network, its weights alone, one with code beside it, files, and graphs in the ONNX format."""
    warnings.simplefilter("ignore")
    import mlflow
    import torch
    from mlflow.tracking import MlflowClient
    from torchvision.models import resnet18

    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment("published")
    torch.manual_seed(0)
    network = resnet18(num_classes=3).train()
    network(torch.randn(2, 3, 64, 64))
    torch.save(network.state_dict(), folder / "best.pt")
    code = folder / "tricky_pickle_module.py"
    code.write_text(TRICK.format(mark=str(folder / "ran")))
    with mlflow.start_run() as run:
        whole = mlflow.pytorch.log_model(
            network,
            name="whole",
            serialization_format="pickle",
            pip_requirements=["torch"],  # else a process of its own finds them
            registered_model_name="chest",
            code_paths=[str(code)],
            metadata={"classes": ["effusion", "nodule", "none"]},
        )
        exported = mlflow.pytorch.log_model(
            network.eval(),
            name="exported",
            serialization_format="pt2",
            pip_requirements=["torch"],
            input_example=torch.randn(2, 3, 64, 64).numpy(),
        )
        mlflow.pytorch.log_state_dict(network.state_dict(), "weights")
        mlflow.log_artifact(str(folder / "best.pt"), "checkpoints")
        for kind in ("layouts", "wrapped"):
            mlflow.log_artifacts(str(folder / kind), kind)
        graphs = {"graph": logged_graph(folder, "graph"), "one_file": logged_graph(folder, "one_file", False)}
    client = MlflowClient(uri)
    kept = client.create_logged_model(run.info.experiment_id, name="kept", source_run_id=run.info.run_id)
    client.log_model_artifacts(kept.model_id, str(folder / "layouts"))
    client.finalize_logged_model(kept.model_id, "READY")
    client.set_registered_model_alias("chest", "champion", "1")
    place = Path(mlflow.artifacts.download_artifacts(f"models:/{whole.model_id}", dst_path=str(folder / "seen")))
    found = {"run": run.info.run_id, "model": whole.model_id, "exported": exported.model_id}
    found |= {"kept": kept.model_id, **graphs}
    sys.stdout.write(json.dumps(found | {"files": sorted(names(place))}))


def logged_graph(folder: Path, name: str, has_files: bool = True) -> str:
    """Log the graph that is in the folder; ``has_files``: with its weights in another file, as MLflow does it."""
    import mlflow
    import numpy as np
    import onnx
    from mlflow.models import infer_signature

    logged = mlflow.onnx.log_model(
        onnx.load(folder / "graph.onnx"),
        name=name,
        registered_model_name=name,
        save_as_external_data=has_files,
        pip_requirements=["onnx"],
        signature=infer_signature(np.zeros((1, 3, 32, 32), np.float32)),
        metadata={"classes": ["effusion", "nodule", "none"], "mean": [0.5] * 3, "std": [0.25] * 3},
    )
    return str(logged.model_id)


def names(place: Path) -> list[str]:
    """The files below a folder."""
    return [str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()]


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
