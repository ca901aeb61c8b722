import torch
from torch import nn

from invkit.training.optimisers import Muon, optimisers, orthogonalise


def test_singular_values_become_about_one():
    for shape in ((20, 60), (60, 20), (16, 16)):
        values = torch.linalg.svdvals(orthogonalise(torch.randn(shape) @ torch.diag(torch.logspace(-1, 1, shape[1]))))
        assert float(values.median()) > 0.3 and float(values.max()) < 1.4


def test_kernels_of_one_shape_are_orthogonalised_each_for_itself():
    matrices = torch.randn(3, 8, 20)
    matrices[1] *= 1e3
    for one, whole in zip(matrices, orthogonalise(matrices), strict=True):
        torch.testing.assert_close(orthogonalise(one), whole)
    rough = orthogonalise(matrices, torch.bfloat16)
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, orthogonalise(matrices), atol=0.1, rtol=0)


def test_muon_descends_and_keeps_direction_of_a_flat_gradient():
    p = nn.Parameter(torch.randn(8, 4, 3, 3))
    target = torch.randn_like(p)
    optimiser = Muon([p], lr=0.05, weight_decay=0.0)
    start = (p - target).norm().item()
    for _ in range(200):
        optimiser.zero_grad()
        (p - target).square().sum().backward()
        optimiser.step()
    assert (p - target).norm().item() < 0.2 * start


def test_muon_takes_inner_convolutions_only():
    net = nn.ModuleDict(
        {"entry": nn.Conv2d(3, 8, 3), "inner": nn.Conv2d(8, 8, 3), "head": nn.Linear(8, 8), "exit": nn.Conv2d(8, 3, 3)}
    )
    adam, muon = optimisers(net, 1e-3, 0.02, 0.01)
    assert [id(p) for p in muon.param_groups[0]["params"]] == [id(net["inner"].weight)]
    assert len(adam.param_groups[0]["params"]) == 7
    assert len(optimisers(net, 1e-3, None, 0.01)) == 1
