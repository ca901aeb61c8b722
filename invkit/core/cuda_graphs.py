"""A network replayed from CUDA graphs: the host launches one graph instead of hundreds of operations."""

import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

Call = Callable[..., Tensor]

WARM = 2  # ordinary calls with inputs of the same shapes before they are captured
MOST = 4  # graphs that are kept, each with its memory; inputs of further shapes are computed as usual
TOLERANCE = 1e-2  # largest difference of the first replay, relative to the largest value


class Replayed:
    """A network whose calls are captured once for each shape of the inputs, with gradients of the parameters and without.

    A graph launches the kernels of the ordinary call, so its results are the same. The first replay is compared with an ordinary
    call: if they differ, or if the capture fails, one warning says so, and from then on all calls are ordinary. A result with
    gradients is overwritten by the next call, so its backward pass must come before that.
    """

    def __init__(
        self, network: nn.Module, capture: Callable[[nn.Module, tuple[Tensor, ...]], Call] | None = None
    ) -> None:
        self.network, self._capture = network, capture or capture_cuda
        self.off = False
        self._seen = Counter[Any]()
        self._graphs: dict[Any, Call] = {}

    def __call__(self, *inputs: Tensor) -> Tensor:
        grad = torch.is_grad_enabled()
        if self.off or any(x.requires_grad for x in inputs) or (grad and not self.network.training):
            return self.network(*inputs)
        shapes = tuple((x.shape, x.stride(), x.dtype) for x in inputs)
        place = next(self.network.parameters()).data_ptr()  # weights that were moved are not those of a graph
        key = grad, self.network.training, torch.is_autocast_enabled(inputs[0].device.type), place, shapes
        if (graph := self._graphs.get(key)) is not None:
            return graph(*inputs)
        self._seen[key] += 1
        if self._seen[key] > WARM and len(self._graphs) < MOST:
            self._add(key, inputs)
        return self.network(*inputs)

    def _add(self, key: Any, inputs: tuple[Tensor, ...]) -> None:
        try:
            graph = self._capture(self.network, inputs)
            if not self._same(graph, inputs):
                raise RuntimeError("the first replay differs from an ordinary call")
        except Exception as error:  # of many types
            self.off = True
            self._graphs.clear()
            first = (str(error).strip() or "no reason given").splitlines()[0]
            text = f"CUDA graphs: continuing without them ({type(error).__name__}: {first}); train.graph=off ends this warning"
            warnings.warn(text, stacklevel=4)
        else:
            self._graphs[key] = graph

    def _same(self, graph: Call, inputs: tuple[Tensor, ...]) -> bool:
        for usual, replayed in zip(self._results(self.network, inputs), self._results(graph, inputs), strict=True):
            scale = float(usual.abs().max())
            if not torch.allclose(replayed, usual, rtol=0, atol=TOLERANCE * scale + 1e-12, equal_nan=True):
                return False
        return True

    def _results(self, call: Call, inputs: tuple[Tensor, ...]) -> list[Tensor]:
        """Copies of the output and, with gradients, of those of its sum."""
        out = call(*inputs)
        results = [out]
        if torch.is_grad_enabled():
            parameters = [p for p in self.network.parameters() if p.requires_grad]
            grads = torch.autograd.grad(out.float().square().sum() + out.float().sum(), parameters, allow_unused=True)
            results += [g for g in grads if g is not None]
        return [x.detach().float().clone() for x in results]


class _Call(nn.Module):
    """A call of a network: a capture changes the module that it is given, once."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Tensor) -> Tensor:
        result: Tensor = self.network(*inputs)
        return result


def capture_cuda(network: nn.Module, inputs: tuple[Tensor, ...]) -> Call:
    """The network captured for inputs of the shapes of `inputs`, with the backward pass if gradients are enabled."""
    static = tuple(x.clone() for x in inputs)
    if torch.is_grad_enabled():
        return cast(Call, torch.cuda.make_graphed_callables(_Call(network), static))
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # what is allocated or chosen once must not become part of the graph
        for _ in range(3):
            network(*static)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = network(*static)

    def replay(*inputs: Tensor) -> Tensor:
        for own, x in zip(static, inputs, strict=True):
            own.copy_(x)
        graph.replay()
        return out.clone()

    return replay
