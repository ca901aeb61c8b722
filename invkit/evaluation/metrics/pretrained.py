"""Published networks behind metrics: found on this machine, named in a setting, or fetched where that is allowed."""

import hashlib
import pickle
import re
from abc import ABC
from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from invkit.core.errors import DataError, Unavailable, first_line
from invkit.core.settings import PathSetting
from invkit.data.download import fetch
from invkit.evaluation.metrics.base import Metric

Backbone = Literal["alex", "vgg", "squeeze"]
_TORCHVISION = "https://download.pytorch.org/models/"
BACKBONES: dict[Backbone, str] = {
    "alex": f"{_TORCHVISION}alexnet-owt-7be5be79.pth",
    "vgg": f"{_TORCHVISION}vgg16-397923af.pth",
    "squeeze": f"{_TORCHVISION}squeezenet1_1-b8a52dc0.pth",
}
INCEPTION = (
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
)


class NetworkMetric(Metric, ABC):
    """A metric that looks through a published network; without its weights it has no value."""

    weights: PathSetting = Field(
        "", description="the network's published weights (.pth); empty: where torch.hub keeps them"
    )
    fetch: bool = Field(False, description="download the weights where they are not there")

    def file(self, url: str) -> Path:
        """The file of the weights that are published at an address, whose name ends in the digest.

        Raises Unavailable where they are not on this machine, DataError where what the settings ask for cannot be done.
        """
        if self.weights:
            if not Path(self.weights).is_file():
                raise DataError(f"eval.metrics: there is no file of weights {self.weights}")
            return Path(self.weights)
        name = url.rpartition("/")[2]
        path = Path(torch.hub.get_dir(), "checkpoints", name)
        if not path.is_file():
            if not self.fetch:
                raise Unavailable(f"{name} is not on this machine: name the file in `weights`, or set `fetch: true`")
            fetch(url, path, f"sha256:{_digest(path)}", None, "name the file in `weights`")
        return _as_named(path)


def _digest(path: Path) -> str:
    """The first digits of the SHA-256 that a published name ends in."""
    return path.stem.rpartition("-")[2]


@lru_cache(maxsize=8)  # once a process
def _as_named(path: Path) -> Path:
    """A published file; raises DataError unless it is the one that its name says."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if not digest.startswith(_digest(path)):
        raise DataError(f"{path} is damaged: its SHA-256 is not that in its name; delete it")
    return path


@lru_cache(maxsize=2)
def lpips_network(net: Backbone, file: Path, device: torch.device) -> Callable[..., Tensor]:
    """LPIPS (Zhang et al. 2018, version 0.1) of torchmetrics over a backbone in torchvision's layout; float64."""
    # Its public function lets torchvision look for the weights, and download them.
    from torchmetrics.functional.image.lpips import _LPIPS

    with torch.random.fork_rng(devices=[]):  # weights are drawn before they are replaced
        model = _LPIPS(net=net, pnet_rand=True)
    try:
        published = torch.load(file, map_location="cpu", weights_only=True)
        own = {key: re.sub(r"^slices?\.?\d+\.", "features.", key) for key in model.net.state_dict()}
        model.net.load_state_dict({key: published[name] for key, name in own.items()})
    except (OSError, RuntimeError, KeyError, TypeError, AttributeError, EOFError, pickle.UnpicklingError) as error:
        raise _unread(file, f"torchvision's {net}", error) from None
    return model.double().to(device)


@lru_cache(maxsize=2)
def inception_network(file: Path, device: torch.device) -> Callable[[Tensor], Tensor]:
    """The Inception network of FID (Heusel et al. 2017): pictures (B, 3, H, W) of bytes to features (B, 2048)."""
    from torchmetrics.image.fid import NoTrainInceptionV3

    with torch.random.fork_rng(devices=[]):
        try:
            return NoTrainInceptionV3("inception-v3-compat", ["2048"], str(file)).to(device)
        except (OSError, RuntimeError, KeyError, TypeError, AttributeError, EOFError, pickle.UnpicklingError) as error:
            raise _unread(file, "the Inception network of torch-fidelity", error) from None


def has_inception() -> bool:
    """Whether the package that defines the Inception network is installed."""
    return find_spec("torch_fidelity") is not None


def _unread(file: Path, what: str, error: BaseException) -> DataError:
    return DataError(
        f"eval.metrics: {file} holds no weights of {what} ({type(error).__name__}: {first_line(error)[:160]})"
    )
