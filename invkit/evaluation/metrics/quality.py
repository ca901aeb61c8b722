"""PSNR, SSIM and MAE of single images on [0, 1], clipped, with exactly observed pixels pasted in."""

import torch
from torch import Tensor

from invkit.core.errors import Unavailable
from invkit.evaluation.metrics.base import Metric, Outcome

MSE_FLOOR = 1e-10  # caps the PSNR of identical images at 100 dB
WINDOW = 11  # side of the SSIM window: 3.5 standard deviations of 1.5 pixels to each side


def _psnr(mse: Tensor) -> Tensor:
    return -10 * mse.clamp(min=MSE_FLOOR).log10()


class Psnr(Metric):
    """Peak signal-to-noise ratio in dB over all pixels: the mean of the per-image values, each at most 100."""

    better = "higher"

    def components(self, outcome: Outcome) -> dict[str, Tensor]:
        estimate, truth = outcome.pictures
        psnr = _psnr((estimate - truth).square().mean((1, 2, 3)))
        return {"sum": psnr, "count": torch.ones_like(psnr)}


class PsnrHidden(Metric):
    """PSNR in dB over the hidden pixels of a mask: the mean over images that have hidden pixels."""

    better = "higher"

    def components(self, outcome: Outcome) -> dict[str, Tensor]:
        if outcome.measurement.observed is None:
            raise Unavailable("only masks have hidden pixels")
        estimate, truth = outcome.pictures
        error = outcome.mean_of((estimate - truth).square())
        some = (error["count"] > 0).double()
        return {"sum": _psnr(error["sum"] / error["count"].clamp(min=1)) * some, "count": some}


class Ssim(Metric):
    """Structural similarity (Wang et al. 2004), the mean over images and channels.

    Gaussian window 11x11 of standard deviation 1.5, K1 = .01, K2 = .03. Images are padded by reflection without repeating
    the edge, and all pixels are averaged (as in torchmetrics 1.9).
    """

    better = "higher"

    def components(self, outcome: Outcome) -> dict[str, Tensor]:
        if min(outcome.truth.shape[2:]) < WINDOW:
            raise Unavailable(f"the grid is smaller than the {WINDOW}x{WINDOW} window")
        # Imported here, because the import takes longer than reading a recipe.
        from torchmetrics.functional.image import structural_similarity_index_measure

        result = structural_similarity_index_measure(
            *outcome.pictures, sigma=1.5, data_range=1.0, reduction="none", return_full_image=True
        )
        ssim = result[1].mean((1, 2, 3))  # the full map; the pixels averaged in the first output depend on the version
        return {"sum": ssim, "count": torch.ones_like(ssim)}


class Mae(Metric):
    """Mean absolute error on [0, 1] over all pixels."""

    better = "lower"

    def components(self, outcome: Outcome) -> dict[str, Tensor]:
        estimate, truth = outcome.pictures
        mae = (estimate - truth).abs().mean((1, 2, 3))
        return {"sum": mae, "count": torch.ones_like(mae)}
