import math

import pytest
import torch

from invkit.diffusion.networks.spectral_conv import SpectralConv, kept_modes


def reference(conv: SpectralConv, x: torch.Tensor) -> torch.Tensor:
    """The same convolution by complex FFTs, mode by mode."""
    h, w = x.shape[-2:]
    m, spectrum = conv.modes, torch.fft.fft2(x, norm="forward")
    out = torch.zeros_like(spectrum)
    weight = torch.complex(*conv.weight)
    if conv.enter is not None:  # a dense kernel of low rank in every mode
        weight = torch.einsum("rc,jkr,or->jkco", conv.enter.to(weight), weight, conv.leave.to(weight))
    for j in range(-kept_modes(h, m), kept_modes(h, m) + 1):
        for k in range(kept_modes(w, m) + 1):
            kernel, value = weight[m + j, k], spectrum[:, :, j % h, k]
            out[:, :, j % h, k] = (value @ kernel if kernel.ndim == 2 else value * kernel) * (2 if k else 1)
    return torch.fft.ifft2(out, norm="forward").real


@pytest.mark.parametrize("weights", ["dense", "low-rank", "depthwise"])
@pytest.mark.parametrize(("h", "w", "modes"), [(16, 16, 5), (15, 17, 9), (8, 6, 6), (1, 5, 3)])
def test_against_complex_ffts(weights, h, w, modes):
    conv = SpectralConv(4, modes, weights).double()
    x = torch.randn(2, 4, h, w, dtype=torch.float64)
    torch.testing.assert_close(conv(x), reference(conv, x))


def test_kept_modes_stay_below_nyquist():
    assert [kept_modes(n, 16) for n in (64, 32, 31, 2, 1)] == [16, 15, 15, 0, 0]


@pytest.mark.parametrize("weights", ["dense", "low-rank", "depthwise"])
def test_the_same_function_on_a_finer_grid(weights):
    """A band-limited input gives the same output, sampled finer."""
    conv = SpectralConv(2, 5, weights).double()

    def sampled(n: int) -> torch.Tensor:
        u = 2 * math.pi * torch.arange(n, dtype=torch.float64) / n
        wave = torch.cos(3 * u[:, None] - 2 * u) + 0.3 * torch.sin(u + 0 * u[:, None]) + 0.2
        return torch.stack([wave, wave**2])[None]

    torch.testing.assert_close(conv(sampled(32))[..., ::2, ::2], conv(sampled(16)))


def test_it_commutes_with_shifts():
    conv = SpectralConv(3, 4, "dense").double()
    x = torch.randn(1, 3, 12, 12, dtype=torch.float64)
    torch.testing.assert_close(conv(x.roll((2, 5), (2, 3))), conv(x).roll((2, 5), (2, 3)))
