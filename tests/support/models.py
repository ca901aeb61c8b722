"""An untrained model of small images, and measurements."""

import torch

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.diffusion.constants import Constants
from invkit.diffusion.model import ConditionalModel
from invkit.diffusion.networks import NETWORKS
from invkit.diffusion.residual_scale import ResidualScale
from invkit.diffusion.settings import Diffusion
from invkit.physics.gaussian import FittedField, MaternField
from invkit.physics.measurement import Measurement, Noise, measure
from invkit.physics.operators.mask import Mask

GRID = Grid(16, 16)
SCALE = 1.2
FIELD = MaternField(std=0.5, length=0.3, color=0.4)
PRIOR = FittedField.fit(FIELD.sample(Keys.of(0, "prior", range(500)), GRID), GRID)


def build(fill: str = "gaussian", perturb: float = 0.0, diffusion: Diffusion = Diffusion()) -> ConditionalModel:  # noqa: B008
    torch.manual_seed(0)
    network = NETWORKS["fno-unet"](fill=fill, channels=16, mult=(1, 2), blocks=1, embedding=8, modes=3)
    residual = FittedField.fit(Keys.of(0, "z", range(500)).normal("z", *GRID.picture), GRID, torch.zeros(3).double())
    model = ConditionalModel(network, diffusion, Constants(PRIOR, residual, ResidualScale(SCALE), 16), "float32").eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(perturb * torch.randn_like(p))
    return model


def observe(n: int = 4, sigma: float = 0.0, purpose: str = "obs") -> tuple[torch.Tensor, Measurement]:
    keys = Keys.of(0, purpose, range(n))
    x = FIELD.sample(keys, GRID)
    mask = Mask((keys.permutation("p", GRID.pixels) < 26).view(-1, 1, *GRID.shape))
    return x, measure(mask, x, Noise(sigma=sigma), keys)
