"""Every method on a GPU: the maps of a CPU, and nothing of the user's changed."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
import torch
from torch import nn

import pellucid
from pellucid import phantom
from pellucid.core.runtime import Runtime
from tests.contract.test_methods import METHODS, READS_ATTENTION, explained, few, kinds, network, plain, tolerance
from tests.networks import images

pytestmark = pytest.mark.gpu

GPU = "cuda"
BUNDLED = {"cnn": phantom.cnn, "vit": phantom.vit, "swin": phantom.swin}
EVERY = [(name, kind, rank) for name in METHODS for kind in kinds(name) for rank in (2, 3)]
TRAINED = [(name, build) for name in METHODS for build in BUNDLED if build == "vit" or name not in READS_ATTENTION]
every = pytest.mark.parametrize(("name", "kind", "rank"), EVERY, ids=lambda one: getattr(one, "__name__", str(one)))


def moved(kind: type[nn.Module], rank: int = 2) -> nn.Module:
    """A copy of a test's network on the GPU."""
    return copy.deepcopy(network(kind, rank)).to(GPU)


def assert_alike(found: pellucid.Explanation, expected: pellucid.Explanation, name: str) -> None:
    """Equal but for the order of sums: heatmaps are divided by their range, which makes more of it."""
    atol = 10 * tolerance(name)
    torch.testing.assert_close(found.heatmaps.cpu(), expected.heatmaps, rtol=0, atol=atol)
    torch.testing.assert_close(found.logits.cpu(), expected.logits, rtol=1e-4, atol=1e-4)
    assert found.targets.tolist() == expected.targets.tolist()
    assert found.layers == expected.layers


@every
def test_a_model_on_the_gpu_gets_the_maps_of_the_cpu(name: str, kind: type[nn.Module], rank: int) -> None:
    """Given images of either device; what is found lies where the model does."""
    model, batch = moved(kind, rank), images(2, rank)
    for given in (batch, batch.to(GPU)):
        found = explained(model, name, given)
        assert found.heatmaps.device.type == found.logits.device.type == GPU
        assert_alike(found, plain(name, kind, rank), name)


@pytest.mark.parametrize("name", METHODS)
def test_a_model_on_the_cpu_is_explained_on_the_gpu(name: str) -> None:
    """By a copy: the user's model stays where it is."""
    kind = kinds(name)[0]
    model = copy.deepcopy(network(kind))
    found = explained(model, name, images(2), runtime=Runtime(device=GPU))
    assert_alike(found, plain(name, kind), name)
    assert {one.device.type for one in (*model.parameters(), *model.buffers())} == {"cpu"}


@pytest.mark.parametrize(("name", "build"), TRAINED)
def test_trained_networks_get_the_maps_of_the_cpu(name: str, build: str) -> None:
    model = BUNDLED[build]()
    batch = pellucid.model_info(model).preprocessing.normalise(phantom.radiographs(2, 128, seed=5).images)
    expected = pellucid.explain(model, batch, few(name), 1)
    found = pellucid.explain(model, batch, few(name), 1, runtime=Runtime(device=GPU))
    assert found.layers == expected.layers
    assert found.degenerate.tolist() == expected.degenerate.tolist()
    likeness = pellucid.compare(found.to("cpu"), expected, metrics=["pearson"])["pearson"]
    assert (likeness[~expected.degenerate] > 0.999).all()


def left(model: nn.Module) -> list[object]:
    """All of the user's that an explanation could leave changed."""
    flags = (
        torch.backends.cudnn.allow_tf32,
        torch.backends.cudnn.benchmark,
        torch.backends.cudnn.deterministic,
        torch.are_deterministic_algorithms_enabled(),
        torch.is_autocast_enabled(GPU),
        torch.is_grad_enabled(),
        torch.cuda.current_device(),
        torch.cuda.current_stream(),
        torch.get_default_dtype(),
    )
    hooks = [len(one._forward_hooks) + len(one._backward_hooks) for one in model.modules()]
    states = [value.cpu().tolist() for value in (torch.get_rng_state(), torch.cuda.get_rng_state())]
    modes = [one.training for one in model.modules()]
    weights = [value.cpu() for value in model.state_dict().values()]
    return [flags, hooks, states, modes, weights, [one.grad for one in model.parameters()]]


@pytest.mark.parametrize("name", METHODS)
def test_nothing_of_the_users_is_changed(name: str) -> None:
    model, batch = moved(kinds(name)[-1]).train(), images(2).to(GPU)
    given = batch.clone()
    before = left(model)
    explained(model, name, batch)
    after = left(model)
    assert all(map(torch.equal, before.pop(4), after.pop(4)))
    assert before == after
    assert torch.equal(batch, given)


@pytest.mark.parametrize("name", METHODS)
def test_no_memory_of_the_gpu_is_kept(name: str) -> None:
    """After a first call, which finds the layer and takes cuBLAS's workspace."""
    model, batch = moved(kinds(name)[-1]), images(2).to(GPU)
    explained(model, name, batch)
    gc.collect()
    before = torch.cuda.memory_allocated()
    for _ in range(3):
        explained(model, name, batch)
    gc.collect()
    assert torch.cuda.memory_allocated() == before


@contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@contextmanager
def other_stream() -> Iterator[None]:
    with torch.cuda.stream(torch.cuda.Stream()):
        yield
        torch.cuda.current_stream().synchronize()


@contextmanager
def as_default() -> Iterator[None]:
    with torch.device(GPU):
        yield


AROUND: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "deterministic algorithms": deterministic,
    "autocast": lambda: torch.autocast(GPU, torch.float16),
    "another stream": other_stream,
    "inference mode": torch.inference_mode,
    "the gpu as default device": as_default,
}


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("name", METHODS)
def test_maps_do_not_depend_on_what_is_open_around_the_call(name: str, around: str) -> None:
    kind = kinds(name)[-1]
    model, batch = moved(kind), images(2).to(GPU)
    with AROUND[around]():
        found = explained(model, name, batch)
        shown = found.to("cpu")
    assert_alike(shown, plain(name, kind), name)


@pytest.mark.parametrize("name", METHODS)
def test_the_same_seed_gives_the_same_maps(name: str) -> None:
    kind = kinds(name)[0]
    model, batch = moved(kind), images(2)
    with deterministic():
        one, other = explained(model, name, batch), explained(model, name, batch)
    assert torch.equal(one.heatmaps, other.heatmaps)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", METHODS)
def test_other_precisions_show_the_same(name: str, precision: str) -> None:
    kind = kinds(name)[0]
    runtime = Runtime(device=GPU, precision=precision, channels_last=kind.__name__ == "TinyCNN")
    found = explained(network(kind), name, images(2), runtime=runtime).to("cpu")
    assert found.heatmaps.dtype == torch.float32
    assert pellucid.compare(found, plain(name, kind), metrics=["pearson"])["pearson"].min() > 0.95


def test_a_dropout_of_the_users_draws_the_same_numbers_after_an_explanation() -> None:
    torch.manual_seed(3)
    expected = [torch.rand(4, device=GPU) for _ in range(2)]
    torch.manual_seed(3)
    first = torch.rand(4, device=GPU)
    explained(moved(kinds("rise")[0]).train(), "smoothgrad", images(2))
    assert torch.equal(first, expected[0])
    assert torch.equal(torch.rand(4, device=GPU), expected[1])


def test_a_network_in_half_precision_is_explained_as_it_is() -> None:
    model = moved(kinds("gradcam")[0]).half()
    found = pellucid.explain(model, images(2).to(GPU), "gradcam", 1)
    assert found.heatmaps.isfinite().all()
    assert not found.degenerate.any()


@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning")  # of some versions of the compiler
def test_a_compiled_runtime() -> None:
    """Within torch's own differences."""
    kind = kinds("gradcam")[0]
    runtime = Runtime(device=GPU, compile=True)
    found = explained(network(kind), "gradcam", images(2), runtime=runtime)
    assert_alike(found, plain("gradcam", kind), "rise")


def test_parts_of_an_explanation_stay_on_the_gpu() -> None:
    found = explained(moved(kinds("gradcam")[0]), "gradcam", images(3))
    assert found[0].heatmaps.device.type == GPU
    assert pellucid.Explanation.cat([found[:1], found[1:]]).heatmaps.device.type == GPU


def test_a_fused_set_of_layers() -> None:
    kind = kinds("gradcam")[0]
    layers = ["features.2", "features.4"]
    options = {"layers": layers, "fuse": "mean"}
    expected = pellucid.explain(network(kind), images(2), "layercam", 1, **options)
    found = pellucid.explain(moved(kind), images(2), "layercam", 1, **options)
    assert_alike(found, expected, "gradcam")
