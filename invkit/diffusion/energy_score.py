"""The energy score of two samples, on several scales: the loss of a model that draws a sample by one network call."""

import torch.nn.functional as F
from torch import Tensor

SCALES = (1, 2, 4, 8)  # sides of the blocks that are averaged, in pixels
PATCHES = (1, 4)  # sides of the patches whose norms are taken, in blocks
_TINY = 1e-8  # keeps the gradient of a norm finite at zero


def energy_score(
    first: Tensor,  # (B, C, H, W), like the next two
    second: Tensor,
    target: Tensor,
    where: Tensor | None,  # (B, 1 or C, H, W): pixel weights, None for the whole domain
) -> Tensor:
    """`(|a - x| + |b - x|) / 2 - |a - b| / 2` of samples a, b of the image x, (B,): fair for any number of samples.

    Its expectation is least for samples of the posterior (Gneiting & Raftery 2007, section 4.3; for two samples Ferro 2014). The
    norm is the root mean square over the values of a patch, averaged over patches of 1x1 and 4x4 blocks, where a block is the mean
    of 1, 2x2, 4x4 or 8x8 pixels. Every norm gives a proper score, and the sum sees dependence at all of these scales.
    """
    if where is not None:
        first, second, target = first * where, second * where, target * where
    return 0.5 * (_norm(first - target) + _norm(second - target) - _norm(first - second))


def _norm(difference: Tensor) -> Tensor:
    """A sum of root mean squares over scales and patches, (B,); the weight of a scale grows with the root of its block's side."""
    total = difference.new_zeros(len(difference))
    for side in SCALES:
        if side > min(difference.shape[2:]):
            continue
        power = F.avg_pool2d(difference, side, ceil_mode=True).square().mean(1, keepdim=True)
        for patch in PATCHES:
            norms = (F.avg_pool2d(power, patch, ceil_mode=True) + _TINY).sqrt()
            total = total + side**0.5 * norms.mean((1, 2, 3))
    return total / (len(SCALES) * len(PATCHES))
