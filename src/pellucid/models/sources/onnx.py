"""``model.onnx`` or ``onnx:model.onnx``: a graph that onnxruntime runs, for the methods that need only scores."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.errors import ShapeError, SourceError, message_of
from pellucid.models.graphs.external import LARGEST, Graph
from pellucid.models.sources.base import ModelInfo, ModelRequest, package

_TYPES = {"tensor(float)": torch.float32, "tensor(float16)": torch.float16, "tensor(double)": torch.float64}


class OnnxModel(nn.Module):
    """A graph with one input, the images: (B, C, *space) → its outputs by name. It has no layers and no gradients.

    ``sha256`` is the digest of its file and, after it, of those that hold its weights.
    """

    def __init__(self, session: Any, sha256: str) -> None:
        super().__init__()
        self.sha256 = sha256
        self._session = session
        (self._input,) = session.get_inputs()
        self._outputs = [output.name for output in session.get_outputs() if output.type in _TYPES]

    @property
    def size(self) -> tuple[int | None, ...]:
        """The input's shape with its batch axis; None for a free size. Empty if the graph states no shape."""
        return tuple(side if isinstance(side, int) else None for side in self._input.shape or ())

    @property
    def num_classes(self) -> int | None:
        """The number of classes, where the graph has one output of scores by class, and states its shape."""
        shapes = [output.shape for output in self._session.get_outputs() if output.name in self._outputs]
        is_scores = len(shapes) == 1 and len(shapes[0] or ()) == 2
        return shapes[0][1] if is_scores and isinstance(shapes[0][1], int) else None

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Run the graph, in chunks if its batch size is fixed. ``ShapeError``: it does not take these images."""
        step = (self.size[0] if self.size else None) or len(images)
        parts = [self._run(images[start : start + step], step) for start in range(0, len(images), step)]
        return {name: torch.cat([part[name] for part in parts]).to(images.device) for name in self._outputs}

    def _run(self, images: Tensor, count: int) -> dict[str, Tensor]:
        """The outputs of a chunk, which is padded to ``count`` images with copies of its last one."""
        filled = torch.cat([images, images[-1:].expand(count - len(images), *images.shape[1:])])
        given = filled.detach().to("cpu", _TYPES[self._input.type]).numpy()
        try:
            answers = self._session.run(self._outputs, {self._input.name: given})
        except Exception as error:  # onnxruntime has error classes of its own
            raise ShapeError(
                f"images {tuple(images.shape)} were given; the ONNX graph does not take them: {message_of(error)}"
            ) from None
        # A graph that sums over the batch returns one number.
        found = {name: torch.from_numpy(answer) for name, answer in zip(self._outputs, answers, strict=True)}
        return {name: (answer if answer.ndim else answer[None])[: len(images)] for name, answer in found.items()}


class OnnxSource:
    """A file in the ONNX format, with its weights in it or beside it. Only the graph's own operators run."""

    prefix = "onnx"
    path_form = "path/to/model.onnx"
    brings_weights = True

    def takes_path(self, spec: str) -> bool:
        """Whether a specification names a file in the ONNX format."""
        return spec.endswith(".onnx")

    def outline(self, request: ModelRequest) -> nn.Module:
        """Refuse: there is nothing to load weights into."""
        raise SourceError(f"{request.name}: an ONNX file contains its weights; leave out the checkpoint")

    def build(self, request: ModelRequest) -> nn.Module:
        """Load the graph. ``SourceError``: no such file, it cannot be read, or it takes more than images."""
        if request.num_classes is not None:
            raise SourceError(f"{request.name}: an ONNX file's number of classes is fixed; leave out num_classes")
        path = Path(request.name)
        return graph_model(path, partial(_beside, path))

    def info(self, _request: ModelRequest, model: nn.Module) -> ModelInfo:
        """Return the digest, and the input size if the graph states it."""
        if not isinstance(model, OnnxModel):
            return ModelInfo()
        size = model.size[1:]
        sides = tuple(side for side in size if side is not None)
        known = sides if size and len(sides) == len(size) else None
        return ModelInfo(input_size=known, checkpoint_sha256=model.sha256)


def graph_model(path: Path, file_of: Callable[[str], Path]) -> OnnxModel:
    """Load a graph; ``file_of`` finds the files that it names, in which its weights may be.

    ``SourceError``: no such file, it cannot be read, or it takes more than images.
    """
    session, sha256 = _session(path, file_of)
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type not in _TYPES:
        found = ", ".join(f"{each.name}: {each.type}" for each in inputs)
        raise SourceError(f"{path}: a graph with one input of floats, the images, is needed, got {found}")
    model = OnnxModel(session, sha256)
    if not model._outputs:
        kinds = ", ".join(output.type for output in session.get_outputs())
        raise SourceError(f"{path}: a graph that returns a tensor of floats is needed, got {kinds}")
    return model


def _beside(path: Path, name: str) -> Path:
    """The file of this name in the folder of a graph. ``SourceError``: it is not there."""
    folder = path.parent.resolve()
    found = (folder / name).resolve()
    if not found.is_file() or not found.is_relative_to(folder):
        raise SourceError(
            f"onnx:{path}: its weights are stated in {name!r}, which is no file in its folder: put it there"
        )
    return found


def _session(path: Path, file_of: Callable[[str], Path]) -> tuple[Any, str]:
    onnxruntime = package("onnxruntime", str(path), "onnx")
    if not path.is_file():
        raise SourceError(f"onnx:{path}: no such file; give path/to/model.onnx")
    if path.stat().st_size > LARGEST:
        raise SourceError(f"onnx:{path}: larger than {LARGEST} bytes, which no ONNX file is")
    content, graph = path.read_bytes(), Graph(f"onnx:{path}", file_of)
    whole = graph.whole(content)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(whole, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has error classes of its own
        raise SourceError(f"onnx:{path}: it is broken ({message_of(error)})") from None
    return session, graph.digest(content)


SOURCE = OnnxSource()
