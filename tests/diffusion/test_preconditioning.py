import math

import pytest
import torch
from support.messages import raises

from invkit.core.grid import Grid
from invkit.core.keys import Keys
from invkit.diffusion.preconditioning import EdmPreconditioning, LinearPreconditioning, SpectralPreconditioning
from invkit.diffusion.settings import PRECONDITIONINGS, Diffusion
from invkit.physics.gaussian import MaternField, WhiteField, resample

GRID = Grid(8, 12, 2)
DATA = MaternField(std=0.9, length=0.3, color=0.4)
NOISES = [WhiteField(reference=8), MaternField(std=1.0, length=0.2, exponent=1.4, color=0.3)]


def into(s, z):
    return s.into(s.analysis(z))


def skip(s, z):
    return s.synthesis(s.skip(s.analysis(z)))


def out(s, f):
    return s.synthesis(s.out(f))


def exact(z, sigma, noise):
    """E[x0 | x0 + sigma n = z] from the covariance matrices of the pixels."""
    n = GRID.pixels * GRID.channels
    eye = torch.eye(n, dtype=torch.float64).view(n, *GRID.picture)
    c, l = (f.covariance(eye, GRID).view(n, n) for f in (DATA, noise))
    return torch.linalg.solve(c + sigma**2 * l, z.double().flatten(1).T).T @ c


@pytest.mark.parametrize("noise", NOISES, ids=["white", "coloured"])
@pytest.mark.parametrize("sigma", [0.05, 1.0, 20.0])
@pytest.mark.parametrize("kind", [SpectralPreconditioning, LinearPreconditioning])
def test_with_a_zero_network_it_is_the_exact_denoiser(kind, noise, sigma):
    keys = Keys.of(0, "p", range(3))
    z = DATA.sample(keys, GRID) + sigma * noise.sample(keys.child("n"), GRID)
    s = kind().scaling(torch.full((3,), sigma), noise, DATA, GRID)
    want = exact(z, sigma, noise).view_as(z).float()
    torch.testing.assert_close(skip(s, z), want, rtol=1e-3, atol=1e-4)
    scalar = EdmPreconditioning().scaling(torch.full((3,), sigma), noise, DATA, GRID)
    assert (skip(scalar, z) - want).abs().max() > 3 * (skip(s, z) - want).abs().max()


@pytest.mark.parametrize("noise", NOISES, ids=["white", "coloured"])
@pytest.mark.parametrize("sigma", [0.1, 3.0])
def test_spectral_inputs_and_targets_have_unit_power(noise, sigma):
    keys = Keys.of(0, "p", range(4000))
    x = DATA.sample(keys, GRID)
    z = x + sigma * noise.sample(keys.child("n"), GRID)
    s = SpectralPreconditioning().scaling(torch.full((4000,), sigma), noise, DATA, GRID)
    power = into(s, z).square().mean(0)
    assert float(power.mean()) == pytest.approx(1, rel=0.02) and float((power - 1).abs().max()) < 0.15
    rest = (x - skip(s, z)).square().mean()  # the power of what is left is that of `out` applied to unit white noise
    assert float(rest) == pytest.approx(float(s.power[0]), rel=0.02)
    unit = out(s, Keys.of(1, "w", range(4000)).normal("w", *GRID.picture)).square().mean()
    assert float(unit) == pytest.approx(float(s.power[0]), rel=0.02)


@pytest.mark.parametrize("noise", NOISES, ids=["white", "coloured"])
@pytest.mark.parametrize("sigma", [0.1, 3.0])
def test_inputs_and_targets_of_linear_have_unit_variance(noise, sigma):
    keys = Keys.of(0, "p", range(4000))
    x = DATA.sample(keys, GRID)
    z = x + sigma * noise.sample(keys.child("n"), GRID)
    s = LinearPreconditioning().scaling(torch.full((4000,), sigma), noise, DATA, GRID)
    assert float(into(s, z).square().mean()) == pytest.approx(1, rel=0.02)
    target = (x - skip(s, z)) / s.power.sqrt().view(-1, 1, 1, 1)
    assert float(target.square().mean()) == pytest.approx(1, rel=0.02)
    torch.testing.assert_close(skip(s, z) + out(s, target), x, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", sorted(PRECONDITIONINGS))
def test_at_infinity_zero_gives_the_mean_and_noise_a_draw_of_the_data_field(name):
    noise, count = NOISES[1], 4000
    s = PRECONDITIONINGS[name]().scaling(torch.tensor([math.inf]), noise, DATA, GRID)
    zero, f = torch.zeros(1, *GRID.picture), torch.randn(1, *GRID.picture)
    assert not skip(s, zero).any() and not into(s, zero).any()
    assert out(s, f).isfinite().all() and out(s, f).any() and float(s.power) > 0
    z = noise.sample(Keys.of(0, "n", range(count)), GRID)
    drawn = skip(s, z)
    assert float(into(s, z).square().mean()) == pytest.approx(1, rel=0.03)
    if name not in ("linear", "spectral"):
        assert float(drawn.square().mean()) == pytest.approx(1, rel=0.03)
        return
    exact = DATA.sample(Keys.of(1, "x", range(count)), GRID)
    torch.testing.assert_close(drawn.var(0), exact.var(0), rtol=0.15, atol=0)
    pairs = [(x[:, 0, 3, 3] * x[:, 1, 4, 5]).mean() for x in (drawn, exact)]  # across cells and channels
    assert float(pairs[0]) == pytest.approx(float(pairs[1]), abs=0.03)


@pytest.mark.parametrize("name", ["edm", "epsilon", "x0", "v"])
def test_a_perfect_network_gives_a_perfect_denoiser(name):
    """The network's target, solved for by hand in each parametrisation, turns `D = skip z + out F` into x0."""
    sigma, x, n = torch.tensor([0.3, 2.0]), torch.randn(2, 1, 8, 8), torch.randn(2, 1, 8, 8)
    s = sigma.view(-1, 1, 1, 1)
    z, root = x + s * n, (1 + s**2).sqrt()
    target = {"epsilon": n, "x0": x, "v": (n - s * x) / root, "edm": (s * x - n) / root}[name]
    scaling = PRECONDITIONINGS[name]().scaling(sigma, WhiteField(reference=8), DATA, Grid(8, 8, 1))
    torch.testing.assert_close(skip(scaling, z) + out(scaling, target), x, rtol=1e-4, atol=1e-5)
    one = PRECONDITIONINGS[name]().scaling(sigma[:1], WhiteField(reference=8), DATA, Grid(8, 8, 1))
    for what in (skip, out, into):  # one level for a batch
        torch.testing.assert_close(what(one, z)[:1], what(scaling, z)[:1])
        assert len(what(one, z)) == len(z)


@pytest.mark.parametrize("name", sorted(PRECONDITIONINGS))
@pytest.mark.parametrize("sigma", [0.3, 5.0, math.inf])
def test_a_network_sees_and_says_the_same_on_every_grid(name, sigma):
    """A function of the modes that a network works on enters it, and what it says leaves it, as on its own grid."""
    own, fine, noise = Grid(8, 8, 1), Grid(24, 24, 1), WhiteField(reference=8)
    z, f = torch.randn(2, 1, 8, 8), torch.randn(2, 1, 8, 8)
    level, law = torch.full((2,), sigma), MaternField(std=0.9, length=0.3)
    here, there = (PRECONDITIONINGS[name]().scaling(level, noise, law, grid, own) for grid in (own, fine))
    torch.testing.assert_close(into(there, resample(z, (24, 24))), into(here, z), rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(resample(out(there, f), (8, 8)), out(here, f), rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(
        resample(skip(there, resample(z, (24, 24))), (8, 8)), skip(here, z), rtol=1e-3, atol=1e-5
    )
    wrong = PRECONDITIONINGS[name]().scaling(level, noise, law, fine)  # as if the network worked on the fine grid
    if name == "spectral":
        assert (resample(out(wrong, resample(f, (24, 24))), (8, 8)) - out(here, f)).abs().max() > 0.1


def test_edm_at_the_ends():
    s = EdmPreconditioning().scaling(torch.tensor([1e-4, 1.0]), WhiteField(reference=8), DATA, Grid(8, 8, 1))
    one = torch.ones(2, 1, 8, 8)
    assert skip(s, one)[:, 0, 0, 0].tolist() == pytest.approx([1, 0.5], abs=1e-6)
    assert out(s, one)[:, 0, 0, 0].tolist() == pytest.approx([1e-4, 0.5**0.5], rel=1e-5)
    assert into(s, one)[:, 0, 0, 0].tolist() == pytest.approx([1, 0.5**0.5], abs=1e-6)


@pytest.mark.parametrize("kind", [SpectralPreconditioning, LinearPreconditioning])
@pytest.mark.parametrize("field", [WhiteField(basis="periodic"), MaternField(padding=0.5)], ids=["periodic", "padded"])
def test_modes_of_noise_and_images_have_to_be_the_same(kind, field):
    with raises(ValueError, "preconditioning", "cosine", "padding", "edm"):
        Diffusion(field=field, preconditioning=kind())
    Diffusion(field=field, preconditioning=EdmPreconditioning())
