"""A trainer of a small network on samples of a Gaussian field."""

import torch
from invkit_sparse import RandomPixels

from invkit.core.grid import Grid
from invkit.data.gaussian_fields import Fields
from invkit.diffusion.networks import NETWORKS
from invkit.diffusion.settings import Diffusion
from invkit.physics.measurement import Noise
from invkit.training.initialise import build_model
from invkit.training.problem import Problem
from invkit.training.settings import Train
from invkit.training.trainer import Trainer

CPU = torch.device("cpu")
NETWORK = NETWORKS["fno-unet"](channels=16, mult=(1, 2), blocks=1, embedding=8, modes=3, dropout=0.1)
SETTINGS = {"steps": 8, "batch": 8, "warmup": 2, "precision": "float32", "lr": 1e-3}


def trainer(settings: dict | None = None, degradation=None, grids=(16,), network=NETWORK) -> Trainer:
    train = Train(**{**SETTINGS, **(settings or {})})
    images = {Grid(n, n): Fields(train_size=50).open("train", Grid(n, n), 0) for n in grids}
    problem = Problem(images, degradation or RandomPixels(), Noise(), 0)
    return Trainer(problem, build_model(problem, network, Diffusion(), train.precision, CPU), train, CPU)


def weights(t: Trainer) -> list[torch.Tensor]:
    return [v.clone() for group in t.state().values() for _, v in sorted(group.items())]
