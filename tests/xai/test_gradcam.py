"""The published Grad-CAM: every row of its contract, with the maps compared with the replicas of ``tests.replicas``."""

import copy
import inspect
import math
import re
from dataclasses import asdict, is_dataclass

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
from tests.networks import Wrapped
from tests.xai.expected import assert_close, captured, not_constant, predicted, replica

CLASSES = 5
LAYERS = ["layer1", "layer2", "layer3", "layer4"]
BOTH = pytest.mark.parametrize("kind", [GradCAM, GradCAMPlusPlus])


CALLS: list[int] = []
"""The batch sizes of the passes of the test's networks. Explaining runs copies of their modules, not the modules."""


class Net(nn.Module):
    """Four convolutions, each rewritten in place by the ReLU after it; ``layer4`` ends in a ReLU of its own."""

    def __init__(self, inplace=True, channels=3):
        super().__init__()
        self.layer1 = nn.Conv2d(channels, 4, 3, padding=1)
        self.layer2 = nn.Conv2d(4, 5, 3, stride=2, padding=1)
        self.layer3 = nn.Conv2d(5, 6, 3, stride=2, padding=1)
        self.layer4 = nn.Sequential(nn.Conv2d(6, 7, 3, padding=1), nn.BatchNorm2d(7), nn.ReLU(inplace=inplace))
        self.relu = nn.ReLU(inplace=inplace)
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(7, CLASSES)

    def forward(self, x):
        CALLS.append(len(x))
        for layer in (self.layer1, self.layer2, self.layer3):
            x = self.relu(layer(x))
        return self.fc(self.dropout(self.layer4(x).mean((2, 3))))


class KnownGradients(nn.Module):
    """The gradient of logit k at ``layer4`` is ``gradients[k]``: the logit is the sum of gradient ⊙ output."""

    def __init__(self, gradients):
        super().__init__()
        torch.manual_seed(2)
        self.layer4 = nn.Conv2d(3, gradients.shape[1], 3, stride=4)
        self.register_buffer("gradients", gradients)

    def forward(self, x):
        return torch.einsum("kchw,bchw->bk", self.gradients, self.layer4(x))


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


def message_of(call, kind=ValueError):
    """The message of the error that a call raises; every ValueError is pellucid's own as well."""
    with pytest.raises(kind) as caught:
        call()
    if kind is ValueError:
        assert isinstance(caught.value, PellucidError)
    return str(caught.value)


def hook_count(model):
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(module, kind)) for module in model.modules() for kind in kinds)


class TestGradCAMConfig:
    def test_defaults_and_the_order_of_the_fields(self):
        assert is_dataclass(GradCAMConfig)
        assert list(asdict(GradCAMConfig()).items()) == [
            ("target_layers", ["layer4"]),
            ("use_cuda", True),
            ("relu_on_gradients", False),
            ("use_abs_gradients", False),
            ("eigen_smooth", False),
            ("batch_size", 32),
            ("output_size", None),
            ("interpolation_mode", "bilinear"),
            ("normalize_heatmap", True),
        ]

    def test_default_layers_are_not_shared(self):
        first = GradCAMConfig()
        first.target_layers.append("layer3")
        assert GradCAMConfig().target_layers == ["layer4"]

    @pytest.mark.parametrize("mode", ["bilinear", "bicubic", "nearest"])
    def test_every_field_can_be_given(self, mode):
        given = {
            "target_layers": ["a.b", "c"],
            "use_cuda": False,
            "relu_on_gradients": True,
            "use_abs_gradients": True,
            "eigen_smooth": True,
            "batch_size": 1,
            "output_size": (7, 9),
            "interpolation_mode": mode,
            "normalize_heatmap": False,
        }
        assert asdict(GradCAMConfig(**given)) == given

    def test_no_layers(self):
        assert message_of(lambda: GradCAMConfig(target_layers=[])) == "target_layers cannot be empty"

    @pytest.mark.parametrize(("layers", "words"), [("layer4", "'layer4'"), ([nn.Conv2d(1, 1, 1)], "names, got Conv2d")])
    def test_layers_that_are_no_list_of_names_are_a_type_error(self, layers, words):
        assert words in message_of(lambda: GradCAMConfig(target_layers=layers), TypeError)

    @pytest.mark.parametrize("size", [0, -1])
    def test_batch_size(self, size):
        assert message_of(lambda: GradCAMConfig(batch_size=size)) == f"batch_size must be >= 1, got {size}"

    @pytest.mark.parametrize("size", [(224,), (1, 2, 3), 224, (), "ab", (1.5, 2)])
    def test_output_size_that_is_no_pair(self, size):
        assert message_of(lambda: GradCAMConfig(output_size=size)) == f"output_size must be (H, W), got {size}"

    @pytest.mark.parametrize("size", [(0, 4), (4, 0), (-1, 4)])
    def test_output_size_that_is_not_positive(self, size):
        assert message_of(lambda: GradCAMConfig(output_size=size)) == f"output_size dimensions must be > 0, got {size}"

    @pytest.mark.parametrize("mode", ["linear", "area", "Bilinear", ""])
    def test_other_interpolation_modes(self, mode):
        assert message_of(lambda: GradCAMConfig(interpolation_mode=mode)) == f"Invalid interpolation_mode: {mode}"


class TestGradCAM:
    @BOTH
    @pytest.mark.parametrize("layer", LAYERS)
    def test_equals_the_replica(self, model, kind, layer):
        found = kind(model, config(layer)).generate_heatmap(images(), class_idx=2)
        assert_close(not_constant(found), replica(kind, model, layer, images(), 2))

    @BOTH
    @pytest.mark.parametrize("layer", ["conv1", "layer2", "layer3.1.conv2", "layer4"])
    def test_equals_the_replica_on_a_resnet(self, resnet, kind, layer):
        image = images(size=(64, 64))
        found = kind(resnet, config(layer)).generate_heatmap(image, 2)
        assert_close(not_constant(found), replica(kind, resnet, layer, image, 2), 1e-4)

    @BOTH
    def test_equals_the_replica_on_a_vgg(self, kind):
        model = from_torchvision("vgg11").eval()
        image = images(size=(64, 64))
        assert model.features[19].inplace
        found = kind(model, config("features.18")).generate_heatmap(image, 1)
        assert_close(not_constant(found), replica(kind, model, "features.18", image, 1), 1e-4)

    def test_result_is_float32_of_the_inputs_size_from_0_to_1(self, model):
        found = GradCAM(model, config()).generate_heatmap(images())
        assert isinstance(found, np.ndarray)
        assert (found.dtype, found.shape) == (np.float32, (16, 24))
        assert (found.min(), found.max()) == (0, 1)

    def test_three_and_four_dimensions(self, model):
        gradcam = GradCAM(model, config())
        assert_close(gradcam.generate_heatmap(images()[0]), gradcam.generate_heatmap(images()), 0)

    @pytest.mark.parametrize("shape", [(16,), (16, 24), (1, 1, 3, 16, 24)])
    def test_other_ranks(self, model, shape):
        gradcam = GradCAM(model, config())
        expected = f"Input must be 3D or 4D tensor, got {len(shape)}D"
        for call in (gradcam.generate_heatmap, gradcam.get_multi_layer_heatmap):
            assert message_of(lambda call=call: call(torch.randn(shape))) == expected

    @pytest.mark.parametrize("wrong", [torch.zeros(1, 3, 16, 24, dtype=torch.uint8), np.zeros((1, 3, 16, 24))])
    def test_what_is_no_floating_tensor(self, model, wrong):
        gradcam = GradCAM(model, config())
        for call in (gradcam.generate_heatmap, gradcam.generate_batch_heatmaps, gradcam.get_multi_layer_heatmap):
            assert "floating tensor" in message_of(lambda call=call: call(wrong))

    def test_a_batch_names_the_right_method(self, model):
        gradcam = GradCAM(model, config())
        assert "generate_batch_heatmaps" in message_of(lambda: gradcam.generate_heatmap(images(2)))

    def test_no_class_is_the_predicted_one(self, model):
        gradcam = GradCAM(model, config("layer3"))
        index = predicted(model, images())
        assert_close(gradcam.generate_heatmap(images()), gradcam.generate_heatmap(images(), index), 0)
        assert_close(gradcam.generate_heatmap(images()), gradcam.generate_heatmap(images(), torch.tensor(index)), 0)
        others = [gradcam.generate_heatmap(images(), k) for k in range(CLASSES) if k != index]
        assert all(np.abs(gradcam.generate_heatmap(images()) - other).max() > 0.01 for other in others)

    @pytest.mark.parametrize("index", [CLASSES, 100, -1])
    def test_a_class_out_of_range_names_the_number_of_classes(self, model, index):
        gradcam = GradCAM(model, config())
        for call in (gradcam.generate_heatmap, gradcam.get_multi_layer_heatmap):
            message = message_of(lambda call=call: call(images(), class_idx=index))
            assert re.search(rf"\b{CLASSES} classes", message)
            assert str(index) in message
        assert f"{CLASSES} classes" in message_of(lambda: gradcam.generate_batch_heatmaps(images(2), [0, index]))

    def test_target_layer_may_be_any_layer_of_the_model(self, model):
        found = GradCAM(model, config("layer4")).generate_heatmap(images(), 1, target_layer="layer4.0")
        assert_close(not_constant(found), replica(GradCAM, model, "layer4.0", images(), 1))

    @pytest.mark.parametrize("name", ["layer5", "nonsense", ""])
    def test_an_unknown_layer_lists_the_convolutions(self, model, name):
        gradcam = GradCAM(model, config())
        for call in (
            lambda: gradcam.generate_heatmap(images(), target_layer=name),
            lambda: GradCAM(model, config(name)),
        ):
            message = message_of(call)
            assert message.startswith(f"Target layers not found: [{name!r}]")
            assert all(f"'{layer}'" in message for layer in ("layer1", "layer2", "layer3", "layer4.0"))

    def test_unknown_layers_are_named_with_near_ones_and_known_layers_are_not(self, model):
        message = message_of(lambda: GradCAM(model, config("layer4", "laier3")))
        assert message.startswith("Target layers not found: ['laier3']")
        assert "did you mean" in message
        assert "'layer4'" not in message

    def test_a_layer_without_spatial_positions(self, model):
        assert "fc" in message_of(lambda: GradCAM(model, config("fc")).generate_heatmap(images()))

    @BOTH
    @pytest.mark.parametrize(
        ("option", "change"), [("relu_on_gradients", torch.relu), ("use_abs_gradients", torch.abs)]
    )
    def test_options_that_change_the_gradients(self, kind, option, change):
        """As if the network had had the changed gradients."""
        gradients = torch.randn(3, 4, 4, 6, generator=torch.Generator().manual_seed(5))
        found = kind(KnownGradients(gradients), config(**{option: True})).generate_heatmap(images(), 1)
        expected = replica(kind, KnownGradients(change(gradients)), "layer4", images(), 1)
        assert_close(not_constant(found), expected)
        plain = replica(kind, KnownGradients(gradients), "layer4", images(), 1)
        # Grad-CAM++ ignores negative gradients with and without the option.
        is_neutral = (kind, option) == (GradCAMPlusPlus, "relu_on_gradients")
        assert (np.abs(expected - plain).max() > 0.01) != is_neutral

    @BOTH
    @pytest.mark.parametrize("option", ["relu_on_gradients", "use_abs_gradients"])
    def test_options_that_change_nothing_where_no_gradient_is_negative(self, kind, option):
        gradients = torch.rand(3, 4, 4, 6, generator=torch.Generator().manual_seed(5))
        found, plain = (
            kind(KnownGradients(gradients), config(**given)).generate_heatmap(images(), 1)
            for given in ({option: True}, {})
        )
        assert_close(not_constant(found), plain, 0)

    @BOTH
    @pytest.mark.parametrize("seed", range(3))
    @pytest.mark.parametrize("layer", ["layer3", "layer4"])
    def test_eigen_smooth(self, kind, layer, seed):
        model = net(seed)
        gradcam = kind(model, config(layer, eigen_smooth=True))
        found = gradcam.generate_heatmap(images(), 1)
        assert_close(not_constant(found), replica(kind, model, layer, images(), 1, eigen_smooth=True), 1e-4)
        assert_close(gradcam.generate_heatmap(images(), 1), found, 0)
        plain = kind(model, config(layer)).generate_heatmap(images(), 1)
        assert np.abs(found - plain).max() > 0.01

    @BOTH
    @pytest.mark.parametrize("normalize", [True, False])
    @pytest.mark.parametrize("mode", ["bilinear", "bicubic", "nearest"])
    @pytest.mark.parametrize("size", [None, (31, 9)])
    def test_interpolation_size_and_normalisation(self, model, kind, mode, normalize, size):
        options = {"interpolation_mode": mode, "output_size": size, "normalize_heatmap": normalize}
        found = kind(model, config("layer3", **options)).generate_heatmap(images(), 1)
        assert found.dtype == np.float32
        assert_close(not_constant(found), replica(kind, model, "layer3", images(), 1, size, mode, normalize))
        assert normalize == (abs(found.max() - 1) < 1e-3)

    def test_interpolation_modes_differ(self, model):
        modes = ["bilinear", "bicubic", "nearest"]
        maps = [GradCAM(model, config(interpolation_mode=mode)).generate_heatmap(images(), 1) for mode in modes]
        assert all(np.abs(maps[i] - maps[j]).max() > 0.01 for i, j in [(0, 1), (0, 2), (1, 2)])

    @BOTH
    def test_in_place_relus_do_not_rewrite_what_was_captured(self, kind):
        own, other = net(inplace=True), net(inplace=False)
        for layer in LAYERS:
            gradcam = kind(own, config(layer))
            expected = kind(other, config(layer)).generate_heatmap(images(), 1)
            assert_close(gradcam.generate_heatmap(images(), 1), expected, 1e-6)
        gradcam = GradCAM(own, config("layer3"))
        gradcam.generate_heatmap(images(), 1)
        assert (gradcam.activations["layer3"] < 0).any()

    def test_what_is_captured(self, model):
        gradcam = GradCAM(model, config("layer3", "layer4"))
        assert gradcam.model is model
        assert gradcam.config.target_layers == ["layer3", "layer4"]
        assert gradcam.target_layers == {"layer3": model.layer3, "layer4": model.layer4}
        assert not gradcam.hooks
        gradcam.generate_heatmap(images(), 1)
        assert len(gradcam.gradients) == len(gradcam.activations) == 2
        assert not gradcam.hooks
        for layer in ("layer3", "layer4"):
            activations, gradients = captured(model, layer, images(), 1)
            assert_close(gradcam.activations[layer][0].numpy(), activations)
            assert_close(gradcam.gradients[layer][0].numpy(), gradients)
            assert not gradcam.activations[layer].requires_grad

    def test_what_is_captured_belongs_to_the_last_call(self, model):
        gradcam = GradCAM(model, config("layer3", "layer4"))
        gradcam.generate_heatmap(images(seed=1), 1)
        gradcam.generate_heatmap(images(seed=2), 1, target_layer="layer2")
        assert list(gradcam.gradients) == list(gradcam.activations) == ["layer2"]
        assert_close(gradcam.activations["layer2"][0].numpy(), captured(model, "layer2", images(seed=2), 1)[0])

    @BOTH
    def test_the_model_the_input_and_the_random_state_are_unchanged(self, model, kind):
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
        number = torch.rand(1)
        torch.manual_seed(11)
        assert torch.equal(number, torch.rand(1))
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
        assert_close(kind(model.train(), config()).generate_heatmap(images(), 1), expected, 0)

    def test_no_hook_is_left(self, model):
        own = model.layer4.register_forward_hook(lambda *_: None)
        gradcam = GradCAM(model, config("layer3", "layer4"))
        assert hook_count(model) == 1
        gradcam.generate_heatmap(images())
        gradcam.generate_batch_heatmaps(images(2))
        gradcam.get_multi_layer_heatmap(images())
        assert (hook_count(model), len(gradcam.hooks)) == (1, 0)
        own.remove()

    def test_no_hook_is_left_after_an_error(self, model):
        gradcam = GradCAM(model.train(), config())
        message_of(lambda: gradcam.generate_heatmap(images(), 99))
        message_of(lambda: gradcam.generate_heatmap(images(channels=4)))
        assert (hook_count(model), len(gradcam.hooks), model.training) == (0, 0, True)

    def test_remove_hooks_is_idempotent(self, model):
        gradcam = GradCAM(model, config())
        before = gradcam.generate_heatmap(images(), 1)
        for _ in range(3):
            assert gradcam.remove_hooks() is None
        assert (hook_count(model), len(gradcam.hooks)) == (0, 0)
        assert_close(gradcam.generate_heatmap(images(), 1), before, 0)

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
    def test_a_gpu_is_used_on_a_private_copy(self, model):
        expected = GradCAM(model, config(use_cuda=False)).generate_heatmap(images(), 1)
        gradcam = GradCAM(model, config(use_cuda=True))
        assert_close(gradcam.generate_heatmap(images(), 1), expected, 1e-3)
        assert gradcam.activations["layer4"].is_cuda
        assert not any(parameter.is_cuda for parameter in model.parameters())

    def test_use_cuda_false_keeps_everything_on_the_models_device(self, model):
        gradcam = GradCAM(model, config(use_cuda=False))
        gradcam.generate_heatmap(images(), 1)
        assert gradcam.activations["layer4"].device.type == "cpu"


class TestBatchProcessing:
    @BOTH
    @pytest.mark.parametrize("size", [1, 2, 5, 32])
    def test_a_batch_equals_single_images(self, model, kind, size):
        batch, classes = images(5), [0, 3, 1, 4, 2]
        gradcam = kind(model, config("layer3", batch_size=size))
        found = gradcam.generate_batch_heatmaps(batch, classes)
        assert isinstance(found, list)
        for one, image, index in zip(found, batch, classes, strict=True):
            assert (one.dtype, one.shape) == (np.float32, (16, 24))
            assert_close(not_constant(one), gradcam.generate_heatmap(image, index))
            assert_close(one, replica(kind, model, "layer3", image[None], index))

    @BOTH
    @pytest.mark.parametrize("size", [3, 8])
    def test_a_batch_equals_single_images_on_a_resnet(self, resnet, kind, size):
        batch = images(4, (64, 64))
        gradcam = kind(resnet, config(batch_size=size))
        for one, image in zip(gradcam.generate_batch_heatmaps(batch), batch, strict=True):
            assert_close(not_constant(one), gradcam.generate_heatmap(image))

    @pytest.mark.parametrize("options", [{"eigen_smooth": True}, {"use_abs_gradients": True}, {"output_size": (5, 6)}])
    def test_options_hold_for_batches(self, model, options):
        gradcam = GradCAM(model, config("layer3", batch_size=2, **options))
        batch, classes = images(3), [1, 2, 3]
        for found, image, index in zip(gradcam.generate_batch_heatmaps(batch, classes), batch, classes, strict=True):
            assert_close(found, gradcam.generate_heatmap(image, index))

    def test_what_is_captured_belongs_to_all_images_of_the_call_and_to_no_earlier_one(self, model):
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
        gradcam = GradCAM(model, config("layer3", batch_size=4))
        expected = gradcam.generate_batch_heatmaps(batch, model(batch).argmax(1).tolist())
        for found, wanted in zip(gradcam.generate_batch_heatmaps(batch), expected, strict=True):
            assert_close(found, wanted, 0)

    def test_passes_are_of_batch_size(self, model):
        gradcam = GradCAM(model, config(batch_size=2))
        gradcam.generate_batch_heatmaps(images(2))  # the first call of a shape profiles the model
        CALLS.clear()
        gradcam.generate_batch_heatmaps(images(5))
        assert CALLS == [2, 2, 1]

    @pytest.mark.parametrize("classes", [[0], [0, 1, 2], []])
    def test_a_list_of_the_wrong_length(self, model, classes):
        message = message_of(lambda: GradCAM(model, config()).generate_batch_heatmaps(images(2), classes))
        assert str(len(classes)) in message
        assert "2 images" in message
        assert not CALLS

    @pytest.mark.parametrize("shape", [(3, 16), (3, 16, 24), (1, 1, 3, 16, 24)])
    def test_not_four_dimensions(self, model, shape):
        message = message_of(lambda: GradCAM(model, config()).generate_batch_heatmaps(torch.randn(shape)))
        assert message == f"Input batch must be 4D tensor, got {len(shape)}D"


class TestMultiLayer:
    def maps(self, kind, model, layers, **options):
        return np.stack([kind(model, config(one, **options)).generate_heatmap(images(), 1) for one in layers])

    @BOTH
    def test_mean_is_the_default(self, model, kind):
        expected = self.maps(kind, model, LAYERS).mean(axis=0)
        gradcam = kind(model, config(*LAYERS))
        found = gradcam.get_multi_layer_heatmap(images(), 1)
        assert (found.dtype, found.shape) == (np.float32, (16, 24))
        assert_close(not_constant(found), expected)
        assert_close(gradcam.get_multi_layer_heatmap(images(), 1, aggregation="mean"), expected)

    @BOTH
    @pytest.mark.parametrize(
        "options", [{}, {"output_size": (9, 9), "interpolation_mode": "nearest", "normalize_heatmap": False}]
    )
    def test_max(self, model, kind, options):
        expected = self.maps(kind, model, LAYERS, **options).max(axis=0)
        assert_close(kind(model, config(*LAYERS, **options)).get_multi_layer_heatmap(images(), 1, "max"), expected)

    @BOTH
    @pytest.mark.parametrize("count", [1, 2, 3, 4])
    def test_weighted(self, model, kind, count):
        layers = LAYERS[-count:]
        weights = [0.5 + 0.5 * index / max(count - 1, 1) for index in range(count)]
        maps = self.maps(kind, model, layers)
        expected = sum(weight * one for weight, one in zip(weights, maps, strict=True)) / sum(weights)
        assert_close(kind(model, config(*layers)).get_multi_layer_heatmap(images(), 1, "weighted"), expected)

    def test_weighted_uses_the_networks_order_not_the_lists(self, model):
        maps = self.maps(GradCAM, model, ["layer2", "layer4"])
        expected = (0.5 * maps[0] + maps[1]) / 1.5
        for layers in (["layer2", "layer4"], ["layer4", "layer2"]):
            assert_close(GradCAM(model, config(*layers)).get_multi_layer_heatmap(images(), 1, "weighted"), expected)
        assert np.abs((maps[0] + 0.5 * maps[1]) / 1.5 - expected).max() > 0.01

    def test_three_dimensions_and_the_predicted_class(self, model):
        gradcam = GradCAM(model, config("layer3", "layer4"))
        expected = gradcam.get_multi_layer_heatmap(images(), predicted(model, images()))
        assert_close(gradcam.get_multi_layer_heatmap(images()[0]), expected, 0)

    @pytest.mark.parametrize("name", ["median", "Mean", ""])
    def test_other_aggregations_are_refused_before_any_work(self, model, name):
        message = message_of(lambda: GradCAM(model, config()).get_multi_layer_heatmap(images(), 1, name))
        assert message == f"Invalid aggregation: {name}. Choose from ['mean', 'max', 'weighted']"
        assert not CALLS

    def test_one_pass_captures_all_layers(self, model):
        gradcam = GradCAM(model, config(*LAYERS))
        gradcam.get_multi_layer_heatmap(images())  # the first call of a shape profiles the model
        CALLS.clear()
        gradcam.get_multi_layer_heatmap(images(), 2)
        assert CALLS == [1]
        assert set(gradcam.gradients) == set(gradcam.activations) == set(LAYERS)
        assert len(gradcam.gradients) == 4


class TestGradCAMPlusPlus:
    def test_is_a_gradcam_with_another_map(self, model):
        found, plain = (kind(model, config("layer3")) for kind in (GradCAMPlusPlus, GradCAM))
        assert isinstance(found, GradCAM)
        assert np.abs(found.generate_heatmap(images(), 1) - plain.generate_heatmap(images(), 1)).max() > 0.01

    @pytest.mark.parametrize("index", range(CLASSES))
    @pytest.mark.parametrize(("layer", "has_negative"), [("layer3", True), ("layer4", False)])
    def test_equals_the_papers_formula_on_the_positive_activations(self, model, layer, has_negative, index):
        """The replica computes the paper's equation 19: before an activation only the positive part counts."""
        activations, _ = captured(model, layer, images(), index)
        assert (activations < 0).any() == has_negative
        options = {"output_size": activations.shape[1:], "normalize_heatmap": False}
        found = GradCAMPlusPlus(model, config(layer, **options)).generate_heatmap(images(), index)
        expected = replica(GradCAMPlusPlus, model, layer, images(), index, activations.shape[1:], normalize=False)
        assert_close(not_constant(found), expected)

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
            not_constant(GradCAMPlusPlus(model, config("layer3")).generate_heatmap(image, 1))
            for model in (resnet, self.scaled(resnet, factor))
        )
        assert np.corrcoef(own.ravel(), other.ravel())[0, 1] > 0.98

    def test_large_logits_change_the_map_as_the_formula_says(self, model):
        other = self.scaled(model, 1e3)
        own, found = (GradCAMPlusPlus(m, config("layer4")).generate_heatmap(images(), 1) for m in (model, other))
        assert np.abs(own - found).max() > 0.01
        assert_close(found, replica(GradCAMPlusPlus, other, "layer4", images(), 1))

    def test_gradcam_does_not_depend_on_the_scale(self, model):
        own, other = (GradCAM(m, config()).generate_heatmap(images(), 1) for m in (model, self.scaled(model, 1e3)))
        assert_close(own, other, 1e-4)


class TestVisualization:
    @pytest.fixture
    def gradcam(self, model):
        return GradCAM(model, config())

    @pytest.fixture
    def ramp(self):
        return np.linspace(0, 1, 12 * 16, dtype=np.float32).reshape(12, 16)

    @pytest.fixture
    def colour(self):
        values = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
        values[0, 0], values[0, 1] = 0, 255  # as a tensor it spans [0, 1]
        return values

    def blended(self, rgb, heatmap, alpha=0.5, colormap=cv2.COLORMAP_JET):
        """The blend, pixel by pixel, BGR."""
        table = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], colormap)[:, 0].astype(np.float64)
        result = np.zeros((*heatmap.shape, 3))
        for i, j in np.ndindex(*heatmap.shape):
            level = round(float(heatmap[i, j]) * 255)
            for channel in range(3):
                pixel = float(rgb[i, j, 2 - channel])
                result[i, j, channel] = alpha * table[level, channel] + (1 - alpha) * pixel
        return result

    def assert_drawn(self, found, expected):
        assert (found.dtype, found.shape) == (np.uint8, expected.shape)
        assert np.abs(found.astype(np.float64) - expected).max() <= 1

    @pytest.mark.parametrize("alpha", [0, 0.25, 0.5, 1])
    def test_alpha(self, gradcam, ramp, colour, alpha):
        self.assert_drawn(gradcam.visualize(colour, ramp, alpha=alpha), self.blended(colour, ramp, alpha))

    def test_defaults(self, gradcam, ramp, colour):
        self.assert_drawn(gradcam.visualize(colour, ramp), self.blended(colour, ramp, 0.5))
        signature = inspect.signature(GradCAM.visualize).parameters
        assert [(name, one.default) for name, one in signature.items()] == [
            *((name, inspect.Parameter.empty) for name in ("self", "image", "heatmap")),
            *(("alpha", 0.5), ("colormap", cv2.COLORMAP_JET), ("return_pil", False)),
        ]

    def test_hot_is_red_and_cold_is_blue(self, gradcam):
        heatmap = np.zeros((4, 4), dtype=np.float32)
        heatmap[0, 0] = 1
        black = np.zeros((4, 4, 3), dtype=np.uint8)
        found = gradcam.visualize(black, heatmap, alpha=1.0)
        assert tuple(found[0, 0]) == (0, 0, 128)  # BGR: red
        assert tuple(found[3, 3]) == (128, 0, 0)  # BGR: blue

    def test_right_for_imwrite(self, gradcam, ramp, colour, tmp_path):
        cv2.imwrite(str(tmp_path / "a.png"), gradcam.visualize(colour, ramp, alpha=0.0))
        with PIL.Image.open(tmp_path / "a.png") as file:
            np.testing.assert_array_equal(np.asarray(file), colour)

    def test_pil_is_the_same_in_rgb(self, gradcam, ramp, colour):
        bgr = gradcam.visualize(colour, ramp)
        found = gradcam.visualize(colour, ramp, return_pil=True)
        assert isinstance(found, PIL.Image.Image)
        assert (found.mode, found.size) == ("RGB", (16, 12))
        np.testing.assert_array_equal(np.asarray(found), bgr[..., ::-1])

    @pytest.mark.parametrize("colormap", [cv2.COLORMAP_VIRIDIS, cv2.COLORMAP_HOT])
    def test_other_colours(self, gradcam, ramp, colour, colormap):
        found = gradcam.visualize(colour, ramp, colormap=colormap)
        self.assert_drawn(found, self.blended(colour, ramp, colormap=colormap))

    @pytest.mark.parametrize(
        "given",
        {
            "uint8": lambda values: values,
            "float32": lambda values: (values / 255).astype(np.float32),
            "float64": lambda values: values / 255,
            "tensor": lambda values: torch.from_numpy(values / 255).movedim(2, 0),
            "batch of one": lambda values: torch.from_numpy(values / 255).movedim(2, 0)[None].requires_grad_(),
            "uint8 tensor": lambda values: torch.from_numpy(values).movedim(2, 0),
            "pil": PIL.Image.fromarray,
            "pil rgba": lambda values: PIL.Image.fromarray(values).convert("RGBA"),
        }.items(),
        ids=lambda one: one[0],
    )
    def test_forms_of_a_colour_image(self, gradcam, ramp, colour, given):
        self.assert_drawn(gradcam.visualize(given[1](colour), ramp), self.blended(colour, ramp))

    @pytest.mark.parametrize(
        "given",
        {
            "uint8": lambda values: values,
            "uint8 (H, W, 1)": lambda values: values[..., None],
            "float": lambda values: values / 255,
            "tensor": lambda values: torch.from_numpy(values / 255)[None],
            "tensor (H, W)": lambda values: torch.from_numpy(values / 255),
            "pil": PIL.Image.fromarray,
        }.items(),
        ids=lambda one: one[0],
    )
    def test_forms_of_a_grey_image(self, gradcam, ramp, colour, given):
        grey = colour[..., 0].copy()
        self.assert_drawn(gradcam.visualize(given[1](grey), ramp), self.blended(np.stack([grey] * 3, axis=-1), ramp))

    @pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
    def test_a_pil_image_of_more_than_eight_bits_is_stretched(self, gradcam, ramp, dtype):
        values = np.arange(12 * 16, dtype=dtype).reshape(12, 16) * 100 + 7
        found = gradcam.visualize(PIL.Image.fromarray(values), ramp, alpha=0.0)
        grey = (values - 7.0) / (values.max() - 7.0) * 255
        self.assert_drawn(found, self.blended(np.stack([grey] * 3, axis=-1), ramp, 0.0))

    def test_a_dark_float_image_stays_dark(self, gradcam, ramp):
        dark = torch.full((3, 12, 16), 0.1)
        dark[:, 0, 0] = 0.2
        found = gradcam.visualize(dark, ramp, alpha=0.0)
        assert (found.min(), found.max()) == (26, 51)

    @pytest.mark.parametrize(("low", "high"), [(-2.0, 2.5), (0.0, 255.0), (-0.5, 0.5), (0.5, 1.5)])
    def test_a_tensor_outside_the_unit_range_is_stretched(self, gradcam, ramp, colour, low, high):
        tensor = torch.from_numpy(colour / 255).movedim(2, 0) * (high - low) + low
        self.assert_drawn(gradcam.visualize(tensor, ramp, alpha=0.0), self.blended(colour, ramp, 0.0))

    def test_a_constant_tensor_outside_the_unit_range_is_black(self, gradcam, ramp):
        assert (gradcam.visualize(torch.full((3, 12, 16), 7.0), ramp, alpha=0.0) == 0).all()

    def test_the_heatmap_is_resized_to_the_image(self, gradcam):
        heatmap = np.zeros((2, 2), dtype=np.float32)
        heatmap[:, 1] = 1
        found = gradcam.visualize(np.zeros((20, 40, 3), dtype=np.uint8), heatmap, alpha=1.0)
        assert found.shape == (20, 40, 3)
        assert tuple(found[10, 0]) == (128, 0, 0)
        assert tuple(found[10, 39]) == (0, 0, 128)

    @pytest.mark.parametrize("alpha", [-0.01, 1.01, 2, float("nan")])
    def test_alpha_outside_its_range(self, gradcam, ramp, colour, alpha):
        assert "alpha" in message_of(lambda: gradcam.visualize(colour, ramp, alpha=alpha))

    def test_a_heatmap_of_generate_heatmap(self, gradcam):
        image = images()
        heatmap = gradcam.generate_heatmap(image)
        rgb = ((image - image.min()) / (image.max() - image.min()))[0].permute(1, 2, 0).numpy() * 255
        self.assert_drawn(gradcam.visualize(image, heatmap), self.blended(rgb, heatmap))

    def test_values_that_are_no_image_or_no_heatmap(self, gradcam, ramp, colour):
        for wrong in (np.zeros((12, 16, 2)), np.zeros(12), torch.zeros(2, 3, 12, 16), torch.zeros(12)):
            assert "image" in message_of(lambda wrong=wrong: gradcam.visualize(wrong, ramp))
        assert "heatmap" in message_of(lambda: gradcam.visualize(colour, ramp[None]))

    def test_inputs_are_unchanged(self, gradcam, ramp, colour):
        for image in (colour, torch.randn(3, 12, 16)):
            before = copy.deepcopy(image), ramp.copy()
            gradcam.visualize(image, ramp)
            np.testing.assert_array_equal(np.asarray(image), np.asarray(before[0]))
            np.testing.assert_array_equal(ramp, before[1])

    def test_without_opencv(self, gradcam, ramp, colour, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "cv2", None)
        with pytest.raises(MissingPackageError, match=re.escape("pip install 'pellucid[xai]'")):
            gradcam.visualize(colour, ramp)


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
    """Random weights; VGG with a small head, since its hundred million weights take seconds to draw."""
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


LARGE = ["resnet50", "vgg16", "vgg16_bn"]
"""Networks of the same kinds as smaller ones."""


class TestHelperFunctions:
    @pytest.mark.parametrize(
        "name", [pytest.param(name, marks=pytest.mark.release if name in LARGE else ()) for name in RECOMMENDED]
    )
    def test_recommended_layers(self, name):
        model = from_torchvision(name)
        assert get_recommended_layers(model) == [RECOMMENDED[name]]
        assert model.training
        assert hook_count(model) == 0

    # The prefix does not depend on the network, so one at each depth of names is enough: layer4, features.18.
    @pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
    def test_recommended_layers_under_a_wrapper(self, name):
        assert get_recommended_layers(Wrapped(from_torchvision(name))) == [f"backbone.{RECOMMENDED[name]}"]

    def test_recommended_layers_under_two_wrappers_and_data_parallel(self):
        model = from_torchvision("resnet18")
        assert get_recommended_layers(Wrapped(Wrapped(model))) == ["backbone.backbone.layer4"]
        (name,) = get_recommended_layers(nn.DataParallel(model))
        assert name in ("layer4", "module.layer4")

    def test_recommended_layers_of_unknown_networks(self, model):
        assert get_recommended_layers(model) == ["layer4"]
        plain = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3), nn.Flatten())
        plain.append(nn.LazyLinear(3))
        plain(torch.randn(1, 1, 28, 28))
        assert get_recommended_layers(plain) == ["3"]

    @BOTH
    def test_recommended_layers_of_a_vit_work(self, kind):
        torch.manual_seed(0)
        vit = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=2, num_classes=CLASSES)
        layers = get_recommended_layers(vit)
        found = kind(vit, config(*layers)).generate_heatmap(images(size=(64, 64)), 1)
        assert not_constant(found).shape == (64, 64)

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
        assert_close(gradcam.generate_heatmap(images(), 1), replica(GradCAM, model, "layer4", images(), 1))

    @pytest.mark.parametrize(("method", "kind"), [("gradcam", GradCAM), ("gradcam++", GradCAMPlusPlus)])
    def test_create_gradcam_with_every_option(self, model, method, kind):
        gradcam = create_gradcam(model, target_layers=["layer2", "layer3"], method=method, use_cuda=False)
        assert type(gradcam) is kind
        assert (gradcam.config.target_layers, gradcam.config.use_cuda) == (["layer2", "layer3"], False)
        found = gradcam.generate_heatmap(images(), 1)  # at the last layer in network order
        assert_close(found, replica(kind, model, "layer3", images(), 1))
        assert_close(gradcam.generate_heatmap(images(), 1, "layer3"), found, 0)

    def test_create_gradcam_of_a_resnet(self, resnet):
        gradcam = create_gradcam(resnet, method="gradcam++")
        assert gradcam.config.target_layers == ["layer4"]
        assert gradcam.generate_heatmap(images(size=(64, 64))).shape == (64, 64)

    @pytest.mark.parametrize("method", ["scorecam", "GradCAM", ""])
    def test_create_gradcam_with_another_method(self, model, method):
        assert message_of(lambda: create_gradcam(model, method=method)).startswith(f"Invalid method: {method}")
        assert not CALLS

    def test_create_gradcam_with_wrong_layers(self, model):
        assert message_of(lambda: create_gradcam(model, ["zzz"])).startswith("Target layers not found")
        assert message_of(lambda: create_gradcam(model, [])) == "target_layers cannot be empty"
        message_of(lambda: create_gradcam(model, "layer4"), TypeError)


class TwoNames(nn.Module):
    """Layers registered under two names, as in a published checkpoint's sequential ResNet."""

    def __init__(self):
        super().__init__()
        own = net()
        self.backbone = nn.Sequential(own.layer1, own.layer2, own.layer3, own.layer4)
        self.layer4 = own.layer4
        self.classifier = own.fc

    def forward(self, x):
        return self.classifier(self.backbone(x).mean((2, 3)))


class Constant(nn.Module):
    """A map that is the same everywhere: evidence for class 0 and against class 1."""

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
        found = kind(Constant().eval(), config()).generate_heatmap(images(), index)
        assert (found == 0).all()
        assert found.shape == (16, 24)

    def test_a_constant_map_keeps_its_value_without_normalisation(self):
        found = GradCAM(Constant().eval(), config(normalize_heatmap=False)).generate_heatmap(images(), 0)
        np.testing.assert_allclose(found, 1 / (16 * 24), rtol=1e-5)

    @BOTH
    def test_evidence_that_is_all_negative_gives_zeros_never_nan(self, model, kind):
        with torch.no_grad():
            model.fc.weight[1] = -model.fc.weight[1].abs()
        assert (kind(model, config()).generate_heatmap(images(), 1) == 0).all()

    @pytest.mark.parametrize("normalize", [True, False])
    def test_nan_in_the_image_gives_finite_maps(self, model, normalize):
        image = images()
        image[0, 0, 0, 0] = math.nan
        found = GradCAM(model, config(normalize_heatmap=normalize)).generate_heatmap(image, 1)
        assert np.isfinite(found).all()

    @pytest.mark.parametrize(
        ("channels", "size"), [(1, (16, 24)), (2, (16, 24)), (4, (16, 24)), (3, (8, 40)), (3, (33, 17)), (3, (5, 5))]
    )
    def test_other_channels_and_sizes(self, channels, size):
        model, image = net(channels=channels), images(size=size, channels=channels)
        found = GradCAM(model, config("layer3")).generate_heatmap(image, 4)
        assert_close(not_constant(found), replica(GradCAM, model, "layer3", image, 4))

    @pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
    def test_called_without_gradients(self, model, context):
        gradcam = GradCAM(model, config())
        expected = gradcam.generate_heatmap(images(), 1)
        with context():
            assert_close(gradcam.generate_heatmap(images(), 1), expected, 1e-6)
            assert torch.is_inference_mode_enabled() == (context is torch.inference_mode)
        assert torch.is_grad_enabled()

    def test_a_frozen_model(self, model):
        expected = GradCAM(model, config("layer3")).generate_heatmap(images(), 1)
        found = GradCAM(model.requires_grad_(False), config("layer3")).generate_heatmap(images(), 1)
        assert_close(found, expected, 1e-6)

    def test_an_image_that_requires_a_gradient(self, model):
        gradcam, image = GradCAM(model, config()), images().requires_grad_()
        assert_close(gradcam.generate_heatmap(image, 1), gradcam.generate_heatmap(images(), 1), 0)
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
        assert_close(gradcam.generate_heatmap(images(), 1), replica(GradCAM, model, "layer3", images(), 1))
        assert list(gradcam.gradients) == [name]

    def test_a_layer_with_two_names(self):
        model = TwoNames().eval()
        first, second = (GradCAM(model, config(name)) for name in ("backbone.3", "layer4"))
        assert_close(first.generate_heatmap(images(), 1), second.generate_heatmap(images(), 1), 0)
        assert "['zzz']" in message_of(lambda: GradCAM(model, config("layer4", "zzz")))

    def test_two_explainers_on_one_model(self, model):
        first, second = GradCAM(model, config("layer3")), GradCAMPlusPlus(model, config("layer4"))
        own = first.generate_heatmap(images(), 1)
        assert_close(second.generate_heatmap(images(), 1), replica(GradCAMPlusPlus, model, "layer4", images(), 1))
        assert_close(first.generate_heatmap(images(), 1), own, 0)

    def test_a_model_that_goes_on_training(self, model):
        gradcam = GradCAM(model.train(), config())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        for _ in range(2):
            optimizer.zero_grad()
            F.cross_entropy(model(images(4)), torch.tensor([0, 1, 2, 3])).backward()
            before = [parameter.grad.clone() for parameter in model.parameters()]
            found = gradcam.generate_heatmap(images(), 1)
            assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), before, strict=True))
            assert_close(found, replica(GradCAM, model, "layer4", images(), 1))
            optimizer.step()
