"""Nothing of an explanation reaches another thread, a forked child, or what stands after an interrupt."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import _get_current_function_mode_stack
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

import pellucid
from pellucid.core.method import Method
from pellucid.methods.ablationcam import AblationCAM
from pellucid.methods.attnlrp import AttnLRP
from pellucid.methods.fullgrad import FullGrad
from pellucid.methods.gradcam import GradCAM
from pellucid.methods.gradient_rollout import GradientRollout
from pellucid.methods.guided_backprop import GuidedBackprop
from pellucid.methods.legrad import LeGrad
from pellucid.methods.rise import RISE
from pellucid.methods.rollout import Rollout
from pellucid.methods.saliency import Saliency
from pellucid.methods.scorecam import ScoreCAM
from pellucid.methods.shapleycam import ShapleyCAM
from tests.networks import TinyCNN, TinyViT, images, seeded

CONVOLUTIONAL: list[Method] = [
    *(
        GradCAM(),
        AblationCAM(),
        ScoreCAM(),
        ShapleyCAM(),
        Saliency(),
        GuidedBackprop(),
        FullGrad(),
        RISE(masks=8, cells=4),
    ),
]
ATTENTION: list[Method] = [Rollout(), GradientRollout(), LeGrad(), AttnLRP()]
EVERY_KIND = [(TinyCNN, method) for method in CONVOLUTIONAL] + [(TinyViT, method) for method in ATTENTION]
every_kind = pytest.mark.parametrize(("kind", "method"), EVERY_KIND, ids=lambda item: getattr(item, "name", None))
TIMES = 25
how_often = pytest.mark.parametrize("times", [TIMES, pytest.param(200, marks=pytest.mark.release)])


@contextmanager
def beside(work: Callable[[], object]) -> Iterator[list[int]]:
    """Another thread that works again and again; how often it did so far. Its errors come out here."""
    rounds: list[int] = []
    errors: list[BaseException] = []
    stop = threading.Event()

    def run() -> None:
        try:
            while not stop.is_set():
                work()
                rounds.append(1)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield rounds
    finally:
        stop.set()
        thread.join(timeout=60)
    assert not thread.is_alive()
    assert errors == []


def few_layers(kind: type[nn.Module], method: Method) -> dict[str, Any]:
    return {"layers": ["features.1"]} if kind is TinyCNN and method.uses_layers else {}


def assert_equal(found: pellucid.Explanation, expected: pellucid.Explanation) -> None:
    torch.testing.assert_close(found.attributions, expected.attributions, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(found.logits, expected.logits)


@every_kind
@how_often
def test_beside_a_thread_that_predicts(kind: type[nn.Module], method: Method, times: int) -> None:
    """Its predictions have no graph and are right, and the explanations are."""
    model, batch = seeded(kind).eval(), images(1)
    where = few_layers(kind, method)
    expected = pellucid.explain(model, batch, method=method, targets=1, **where)
    with torch.no_grad():
        logits = model(batch)

    def predict() -> None:
        with torch.no_grad():
            found = model(batch)
        assert not found.requires_grad
        assert torch.equal(found, logits)

    with beside(predict) as predictions:
        for _ in range(times):
            assert_equal(pellucid.explain(model, batch, method=method, targets=1, **where), expected)
    assert predictions


@every_kind
@how_often
def test_beside_a_thread_that_trains(kind: type[nn.Module], method: Method, times: int) -> None:
    """Every step is in training mode and has its gradients; steps of length 0 write into the weights all the same."""
    model, batch = seeded(kind).train(), images(2)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = 0.0
    where = few_layers(kind, method)
    expected = pellucid.explain(model, batch, method=method, targets=1, **where)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9)
    parameters = list(model.parameters())

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(batch), torch.tensor([1, 2])).backward()
        assert all(part.training for part in model.modules())
        assert all(parameter.requires_grad and parameter.grad is not None for parameter in parameters)
        optimizer.step()

    with beside(step) as steps:
        for _ in range(times):
            assert_equal(pellucid.explain(model, batch, method=method, targets=1, **where), expected)
    assert steps


class Drawing(TinyCNN):
    """Drops out in a prediction, too."""

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.dropout(self.features(x).flatten(2).mean(-1), 0.5, training=True))


@pytest.mark.parametrize("kind", [TinyCNN, Drawing])
def test_random_numbers_of_other_threads_are_left_alone(kind: type[nn.Module]) -> None:
    model, batch, drawn = seeded(kind), images(1), list[float]()
    with beside(lambda: drawn.append(float(torch.rand((), dtype=torch.float64)))):
        for _ in range(TIMES):
            pellucid.explain(model, batch, targets=1)
    assert len(drawn) > TIMES
    assert len(set(drawn)) == len(drawn)


FORKING = """
import os, sys, threading, time
import torch
torch.set_num_threads(1)
import pellucid
from tests.networks import TinyCNN, TinyViT, images, seeded

cases = [(seeded(TinyCNN), "gradcam"), (seeded(TinyViT), "rollout"), (seeded(TinyViT), "gradient_rollout")]
batch, stop = images(1), threading.Event()

def explain():
    for model, method in cases:
        pellucid.explain(model, batch, method=method, targets=1)

def again():
    while not stop.is_set():
        explain()

explain()
thread = threading.Thread(target=again)
thread.start()
children = []
for _ in range(20):
    child = os.fork()
    if child == 0:
        explain()
        os._exit(0)
    children.append(child)
    time.sleep(0.01)
end, codes = time.monotonic() + 60, []
while children and time.monotonic() < end:
    done, status = os.waitpid(-1, os.WNOHANG)
    if done:
        children.remove(done)
        codes.append(status)
    else:
        time.sleep(0.01)
for child in children:
    os.kill(child, 9)
stop.set()
thread.join()
print("hung", len(children), "failed", sum(code != 0 for code in codes))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_children_that_fork_while_a_thread_explains_can_explain() -> None:
    """With one thread of torch's: its pool of several does not live through a fork, whatever runs it."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([*filter(None, sys.path), "."])}
    done = subprocess.run(  # the interpreter itself
        [sys.executable, "-W", "ignore", "-c", FORKING],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
        check=False,
    )
    assert done.stdout.split() == ["hung", "0", "failed", "0"], done.stderr


class _Interrupt:
    """Counts the bytecodes that run, and raises at one of them."""

    def __init__(self, at: int | None = None) -> None:
        self.count = 0
        self.at = at

    def __call__(self, frame: FrameType, event: str, _argument: Any) -> Any:
        frame.f_trace_opcodes = True
        if event == "opcode":
            self.count += 1
            if self.count == self.at:
                raise KeyboardInterrupt
        return self


def interrupted(call: Callable[[], object], at: int | None = None) -> int:
    """Run a call with an interrupt at one of its bytecodes; how many ran."""
    trace, before = _Interrupt(at), sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(before)
    return trace.count


def everything(model: nn.Module) -> list[object]:
    """What an interrupt could leave changed: of the model, of the thread, of the process."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_buffers", "_modules", "_parameters")
    return [
        [len(getattr(part, name)) for part in model.modules() for name in hooks],
        [sorted(vars(part)) for part in model.modules()],
        [part.training for part in model.modules()],
        [(one.requires_grad, one.grad is None, one._version) for one in model.parameters()],
        (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")),
        (len(_get_current_function_mode_stack()), len(_get_current_dispatch_mode_stack())),
        torch.get_rng_state().tolist(),
        threading.active_count(),
    ]


def check_interrupts(kind: type[nn.Module], method: Method, first: bool, times: int) -> None:
    """Interrupt an explanation at random bytecodes, and see that nothing is left changed and the next one is right."""
    model, batch, draw = seeded(kind).train(), images(1), random.Random(0)  # which bytecodes
    where = few_layers(kind, method)

    def call() -> object:
        return pellucid.explain(model, batch, method=method, targets=1, **where)

    expected = call()  # what is imported then is not to be counted
    model = seeded(kind).train() if first else model
    count = interrupted(call)
    before = everything(model)
    for _ in range(times):
        if first:
            model = seeded(kind).train()
        interrupted(call, draw.randrange(1, count))
        assert everything(model) == before
    assert_equal(call(), expected)


# Python itself drops an interrupt that strikes in the callback of a weak reference, and says so.
dropped = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
first_or_later = pytest.mark.parametrize("first", [True, False], ids=["first call", "later calls"])


@dropped
@first_or_later
@every_kind
def test_interrupts_at_some_bytecodes(kind: type[nn.Module], method: Method, first: bool) -> None:
    check_interrupts(kind, method, first, times=3)


@pytest.mark.release
@dropped
@first_or_later
@every_kind
def test_a_thousand_interrupts_at_any_bytecode(kind: type[nn.Module], method: Method, first: bool) -> None:
    """Twelve kinds, twice, and 42 interrupts each."""
    check_interrupts(kind, method, first, times=42)


def test_the_interrupts_strike() -> None:
    """The tests above can fail: an interrupt does leave gradients off where nothing puts them back."""

    def careless() -> None:
        torch.set_grad_enabled(False)
        sum(range(10))
        torch.set_grad_enabled(True)

    try:
        count = interrupted(careless)
        left = []
        for at in range(1, count + 1):
            interrupted(careless, at)
            left.append(torch.is_grad_enabled())
            torch.set_grad_enabled(True)
    finally:
        torch.set_grad_enabled(True)
    assert not all(left)
