import pytest
import torch

from invkit.diffusion.networks import NETWORKS
from invkit.diffusion.networks.unet import dropout

SMALL = {"channels": 16, "mult": (1, 2), "blocks": 1, "embedding": 8}


@pytest.mark.parametrize("name", sorted(NETWORKS))
@pytest.mark.parametrize("shape", [(32, 32), (17, 23)])
def test_starts_at_zero_and_keeps_the_shape(name, shape):
    net = NETWORKS[name](**SMALL).build(5, 3)
    out = net(torch.randn(2, 5, *shape), torch.randn(2, 8))
    assert out.shape == (2, 3, *shape)
    assert not out.any()


@pytest.mark.parametrize(
    "change",
    [
        {"channels": 24},
        {"mult": (1, 1)},
        {"blocks": 2},
        {"patch": 1},
        {"modes": 3},
        {"weights": "dense"},
        {"embedding": 16},
    ],
)
def test_every_setting_changes_the_network(change):
    sizes = [
        sorted(
            (name, tuple(p.shape)) for name, p in NETWORKS["fno-unet"](**{**SMALL, **c}).build(5, 3).named_parameters()
        )
        for c in ({}, change)
    ]
    assert sizes[0] != sizes[1]


def test_dropout_follows_its_generator():
    x = torch.ones(1, 1, 100, 100)
    first, again = (dropout(x, 0.3, torch.tensor(5)) for _ in range(2))
    assert torch.equal(first, again)
    assert float((first == 0).float().mean()) == pytest.approx(0.3, abs=0.02)
    assert float(first.mean()) == pytest.approx(1, abs=0.03)
    assert dropout(x, 0.3, None) is x

    net = NETWORKS["fno-unet"](**SMALL, dropout=0.5).build(5, 3)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * torch.randn_like(p))
    y, e = torch.randn(1, 5, 16, 16), torch.randn(1, 8)
    out = [net(y, e, s) for s in (1, 1, 2)]
    assert torch.equal(out[0], out[1]) and not torch.equal(out[0], out[2])
    assert torch.equal(net(y, e), net(y, e))
