"""Which calls of a network are replayed, and what happens if a capture fails; captures themselves are tested on a GPU."""

import pytest
import torch
from torch import nn

from invkit.core.cuda_graphs import MOST, WARM, Replayed


class Captures:
    """Captures calls without a GPU: a replay computes what an ordinary call does, times `factor`."""

    def __init__(self, factor=1.0, fails=False):
        self.factor, self.fails, self.made, self.replays = factor, fails, 0, 0

    def __call__(self, network, inputs):
        if self.fails:
            raise RuntimeError("operation not permitted\nwhen stream is capturing")
        self.made += 1

        def replay(*inputs):
            self.replays += 1
            return self.factor * network(*inputs)

        return replay


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Conv2d(3, 2, 3)


def x(n=2):
    return torch.arange(n * 3 * 25, dtype=torch.float32).view(n, 3, 5, 5)


def test_calls_are_captured_once_for_each_shape(network):
    replayed = Replayed(network, captures := Captures())
    with torch.no_grad():
        for n in [2] * 5 + [4] * 5:
            assert torch.equal(replayed(x(n)), network(x(n)))
    checks = 2  # a replay of each for the comparison
    assert (captures.made, captures.replays) == (2, 2 * (5 - WARM - 1) + checks)
    with torch.no_grad():
        for n in [5, 6, 7] * (WARM + 2):
            replayed(x(n))
    assert captures.made == MOST


def test_gradients_are_captured_in_training_alone(network):
    replayed = Replayed(network, captures := Captures())
    for _ in range(WARM + 1):
        replayed(x())
    assert captures.made == 1
    network.eval()
    for _ in range(WARM + 1):
        replayed(x())  # of parameters that are not trained
    for _ in range(WARM + 1):
        replayed(x().requires_grad_())  # of the input, by a solver
    assert captures.made == 1


def test_moved_weights_are_captured_anew(network):
    replayed = Replayed(network, captures := Captures())
    with torch.no_grad():
        for _ in range(WARM + 1):
            replayed(x())
        network.weight.data = network.weight.data * 2
        assert torch.equal(replayed(x()), network(x()))
    assert captures.replays == 1  # the comparison


@pytest.mark.parametrize(
    ("captures", "reason"),
    [
        (Captures(fails=True), "RuntimeError: operation not permitted"),
        (Captures(factor=1.1), "the first replay differs"),
        (Captures(factor=float("nan")), "the first replay differs"),
    ],
)
@pytest.mark.parametrize("grad", [True, False])
def test_a_failed_capture_is_said_once(network, captures, reason, grad):
    replayed = Replayed(network, captures)
    with torch.set_grad_enabled(grad), pytest.warns(UserWarning, match=reason) as warned:
        results = [replayed(x()) for _ in range(3 * WARM)]
    assert all(torch.equal(result, network(x())) for result in results)
    assert len(warned) == 1 and "train.graph=off" in str(warned[0].message)


def test_gradients_are_compared_too(network):
    class Constant(Captures):
        def __call__(self, network, inputs):
            return lambda *inputs: network(*inputs).detach() + 0 * network(*inputs)

    replayed = Replayed(network, Constant())
    for _ in range(WARM):
        replayed(x())
    with pytest.warns(UserWarning, match="the first replay differs"):
        replayed(x())
