"""Pretrained networks of metrics: weights from a file, from the cache of torch.hub, or downloaded if allowed."""

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
    """A metric based on a pretrained network; raises Unavailable if its weights are missing and not fetched."""

    weights: PathSetting = Field(
        "", description="file of the network's published weights (.pth); empty: the cache of torch.hub"
    )
    fetch: bool = Field(False, description="download the weights if they are missing")

    def file(self, url: str) -> Path:
        """The file of the weights published at `url`, whose name ends in the digest.

        Raises Unavailable if they are missing and `fetch` is false, DataError if the settings cannot be followed.
        """
        if self.weights:
            if not Path(self.weights).is_file():
                raise DataError(f"eval.metrics: no file of weights {self.weights}")
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
    """Return `path`; raises DataError unless its SHA-256 starts with the digest in its name."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if not digest.startswith(_digest(path)):
        raise DataError(f"{path} is damaged: its SHA-256 is not that in its name; delete it")
    return path


@lru_cache(maxsize=2)
def lpips_network(net: Backbone, file: Path, device: torch.device) -> Callable[..., Tensor]:
    """LPIPS (Zhang et al. 2018, version 0.1) of torchmetrics, in float64; `file` holds a backbone in torchvision's layout."""
    # The public function would let torchvision download the weights.
    from torchmetrics.functional.image.lpips import _LPIPS

    with torch.random.fork_rng(devices=[]):  # the weights are initialised at random before they are replaced
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
    """The Inception network of FID (Heusel et al. 2017): images (B, 3, H, W), uint8, to features (B, 2048)."""
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
