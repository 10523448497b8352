"""The published Grad-CAM, row by row of its contract, against replicas that go loop by loop."""

import copy
import inspect
import math
import re
from dataclasses import asdict, fields, is_dataclass

import cv2
import numpy as np
import PIL.Image
import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from pellucid.errors import MissingPackageError, NoSpatialLayerError, PellucidError, PellucidWarning
from pellucid.xai import GradCAM, GradCAMConfig, GradCAMPlusPlus, create_gradcam, get_recommended_layers

CLASSES = 5
LAYERS = ["layer1", "layer2", "layer3", "layer4"]
BOTH = pytest.mark.parametrize("kind", [GradCAM, GradCAMPlusPlus])


CALLS: list[int] = []
"""The batch sizes of the passes of the test's networks. Explaining runs copies of their modules, not the modules."""


class Net(nn.Module):
    """Four convolutions, each rewritten in place by the ReLU after it; ``layer4`` ends in a ReLU of its own."""

    def __init__(self, inplace=True, channels=3, classes=CLASSES):
        super().__init__()
        self.layer1 = nn.Conv2d(channels, 4, 3, padding=1)
        self.layer2 = nn.Conv2d(4, 5, 3, stride=2, padding=1)
        self.layer3 = nn.Conv2d(5, 6, 3, stride=2, padding=1)
        self.layer4 = nn.Sequential(nn.Conv2d(6, 7, 3, padding=1), nn.BatchNorm2d(7), nn.ReLU(inplace=inplace))
        self.relu = nn.ReLU(inplace=inplace)
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(7, classes)

    def forward(self, x):
        CALLS.append(len(x))
        for layer in (self.layer1, self.layer2, self.layer3):
            x = self.relu(layer(x))
        return self.fc(self.dropout(self.layer4(x).mean((2, 3))))


def net(seed=0, **options):
    torch.manual_seed(seed)
    model = Net(**options).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.4)
    nn.init.uniform_(model.layer4[1].running_var, 0.5, 1.5)
    return model


def images(count=1, size=(16, 24), seed=1, channels=3):
    return torch.randn(count, channels, *size, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def model():
    CALLS.clear()
    return net()


@pytest.fixture(scope="module")
def resnet():
    torch.manual_seed(3)
    return torchvision.models.resnet18(num_classes=CLASSES).eval()


def config(*layers, **options):
    return GradCAMConfig(target_layers=list(layers) or ["layer4"], **options)


def said(call, kind=ValueError):
    """What the error of a call says; all errors are pellucid's own, too."""
    with pytest.raises(kind) as caught:
        call()
    if kind is ValueError:
        assert isinstance(caught.value, PellucidError)
    return str(caught.value)


# Replicas


def captured(model, layer, image, index=None):
    """A layer's output (C, H, W), its gradient and the class, by hooks and autograd of the test's own."""
    model = copy.deepcopy(model).eval()
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    kept = []
    handle = model.get_submodule(layer).register_forward_hook(lambda _m, _i, output: kept.append(output))
    with torch.enable_grad():
        logits = model(image.clone().requires_grad_())
    handle.remove()
    index = int(logits[0].argmax()) if index is None else index
    gradient = torch.autograd.grad(logits[0, index], kept[0])[0]
    return kept[0][0].detach().numpy().astype(np.float64), gradient[0].numpy().astype(np.float64), index


def cam_weights(gradients):
    channels, height, width = gradients.shape
    weights = []
    for c in range(channels):
        total = 0.0
        for i in range(height):
            for j in range(width):
                total += gradients[c, i, j]
        weights.append(total / (height * width))
    return weights


def combined(weights, activations):
    channels, height, width = activations.shape
    result = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            result[i, j] = max(0.0, sum(weights[c] * activations[c, i, j] for c in range(channels)))
    return result


def naive_cam(activations, gradients):
    return combined(cam_weights(gradients), activations)


def plus_weights(activations, gradients):
    channels, height, width = gradients.shape
    weights = []
    for c in range(channels):
        total = sum(activations[c, i, j] for i in range(height) for j in range(width))
        weight = 0.0
        for i in range(height):
            for j in range(width):
                g = gradients[c, i, j]
                alpha = 1 / (2 + total * g) if g != 0 else 0.0
                weight += alpha * max(0.0, g)
        weights.append(weight)
    return weights


def naive_plus(activations, gradients):
    activations = np.maximum(activations, 0)
    return combined(plus_weights(activations, gradients), activations)


def naive_eigen(weights, activations):
    """What the channels have in common: numpy's SVD of places × channels, less the columns' means."""
    channels, height, width = activations.shape
    matrix = np.stack([weights[c] * activations[c].reshape(-1) for c in range(channels)], axis=1)
    matrix = matrix - matrix.mean(axis=0)
    projection = matrix @ np.linalg.svd(matrix, full_matrices=False)[2][0]
    if np.corrcoef(projection, matrix.mean(axis=1))[0, 1] < 0:
        projection = -projection
    return np.maximum(projection, 0).reshape(height, width)


NAIVE = {GradCAM: naive_cam, GradCAMPlusPlus: naive_plus}


def finished(raw, size, mode="bilinear", normalize=True):
    """Interpolated and stretched, by hand."""
    corners = {} if mode == "nearest" else {"align_corners": False}
    whole = F.interpolate(torch.tensor(raw)[None, None], size=tuple(size), mode=mode, **corners)[0, 0].numpy()
    if not normalize:
        return whole
    low, high = whole.min(), whole.max()
    return (whole - low) / (high - low) if high > low else np.zeros_like(whole)


def replica(kind, model, layer, image, index=None, **options):
    activations, gradients, _ = captured(model, layer, image, index)
    return finished(NAIVE[kind](activations, gradients), image.shape[-2:], **options)


def near(found, expected, tolerance=1e-5):
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * max(1.0, float(np.abs(expected).max())))


def alive(heatmap):
    """A map that shows something: a comparison of zeros would prove nothing."""
    assert heatmap.max() - heatmap.min() > 1e-4
    return heatmap


def hooks_of(model):
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(module, kind)) for module in model.modules() for kind in kinds)


class TestGradCAMConfig:
    def test_modules_instead_of_names_are_a_type_error(self):
        with pytest.raises(TypeError, match="names, got Conv2d"):
            GradCAMConfig(target_layers=[nn.Conv2d(1, 1, 1)])

    def test_defaults(self):
        assert is_dataclass(GradCAMConfig)
        assert asdict(GradCAMConfig()) == {
            "target_layers": ["layer4"],
            "use_cuda": True,
            "relu_on_gradients": False,
            "use_abs_gradients": False,
            "eigen_smooth": False,
            "batch_size": 32,
            "output_size": None,
            "interpolation_mode": "bilinear",
            "normalize_heatmap": True,
        }

    def test_fields_keep_their_order(self):
        order = [field.name for field in fields(GradCAMConfig)]
        assert order[:5] == ["target_layers", "use_cuda", "relu_on_gradients", "use_abs_gradients", "eigen_smooth"]
        assert order[5:] == ["batch_size", "output_size", "interpolation_mode", "normalize_heatmap"]

    def test_default_layers_are_not_shared(self):
        first = GradCAMConfig()
        first.target_layers.append("layer3")
        assert GradCAMConfig().target_layers == ["layer4"]

    def test_everything_can_be_given(self):
        given = {
            "target_layers": ["a.b", "c"],
            "use_cuda": False,
            "relu_on_gradients": True,
            "use_abs_gradients": True,
            "eigen_smooth": True,
            "batch_size": 1,
            "output_size": (7, 9),
            "interpolation_mode": "nearest",
            "normalize_heatmap": False,
        }
        assert asdict(GradCAMConfig(**given)) == given

    def test_no_layers(self):
        assert said(lambda: GradCAMConfig(target_layers=[])) == "target_layers cannot be empty"

    def test_layers_as_one_text_is_a_type_error(self):
        assert "layer4" in said(lambda: GradCAMConfig(target_layers="layer4"), TypeError)

    @pytest.mark.parametrize("size", [0, -1])
    def test_batch_size(self, size):
        assert said(lambda: GradCAMConfig(batch_size=size)) == f"batch_size must be >= 1, got {size}"

    @pytest.mark.parametrize("size", [(224,), (1, 2, 3), 224, (), "ab", (1.5, 2)])
    def test_output_size_that_is_no_pair(self, size):
        assert said(lambda: GradCAMConfig(output_size=size)) == f"output_size must be (H, W), got {size}"

    @pytest.mark.parametrize("size", [(0, 4), (4, 0), (-1, 4)])
    def test_output_size_that_is_not_positive(self, size):
        assert said(lambda: GradCAMConfig(output_size=size)) == f"output_size dimensions must be > 0, got {size}"

    @pytest.mark.parametrize("mode", ["bilinear", "bicubic", "nearest"])
    def test_interpolation_modes(self, mode):
        assert GradCAMConfig(interpolation_mode=mode).interpolation_mode == mode

    @pytest.mark.parametrize("mode", ["linear", "area", "Bilinear", ""])
    def test_other_interpolation_modes(self, mode):
        assert said(lambda: GradCAMConfig(interpolation_mode=mode)) == f"Invalid interpolation_mode: {mode}"


class TestGradCAM:
    @BOTH
    @pytest.mark.parametrize("layer", LAYERS)
    def test_equals_the_replica(self, model, kind, layer):
        found = kind(model, config(layer)).generate_heatmap(images(), class_idx=2)
        near(alive(found), replica(kind, model, layer, images(), 2))

    @BOTH
    @pytest.mark.parametrize("layer", ["conv1", "layer2", "layer3.1.conv2", "layer4"])
    def test_equals_the_replica_on_a_resnet(self, resnet, kind, layer):
        image = images(size=(64, 64))
        found = kind(resnet, config(layer)).generate_heatmap(image, 2)
        near(alive(found), replica(kind, resnet, layer, image, 2), 1e-4)

    @BOTH
    def test_equals_the_replica_on_a_vgg(self, kind):
        model = from_torchvision("vgg11").eval()
        image = images(size=(64, 64))
        assert model.features[19].inplace
        found = kind(model, config("features.18")).generate_heatmap(image, 1)
        near(alive(found), replica(kind, model, "features.18", image, 1), 1e-4)

    def test_result_is_float32_of_the_inputs_size_in_unit_range(self, model):
        found = GradCAM(model, config()).generate_heatmap(images())
        assert isinstance(found, np.ndarray)
        assert (found.dtype, found.shape) == (np.float32, (16, 24))
        assert (found.min(), found.max()) == (0, 1)

    def test_three_and_four_dimensions(self, model):
        gradcam = GradCAM(model, config())
        near(gradcam.generate_heatmap(images()[0]), gradcam.generate_heatmap(images()), 0)

    @pytest.mark.parametrize("shape", [(16,), (16, 24), (1, 1, 3, 16, 24)])
    def test_other_ranks(self, model, shape):
        gradcam = GradCAM(model, config())
        expected = f"Input must be 3D or 4D tensor, got {len(shape)}D"
        assert said(lambda: gradcam.generate_heatmap(torch.randn(shape))) == expected
        assert said(lambda: gradcam.get_multi_layer_heatmap(torch.randn(shape))) == expected

    def test_a_batch_names_the_right_method(self, model):
        gradcam = GradCAM(model, config())
        assert "generate_batch_heatmaps" in said(lambda: gradcam.generate_heatmap(images(2)))

    def test_no_class_is_the_predicted_one(self, model):
        gradcam = GradCAM(model, config("layer3"))
        _, _, predicted = captured(model, "layer3", images())
        near(gradcam.generate_heatmap(images()), gradcam.generate_heatmap(images(), predicted), 0)
        others = [gradcam.generate_heatmap(images(), k) for k in range(CLASSES) if k != predicted]
        assert all(np.abs(gradcam.generate_heatmap(images()) - other).max() > 0.01 for other in others)

    @pytest.mark.parametrize("index", [CLASSES, 100, -1])
    def test_a_class_out_of_range_names_the_number_of_classes(self, model, index):
        gradcam = GradCAM(model, config())
        for call in (gradcam.generate_heatmap, gradcam.get_multi_layer_heatmap):
            message = said(lambda call=call: call(images(), class_idx=index))
            assert re.search(rf"\b{CLASSES} classes", message)
            assert str(index) in message
        assert f"{CLASSES} classes" in said(lambda: gradcam.generate_batch_heatmaps(images(2), [0, index]))

    def test_target_layer_may_be_any_layer_of_the_model(self, model):
        found = GradCAM(model, config("layer4")).generate_heatmap(images(), 1, target_layer="layer4.0")
        near(alive(found), replica(GradCAM, model, "layer4.0", images(), 1))

    @pytest.mark.parametrize("name", ["layer5", "nonsense", ""])
    def test_an_unknown_target_layer_says_what_there_is(self, model, name):
        gradcam = GradCAM(model, config())
        message = said(lambda: gradcam.generate_heatmap(images(), target_layer=name))
        assert repr(name) in message
        assert all(layer in message for layer in ("layer1", "layer2", "layer3", "layer4.0"))

    def test_unknown_layers_in_the_constructor(self, model):
        message = said(lambda: GradCAM(model, config("layer4", "laier3")))
        assert message.startswith("Target layers not found")
        assert "'laier3'" in message
        assert "did you mean" in message
        assert "'layer4'" not in message
        assert all(f"'{layer}'" in message for layer in ("layer1", "layer2", "layer3", "layer4.0"))

    @pytest.mark.parametrize("name", ["zzz", ""])
    def test_unknown_layers_that_look_like_none(self, model, name):
        message = said(lambda: GradCAM(model, config(name)))
        assert message.startswith("Target layers not found")
        assert "'layer4.0'" in message

    def test_layer_that_has_no_places(self, model):
        assert "fc" in said(lambda: GradCAM(model, config("fc")).generate_heatmap(images()))

    @pytest.mark.parametrize("layer", ["layer3", "layer4"])
    def test_relu_on_gradients(self, model, layer):
        found = GradCAM(model, config(layer, relu_on_gradients=True)).generate_heatmap(images(), 1)
        activations, gradients, _ = captured(model, layer, images(), 1)
        assert (gradients < 0).any()
        near(alive(found), finished(naive_cam(activations, np.maximum(gradients, 0)), (16, 24)))

    @pytest.mark.parametrize("layer", ["layer3", "layer4"])
    def test_use_abs_gradients(self, model, layer):
        found = GradCAM(model, config(layer, use_abs_gradients=True)).generate_heatmap(images(), 1)
        activations, gradients, _ = captured(model, layer, images(), 1)
        near(alive(found), finished(naive_cam(activations, np.abs(gradients)), (16, 24)))

    @pytest.mark.parametrize("seed", range(3))
    @pytest.mark.parametrize("layer", ["layer3", "layer4"])
    def test_eigen_smooth(self, layer, seed):
        model = net(seed)
        gradcam = GradCAM(model, config(layer, eigen_smooth=True))
        activations, gradients, _ = captured(model, layer, images(), 1)
        expected = finished(naive_eigen(cam_weights(gradients), activations), (16, 24))
        found = gradcam.generate_heatmap(images(), 1)
        near(alive(found), expected, 1e-4)
        near(gradcam.generate_heatmap(images(), 1), found, 0)
        plain = GradCAM(model, config(layer)).generate_heatmap(images(), 1)
        assert np.abs(found - plain).max() > 0.01

    @BOTH
    def test_without_normalisation_the_map_is_raw(self, model, kind):
        found = kind(model, config("layer3", normalize_heatmap=False)).generate_heatmap(images(), 1)
        expected = replica(kind, model, "layer3", images(), 1, normalize=False)
        near(alive(found), expected)
        assert abs(found.max() - 1) > 1e-3

    @pytest.mark.parametrize("normalize", [True, False])
    @pytest.mark.parametrize("mode", ["bilinear", "bicubic", "nearest"])
    def test_interpolation_and_output_size(self, model, mode, normalize):
        options = {"interpolation_mode": mode, "output_size": (31, 9), "normalize_heatmap": normalize}
        found = GradCAM(model, config("layer3", **options)).generate_heatmap(images(), 1)
        activations, gradients, _ = captured(model, "layer3", images(), 1)
        raw = naive_cam(activations, gradients)
        assert found.dtype == np.float32
        near(alive(found), finished(raw, (31, 9), mode, normalize))

    def test_modes_differ(self, model):
        modes = ["bilinear", "bicubic", "nearest"]
        maps = [GradCAM(model, config(interpolation_mode=mode)).generate_heatmap(images(), 1) for mode in modes]
        assert all(np.abs(maps[i] - maps[j]).max() > 0.01 for i, j in [(0, 1), (0, 2), (1, 2)])

    @BOTH
    def test_in_place_relus_do_not_rewrite_what_was_captured(self, kind):
        own, other = net(inplace=True), net(inplace=False)
        for layer in LAYERS:
            gradcam = kind(own, config(layer))
            near(gradcam.generate_heatmap(images(), 1), kind(other, config(layer)).generate_heatmap(images(), 1), 1e-6)
        gradcam = GradCAM(own, config("layer3"))
        gradcam.generate_heatmap(images(), 1)
        assert (gradcam.activations["layer3"] < 0).any()

    def test_what_was_captured(self, model):
        gradcam = GradCAM(model, config("layer3", "layer4"))
        assert gradcam.model is model
        assert gradcam.config.target_layers == ["layer3", "layer4"]
        assert gradcam.target_layers == {"layer3": model.layer3, "layer4": model.layer4}
        assert not gradcam.hooks
        gradcam.generate_heatmap(images(), 1)
        assert len(gradcam.gradients) == len(gradcam.activations) == 2
        assert not gradcam.hooks
        for layer in ("layer3", "layer4"):
            activations, gradients, _ = captured(model, layer, images(), 1)
            near(gradcam.activations[layer][0].numpy(), activations)
            near(gradcam.gradients[layer][0].numpy(), gradients)
            assert not gradcam.activations[layer].requires_grad

    def test_what_was_captured_is_of_the_last_call(self, model):
        gradcam = GradCAM(model, config("layer3", "layer4"))
        gradcam.generate_heatmap(images(seed=1), 1)
        gradcam.generate_heatmap(images(seed=2), 1, target_layer="layer2")
        assert list(gradcam.gradients) == list(gradcam.activations) == ["layer2"]
        near(gradcam.activations["layer2"][0].numpy(), captured(model, "layer2", images(seed=2), 1)[0])

    @BOTH
    def test_the_model_comes_back_as_it_was(self, model, kind):
        model.train()
        model.layer3.eval()
        for index, parameter in enumerate(model.parameters()):
            parameter.grad = None if index % 2 else torch.full_like(parameter, 0.25)
        model.layer1.weight.requires_grad_(False)
        modes = {name: module.training for name, module in model.named_modules()}
        state = copy.deepcopy(model.state_dict())
        image = images()
        torch.manual_seed(11)
        gradcam = kind(model, config("layer3", "layer4"))
        gradcam.generate_heatmap(image)
        gradcam.generate_batch_heatmaps(images(3))
        gradcam.get_multi_layer_heatmap(image)
        drawn = torch.rand(1)
        torch.manual_seed(11)
        assert torch.equal(drawn, torch.rand(1))
        assert modes == {name: module.training for name, module in model.named_modules()}
        assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
        assert not model.layer1.weight.requires_grad
        assert not image.requires_grad
        assert torch.equal(image, images())
        for index, parameter in enumerate(model.parameters()):
            assert parameter.grad is None if index % 2 else bool((parameter.grad == 0.25).all())

    @BOTH
    def test_training_mode_does_not_change_the_map(self, model, kind):
        expected = kind(model, config()).generate_heatmap(images(), 1)
        near(kind(model.train(), config()).generate_heatmap(images(), 1), expected, 0)

    def test_no_hook_is_left(self, model):
        own = model.layer4.register_forward_hook(lambda *_: None)
        gradcam = GradCAM(model, config("layer3", "layer4"))
        assert hooks_of(model) == 1
        gradcam.generate_heatmap(images())
        gradcam.generate_batch_heatmaps(images(2))
        gradcam.get_multi_layer_heatmap(images())
        assert (hooks_of(model), len(gradcam.hooks)) == (1, 0)
        own.remove()

    def test_no_hook_is_left_after_an_error(self, model):
        gradcam = GradCAM(model.train(), config())
        said(lambda: gradcam.generate_heatmap(images(), 99))
        said(lambda: gradcam.generate_heatmap(images(channels=4)), RuntimeError)
        assert (hooks_of(model), len(gradcam.hooks), model.training) == (0, 0, True)

    def test_remove_hooks_is_idempotent(self, model):
        gradcam = GradCAM(model, config())
        before = gradcam.generate_heatmap(images(), 1)
        for _ in range(3):
            assert gradcam.remove_hooks() is None
        assert (hooks_of(model), len(gradcam.hooks)) == (0, 0)
        near(gradcam.generate_heatmap(images(), 1), before, 0)

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
    def test_a_gpu_is_used_on_a_private_copy(self, model):
        expected = GradCAM(model, config(use_cuda=False)).generate_heatmap(images(), 1)
        gradcam = GradCAM(model, config(use_cuda=True))
        near(gradcam.generate_heatmap(images(), 1), expected, 1e-3)
        assert gradcam.activations["layer4"].is_cuda
        assert not any(parameter.is_cuda for parameter in model.parameters())

    def test_without_a_gpu_wanted_all_stays_where_it_is(self, model):
        gradcam = GradCAM(model, config(use_cuda=False))
        gradcam.generate_heatmap(images(), 1)
        assert gradcam.activations["layer4"].device.type == "cpu"


class TestBatchProcessing:
    @BOTH
    @pytest.mark.parametrize("size", [1, 2, 5, 32])
    def test_batch_equals_singles(self, model, kind, size):
        batch, classes = images(5), [0, 3, 1, 4, 2]
        gradcam = kind(model, config("layer3", batch_size=size))
        found = gradcam.generate_batch_heatmaps(batch, classes)
        assert isinstance(found, list)
        assert len(found) == 5
        for one, image, index in zip(found, batch, classes, strict=True):
            assert (one.dtype, one.shape) == (np.float32, (16, 24))
            near(alive(one), gradcam.generate_heatmap(image, index))
            near(one, replica(kind, model, "layer3", image[None], index))

    @BOTH
    @pytest.mark.parametrize("size", [3, 8])
    def test_batch_equals_singles_on_a_resnet(self, resnet, kind, size):
        batch = images(4, (64, 64))
        gradcam = kind(resnet, config(batch_size=size))
        found = gradcam.generate_batch_heatmaps(batch)
        for one, image in zip(found, batch, strict=True):
            near(alive(one), gradcam.generate_heatmap(image))

    def test_what_was_captured_is_of_all_images_of_the_call_and_of_no_earlier_one(self, model):
        gradcam = GradCAM(model, config("layer3", batch_size=2))
        for count in (5, 3):
            gradcam.generate_batch_heatmaps(images(count))
            assert len(gradcam.activations["layer3"]) == len(gradcam.gradients["layer3"]) == count
        gradcam.generate_heatmap(images(1))
        assert len(gradcam.gradients["layer3"]) == 1

    def test_every_image_has_a_map_of_its_own(self, model):
        found = GradCAM(model, config("layer3", batch_size=2)).generate_batch_heatmaps(images(4), [1] * 4)
        assert all(np.abs(found[i] - found[j]).max() > 0.01 for i in range(4) for j in range(i))

    def test_no_classes_are_the_predicted_ones(self, model):
        batch = images(6, seed=5)
        predicted = model(batch).argmax(1).tolist()
        gradcam = GradCAM(model, config("layer3", batch_size=4))
        expected = gradcam.generate_batch_heatmaps(batch, predicted)
        for found, wanted in zip(gradcam.generate_batch_heatmaps(batch), expected, strict=True):
            near(found, wanted, 0)

    def test_passes_are_of_batch_size(self, model):
        gradcam = GradCAM(model, config(batch_size=2))
        gradcam.generate_batch_heatmaps(images(2))  # the shape is looked at once
        CALLS.clear()
        gradcam.generate_batch_heatmaps(images(5))
        assert CALLS == [2, 2, 1]

    @pytest.mark.parametrize("options", [{"eigen_smooth": True}, {"use_abs_gradients": True}, {"output_size": (5, 6)}])
    def test_options_hold_for_batches(self, model, options):
        gradcam = GradCAM(model, config("layer3", batch_size=2, **options))
        for found, image in zip(gradcam.generate_batch_heatmaps(images(3), [1, 2, 3]), images(3), strict=True):
            near(found, gradcam.generate_heatmap(image, {0: 1, 1: 2, 2: 3}[_place(image)]))

    @pytest.mark.parametrize("classes", [[0], [0, 1, 2], []])
    def test_a_list_of_the_wrong_length(self, model, classes):
        message = said(lambda: GradCAM(model, config()).generate_batch_heatmaps(images(2), classes))
        assert str(len(classes)) in message
        assert "2 images" in message
        assert not CALLS

    @pytest.mark.parametrize("shape", [(3, 16), (3, 16, 24), (1, 1, 3, 16, 24)])
    def test_not_four_dimensions(self, model, shape):
        message = said(lambda: GradCAM(model, config()).generate_batch_heatmaps(torch.randn(shape)))
        assert message == f"Input batch must be 4D tensor, got {len(shape)}D"

    def test_one_image_is_a_batch(self, model):
        gradcam = GradCAM(model, config())
        (found,) = gradcam.generate_batch_heatmaps(images(1), [1])
        near(found, gradcam.generate_heatmap(images(1), 1), 0)


def _place(image):
    """Which of the three images this is."""
    return next(index for index, other in enumerate(images(3)) if torch.equal(image, other))


class TestMultiLayer:
    def maps(self, kind, model, layers, index=1):
        return np.stack([kind(model, config(layer)).generate_heatmap(images(), index) for layer in layers])

    @BOTH
    def test_mean_is_the_default(self, model, kind):
        expected = self.maps(kind, model, LAYERS).mean(axis=0)
        gradcam = kind(model, config(*LAYERS))
        found = gradcam.get_multi_layer_heatmap(images(), 1)
        assert (found.dtype, found.shape) == (np.float32, (16, 24))
        near(alive(found), expected)
        near(gradcam.get_multi_layer_heatmap(images(), 1, aggregation="mean"), expected)

    @BOTH
    def test_max(self, model, kind):
        expected = self.maps(kind, model, LAYERS).max(axis=0)
        near(kind(model, config(*LAYERS)).get_multi_layer_heatmap(images(), 1, "max"), expected)

    @BOTH
    @pytest.mark.parametrize("count", [1, 2, 3, 4])
    def test_weighted(self, model, kind, count):
        layers = LAYERS[-count:]
        weights = [0.5 + 0.5 * place / max(count - 1, 1) for place in range(count)]
        maps = self.maps(kind, model, layers)
        expected = sum(weight * one for weight, one in zip(weights, maps, strict=True)) / sum(weights)
        near(kind(model, config(*layers)).get_multi_layer_heatmap(images(), 1, "weighted"), expected)

    def test_weighted_goes_by_the_networks_order_not_the_lists(self, model):
        maps = self.maps(GradCAM, model, ["layer2", "layer4"])
        expected = (0.5 * maps[0] + maps[1]) / 1.5
        for layers in (["layer2", "layer4"], ["layer4", "layer2"]):
            near(GradCAM(model, config(*layers)).get_multi_layer_heatmap(images(), 1, "weighted"), expected)
        assert np.abs((maps[0] + 0.5 * maps[1]) / 1.5 - expected).max() > 0.01

    def test_the_image_may_be_of_three_dimensions_and_the_class_the_predicted(self, model):
        gradcam = GradCAM(model, config("layer3", "layer4"))
        _, _, predicted = captured(model, "layer4", images())
        near(gradcam.get_multi_layer_heatmap(images()[0]), gradcam.get_multi_layer_heatmap(images(), predicted), 0)

    @pytest.mark.parametrize("name", ["median", "Mean", ""])
    def test_other_aggregations_are_refused_before_any_work(self, model, name):
        message = said(lambda: GradCAM(model, config()).get_multi_layer_heatmap(images(), 1, name))
        assert message == f"Invalid aggregation: {name}. Choose from ['mean', 'max', 'weighted']"
        assert not CALLS

    def test_one_pass_for_all_layers(self, model):
        gradcam = GradCAM(model, config(*LAYERS))
        gradcam.get_multi_layer_heatmap(images())  # the shape is looked at once
        CALLS.clear()
        gradcam.get_multi_layer_heatmap(images(), 2)
        assert CALLS == [1]

    def test_a_heatmap_a_layer_is_captured(self, model):
        gradcam = GradCAM(model, config(*LAYERS))
        gradcam.get_multi_layer_heatmap(images(), 1)
        assert set(gradcam.gradients) == set(gradcam.activations) == set(LAYERS)
        assert len(gradcam.gradients) == 4

    def test_options_hold_for_all_layers(self, model):
        options = {"output_size": (9, 9), "interpolation_mode": "nearest", "normalize_heatmap": False}
        each = [GradCAM(model, config(layer, **options)).generate_heatmap(images(), 1) for layer in LAYERS]
        found = GradCAM(model, config(*LAYERS, **options)).get_multi_layer_heatmap(images(), 1, "max")
        near(found, np.stack(each).max(axis=0))


class TestGradCAMPlusPlus:
    def test_is_a_gradcam(self, model):
        gradcam = GradCAMPlusPlus(model, config())
        assert isinstance(gradcam, GradCAM)
        plain = GradCAM(model, config("layer3")).generate_heatmap(images(), 1)
        assert np.abs(GradCAMPlusPlus(model, config("layer3")).generate_heatmap(images(), 1) - plain).max() > 0.01

    @pytest.mark.parametrize("index", range(CLASSES))
    def test_equals_the_papers_formula_where_activations_are_not_negative(self, model, index):
        activations, g, _ = captured(model, "layer4", images(), index)
        assert (activations >= 0).all()
        total = activations.sum(axis=(1, 2), keepdims=True)
        with np.errstate(invalid="ignore", divide="ignore"):
            alpha = np.nan_to_num(g**2 / (2 * g**2 + g**3 * total), nan=0.0, posinf=0.0, neginf=0.0)
        weights = (alpha * np.maximum(g, 0)).sum(axis=(1, 2))
        raw = np.maximum((weights[:, None, None] * activations).sum(axis=0), 0)
        found = GradCAMPlusPlus(model, config(normalize_heatmap=False)).generate_heatmap(images(), index)
        near(alive(found), finished(raw, (16, 24), normalize=False))

    @pytest.mark.parametrize("index", range(CLASSES))
    def test_before_an_activation_the_positive_part_counts(self, model, index):
        activations, gradients, _ = captured(model, "layer3", images(), index)
        assert (activations < 0).any()
        options = {"output_size": activations.shape[1:], "normalize_heatmap": False}
        found = GradCAMPlusPlus(model, config("layer3", **options)).generate_heatmap(images(), index)
        near(alive(found), naive_plus(activations, gradients))
        as_it_stands = combined(plus_weights(activations, gradients), activations)
        assert np.abs(found - as_it_stands).max() > 1e-3

    def scaled(self, model, factor):
        other = copy.deepcopy(model)
        with torch.no_grad():
            for parameter in other.fc.parameters():
                parameter.mul_(factor)
        return other

    @pytest.mark.parametrize("factor", [1e-3, 1e-6])
    def test_small_gradients_do_not_vanish(self, resnet, factor):
        image = images(size=(64, 64))
        own, other = (
            GradCAMPlusPlus(model, config("layer3")).generate_heatmap(image, 1)
            for model in (resnet, self.scaled(resnet, factor))
        )
        assert np.corrcoef(alive(own).ravel(), alive(other).ravel())[0, 1] > 0.98

    def test_large_logits_change_the_map_as_the_formula_says(self, model):
        other = self.scaled(model, 1e3)
        own, found = (GradCAMPlusPlus(m, config("layer4")).generate_heatmap(images(), 1) for m in (model, other))
        assert np.abs(own - found).max() > 0.01
        near(found, replica(GradCAMPlusPlus, other, "layer4", images(), 1))

    def test_gradcam_does_not_depend_on_the_scale(self, model):
        own, other = (GradCAM(m, config()).generate_heatmap(images(), 1) for m in (model, self.scaled(model, 1e3)))
        near(own, other, 1e-4)

    def test_options(self, model):
        activations, gradients, _ = captured(model, "layer3", images(), 1)
        changed = {
            "use_abs_gradients": np.abs(gradients),
            "relu_on_gradients": np.maximum(gradients, 0),
        }
        for option, expected in changed.items():
            found = GradCAMPlusPlus(model, config("layer3", **{option: True})).generate_heatmap(images(), 1)
            near(alive(found), finished(naive_plus(activations, expected), (16, 24)))

    def test_eigen_smooth(self, model):
        activations, gradients, _ = captured(model, "layer3", images(), 1)
        activations = np.maximum(activations, 0)
        expected = finished(naive_eigen(plus_weights(activations, gradients), activations), (16, 24))
        found = GradCAMPlusPlus(model, config("layer3", eigen_smooth=True)).generate_heatmap(images(), 1)
        near(alive(found), expected, 1e-4)


class TestVisualization:
    @pytest.fixture
    def gradcam(self, model):
        return GradCAM(model, config())

    @pytest.fixture
    def ramp(self):
        return np.linspace(0, 1, 12 * 16, dtype=np.float32).reshape(12, 16)

    def colour_picture(self):
        return np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)

    def by_hand(self, rgb, heatmap, alpha=0.5, colormap=cv2.COLORMAP_JET):
        """The blend, pixel by pixel, BGR."""
        table = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], colormap)[:, 0].astype(np.float64)
        result = np.zeros((*heatmap.shape, 3))
        for i, j in np.ndindex(*heatmap.shape):
            level = round(float(heatmap[i, j]) * 255)
            for channel in range(3):
                pixel = float(rgb[i, j, 2 - channel])
                result[i, j, channel] = alpha * table[level, channel] + (1 - alpha) * pixel
        return result

    def matches(self, found, expected):
        assert (found.dtype, found.shape) == (np.uint8, expected.shape)
        assert np.abs(found.astype(np.float64) - expected).max() <= 1

    @pytest.mark.parametrize("alpha", [0, 0.25, 0.5, 1])
    def test_blend_of_an_uint8_picture(self, gradcam, ramp, alpha):
        picture = self.colour_picture()
        self.matches(gradcam.visualize(picture, ramp, alpha=alpha), self.by_hand(picture, ramp, alpha))

    def test_defaults(self, gradcam, ramp):
        picture = self.colour_picture()
        self.matches(gradcam.visualize(picture, ramp), self.by_hand(picture, ramp, 0.5))
        signature = inspect.signature(GradCAM.visualize).parameters
        assert list(signature) == ["self", "image", "heatmap", "alpha", "colormap", "return_pil"]
        assert [signature[name].default for name in ("alpha", "colormap", "return_pil")] == [
            0.5,
            cv2.COLORMAP_JET,
            False,
        ]

    def test_hot_is_red_and_cold_is_blue(self, gradcam):
        heatmap = np.zeros((4, 4), dtype=np.float32)
        heatmap[0, 0] = 1
        black = np.zeros((4, 4, 3), dtype=np.uint8)
        found = gradcam.visualize(black, heatmap, alpha=1.0)
        assert tuple(found[0, 0]) == (0, 0, 128)  # BGR: red
        assert tuple(found[3, 3]) == (128, 0, 0)  # BGR: blue
        picture = gradcam.visualize(black, heatmap, alpha=1.0, return_pil=True)
        assert picture.getpixel((0, 0)) == (128, 0, 0)  # RGB: red
        assert picture.getpixel((3, 3)) == (0, 0, 128)

    def test_right_for_imwrite(self, gradcam, ramp, tmp_path):
        picture = np.zeros((12, 16, 3), dtype=np.uint8)
        picture[..., 0] = 200  # a red picture
        cv2.imwrite(str(tmp_path / "a.png"), gradcam.visualize(picture, ramp, alpha=0.0))
        with PIL.Image.open(tmp_path / "a.png") as file:
            read = np.asarray(file)
        np.testing.assert_array_equal(read, picture)

    def test_pil_is_the_same_in_rgb(self, gradcam, ramp):
        bgr = gradcam.visualize(self.colour_picture(), ramp)
        picture = gradcam.visualize(self.colour_picture(), ramp, return_pil=True)
        assert isinstance(picture, PIL.Image.Image)
        assert (picture.mode, picture.size) == ("RGB", (16, 12))
        np.testing.assert_array_equal(np.asarray(picture), bgr[..., ::-1])

    @pytest.mark.parametrize("colormap", [cv2.COLORMAP_VIRIDIS, cv2.COLORMAP_HOT])
    def test_other_colours(self, gradcam, ramp, colormap):
        picture = self.colour_picture()
        found = gradcam.visualize(picture, ramp, colormap=colormap)
        self.matches(found, self.by_hand(picture, ramp, colormap=colormap))

    @pytest.mark.parametrize(
        "form",
        ["uint8", "float32", "float64", "tensor", "batch of one", "uint8 tensor", "pil", "pil rgba"],
    )
    def test_forms_of_a_colour_picture(self, gradcam, ramp, form):
        picture = self.colour_picture()
        picture[0, 0], picture[0, 1] = 0, 255  # the tensor spans [0, 1]
        tensor = torch.from_numpy(picture).permute(2, 0, 1)
        given = {
            "uint8": picture,
            "float32": (picture / 255).astype(np.float32),
            "float64": picture / 255,
            "tensor": tensor / 255,
            "batch of one": (tensor / 255)[None].requires_grad_(),
            "uint8 tensor": tensor,
            "pil": PIL.Image.fromarray(picture),
            "pil rgba": PIL.Image.fromarray(picture).convert("RGBA"),
        }[form]
        self.matches(gradcam.visualize(given, ramp), self.by_hand(picture, ramp))

    @pytest.mark.parametrize("form", ["uint8", "uint8 (H, W, 1)", "float", "tensor", "tensor (H, W)", "pil"])
    def test_forms_of_a_grey_picture(self, gradcam, ramp, form):
        grey = self.colour_picture()[..., 0].copy()
        tensor = torch.from_numpy(grey) / 255
        given = {
            "uint8": grey,
            "uint8 (H, W, 1)": grey[..., None],
            "float": grey / 255,
            "tensor": tensor[None],
            "tensor (H, W)": tensor,
            "pil": PIL.Image.fromarray(grey),
        }[form]
        self.matches(gradcam.visualize(given, ramp), self.by_hand(np.stack([grey] * 3, axis=-1), ramp))

    @pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
    def test_a_pil_picture_of_more_than_eight_bits_is_stretched(self, gradcam, ramp, dtype):
        values = np.arange(12 * 16, dtype=dtype).reshape(12, 16) * 100 + 7
        found = gradcam.visualize(PIL.Image.fromarray(values), ramp, alpha=0.0)
        grey = (values - 7.0) / (values.max() - 7.0) * 255
        self.matches(found, self.by_hand(np.stack([grey] * 3, axis=-1), ramp, 0.0))

    def test_a_float_picture_that_is_dark_stays_dark(self, gradcam, ramp):
        dark = torch.full((3, 12, 16), 0.1)
        dark[:, 0, 0] = 0.2
        found = gradcam.visualize(dark, ramp, alpha=0.0)
        assert (found.min(), found.max()) == (26, 51)

    @pytest.mark.parametrize(("low", "high"), [(-2.0, 2.5), (0.0, 255.0), (-0.5, 0.5), (0.5, 1.5)])
    def test_a_tensor_outside_the_unit_range_is_stretched(self, gradcam, ramp, low, high):
        unit = torch.rand(3, 12, 16, generator=torch.Generator().manual_seed(0))
        unit = (unit - unit.min()) / (unit.max() - unit.min())
        found = gradcam.visualize(unit * (high - low) + low, ramp, alpha=0.0)
        self.matches(found, self.by_hand(unit.permute(1, 2, 0).numpy() * 255, ramp, 0.0))
        assert (found.min(), found.max()) == (0, 255)

    def test_a_constant_tensor_outside_the_unit_range(self, gradcam, ramp):
        assert (gradcam.visualize(torch.full((3, 12, 16), 7.0), ramp, alpha=0.0) == 0).all()

    def test_the_heatmap_is_brought_to_the_pictures_size(self, gradcam):
        heatmap = np.zeros((2, 2), dtype=np.float32)
        heatmap[:, 1] = 1
        found = gradcam.visualize(np.zeros((20, 40, 3), dtype=np.uint8), heatmap, alpha=1.0)
        assert found.shape == (20, 40, 3)
        assert tuple(found[10, 0]) == (128, 0, 0)
        assert tuple(found[10, 39]) == (0, 0, 128)

    @pytest.mark.parametrize("alpha", [-0.01, 1.01, 2, float("nan")])
    def test_alpha_outside_its_range(self, gradcam, ramp, alpha):
        assert "alpha" in said(lambda: gradcam.visualize(self.colour_picture(), ramp, alpha=alpha))

    def test_a_heatmap_of_generate_heatmap(self, gradcam):
        image = images()
        heatmap = gradcam.generate_heatmap(image)
        found = gradcam.visualize(image, heatmap)
        rgb = ((image - image.min()) / (image.max() - image.min()))[0].permute(1, 2, 0).numpy() * 255
        self.matches(found, self.by_hand(rgb, heatmap))

    def test_pictures_that_are_none(self, gradcam, ramp):
        for wrong in (np.zeros((12, 16, 2)), np.zeros(12), torch.zeros(2, 3, 12, 16), torch.zeros(12)):
            assert "image" in said(lambda wrong=wrong: gradcam.visualize(wrong, ramp))
        assert "heatmap" in said(lambda: gradcam.visualize(self.colour_picture(), ramp[None]))

    def test_inputs_are_untouched(self, gradcam, ramp):
        picture, tensor = self.colour_picture(), torch.randn(3, 12, 16)
        before = ramp.copy(), tensor.clone()
        gradcam.visualize(picture, ramp)
        gradcam.visualize(tensor, ramp)
        np.testing.assert_array_equal(picture, self.colour_picture())
        np.testing.assert_array_equal(ramp, before[0])
        assert torch.equal(tensor, before[1])

    def test_without_opencv(self, gradcam, ramp, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "cv2", None)
        with pytest.raises(MissingPackageError, match=re.escape("pip install 'pellucid[xai]'")):
            gradcam.visualize(self.colour_picture(), ramp)


class Wrapped(nn.Module):
    """A network within another, with a head of its own."""

    def __init__(self, backbone, name="backbone"):
        super().__init__()
        self.name = name
        setattr(self, name, backbone)

    def forward(self, x):
        return getattr(self, self.name)(x)


RECOMMENDED = {
    "resnet18": "layer4",
    "resnet50": "layer4",
    "densenet121": "features.norm5",
    "efficientnet_b0": "features.8",
    "vgg11": "features.20",
    "vgg16": "features.30",
    "vgg16_bn": "features.43",
    "mobilenet_v2": "features.18",
}


def from_torchvision(name):
    """Random weights; VGG with a small head, whose hundred million numbers would take seconds to draw."""
    torch.manual_seed(0)
    if not name.startswith("vgg"):
        return getattr(torchvision.models, name)(num_classes=3)
    with torch.device("meta"):
        model = getattr(torchvision.models, name)(init_weights=False)
    model.classifier = nn.Linear(512 * 7 * 7, 3)
    model.features.to_empty(device="cpu")
    for module in model.features:
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    return model


def small_vit():
    torch.manual_seed(0)
    return timm.create_model("vit_tiny_patch16_224", img_size=64, depth=2, num_classes=CLASSES)


class TestHelperFunctions:
    @pytest.mark.parametrize("name", RECOMMENDED)
    def test_recommended_layers(self, name):
        model = from_torchvision(name)
        assert get_recommended_layers(model) == [RECOMMENDED[name]]
        assert model.training
        assert hooks_of(model) == 0

    @pytest.mark.parametrize("name", ["resnet18", "densenet121", "efficientnet_b0", "mobilenet_v2"])
    def test_recommended_layers_under_a_wrapper(self, name):
        assert get_recommended_layers(Wrapped(from_torchvision(name))) == [f"backbone.{RECOMMENDED[name]}"]

    def test_recommended_layers_under_two_wrappers_and_data_parallel(self):
        model = from_torchvision("resnet18")
        assert get_recommended_layers(Wrapped(Wrapped(model), "model")) == ["model.backbone.layer4"]
        (name,) = get_recommended_layers(nn.DataParallel(model))
        assert name in ("layer4", "module.layer4")

    def test_recommended_layers_of_something_else(self, model):
        assert get_recommended_layers(model) == ["layer4"]
        plain = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3), nn.Flatten())
        plain.append(nn.LazyLinear(3))
        plain(torch.randn(1, 1, 28, 28))
        assert get_recommended_layers(plain) == ["3"]

    @BOTH
    def test_recommended_layers_of_a_vit_work(self, kind):
        vit = small_vit()
        layers = get_recommended_layers(vit)
        found = kind(vit, config(*layers)).generate_heatmap(images(size=(64, 64)), 1)
        assert alive(found).shape == (64, 64)

    @pytest.mark.parametrize(
        "model",
        [
            nn.Sequential(nn.Flatten(), nn.LazyLinear(8), nn.ReLU(), nn.Linear(8, 3)),
            nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)),
        ],
        ids=["linear", "pooled"],
    )
    def test_nothing_spatial(self, model):
        model(torch.randn(1, 3, 8, 8))
        with (
            pytest.warns(PellucidWarning, match="Could not auto-detect target layers"),
            pytest.raises(NoSpatialLayerError) as caught,
        ):
            get_recommended_layers(model)
        assert isinstance(caught.value, ValueError)

    def test_create_gradcam(self, model):
        gradcam = create_gradcam(model)
        assert type(gradcam) is GradCAM
        assert gradcam.model is model
        assert (gradcam.config.target_layers, gradcam.config.use_cuda) == (["layer4"], True)
        near(gradcam.generate_heatmap(images(), 1), replica(GradCAM, model, "layer4", images(), 1))

    @pytest.mark.parametrize(("method", "kind"), [("gradcam", GradCAM), ("gradcam++", GradCAMPlusPlus)])
    def test_create_gradcam_with_everything(self, model, method, kind):
        gradcam = create_gradcam(model, target_layers=["layer2", "layer3"], method=method, use_cuda=False)
        assert type(gradcam) is kind
        assert (gradcam.config.target_layers, gradcam.config.use_cuda) == (["layer2", "layer3"], False)
        near(gradcam.generate_heatmap(images(), 1, "layer3"), replica(kind, model, "layer3", images(), 1))

    def test_create_gradcam_of_a_resnet(self, resnet):
        gradcam = create_gradcam(resnet, method="gradcam++")
        assert gradcam.config.target_layers == ["layer4"]
        assert gradcam.generate_heatmap(images(size=(64, 64))).shape == (64, 64)

    @pytest.mark.parametrize("method", ["scorecam", "GradCAM", ""])
    def test_create_gradcam_with_another_method(self, model, method):
        assert said(lambda: create_gradcam(model, method=method)).startswith(f"Invalid method: {method}")
        assert not CALLS

    def test_create_gradcam_with_wrong_layers(self, model):
        assert said(lambda: create_gradcam(model, ["zzz"])).startswith("Target layers not found")
        assert said(lambda: create_gradcam(model, [])) == "target_layers cannot be empty"
        said(lambda: create_gradcam(model, "layer4"), TypeError)


class TwoNamed(nn.Module):
    """One network known by two names, as in a published checkpoint's sequential ResNet."""

    def __init__(self):
        super().__init__()
        own = net()
        self.backbone = nn.Sequential(own.layer1, own.layer2, own.layer3, own.layer4)
        self.layer4 = own.layer4
        self.classifier = own.fc

    def forward(self, x):
        return self.classifier(self.backbone(x).mean((2, 3)))


class Flat(nn.Module):
    """A map that is the same everywhere, of evidence for class 0 and against class 1."""

    def __init__(self):
        super().__init__()
        self.layer4 = nn.Conv2d(3, 1, 1)
        nn.init.zeros_(self.layer4.weight)
        nn.init.ones_(self.layer4.bias)

    def forward(self, x):
        pooled = self.layer4(x).mean((2, 3))
        return torch.cat([pooled, -pooled], dim=1)


class TestEdgeCases:
    @BOTH
    @pytest.mark.parametrize("index", [0, 1])
    def test_a_constant_map_becomes_zeros(self, kind, index):
        found = kind(Flat().eval(), config()).generate_heatmap(images(), index)
        assert (found == 0).all()
        assert found.shape == (16, 24)

    def test_a_constant_map_keeps_its_value_without_normalisation(self):
        found = GradCAM(Flat().eval(), config(normalize_heatmap=False)).generate_heatmap(images(), 0)
        np.testing.assert_allclose(found, 1 / (16 * 24), rtol=1e-5)

    @BOTH
    def test_evidence_that_is_all_negative_is_zeros_never_nan(self, model, kind):
        with torch.no_grad():
            model.fc.weight[1] = -model.fc.weight[1].abs()
        found = kind(model, config()).generate_heatmap(images(), 1)
        assert (found == 0).all()

    @pytest.mark.parametrize("channels", [1, 2, 4])
    def test_other_numbers_of_channels(self, channels):
        model, image = net(channels=channels), images(channels=channels)
        found = GradCAM(model, config("layer3")).generate_heatmap(image, 2)
        near(alive(found), replica(GradCAM, model, "layer3", image, 2))

    @pytest.mark.parametrize("size", [(8, 40), (33, 17), (5, 5)])
    def test_sizes_that_are_not_square(self, model, size):
        image = images(size=size)
        found = GradCAM(model, config("layer3")).generate_heatmap(image, 1)
        near(found, replica(GradCAM, model, "layer3", image, 1))

    @pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
    def test_without_gradients_around(self, model, context):
        gradcam = GradCAM(model, config())
        expected = gradcam.generate_heatmap(images(), 1)
        with context():
            near(gradcam.generate_heatmap(images(), 1), expected, 1e-6)
            assert torch.is_inference_mode_enabled() == (context is torch.inference_mode)
        assert torch.is_grad_enabled()

    def test_frozen_models(self, model):
        expected = GradCAM(model, config("layer3")).generate_heatmap(images(), 1)
        near(GradCAM(model.requires_grad_(False), config("layer3")).generate_heatmap(images(), 1), expected, 1e-6)

    def test_an_image_that_needs_a_gradient(self, model):
        image = images().requires_grad_()
        near(
            GradCAM(model, config()).generate_heatmap(image, 1),
            GradCAM(model, config()).generate_heatmap(images(), 1),
            0,
        )
        assert image.grad is None

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_half_precision(self, model, dtype):
        expected = GradCAM(model, config()).generate_heatmap(images(), 1)
        found = GradCAM(copy.deepcopy(model).to(dtype), config()).generate_heatmap(images().to(dtype), 1)
        assert found.dtype == np.float32
        assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.98

    @pytest.mark.parametrize("name", ["layer3", "module.layer3"])
    def test_data_parallel(self, model, name):
        gradcam = GradCAM(nn.DataParallel(model), config(name, use_cuda=False))
        near(gradcam.generate_heatmap(images(), 1), replica(GradCAM, model, "layer3", images(), 1))
        assert list(gradcam.gradients) == [name]

    def test_a_layer_with_two_names(self):
        model = TwoNamed().eval()
        first, second = (GradCAM(model, config(name)) for name in ("backbone.3", "layer4"))
        near(first.generate_heatmap(images(), 1), second.generate_heatmap(images(), 1), 0)
        message = said(lambda: GradCAM(model, config("layer4", "zzz")))
        assert "['zzz']" in message

    def test_two_explainers_on_one_model(self, model):
        first, second = GradCAM(model, config("layer3")), GradCAMPlusPlus(model, config("layer4"))
        own = first.generate_heatmap(images(), 1)
        near(second.generate_heatmap(images(), 1), replica(GradCAMPlusPlus, model, "layer4", images(), 1))
        near(first.generate_heatmap(images(), 1), own, 0)

    def test_a_model_that_goes_on_training(self, model):
        gradcam = GradCAM(model.train(), config())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        for _ in range(2):
            optimizer.zero_grad()
            F.cross_entropy(model(images(4)), torch.tensor([0, 1, 2, 3])).backward()
            before = [parameter.grad.clone() for parameter in model.parameters()]
            found = gradcam.generate_heatmap(images(), 1)
            assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), before, strict=True))
            near(found, replica(GradCAM, model, "layer4", images(), 1))
            optimizer.step()

    def test_nan_in_the_picture_gives_zeros(self, model):
        image = images()
        image[0, 0, 0, 0] = math.nan
        found = GradCAM(model, config()).generate_heatmap(image, 1)
        assert np.isfinite(found).all()
