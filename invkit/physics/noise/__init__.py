"""Noise of measurements: the distribution of measured values given their noiseless values, one law for each file."""

from invkit.physics.noise.base import Law, NoiseLaw, facts, white_sigma
from invkit.physics.noise.counts import Poisson, PoissonGaussian
from invkit.physics.noise.gaussian import Noise
from invkit.physics.noise.quantised import Uniform
from invkit.physics.noise.speckle import Gamma, SaltPepper

NOISES: dict[str, type[NoiseLaw]] = {
    "gaussian": Noise,
    "poisson": Poisson,
    "poisson-gaussian": PoissonGaussian,
    "uniform": Uniform,
    "salt-pepper": SaltPepper,
    "gamma": Gamma,
}

__all__ = ["NOISES", "Law", "Noise", "NoiseLaw", "facts", "white_sigma"]
