"""Conformance of networks: silent at first, on any grid, in bfloat16, with gradients, image by image."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from invkit.core.grid import Grid
from invkit.diffusion.constants import embed
from invkit.diffusion.networks import Network
from invkit.testing.algebra import relative
from invkit.testing.contract import global_state, same, snapshot
from invkit.testing.examples import bases
from invkit.testing.report import Check, Report, Worst, guarded
from invkit.testing.trials import fixed_random_state, normal

GRIDS = (Grid(1, 1), Grid(8, 8), Grid(9, 9, 1), Grid(15, 10), Grid(11, 24, 1), Grid(32, 32), Grid(17, 64))
GRID = Grid(16, 16)  # of the checks on one grid
REFERENCE = 16
IMAGES = 2
BFLOAT16 = 0.1  # relative difference of the output in bfloat16 from that in float32
STEP, SLOPE = 1e-2, 0.02  # of finite differences in float32, and the relative error allowed
BATCH = 1e-4  # relative difference of an image's output alone and in a batch


@dataclass(frozen=True)
class Subject:
    """The settings of a network that are checked."""

    network: Network

    def built(self, grid: Grid = GRID, stirred: bool = True) -> nn.Module:
        """A network for images on a grid, as the model builds it; `stirred` gives parameters that are all zero other values."""
        torch.random.default_generator.manual_seed(0)
        module = self.network.build(3 * grid.channels + 2, grid.channels).float()
        for i, p in enumerate(module.parameters() if stirred else ()):
            if not bool(p.any()):
                p.data = normal(p.shape, p.dtype, i) / max(1, p[0].numel()) ** 0.5
        return module

    def inputs(self, grid: Grid = GRID, count: int = IMAGES) -> tuple[Tensor, Tensor]:
        """Images (B, in, h, w) on the network's grid, and embeddings (B, E) of noise levels."""
        h, w = self.network.working(grid, REFERENCE)
        x = normal((count, 3 * grid.channels + 2, h, w), torch.float32, 1)
        return x.contiguous(memory_format=torch.channels_last), embed(
            torch.logspace(-1, 1, count), self.network.embedding_size
        )


def check_zero(subject: Subject) -> Check:
    """A new network returns zero, so that an untrained model is its initial estimate."""
    worst = Worst(count=1, detail="a new network")
    largest = float(subject.built(stirred=False)(*subject.inputs(), None).detach().abs().max())
    if largest != 0:
        worst.fault(f"a new network returns values up to {largest:.2g}; its last layer has to start with zeros")
    return worst.check("zero")


def check_grids(subject: Subject) -> Check:
    """`working` gives the network's grid for any grid of images, and outputs on it are (B, out, h, w), float32 and finite."""
    worst, size = Worst(count=1, detail=f"{len(GRIDS)} grids, one channel and three"), subject.network.embedding_size
    if not isinstance(size, int) or size < 2 or size % 2:
        worst.fault(f"embedding_size is {size!r}; sines and cosines of the noise level need an even number")
        return worst.check("grids")
    for grid in GRIDS:
        shape = subject.network.working(grid, REFERENCE)
        if len(shape) != 2 or not all(isinstance(n, int) and n > 0 for n in shape):
            worst.fault(f"working gave {shape!r} for {grid}, expected height and width")
            continue
        out = subject.built(grid)(*subject.inputs(grid), None)
        if tuple(out.shape) != (IMAGES, grid.channels, *shape):
            worst.fault(f"gave {tuple(out.shape)} on {grid}, expected {(IMAGES, grid.channels, *shape)}")
        elif out.dtype != torch.float32 or not bool(out.isfinite().all()):
            worst.fault(f"gave {out.dtype} on {grid}, or values that are not finite")
    return worst.check("grids")


def check_level(subject: Subject) -> Check:
    """The output depends on the embedding of the noise level."""
    worst, module, (x, e) = Worst(count=1, detail="two noise levels"), subject.built(), subject.inputs()
    if torch.equal(module(x, e, None), module(x, e.flip(0), None)):
        worst.fault("the output is the same for every noise level")
    return worst.check("level")


def check_purity(subject: Subject) -> Check:
    """Equal arguments give the same bits, in training too; arguments, buffers and global generators stay as they are."""
    worst = Worst(count=1, detail="two calls, with and without a seed of dropout")
    x, e = subject.inputs()
    for training in (False, True):
        module, seed = subject.built().train(training), torch.tensor(3) if training else None
        before = global_state(), snapshot([x, e]), snapshot(module.state_dict())
        first = module(x, e, seed)
        after = global_state(), snapshot([x, e]), snapshot(module.state_dict())
        names = ("a global generator", "its arguments", "its own parameters or buffers")
        for what, old, new in zip(names, before, after, strict=True):
            if not same(old, new):
                worst.fault(f"a call changes {what}{' in training' if training else ''}")
        if not torch.equal(first, module(x, e, seed)):
            worst.fault(f"a second call gives another result{' in training' if training else ''}")
    return worst.check("purity")


def check_batch(subject: Subject) -> Check:
    """The output of an image is the same alone and in a batch, in training too."""
    worst, (x, e) = Worst(), subject.inputs(count=3)
    for training in (False, True):
        module = subject.built().train(training).requires_grad_(False)
        whole = module(x, e, None)
        for i in range(3):
            alone = module(x[i : i + 1], e[i : i + 1], None)
            worst.record(
                relative(alone - whole[i : i + 1], alone), BATCH, "in training" if training else "without training"
            )
    return worst.check("batch")


def check_gradients(subject: Subject) -> Check:
    """Every parameter has a finite gradient that is not zero, and the gradient of the image is that of finite differences."""
    worst, module, (x, e) = Worst(), subject.built(), subject.inputs()
    x = x.requires_grad_()
    out = module(x, e, None)
    v, u = (normal(t.shape, torch.float32, seed) for seed, t in ((3, out), (4, x)))
    (out * v).sum().backward()
    for name, p in module.named_parameters():
        if p.grad is None or not bool(p.grad.isfinite().all()) or not bool(p.grad.any()):
            worst.fault(f"the parameter {name} has no gradient, or one that is zero or not finite")
    if x.grad is None:
        worst.fault("there is no gradient of the image")
        return worst.check("gradients")
    with torch.no_grad():
        ends = [(module(x + sign * STEP * u, e, None) * v).sum().double() for sign in (1, -1)]
    slope, exact = (ends[0] - ends[1]) / (2 * STEP), (x.grad * u).sum().double()
    scale = float(x.grad.norm() * u.norm()) / u.numel() ** 0.5
    worst.record(float((slope - exact).abs()) / max(scale, 1e-30), SLOPE, "from finite differences")
    return worst.check("gradients")


def check_bfloat16(subject: Subject) -> Check:
    """Under autocast to bfloat16 the output is near that of float32, and gradients are finite."""
    worst, module, (x, e) = Worst(), subject.built(), subject.inputs()
    with torch.no_grad():
        exact = module(x, e, None)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = module(x, e, None).float()
    worst.record(relative(found.detach() - exact, exact), BFLOAT16, "from float32")
    found.square().mean().backward()
    if any(p.grad is not None and not bool(p.grad.isfinite().all()) for p in module.parameters()):
        worst.fault("gradients are not finite")
    return worst.check("bfloat16")


CHECKS: dict[str, Callable[[Subject], Check]] = {
    "zero": check_zero,
    "grids": check_grids,
    "level": check_level,
    "purity": check_purity,
    "batch": check_batch,
    "gradients": check_gradients,
    "bfloat16": check_bfloat16,
}


def check_network(network: Network | type[Network], name: str | None = None) -> Report:
    """Check a network, or its class with default settings.

    >>> from invkit.diffusion.networks import NETWORKS
    >>> check_network(NETWORKS["unet"](channels=8, mult=(1,), blocks=1, embedding=8)).passed
    True
    """
    chosen = network if isinstance(network, Network) else bases(network)[0]
    with fixed_random_state():
        checks = tuple(guarded(title, check, Subject(chosen)) for title, check in CHECKS.items())
    return Report(name or type(chosen).__name__, checks, "network")
