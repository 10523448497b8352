"""Metrics of localisation, complexity and comparison beside scikit-learn, scikit-image, scipy, Quantus and others.

Maps are drawn with ties where that tells libraries apart, and without elsewhere. ``python -m
benchmarks.oracles_localisation`` prints COCO's texts of the masks that the tests read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.oracles import CASES, Compared, largest
from pellucid import metrics as m
from pellucid.core.metric import Comparison, Metric
from pellucid.metrics.froc import _marks

SIDE = 40
LARGE = 180
"""A side that MS-SSIM needs."""


@dataclass(frozen=True)
class Given:
    """Maps and masks (100, side, side)."""

    maps: Tensor
    masks: Tensor

    @property
    def has_mask(self) -> Tensor:
        """All have one."""
        return torch.ones(len(self.maps), dtype=torch.bool)

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        """A map and its mask as arrays, one case after the other."""
        return zip(self.maps.double().numpy(), self.masks.numpy(), strict=True)


def drawn(levels: int | None = None) -> Given:
    """Random maps in [0, 1], of so many levels that a third is 0; without levels, without ties."""
    source = torch.Generator().manual_seed(0)
    maps = torch.rand(CASES, SIDE, SIDE, generator=source)
    if levels is not None:
        maps = ((maps * 1.5 - 0.5).clamp(min=0) * levels).floor() / levels
    return Given(maps, torch.rand(CASES, SIDE, SIDE, generator=source) < 0.1)


def pairs(side: int = SIDE) -> tuple[Tensor, Tensor]:
    """Pairs of maps (100, side, side) of few levels that are alike."""
    source = torch.Generator().manual_seed(1)
    a, noise = (torch.rand(CASES, side, side, generator=source).mul(20).floor() / 20 for _ in range(2))
    return a, 0.75 * a + 0.25 * noise


def ours(metric: Metric, given: Given) -> list[float]:
    """The values of pellucid."""
    values: list[float] = metric.update(given).values.tolist()  # type: ignore[arg-type]  # no model is asked
    return values


def rows() -> Iterator[Compared]:
    """The comparisons, one after the other."""
    for compare in (
        _areas,
        _average_precision,
        _quantus,
        _ties,
        _froc,
        _entropy,
        _similarity,
        _correlations,
        _distances,
    ):
        yield from compare()
    yield from _masks()


def _row(metric: Metric, oracle: str, given: Given, theirs: Sequence[float], remark: str = "equal") -> Compared:
    return Compared(metric.name, oracle, CASES, largest(ours(metric, given), theirs), remark)


def _areas() -> Iterator[Compared]:
    from sklearn.metrics import jaccard_score, precision_score, recall_score

    given = drawn(levels=12)
    functions = ((m.IoU(), jaccard_score), (m.LesionCoverage(), recall_score), (m.SaliencyPrecision(), precision_score))
    for metric, function in functions:
        theirs = [function(mask.ravel(), heat.ravel() >= 0.5) for heat, mask in given]
        yield _row(metric, f"scikit-learn's {function.__name__}", given, theirs)


def _average_precision() -> Iterator[Compared]:
    from sklearn.metrics import auc, average_precision_score, precision_recall_curve

    given = drawn(levels=12)
    theirs = [average_precision_score(mask.ravel(), heat.ravel()) for heat, mask in given]
    yield _row(m.AUPRC(), "scikit-learn's average_precision_score", given, theirs)
    curves = [precision_recall_curve(mask.ravel(), heat.ravel()) for heat, mask in given]
    remark = "trapezoids over the curve; Davis and Goadrich (2006): too high, so ours is right"
    yield _row(
        m.AUPRC(), "scikit-learn's auc", given, [auc(recall, precision) for precision, recall, _ in curves], remark
    )


def _by_quantus(metric: Any, given: Given) -> list[float]:
    """The values of Quantus, as it takes maps: neither normalised nor their magnitude."""
    images = np.zeros((CASES, 1, SIDE, SIDE))
    found = metric(
        model=None,
        x_batch=images,
        y_batch=np.zeros(CASES, dtype=int),
        a_batch=given.maps[:, None].double().numpy(),
        s_batch=given.masks[:, None].numpy(),
        batch_size=CASES,
    )
    return [float(one) for one in found]


def _quantus() -> Iterator[Compared]:
    import quantus

    settings = {"abs": False, "normalise": False, "disable_warnings": True}
    given = drawn()
    yield _row(m.RelevanceMass(), "Quantus", given, _by_quantus(quantus.RelevanceMassAccuracy(**settings), given))
    yield _row(m.RelevanceRank(), "Quantus", given, _by_quantus(quantus.RelevanceRankAccuracy(**settings), given))
    yield _row(m.PointingGame(), "Quantus", given, _by_quantus(quantus.PointingGame(**settings), given))
    complexity = _by_quantus(quantus.EffectiveComplexity(eps=1e-5, **settings), given)
    yield _row(m.EffectiveComplexity(), "Quantus", given, complexity)
    sparse = _by_quantus(quantus.Sparseness(**{**settings, "abs": True}), given)
    yield _row(m.Sparseness(), "Quantus", given, sparse, "it adds 1e-7 to every value: ours is the formula")


def _ties() -> Iterator[Compared]:
    import quantus

    settings = {"abs": False, "normalise": False, "disable_warnings": True}
    given = drawn(levels=4)
    remark = "pixels of equal value: it takes them in the order of its sorting, ours is the mean over all orders"
    yield _row(
        m.RelevanceRank(),
        "Quantus, with ties",
        given,
        _by_quantus(quantus.RelevanceRankAccuracy(**settings), given),
        remark,
    )
    remark = "of several maxima it counts any that hits; ours takes the one in their middle, as a block has one peak"
    yield _row(
        m.PointingGame(), "Quantus, with ties", given, _by_quantus(quantus.PointingGame(**settings), given), remark
    )


def _froc() -> Iterator[Compared]:
    from scipy import ndimage

    monai: Any = import_module("monai.metrics")
    given, theirs = drawn(levels=12), []
    for heat, mask in given:
        lesions = ndimage.label(mask, structure=np.ones((3, 3)))[0]
        positions, heights = _marks(heat, 0.9)
        false, true, count = monai.compute_fp_tp_probs(heights, positions[:, 0], positions[:, 1], lesions)
        curve = monai.compute_froc_curve_data(false, true, count, 1)
        theirs.append(_mean_sensitivity(*map(np.asarray, curve)))
    yield _row(m.FROC(threshold=0.9), "MONAI, of our marks", given, theirs, "equal, its curve read as steps")


def _mean_sensitivity(false: Any, found: Any) -> float:
    """The mean of the largest sensitivity at up to 0, …, 4 false marks."""
    return float(np.mean([max(found[false <= most], default=0.0) for most in range(5)]))


def _entropy() -> Iterator[Compared]:
    import quantus
    from scipy.stats import entropy

    given, metric = drawn(levels=12), m.Entropy()
    yield _row(metric, "scipy's entropy", given, [float(entropy(heat.ravel())) for heat, _ in given])
    settings = {"abs": True, "normalise": False, "disable_warnings": True}
    theirs = _by_quantus(quantus.Complexity(**settings), given)
    yield _row(metric, "Quantus' complexity", given, theirs, "it adds 1e-12 to every probability: ours is the formula")


def _compared(
    metric: Comparison, oracle: str, theirs: Sequence[float], side: int = SIDE, remark: str = "equal"
) -> Compared:
    found: list[float] = metric.update(*pairs(side)).values.tolist()
    return Compared(metric.name, oracle, len(found), largest(found, theirs), remark)


def _similarity() -> Iterator[Compared]:
    from torchmetrics.functional.image import (
        multiscale_structural_similarity_index_measure,
        structural_similarity_index_measure,
    )

    skimage: Any = import_module("skimage.metrics")
    a, b = (one.double() for one in pairs())
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1}
    each = zip(a.numpy(), b.numpy(), strict=True)
    theirs = [float(skimage.structural_similarity(x, y, **settings)) for x, y in each]
    yield _compared(m.SSIM(), "scikit-image's structural_similarity", theirs)
    whole, full = structural_similarity_index_measure(
        a[:, None], b[:, None], sigma=1.5, data_range=1.0, reduction="none", return_full_image=True
    )
    border = "it counts the mirrored border, which Wang et al. and scikit-image leave out, as ours does"
    yield _compared(m.SSIM(), "torchmetrics", whole.tolist(), remark=border)
    inner = full[..., 5:-5, 5:-5].flatten(1).mean(1)
    yield _compared(m.SSIM(), "torchmetrics, its map without the border", inner.tolist())
    a, b = (one.double()[:, None] for one in pairs(LARGE))
    by = multiscale_structural_similarity_index_measure(a, b, data_range=1.0, reduction="none", normalize="relu")
    yield _compared(m.MSSSIM(), "torchmetrics", by.tolist(), LARGE, f"at the coarsest scale {border}")


def _correlations() -> Iterator[Compared]:
    from scipy.stats import pearsonr, spearmanr
    from torchmetrics.functional.regression import spearman_corrcoef

    a, b = (one.flatten(1).double() for one in pairs())
    each = list(zip(a.numpy(), b.numpy(), strict=True))
    yield _compared(m.Spearman(), "scipy's spearmanr", [float(spearmanr(x, y).statistic) for x, y in each])
    yield _compared(m.Spearman(), "torchmetrics", spearman_corrcoef(a.T, b.T).tolist())
    yield _compared(m.Pearson(), "scipy's pearsonr", [float(pearsonr(x, y).statistic) for x, y in each])


def _distances() -> Iterator[Compared]:
    from scipy.ndimage import center_of_mass

    a, b = (one.double().numpy() for one in pairs())
    each = list(zip(a, b, strict=True))
    yield _compared(m.L2(), "numpy's norm", [float(np.linalg.norm(x - y)) for x, y in each])
    shifts = [float(np.linalg.norm(np.subtract(center_of_mass(x), center_of_mass(y)))) for x, y in each]
    yield _compared(m.CentreShift(), "scipy's center_of_mass", shifts)
    source = torch.Generator().manual_seed(2)
    one, other = (torch.rand(CASES, SIDE, SIDE, generator=source) for _ in range(2))
    count = SIDE * SIDE // 10
    tops = [[set(heat.ravel().argsort()[-count:].tolist()) for heat in maps.numpy()] for maps in (one, other)]
    theirs = [len(x & y) / count for x, y in zip(*tops, strict=True)]
    found = m.TopKOverlap().update(one, other).values.tolist()
    yield Compared("topk_overlap", "numpy's argsort, without ties", CASES, largest(found, theirs))


def _masks() -> Iterator[Compared]:
    from pycocotools import mask as coco

    from pellucid.core.rle import decoded

    source, different = np.random.default_rng(0), 0
    for _ in range(CASES):
        size = source.integers(1, 200, 2).tolist()
        mask = source.random(size) < source.random()
        encoded = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        different += int((decoded(encoded, size).numpy() != mask).sum())
    yield Compared(
        "masks in COCO's run-length encoding", "pycocotools", CASES, float(different), "equal in every pixel"
    )


def _texts() -> Iterator[str]:
    from pycocotools import mask as coco

    tests: Any = import_module("tests.metrics.test_masks")
    for key in tests.COCO:
        mask = np.asfortranarray(tests.drawn(*key).astype(np.uint8))
        yield f"{key}: {coco.encode(mask)['counts'].decode()!r},"


if __name__ == "__main__":
    import typer

    for text in _texts():
        typer.echo(text)
