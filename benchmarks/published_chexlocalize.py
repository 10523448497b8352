"""Writes tests/evaluation/chexlocalize.json: what CheXlocalize's published code computes of made cases.

``python -m benchmarks.published_chexlocalize FOLDER`` needs pycocotools, pandas, OpenCV and tqdm, and a folder with
these files of github.com/rajpurkarlab/cheXlocalize: eval.py and eval_constants.py, utils.py,
heatmap_to_segmentation_probability_threshold.py as heatmap_to_segmentation.py, tune_heatmap_threshold.py, and eval.py
of commit 0e45730 as eval_hits.py. Its later eval.py looks for the peak in the segmentation instead of in the map.
"""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

PATH = Path(__file__).parents[1] / "tests" / "evaluation" / "chexlocalize.json"
TASKS = (
    "Airspace Opacity",
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Enlarged Cardiomediastinum",
    "Lung Lesion",
    "Pleural Effusion",
    "Pneumothorax",
    "Support Devices",
)
CASES, VALIDATION = (0, 14), (1, 10)
"""A seed and the number of images: those that are scored, and those on which thresholds are tuned."""
CUTOFF = 0.25
"""Below this probability nothing is segmented."""


@dataclass(frozen=True)
class Made:
    """A made case: a coarse map (7, 7), the mask (H, W) of a finding, and the model's probability."""

    image: str
    task: str
    coarse: Tensor
    mask: npt.NDArray[np.bool_]
    probability: float

    @property
    def enlarged(self) -> Tensor:
        """The map (H, W)."""
        size = self.mask.shape
        return torch.nn.functional.interpolate(self.coarse[None, None], size=size, mode="bilinear")[0, 0]


def made(seed: int, images: int) -> Iterator[Made]:
    """Maps that are warm near a box, with rings, plateaus and noise; a third of the images has no finding of a task."""
    rng = np.random.default_rng(seed)
    for number in range(images):
        height, width = (int(side) for side in rng.integers(30, 60, size=2))
        for task in TASKS:
            mask = np.zeros((height, width), dtype=np.bool_)
            top, left = int(rng.integers(height - 12)), int(rng.integers(width - 12))
            if rng.random() < 0.67:
                mask[top : top + int(rng.integers(5, 20)), left : left + int(rng.integers(5, 20))] = True
            rows, columns = np.mgrid[:7, :7]
            distance = np.hypot(rows - 7 * top / height - 0.5, columns - 7 * left / width - 0.5)
            heat = np.exp(-((distance - rng.integers(0, 3)) ** 2)) + 0.3 * rng.random((7, 7))
            coarse = np.round(heat, 1) if rng.random() < 0.3 else heat
            name = f"patient{seed}{number:02}_study1_view1_frontal"
            yield Made(name, task, torch.from_numpy(coarse.astype(np.float32)), mask, round(float(rng.random()), 3))


def main() -> None:
    """Run the published code on the made cases and write what it finds."""
    sys.path.insert(0, sys.argv[1])
    with TemporaryDirectory() as folder:
        scored, validation = Path(folder) / "scored", Path(folder) / "validation"
        masks = _written(scored, CASES)
        others = _written(validation, VALIDATION)
        found = _found(scored, masks, _thresholds(validation, others))
    PATH.write_text(json.dumps(found, indent=1) + "\n")


def _written(folder: Path, cases: tuple[int, int]) -> dict[str, Any]:
    """Write maps as the published pickles, and the masks as its JSON; returns the latter."""
    encode = import_module("utils").encode_segmentation
    masks: dict[str, Any] = {}
    folder.mkdir()
    for one in made(*cases):
        height, width = one.mask.shape
        kept = {"map": one.coarse[None, None], "prob": one.probability, "task": one.task, "cxr_dims": (width, height)}
        (folder / f"{one.image}_{one.task}_map.pkl").write_bytes(pickle.dumps(kept))
        masks.setdefault(one.image, {})[one.task] = encode(one.mask)
    (folder / "masks.json").write_text(json.dumps(masks))
    return masks


def _thresholds(folder: Path, masks: Mapping[str, Any]) -> dict[str, float]:
    tune = import_module("tune_heatmap_threshold").tune_threshold
    return {task: round(float(tune(task, masks, folder)), 1) for task in TASKS}


def _found(folder: Path, masks: Mapping[str, Any], thresholds: Mapping[str, float]) -> dict[str, Any]:
    """All figures, as the published scripts compute them."""
    pandas, code, hits = import_module("pandas"), import_module("eval"), import_module("eval_hits")
    rates, _ = hits.get_hit_rates(folder / "masks.json", folder)
    frames = {"hit rate": pandas.DataFrame.from_dict(rates, orient="index").sort_index()}
    for way, chosen in (("Otsu", {}), ("tuned", thresholds)):
        for over in ("true positives", "all"):
            ious = {task: _ious(folder, masks, task, over, chosen.get(task, np.nan)) for task in TASKS}
            frames[f"mIoU, {way}, {over}"] = pandas.DataFrame.from_dict(ious)
    return {
        "thresholds": thresholds,
        "values": {name: json.loads(frame[list(TASKS)].to_json(orient="values")) for name, frame in frames.items()},
        "figures": {name: _figures(code, frame) for name, frame in frames.items()},
    }


def _ious(folder: Path, masks: Mapping[str, Any], task: str, over: str, threshold: float) -> list[float]:
    segment, decode = import_module("heatmap_to_segmentation").pkl_to_mask, import_module("pycocotools.mask").decode
    iou = import_module("eval").calculate_iou
    found = []
    for image in sorted(masks):
        path = folder / f"{image}_{task}_map.pkl"
        segmentation = segment(path, threshold=threshold, prob_cutoff=CUTOFF)
        found.append(float(iou(segmentation, decode(masks[image][task]), over == "true positives")))
    return found


def _figures(code: Any, frame: Any) -> dict[str, list[float]]:
    """By task: the mean, the 25th and the 975th of the sorted replicates, and what the script prints of them."""
    np.random.seed(0)
    replicates = code.bootstrap_metric(frame, 1000)
    found = {}
    for task in TASKS:
        ordered, printed = replicates[task].sort_values(), code.compute_cis(replicates[task], 0.05)
        found[task] = [frame[task].mean(), ordered.iloc[24], ordered.iloc[974], *printed]
    return {task: [float(value) for value in values] for task, values in found.items()}


if __name__ == "__main__":
    main()
