import torch
from torch import nn

from invkit.training.optimisers import Muon, optimisers, orthogonalise


def test_singular_values_become_about_one():
    for shape in ((20, 60), (60, 20), (16, 16)):
        x = torch.randn(shape) @ torch.diag(torch.logspace(-1, 1, shape[1]))
        values = torch.linalg.svdvals(orthogonalise([x[None]])[0][0])
        assert float(values.median()) > 0.3 and float(values.max()) < 1.4


def newton_schulz(x):
    """The quintic steps as published, in float64, one matrix at a time."""
    if x.shape[0] > x.shape[1]:
        return newton_schulz(x.T).T
    x = x.double() / x.double().norm()
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x


def test_steps_of_the_gram_matrices_are_those_of_the_matrices():
    """In float32, with singular values over five decades, for batches of several shapes."""
    batches = [torch.randn(shape) for shape in ((3, 24, 200), (1, 24, 24), (2, 90, 24))]
    for batch in batches:
        u, s, v = torch.linalg.svd(batch, full_matrices=False)
        batch.copy_(u @ torch.diag_embed(torch.logspace(0, -5, 24).expand_as(s)) @ v)
    batches[0][1] *= 1e3
    for batch, found in zip(batches, orthogonalise(batches), strict=True):
        for one, own in zip(batch, found, strict=True):
            want = newton_schulz(one)
            assert float((own - want).norm() / want.norm()) < 1e-4


def test_kernels_are_updated_each_for_itself():
    """Parameters of several shapes and layouts together as each by its own optimiser, from a restored momentum on."""
    shapes = (8, 4, 3, 3), (8, 4, 3, 3), (4, 8, 1, 1), (16, 4, 1, 1)
    params = [nn.Parameter(torch.randn(shape)) for shape in shapes]
    params[1].data = params[1].data.to(memory_format=torch.channels_last)
    copies = [nn.Parameter(p.detach().clone()) for p in params]
    together, alone = Muon(params, 0.05, 0.1), [Muon([p], 0.05, 0.1) for p in copies]
    for step in range(4):
        for p, copy in zip(params, copies, strict=True):
            p.grad = torch.randn_like(p)
            copy.grad = p.grad.clone()
        if step == 2:  # as a trainer restores it
            for p, optimiser in zip(copies, alone, strict=True):
                optimiser.state[p] = {"momentum": optimiser.state[p]["momentum"].clone()}
        for optimiser in (together, *alone):
            optimiser.step()
    for p, copy in zip(params, copies, strict=True):
        torch.testing.assert_close(p, copy, rtol=1e-4, atol=1e-5)
        assert together.state[p]["momentum"].shape == p.shape


def test_a_step_that_is_not_finite_changes_nothing():
    p = nn.Parameter(torch.randn(8, 4, 3, 3))
    optimiser = Muon([p], 0.05, 0.1)
    p.grad = torch.randn_like(p)
    optimiser.step()
    before, momentum = p.detach().clone(), optimiser.state[p]["momentum"].clone()
    p.grad[0] = torch.nan
    optimiser.found_inf = torch.ones(())
    optimiser.step()
    assert torch.equal(p, before) and torch.equal(optimiser.state[p]["momentum"], momentum)


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
