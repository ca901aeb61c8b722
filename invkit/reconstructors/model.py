"""The trained and the untrained conditional model as reconstructors."""

from pydantic import Field
from torch import Tensor, nn

from invkit.core.keys import Keys
from invkit.diffusion import Sample
from invkit.diffusion.model import ConditionalModel
from invkit.physics.measurement import Measurement
from invkit.reconstructors.base import Method, Reconstructor, Sources


class ZeroNetwork(nn.Module):
    """A network whose output is zero, as that of every network before the first training step."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor, embedding: Tensor, seed: Tensor | None = None) -> Tensor:
        return x.new_zeros(len(x), self.channels, *x.shape[2:])


class Model(Reconstructor):
    """A conditional model: posterior mean by one network call, posterior samples by the sampler."""

    readouts = ("mean", "sample")

    def __init__(self, name: str, model: ConditionalModel, settings: Sample) -> None:
        self.name, self.model, self.settings = name, model.eval(), settings

    def nfe(self, readout: str) -> int:
        return 1 if readout == "mean" else self.settings.calls

    def mean(self, measurement: Measurement) -> Tensor:
        return self.model.mean(measurement)

    def sample(self, measurement: Measurement, keys: Keys, count: int) -> Tensor:
        return self.model.sample(measurement, keys, count, self.settings)


class UntrainedMethod(Method):
    """The model before its first training step: initial estimate and preconditioning without a network."""

    def build(self, sources: Sources) -> Reconstructor:
        model = sources.model
        untrained = ConditionalModel(model.settings, model.diffusion, model.constants, model.precision)
        untrained.network = ZeroNetwork(model.channels)  # same output as a new network, without its cost
        return Model("untrained", untrained.to(next(model.parameters()).device), sources.sample)


class ModelMethod(Method):
    """The trained model."""

    sample: Sample | None = Field(None, description="sampler of these rows; null: that of the recipe")

    def build(self, sources: Sources) -> Reconstructor:
        return Model("model", sources.model, self.sample or sources.sample)
