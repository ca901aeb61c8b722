"""Training speed of the FNO U-Net in the published setting of denoising diffusion operators, against complex FFTs in the same run.

    python tests/benchmarks/fno_unet.py [threads] [rounds]

Width 64, levels 1-2-2, 2 blocks, 16 modes, 32x32, batch 8: forward, backward and an AdamW step. The reference is the same
network with its spectral convolutions as most codes write them: complex FFT, dense complex weights, einsum. Variants take
turns, and every figure is the ratio of medians within the run.
"""

import statistics
import sys
import time

import torch
from torch import Tensor, nn

from invkit.core.device import fast_dtype
from invkit.diffusion.networks import NETWORKS
from invkit.diffusion.networks.spectral_conv import SpectralConv, kept_modes

SETTING = {"channels": 64, "mult": (1, 2, 2), "blocks": 2, "patch": 1, "modes": 16}
BATCH = 8


class ComplexConv(nn.Module):
    """Li et al. (2021), FNO: FFT, a dense complex matrix for every kept mode, inverse FFT."""

    def __init__(self, channels: int, modes: int) -> None:
        super().__init__()
        self.modes = modes
        shape = (channels, channels, 2 * modes + 1, modes + 1)
        self.weight = nn.Parameter(torch.randn(*shape, dtype=torch.complex64) / channels)

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[-2:]
        j, k = kept_modes(h, self.modes), kept_modes(w, self.modes) + 1
        spectrum = torch.fft.rfft2(x.float())
        rows = torch.arange(-j, j + 1) % h
        kernel = self.weight[:, :, self.modes - j : self.modes + j + 1, :k]
        mixed = torch.einsum("bihw,iohw->bohw", spectrum[:, :, rows, :k], kernel)
        out = torch.zeros(x.shape[0], kernel.shape[1], h, w // 2 + 1, dtype=mixed.dtype)
        out[:, :, rows, :k] = mixed
        return torch.fft.irfft2(out, s=(h, w)).to(x.dtype)


def network(weights: str) -> nn.Module:
    reference = weights == "complex"
    net = NETWORKS["fno-unet"](**SETTING, weights="depthwise" if reference else weights).build(11, 3)
    if reference:
        for module in net.modules():
            if isinstance(getattr(module, "spectral", None), SpectralConv):
                module.spectral = ComplexConv(module.spectral.weight.shape[-1], 16)
    return net


def main() -> None:
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 4
    variants = [("complex", False), ("dense", False), ("low-rank", False), ("depthwise", False)]
    if fast_dtype(torch.device("cpu"), "auto") == torch.bfloat16:  # elsewhere it is emulated, for minutes
        variants += [("dense", True), ("depthwise", True)]
    steps = []
    for weights, bf16 in variants:
        net = network(weights).to(memory_format=torch.preserve_format)
        optimiser = torch.optim.AdamW(net.parameters(), 1e-4, fused=weights != "complex")
        size = sum(p.numel() * (2 if p.is_complex() else 1) for p in net.parameters()) / 1e6

        def step(net: nn.Module = net, optimiser: torch.optim.Optimizer = optimiser, bf16: bool = bf16) -> None:
            x, e = torch.randn(BATCH, 11, 32, 32), torch.randn(BATCH, 64)
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                loss = (net(x, e).float() - x[:, :3]).square().mean()
            loss.backward()
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)

        step()
        steps.append((f"{weights}{' bf16' if bf16 else ''}", size, step, []))
    for _ in range(rounds):
        for *_, step, times in steps:
            start = time.perf_counter()
            step()
            times.append(time.perf_counter() - start)
    base = statistics.median(steps[0][3])
    print(f"{'spectral path':<16}{'M parameters':>14}{'images/s':>10}{'x complex':>11}")
    for name, size, _, times in steps:
        median = statistics.median(times)
        print(f"{name:<16}{size:>14.1f}{BATCH / median:>10.1f}{base / median:>11.2f}")


if __name__ == "__main__":
    main()
