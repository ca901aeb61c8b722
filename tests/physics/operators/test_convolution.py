import pytest
import torch
from scipy import ndimage

from invkit.core.grid import Grid
from invkit.physics.operators.convolution import Convolution


def kernels(count: int, grid: Grid) -> torch.Tensor:
    return torch.randn(count, *grid.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(count))


@pytest.mark.parametrize("grid", [Grid(6, 9), Grid(7, 4, 1), Grid(1, 5)])
@pytest.mark.parametrize("count", [1, 3])
def test_agrees_with_the_circulant_matrix(grid, count):
    kernel = kernels(count, grid)
    a = Convolution.of(3, grid, kernel)
    x, y = (torch.randn(3, *grid.picture, dtype=torch.float64) for _ in range(2))
    for i in range(3):
        own = kernel[i % count]
        shifts = [own.roll((r, c), (0, 1)).flatten() for r in range(grid.height) for c in range(grid.width)]
        matrix = torch.stack(shifts, 1)  # column by column, what a single bright pixel becomes
        flat = x[i].flatten(1).T
        torch.testing.assert_close(a.forward(x)[i].flatten(1).T, matrix @ flat)
        torch.testing.assert_close(a.adjoint(y)[i].flatten(1).T, matrix.T @ y[i].flatten(1).T)
        torch.testing.assert_close(a.pinv(y)[i].flatten(1).T, torch.linalg.pinv(matrix) @ y[i].flatten(1).T)


def test_agrees_with_scipy():
    grid, small = Grid(12, 10, 1), torch.arange(15.0, dtype=torch.float64).view(3, 5)
    kernel = torch.zeros(1, *grid.shape, dtype=torch.float64)
    kernel[0, :3, :5] = small
    x = torch.randn(1, *grid.picture, dtype=torch.float64)
    expected = ndimage.convolve(x[0, 0].numpy(), small.numpy(), mode="wrap")
    found = Convolution.of(1, grid, kernel.roll((-1, -2), (1, 2))).forward(x)[0, 0]
    torch.testing.assert_close(found, torch.from_numpy(expected))


def test_the_cutoff_leaves_out_weak_frequencies_only():
    grid = Grid(16, 16, 1)
    kernel = torch.zeros(1, 16, 16, dtype=torch.float64)
    kernel[0, 0, :4] = 0.25  # its transfer function has zeros, and weak values beside them
    a, y = Convolution.of(1, grid, kernel, 0.3), torch.randn(1, 1, 16, 16, dtype=torch.float64)
    spectrum = torch.fft.fft(a.pinv(y)[0, 0]).abs().amax(0)
    size = torch.fft.fft(kernel[0, 0]).abs()
    kept = spectrum > 1e-9
    assert 0 < kept.sum() < 16 and size[kept].min() > size[~kept].max() > 0.1
    assert a.pinv_tolerance == pytest.approx(0.9)
