"""LPIPS over stand-in weights in the published layout: the same number as torchmetrics; without weights, the reason."""

import hashlib
from urllib.error import HTTPError

import pytest
import torch
import torchvision
from support.messages import raises
from torch import Tensor
from torchmetrics.functional.image import learned_perceptual_image_patch_similarity

from invkit.core.errors import DataError, Unavailable
from invkit.core.keys import Keys
from invkit.evaluation.metrics import pretrained as networks
from invkit.evaluation.metrics.base import Outcome
from invkit.evaluation.metrics.lpips import Lpips
from invkit.physics.measurement import Measurement
from invkit.physics.operators.mask import Mask

COUNT = 3


def outcome(side: int = 32, channels: int = 3) -> Outcome:
    keys = Keys.of(0, "lpips", range(COUNT))
    truth = keys.uniform("truth", channels, side, side) * 2 - 1
    mask = Mask(keys.uniform("mask", 1, side, side) < 0.1)
    estimate = 0.5 * truth + 0.7 * keys.normal("error", channels, side, side)
    return Outcome(truth, Measurement(mask, mask.forward(truth)), "mean", estimate)


def stand_in(build) -> dict[str, Tensor]:
    """The state of a network as torchvision saves it, with weights of ours."""
    with torch.device("meta"):
        shapes = build(weights=None).state_dict()
    generator = torch.Generator().manual_seed(1)
    return {
        name: torch.randn(x.shape, generator=generator) * max(1, x[0].numel()) ** -0.5 for name, x in shapes.items()
    }


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A machine whose hub is empty, and has no network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: pytest.fail("something was downloaded"))
    networks._as_named.cache_clear()
    networks.lpips_network.cache_clear()
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    return tmp_path / "hub" / "checkpoints"


def test_it_is_what_torchmetrics_says(home):
    """Which finds the same weights where torchvision keeps them; ours are named in the settings."""
    weights = stand_in(torchvision.models.squeezenet1_1)
    torch.save(weights, home / "squeezenet1_1-b8a52dc0.pth")
    torch.save(weights, file := home.parent / "mine.pth")
    o = outcome()
    estimate, truth = o.pictures
    expected = learned_perceptual_image_patch_similarity(estimate, truth, "squeeze", reduction="none", normalize=True)
    state = torch.random.get_rng_state()
    found = Lpips(net="squeeze", weights=str(file)).components(o)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert found["count"].tolist() == [1.0] * COUNT
    torch.testing.assert_close(found["sum"], expected)
    assert found["sum"].min() > 1e-3
    same = Outcome(o.truth, o.measurement, "mean", o.truth)
    assert Lpips(net="squeeze", weights=str(file)).components(same)["sum"].tolist() == [0.0] * COUNT


def test_published_weights_are_found_in_the_hub_and_checked(home, monkeypatch):
    torch.save(stand_in(torchvision.models.squeezenet1_1), home / "x.pth")
    digest = hashlib.sha256((home / "x.pth").read_bytes()).hexdigest()
    file = (home / "x.pth").rename(home / f"net-{digest[:8]}.pth")
    monkeypatch.setitem(networks.BACKBONES, "squeeze", f"https://example.org/{file.name}")
    assert Lpips(net="squeeze").components(outcome())["sum"].min() > 1e-3
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    networks._as_named.cache_clear()
    with raises(DataError, "net-b69039f8.pth", "SHA-256"):
        Lpips(net="squeeze").components(outcome())


def test_every_weight_of_the_default_backbone_is_the_one_of_that_name(home):
    weights = {k: v for k, v in stand_in(torchvision.models.alexnet).items() if k.startswith("features.")}
    torch.save(weights, home / "alex.pth")
    network = networks.lpips_network("alex", home / "alex.pth", torch.device("cpu"))
    own = {name.partition(".")[2]: x for name, x in network.net.state_dict().items()}  # without the slice's number
    assert {f"features.{name}" for name in own} == weights.keys()
    assert all(torch.equal(x, weights[f"features.{name}"].double()) for name, x in own.items())


def test_without_weights_the_reason_says_what_to_do():
    with raises(Unavailable, "alexnet-owt-7be5be79.pth", "weights", "fetch: true"):
        Lpips().components(outcome())
    with raises(Unavailable, 3):
        Lpips().components(outcome(channels=1))
    with raises(Unavailable, "32x32"):
        Lpips().components(outcome(side=31))


def test_it_is_fetched_only_where_that_was_asked_for(home, monkeypatch):
    asked = []

    def answer(request, timeout):
        asked.append(request.full_url)
        raise HTTPError(request.full_url, 404, "gone", None, None)

    monkeypatch.setattr("urllib.request.urlopen", answer)
    with pytest.raises(Unavailable):
        Lpips(net="vgg").components(outcome())
    assert asked == []
    with raises(DataError, "vgg16-397923af.pth", "gone"):
        Lpips(net="vgg", fetch=True).components(outcome())
    assert asked == ["https://download.pytorch.org/models/vgg16-397923af.pth"]


@pytest.mark.parametrize("content", [b"", b"no weights", None, {"features.0.weight": torch.zeros(3)}, [1.0]])
def test_a_file_that_holds_no_such_weights_is_told_in_one_line(home, content):
    file = home / "mine.pth"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content is not None:
        torch.save(content, file)
    with raises(DataError, "mine.pth") as e:
        Lpips(net="squeeze", weights=str(file)).components(outcome())
    assert "\n" not in str(e.value)


def test_code_in_a_file_of_weights_is_not_run(home, tmp_path):
    class Boom:
        def __reduce__(self):
            return (open, (str(tmp_path / "run"), "w"))

    torch.save({"features.0.weight": Boom()}, home / "mine.pth")
    with raises(DataError, "mine.pth"):
        Lpips(net="squeeze", weights=str(home / "mine.pth")).components(outcome())
    assert not (tmp_path / "run").exists()
