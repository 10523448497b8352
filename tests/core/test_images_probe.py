"""Methods of the older form, ``attribute(probe, images, targets)``, work with a warning."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

import pellucid
from pellucid.core.attribution import Attribution
from pellucid.core.inputs import Images
from pellucid.core.method import Method
from pellucid.methods.gradcam import GradCAM
from pellucid.methods.smoothgrad import SmoothGrad
from tests.networks import TinyCNN, images, seeded


def older() -> type[Method]:
    """Grad-CAM less that of the darkened images, in the older form."""

    @dataclass(frozen=True)
    class Older(Method):
        def attribute(self, probe, images: Images, targets) -> Attribution:
            logits = probe.scores(images)
            assert probe.batch_size > 0
            assert probe.generator().initial_seed() == 0
            activations, gradients = probe.activations_and_gradients(images, targets)
            darker, _ = probe.activations_and_gradients(images * 0.5, targets)
            assert torch.equal(darker, probe.activations(images * 0.5))
            assert probe.input_gradients(images, targets).shape[2:] == images.shape[1:]
            return Attribution(((activations - darker) * gradients).sum(2) + 0 * logits.sum())

    return Older


def test_it_works_with_a_warning_at_the_class() -> None:
    with pytest.warns(DeprecationWarning, match=r"Older.attribute takes \(probe, images, targets\)") as caught:
        method = older()()
    assert caught[0].filename == __file__
    model, batch = seeded(TinyCNN).eval(), images(2)
    found = pellucid.explain(model, batch, method=method, targets=1, layers=["features.3"])
    features = model.features[:4]
    with torch.no_grad():
        change = features(batch) - features(batch * 0.5)
    leaf = features(batch).detach().requires_grad_()
    rest = torch.nn.Sequential(*model.features[4:])
    (gradient,) = torch.autograd.grad(model.fc(rest(leaf.clone()).flatten(2).mean(-1))[:, 1].sum(), leaf)
    torch.testing.assert_close(found.attributions[:, 0], (change * gradient).sum(1))


def test_wrappers_take_it() -> None:
    with pytest.warns(DeprecationWarning, match="write attribute"):
        method = older()()
    model, batch = seeded(TinyCNN), images(1)
    assert pellucid.explain(model, batch, method=SmoothGrad(method, samples=2), targets=1).heatmaps.isfinite().all()


def test_the_newer_form_does_not_warn() -> None:
    @dataclass(frozen=True)
    class Newer(GradCAM):
        def attribute(self, probe, targets) -> Attribution:
            return super().attribute(probe, targets)

    assert not pellucid.explain(seeded(TinyCNN), images(1), method=Newer(), targets=1).degenerate.all()
